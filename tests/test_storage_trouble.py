"""A database that is locked, full, or not writable, and a clock that goes back: clear errors, nothing hangs."""

import contextlib
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from logs import Process, collected, numbered, running
from servers import Server, conversation, serving
from test_resume import events, frames, open_stream, read_frames
from upstream import Upstream
from waiting import eventually, within

from headrace.events import End, Event, Token
from headrace.runtime import log as log_module
from headrace.runtime.log import Retention
from headrace.storage import journal
from headrace.storage.storage import timestamp


def sound(folder: Path) -> bool:
    """True when the database has no damage."""
    with contextlib.closing(sqlite3.connect(folder / "headrace.sqlite")) as database:
        return database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@contextlib.contextmanager
def locked(server: Server) -> Generator[sqlite3.Connection]:
    """Nobody else can write to the server's database."""
    with contextlib.closing(sqlite3.connect(server.folder / "headrace.sqlite", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield connection
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def test_a_locked_database_does_not_touch_a_running_stream(tmp_path: Path, upstream: Upstream) -> None:
    with serving(tmp_path / "data") as server:
        flow = server.create_flow(conversation(upstream.url))
        with open_stream(server, flow, "/count 150 | /pace 20", chatId="locked") as response:
            body = read_frames(response, 4)
            run = str(response.headers["X-Run-Id"])
            with locked(server):
                body += read_frames(response, 130)  # 2.6 s of tokens while nothing can be stored
                other = server.send("GET", f"/api/v1/runs/{run}")
                assert (other.status, other.json["state"]) == (200, "running")
            body += response.read()
        got = frames(body)
        assert len(got) == 153
        assert frames(events(server, run, 0).body) == got
        messages = f"/api/v1/chatmessage/{flow}?chatId=locked"
        eventually(lambda: len(server.send("GET", messages, admin=True).json) == 2)
        assert server.send("GET", messages, admin=True).json[1]["content"].endswith("w150")
        assert server.stop() == 0
        assert sound(server.folder)
    with serving(tmp_path / "data") as server:  # and all of it is on the disk
        assert frames(events(server, run, 0).body) == got


def test_what_cannot_wait_for_a_locked_database_says_so(tmp_path: Path, upstream: Upstream) -> None:
    with serving(tmp_path / "data") as server:
        flow = server.create_flow(conversation(upstream.url))
        with locked(server):
            streamed = server.ask(flow, "/say Hi", streaming=True)  # its messages wait for 5 s
            assert [event["data"] for event in streamed.events if event["event"] == "token"] == ["Hi"]
            assert streamed.kinds[-2:] == ["error", "end"]
            error = streamed.events[-2]
            assert (error["code"], error["retryable"]) == ("storage_error", True)
            assert "locked" in error["data"]
        assert server.ask(flow, "/say later").json["text"] == "later"
        run = streamed.headers["X-Run-Id"]
        assert eventually(lambda: server.send("GET", f"/api/v1/runs/{run}").json["state"] == "failed")
        assert frames(events(server, run, 0).body) == frames(streamed.body)
        assert server.stop() == 0
        assert sound(server.folder)


# No space


@contextlib.contextmanager
def small_files(server: Server) -> Generator[Callable[[], None]]:
    """No file of the server may grow: to it that is a full disk."""
    most = max(path.stat().st_size for path in server.folder.glob("headrace.sqlite-wal"))
    pid = server.process.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, hard))
    yield lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard)) and None


@contextlib.contextmanager
def full_disk(server: Server) -> Generator[Callable[[], None]]:
    """The last block is taken."""
    filler = server.folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    yield filler.unlink


@contextlib.contextmanager
def own_disk(folder: Path) -> Generator[Path]:
    """A disk of 3 MiB."""
    folder.mkdir()
    mount = shutil.which("mount")
    if sys.platform != "linux" or not mount or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk on Linux")
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=3m", "none", str(folder)], capture_output=True).returncode:
        pytest.skip("this machine does not allow mounting a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _check_no_space(folder: Path, upstream: Upstream, full: Callable[[Server], Any]) -> None:
    text = " ".join(["z" * 3000] * 300)
    with serving(folder) as server:
        flow = server.create_flow(conversation(upstream.url))
        before = server.ask(flow, "/say before", streaming=True).headers["X-Run-Id"]
        with full(server) as make_room:
            stream = server.ask(flow, f"/say {text} | /pace 1", streaming=True)
            assert "".join(e["data"] for e in stream.events if e["event"] == "token") == text
            assert stream.kinds[-2:] == ["error", "end"]
            assert stream.events[-2]["code"] == "storage_error"
            assert "Traceback" not in stream.text
            refused = server.ask(flow, "/say x")
            assert (refused.status, refused.json["code"]) == (503, "storage_error")
            key = server.send("POST", f"/api/v1/prediction/{flow}", {"question": "/say x"}, {"Idempotency-Key": "k"})
            assert (key.status, key.json["code"]) == (503, "storage_error")
            run = stream.headers["X-Run-Id"]
            assert frames(events(server, run, 0).body) == frames(stream.body)  # from memory
            assert frames(events(server, before, 0).body)
            make_room()
        assert server.ask(flow, "/say after").json["text"] == "after"
        assert eventually(lambda: _stored(server.folder, run) == "failed")
        assert frames(events(server, run, 0).body) == frames(stream.body)  # from the database
        again = server.send("POST", f"/api/v1/prediction/{flow}", {"question": "/say x"}, {"Idempotency-Key": "k"})
        assert again.json["text"] == "x"
        assert server.stop() == 0
        assert sound(folder)
        assert "Traceback" not in server.output.read_text()
        assert "events wait in memory, trying again" in server.output.read_text()


def _stored(folder: Path, run: str) -> str | None:
    with contextlib.closing(sqlite3.connect(folder / "headrace.sqlite")) as database:
        found = database.execute("SELECT state FROM run WHERE id = ?", (run,)).fetchone()
        return None if found is None or found[0] == "running" else found[0]


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process can be set on Linux only")
def test_files_that_cannot_grow_cost_no_token_and_later_runs_work(tmp_path: Path, upstream: Upstream) -> None:
    _check_no_space(tmp_path / "data", upstream, small_files)


def test_a_full_disk_costs_no_token_and_later_runs_work(tmp_path: Path, upstream: Upstream) -> None:
    with own_disk(tmp_path / "disk") as disk:
        _check_no_space(disk / "data", upstream, full_disk)


# Not writable


def _start(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """A server that ends by itself."""
    command = [sys.executable, "-m", "headrace", "serve", "--port", "0", "--data-dir", str(folder), *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The error that the server ended with, which is one line."""
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.strip().split("\n")
    assert line.startswith("Error: ")
    return line


@contextlib.contextmanager
def unchangeable(*paths: Path) -> Generator[None]:
    """Files that even root cannot write."""
    if os.geteuid() != 0:
        for path in paths:
            path.chmod(0o500 if path.is_dir() else 0o400)
        try:
            yield
        finally:
            for path in paths:
                path.chmod(0o700)
        return
    command = shutil.which("chattr")
    if not command or subprocess.run([command, "+i", *map(str, paths)], capture_output=True).returncode:
        pytest.skip("root can write every file here: chattr +i does not work")
    try:
        yield
    finally:
        subprocess.run([command, "-i", *map(str, paths)], check=True)


def test_a_database_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with serving(folder) as server:
        assert server.stop() == 0
    with unchangeable(folder / "headrace.sqlite"):
        assert str(folder) in one_line(_start(folder))
        assert str(folder) in one_line(_start(folder, "--workers", "2"))
    assert sound(folder)
    with serving(folder) as server:
        assert server.send("GET", "/api/v1/ping").status == 200


def test_a_folder_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with unchangeable(folder):
        assert str(folder) in one_line(_start(folder))


def test_a_folder_in_the_databases_place_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "data" / "headrace.sqlite").mkdir(parents=True)
    assert str(tmp_path / "data") in one_line(_start(tmp_path / "data"))


def test_a_file_that_is_no_database_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "headrace.sqlite").write_bytes(b"this is not a database" * 1000)
    assert "not a database" in one_line(_start(tmp_path / "data"))


# A clock that is set back


def test_a_clock_that_is_set_back_changes_no_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        process = Process(tmp_path)
        written: list[Event] = []
        await process.log.open(running("r", 1_800_000_000))
        for n in range(10):
            monkeypatch.setattr(log_module, "timestamp", lambda n=n: timestamp(1_800_000_000 - n * 3600))
            written.append(Token(f"w{n} ") if n < 9 else End())
            assert process.log.append("r", [written[-1]]) == n + 1
            await process.log.commit()
        for after in range(11):
            assert await collected(process.log.follow("r", after)) == numbered(written, after)
        info = await process.log.info("r")
        assert info.endedDate
        assert info.endedDate < info.createdDate
        assert (info.state, info.lastSeq) == ("finished", 10)
        await process.tidy(Retention(hours=-100_000))
        assert [entry.seq for entry in await collected(process.log.follow("r"))] == [9, 10]
        assert [run.id for run in await process.database.read(lambda c: journal.chat_runs(c, "flow", "chat"))] == ["r"]
        process.close()

    within(scenario())
    assert sound(tmp_path)
