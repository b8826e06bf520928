"""A backup is made while a server works, holds everything, and is restored whole or not at all."""

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import tarfile
import threading
import tracemalloc
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from documents import add_loader, file, new_store, process, texts
from servers import Server, conversation, serving, with_database
from test_cli import done, headrace, refused
from upstream import Upstream

from headrace.errors import InvalidRequest
from headrace.storage.backup import BrokenBackup, back_up, restore

PAGE = Path(__file__).parents[1] / "docs" / "operations.md"
PICTURE = (Path(__file__).parent / "pixel.png").read_bytes()
LIST = ".backup.json"


def named() -> set[str]:
    """The files and folders in the table of the page."""
    section = PAGE.read_text(encoding="utf-8").split("## Backup")[1].split("\n## ")[0]
    return {name for row in re.findall(r"(?m)^\| (`.*?) \|", section) for name in re.findall(r"`([^`]+)`", row)}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def filled(folder: Path) -> None:
    """Gives a data folder one file of every kind that a server may have there."""
    with closing(sqlite3.connect(folder / "chat.sqlite")) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE kept (a)")
    (folder / "databases").mkdir(exist_ok=True)
    with closing(sqlite3.connect(folder / "databases" / "shop.db")) as connection, connection:
        connection.execute("CREATE TABLE kept (a)")
    for kind in ("files", "uploads", "databases"):
        (folder / kind / "deep").mkdir(parents=True, exist_ok=True)
        (folder / kind / "deep" / "kept.txt").write_text(kind)
    for name in ("tls.crt", "tls.key", "logo.svg"):
        (folder / name).write_text(name)
    (folder / "brand.json").write_text(json.dumps({"name": "Acme"}))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder that no server is on."""
    folder = with_database(tmp_path / "data")
    (folder / "secret.key").write_text("00" * 32 + "\n")
    filled(folder)
    return folder


@pytest.fixture
def archive(tmp_path: Path, data: Path) -> Path:
    back_up(data, tmp_path / "backup.tar.gz", "1")
    return tmp_path / "backup.tar.gz"


def picture_of(server: Server, flow: str, chat: str) -> bytes:
    """The picture that came with the chat's question, as the server gives it."""
    messages = server.send("GET", f"/api/v1/chatmessage/{flow}?chatId={chat}", admin=True).json
    (upload,) = messages[0]["fileUploads"]
    path = f"/api/v1/get-upload-file?chatflowId={flow}&chatId={chat}&fileName={quote(upload['name'])}"
    reply = server.send("GET", path)
    assert reply.status == 200, reply.text
    return reply.body


def test_a_server_is_restored_from_a_backup_that_was_made_while_it_worked(tmp_path: Path, upstream: Upstream) -> None:
    first, second, archive = tmp_path / "data", tmp_path / "restored", tmp_path / "backup.tar.gz"
    upload = {"type": "file", "name": "a.png", "mime": "image/png"}
    with serving(first) as server:
        flow = server.create_flow(conversation(upstream.url, model={"allowImageUploads": True}))
        made = {"name": "key", "credentialName": "openAIApi", "plainDataObj": {"openAIApiKey": "sk-kept"}}
        credential = server.send("POST", "/api/v1/credentials", made, admin=True).json["id"]
        attached = {**upload, "data": file(PICTURE).replace("text/plain", "image/png").partition(",filename")[0]}
        for number in range(20):
            reply = server.ask(flow, f"Question {number}", chatId=f"chat-{number}", uploads=[attached])
            assert reply.status == 200, reply.text
        answered = server.send("GET", f"/api/v1/chatmessage/{flow}?chatId=chat-7", admin=True).json
        store = new_store(server)
        assert process(server, store, add_loader(server, store)).status == 200
        chunks = texts(server, store)
        filled(first)
        stopping, failed = threading.Event(), list[str]()

        def ask_on() -> None:
            while not stopping.is_set():
                if (reply := server.ask(flow, "More", chatId="busy")).status != 200:
                    failed.append(reply.text)

        asking = threading.Thread(target=ask_on)
        asking.start()
        report = done(headrace(first, "backup", str(archive)))
        stopping.set()
        asking.join(30)
        assert not failed
        assert "backup.tar.gz" in report
        files = {path.name for path in first.iterdir()}
    left = {name for name in files - named() if not name.startswith(("headrace.sqlite-", "chat.sqlite-"))}
    assert left <= {"vectors", "processes", "logo.svg"}, "the page names every other file"
    assert archive.stat().st_mode & 0o077 == 0
    kept = {name: content for name, content in contents(first).items() if name.startswith(("files", "uploads"))}
    assert any(name.startswith("uploads") and "deep" not in name for name in kept)
    shutil.rmtree(first)
    done(headrace(second, "restore", str(archive)))
    assert {name: content for name, content in contents(second).items() if name in kept} == kept
    with serving(second) as server:
        again = server.send("GET", f"/api/v1/chatmessage/{flow}?chatId=chat-7", admin=True).json
        assert again == answered
        assert len(again) == 2
        assert picture_of(server, flow, "chat-7") == PICTURE
        assert texts(server, store) == chunks
        assert server.send("GET", f"/api/v1/credentials/{credential}", admin=True).status == 200
        reply = server.ask(flow, "And now?", chatId="chat-7")
        assert reply.status == 200, reply.text
        assert "Question 7" in json.dumps(upstream.requests[-1].body), "the chat goes on"


def test_every_file_comes_back_as_it_was_and_for_its_owner_alone(data: Path, archive: Path, tmp_path: Path) -> None:
    before = {name: content for name, content in contents(data).items() if not name.endswith((".sqlite", ".db"))}
    restore(archive, tmp_path / "new")
    after = contents(tmp_path / "new")
    assert {name: after[name] for name in before} == before
    assert set(after) == {*before, "headrace.sqlite", "chat.sqlite", "databases/shop.db"}
    for path in (tmp_path / "new").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    for name in ("chat.sqlite", "databases/shop.db"):
        with closing(sqlite3.connect(tmp_path / "new" / name)) as connection:
            assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("kept",)]


def test_what_is_not_yet_in_the_database_file_itself_is_in_the_backup(data: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(data / "headrace.sqlite")) as live:
        live.execute("PRAGMA journal_mode=WAL")
        live.execute("PRAGMA wal_autocheckpoint=0")
        live.execute("CREATE TABLE newest AS SELECT 5 AS five")
        live.commit()
        back_up(data, tmp_path / "b", "1")
    restore(tmp_path / "b", tmp_path / "new")
    with closing(sqlite3.connect(tmp_path / "new" / "headrace.sqlite")) as connection:
        assert connection.execute("SELECT five FROM newest").fetchall() == [(5,)]
    assert not list((tmp_path / "new").glob("*-wal"))


def test_folders_elsewhere_that_are_linked_are_saved_and_circles_end(data: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "big.txt").write_text("big")
    (tmp_path / "disk" / "circle").symlink_to(tmp_path / "disk")
    (data / "files" / "elsewhere").symlink_to(tmp_path / "disk")
    back_up(data, tmp_path / "b", "1")
    restore(tmp_path / "b", tmp_path / "new")
    assert (tmp_path / "new/files/elsewhere/big.txt").read_text() == "big"


def test_large_files_never_are_in_memory(data: Path, tmp_path: Path) -> None:
    with (data / "files" / "large").open("wb") as large:
        large.truncate(96 * 1024 * 1024)
    tracemalloc.start()
    try:
        back_up(data, tmp_path / "b", "1")
        restore(tmp_path / "b", tmp_path / "new")
        assert tracemalloc.get_traced_memory()[1] < 16 * 1024 * 1024
    finally:
        tracemalloc.stop()
    assert (tmp_path / "new/files/large").stat().st_size == 96 * 1024 * 1024


# What is refused

SITUATIONS = [
    "empty",
    "half",
    "without its last byte",
    "without the list",
    "a changed byte",
    "no archive",
    "later bytes",
]


def spoilt(archive: Path, how: str) -> bytes:
    data = archive.read_bytes()
    match how:
        case "empty":
            return b""
        case "half":
            return data[: len(data) // 2]
        case "without its last byte":
            return data[:-1]
        case "without the list":
            return packed([(name, body, b"0") for name, body in members(archive).items() if name != LIST])
        case "a changed byte":
            middle = len(data) // 2
            return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        case "later bytes":
            return data + b"more"
        case _:
            return b"no archive at all" * 100


def members(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def packed(entries: list[tuple[str, bytes, bytes]]) -> bytes:
    """An archive of names, contents and kinds."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, body, kind in entries:
            member = tarfile.TarInfo(name)
            member.type = kind
            if kind == tarfile.REGTYPE:
                member.size = len(body)
                tar.addfile(member, io.BytesIO(body))
            else:
                member.linkname = body.decode()
                tar.addfile(member)
    return gzip.compress(plain.getvalue())


@pytest.mark.parametrize("how", SITUATIONS)
def test_an_archive_that_is_not_whole_is_refused_in_one_line(archive: Path, data: Path, how: str) -> None:
    archive.write_bytes(spoilt(archive, how))
    before, beside = contents(data), set(data.parent.iterdir())
    result = headrace(data, "restore", str(archive), "--force")
    assert result.returncode == 2, result.stderr
    assert re.fullmatch(r"Error: .* is no whole backup, and nothing was changed: .+\n", result.stderr), result.stderr
    assert contents(data) == before
    assert set(data.parent.iterdir()) == beside


def test_no_cut_and_no_changed_byte_gets_through(archive: Path, tmp_path: Path) -> None:
    whole, step = archive.read_bytes(), archive.stat().st_size // 60
    for end in range(0, len(whole), step):
        archive.write_bytes(whole[:end])
        with pytest.raises(BrokenBackup):
            restore(archive, tmp_path / "new")
    archive.write_bytes(whole)
    restore(archive, tmp_path / "good")
    taken = 0
    for at in range(0, len(whole), step):
        archive.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        try:
            restore(archive, tmp_path / "new")
        except BrokenBackup:
            assert not (tmp_path / "new").exists()
        else:  # among equal bytes, gzip may name others that are the same
            assert contents(tmp_path / "new") == contents(tmp_path / "good")
            shutil.rmtree(tmp_path / "new")
            taken += 1
    assert taken < 30


ESCAPES: dict[str, tuple[str, bytes]] = {
    "../outside": ("../outside", tarfile.REGTYPE),
    "deep ..": ("files/../../outside", tarfile.REGTYPE),
    "absolute": ("/tmp/headrace-outside", tarfile.REGTYPE),
    "backslashes": ("..\\outside", tarfile.REGTYPE),
    "a drive": ("C:outside", tarfile.REGTYPE),
    "a dot": ("./headrace.sqlite2", tarfile.REGTYPE),
    "an empty part": ("files//x", tarfile.REGTYPE),
    "the staging's own": (".restoring-x", tarfile.REGTYPE),
    "a process": ("processes/1", tarfile.REGTYPE),
    "a link": ("files/link", tarfile.SYMTYPE),
    "a hard link": ("files/link", tarfile.LNKTYPE),
    "a folder": ("files/folder", tarfile.DIRTYPE),
    "a device": ("files/null", tarfile.CHRTYPE),
    "a pipe": ("files/pipe", tarfile.FIFOTYPE),
    "twice": ("secret.key", tarfile.REGTYPE),
    "below a file": ("secret.key/x", tarfile.REGTYPE),
}


@pytest.mark.parametrize("how", ESCAPES)
def test_no_member_gets_out_of_the_folder_or_is_anything_but_a_file(archive: Path, tmp_path: Path, how: str) -> None:
    name, kind = ESCAPES[how]
    body = b"../../outside" if kind != tarfile.REGTYPE else b"x"
    files = members(archive)
    listed = json.loads(files.pop(LIST))
    listed["files"][name] = {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    entries = [(key, value, tarfile.REGTYPE) for key, value in files.items()]
    archive.write_bytes(packed([*entries, (name, body, kind), (LIST, json.dumps(listed).encode(), tarfile.REGTYPE)]))
    before = set(tmp_path.iterdir())
    with pytest.raises(BrokenBackup):
        restore(archive, tmp_path / "new")
    assert set(tmp_path.iterdir()) == before
    assert not Path("/tmp/headrace-outside").exists()


def listing(listed: dict[str, Any], how: str) -> None:
    files = listed["files"]
    match how:
        case "a file too many":
            del files["tls.key"]
        case "a file too few":
            files["more"] = files["tls.key"]
        case "another hash":
            files["tls.key"]["sha256"] = "0" * 64
        case "another size":
            files["tls.key"]["size"] += 1
        case "a later format":
            listed["format"] = 2
        case _:
            listed["files"] = []


@pytest.mark.parametrize(
    "how", ["a file too many", "a file too few", "another hash", "another size", "a later format", "no object"]
)
def test_the_list_must_say_what_is_there(archive: Path, tmp_path: Path, how: str) -> None:
    files = members(archive)
    listed = json.loads(files[LIST])
    listing(listed, how)
    files[LIST] = json.dumps(listed).encode()
    archive.write_bytes(packed([(name, body, tarfile.REGTYPE) for name, body in files.items()]))
    with pytest.raises(BrokenBackup, match="later format" if how == "a later format" else None):
        restore(archive, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_a_server_uses_is_not_replaced(archive: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "busy") as server:
        line = refused(headrace(tmp_path / "busy", "restore", str(archive), "--force"))
        assert "stop the server first" in line
        assert server.send("GET", "/api/v1/chatflows", admin=True).status == 200


def test_a_folder_that_is_not_empty_is_put_aside_when_that_is_asked_for(archive: Path, data: Path) -> None:
    (data / "tls.crt").write_text("newer")
    assert "--force" in refused(headrace(data, "restore", str(archive)))
    assert (data / "tls.crt").read_text() == "newer"
    report = done(headrace(data, "restore", str(archive), "--force"))
    (aside,) = data.parent.glob("data-before-restore-*")
    assert str(aside) in report
    assert (data / "tls.crt").read_text() == "tls.crt"
    assert (aside / "tls.crt").read_text() == "newer"


@pytest.mark.parametrize("mounted", [False, True])
def test_a_folder_stays_as_it_was_when_the_last_step_fails(
    archive: Path, data: Path, monkeypatch: pytest.MonkeyPatch, mounted: bool
) -> None:
    before, beside = contents(data), set(data.parent.iterdir())
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if ".restoring-" in str(self) and self.name != "brand.json":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    monkeypatch.setattr(os.path, "ismount", lambda _: mounted)
    with pytest.raises(InvalidRequest, match="No space left"):
        restore(archive, data, force=True)
    assert contents(data) == before
    assert set(data.parent.iterdir()) == beside


def test_a_folder_that_is_a_mounted_disk_is_restored_inside(
    archive: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "tls.crt").write_text("newer")
    (data / "vectors").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda _: True)
    _, aside = restore(archive, data, force=True)
    assert aside
    assert aside.parent == data
    assert (aside / "tls.crt").read_text() == "newer"
    assert (data / "tls.crt").read_text() == "tls.crt"
    assert not (data / "vectors").exists(), "old vectors beside a new database would be wrong"
    again = back_up(data, data.parent / "second.tar.gz", "1")
    assert not any("before-restore" in name for name in again.files)


def test_a_backup_replaces_a_file_only_when_that_is_asked_for(data: Path, archive: Path, tmp_path: Path) -> None:
    archive.write_text("precious")
    assert "--force" in refused(headrace(data, "backup", str(archive)))
    assert archive.read_text() == "precious"
    done(headrace(data, "backup", str(archive), "--force"))
    restore(archive, tmp_path / "new")


def test_what_cannot_be_saved_is_said_in_one_line(data: Path, tmp_path: Path) -> None:
    assert "holds no headrace.sqlite" in refused(headrace(tmp_path / "nothing", "backup", str(tmp_path / "b")))
    assert "somewhere else" in refused(headrace(data, "backup", str(data / "files" / "b")))
    assert "make it first" in refused(headrace(data, "backup", str(tmp_path / "no" / "b")))
    (data / "databases" / "a\\b").write_text("x")
    assert "rename it" in refused(headrace(data, "backup", str(tmp_path / "b")))
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


def test_settings_that_point_elsewhere_are_named(data: Path, tmp_path: Path) -> None:
    result = headrace(data, "backup", str(tmp_path / "b"), HEADRACE_TLS_CERT="/etc/tls/site.pem")
    assert result.returncode == 0
    assert "/etc/tls/site.pem (HEADRACE_TLS_CERT)" in result.stderr
