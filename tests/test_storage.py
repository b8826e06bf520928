"""The data folder: rows, secrets, and other processes on the same folder."""

import os
import stat
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from places import url_of
from sqlalchemy.exc import IntegrityError
from waiting import within

from headrace.errors import FlowNotFound, InvalidRequest, NotFound, StorageError
from headrace.schema import FlowRow, Message
from headrace.storage.encryption import Seal
from headrace.storage.key_secrets import hash_of
from headrace.storage.rows import MessageFilter
from headrace.storage.storage import Storage, timestamp

pytestmark = pytest.mark.usefixtures("kind")

FLOW = FlowRow("", "x", '{"nodes": []}')


@contextmanager
def opened(folder: Path) -> Generator[Storage]:
    with closing(Storage(folder, url_of(folder))) as storage:
        yield storage


@pytest.fixture
def storage(tmp_path: Path) -> Generator[Storage]:
    with opened(tmp_path / "data") as storage:
        yield storage


@pytest.mark.sqlite
def test_a_full_disk_is_said_and_costs_nothing_that_was_there(storage: Storage) -> None:
    async def scenario() -> None:
        await storage.add_variable("a", "small", "static")
        await storage._database.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count=1"))
        with pytest.raises(StorageError, match="database or disk is full"):
            await storage.add_variable("b", "x" * 1_000_000, "static")
        assert [v.name for v in await storage.variables()] == ["a"]
        await storage._database.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count=1000000"))
        await storage.add_variable("b", "x" * 1_000_000, "static")

    within(scenario())


# The folder and other processes


def test_a_migrated_database_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path / "data") as storage:
        within(storage.add_variable("a", "1", "static"))
    monkeypatch.setitem(sys.modules, "alembic", None)  # importing it would fail now
    with opened(tmp_path / "data") as storage:
        assert [v.name for v in within(storage.variables())] == ["a"]


OPENING = """
import asyncio, sys
from pathlib import Path
from headrace.storage.storage import Storage
storage = Storage(Path(sys.argv[1]), sys.argv[2])
for name in sys.argv[3:]:
    asyncio.run(storage.add_variable(name, "from another process", "static"))
storage.close()
"""


def another_process(folder: Path, *variables: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OPENING, str(folder), url_of(folder), *variables]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(process: subprocess.Popen[str]) -> None:
    output, _ = process.communicate(timeout=20)
    assert (process.returncode, output) == (0, "")


def test_a_folder_may_be_opened_for_the_first_time_by_several_processes(tmp_path: Path) -> None:
    processes = [another_process(tmp_path / "data", f"v{n}") for n in range(4)]
    for process in processes:
        ended(process)
    with opened(tmp_path / "data") as storage:
        assert [v.name for v in within(storage.variables())] == ["v0", "v1", "v2", "v3"]


def test_what_another_process_changes_is_seen_after_a_refresh(storage: Storage, tmp_path: Path) -> None:
    async def scenario() -> None:
        assert await storage.variables() == []
        ended(another_process(tmp_path / "data", "town"))
        assert await storage.variables() == []  # kept in memory
        await storage.refresh()
        assert [v.value for v in await storage.variables()] == ["from another process"]

    within(scenario(), 30)


def test_every_kind_of_change_is_seen_by_another_store(tmp_path: Path) -> None:
    async def scenario(here: Storage, there: Storage) -> None:
        flow = await there.add_flow(FLOW)
        key = await there.add_key("k", ["*"])
        secret = await there.add_credential("c", "openAIApi", {"key": "1"})
        await here.refresh()
        first = await here.flow(flow.id)
        assert await here.key(key.apiKey or "")
        assert await here.secrets(secret.id) == {"key": "1"}
        await here.refresh()
        assert await here.flow(flow.id) is first  # nothing has changed: the same object
        await there.change_flow(flow.id, {"name": "y"})
        await there.change_credential(secret.id, "c", {"key": "2"})
        await there.delete_key(key.id)
        await here.refresh()
        assert (await here.flow(flow.id)).name == "y"
        assert await here.secrets(secret.id) == {"key": "2"}
        assert await here.key(key.apiKey or "") is None
        await there.delete_flow(flow.id)
        await here.refresh()
        with pytest.raises(FlowNotFound):
            await here.flow(flow.id)

    with opened(tmp_path / "data") as here, opened(tmp_path / "data") as there:
        within(scenario(here, there))


# The folder and its key


def test_nobody_else_can_read_the_folder(storage: Storage, tmp_path: Path) -> None:
    within(storage.add_variable("a", "1", "static"))
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    for path in (tmp_path / "data").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=f"the data folder '{tmp_path}/file"):
        Storage(tmp_path / "file")
    with pytest.raises(StorageError, match=f"the data folder '{tmp_path}/file/data'"):
        Storage(tmp_path / "file" / "data")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_must_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o500)
    with pytest.raises(StorageError, match=r"cannot be used: Permission denied"):
        Storage(tmp_path / "data")


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "headrace.sqlite").write_bytes(b"no database" * 500)
    with pytest.raises(StorageError, match="file is not a database"):
        Storage(tmp_path)


@pytest.mark.parametrize("content", ["", "00", "no hex at all", "0" * 63, "\x00\xff"])
def test_a_key_file_that_holds_no_key_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "secret.key").write_text(content)
    with pytest.raises(StorageError, match=r"secret\.key does not hold a key of 32 bytes in hex"):
        Seal(tmp_path / "secret.key")


def test_sealed_texts_cannot_be_read_swapped_or_changed(tmp_path: Path) -> None:
    seal, same = Seal(tmp_path / "secret.key"), Seal(tmp_path / "secret.key")
    sealed = seal.close(b"my secret", "a")
    assert same.open(sealed, "a") == b"my secret"
    assert b"my secret" not in sealed
    assert seal.close(b"my secret", "a") != sealed
    for wrong, owner in ((sealed, "b"), (sealed[:-1] + bytes([sealed[-1] ^ 1]), "a"), (sealed[:20], "a"), (b"", "a")):
        with pytest.raises(StorageError, match="sealed under another key"):
            same.open(wrong, owner)


# Rows


def message(flow: str, n: int, **more: Any) -> Message:
    fields: dict[str, Any] = {"chatId": "c", "sessionId": "s", "createdDate": "", **more}
    return Message(f"m{n}", "userMessage", flow, f"text {n}", **fields)


def test_messages_keep_the_order_in_which_they_were_stored(storage: Storage) -> None:
    async def scenario() -> None:
        flow = (await storage.add_flow(FLOW)).id
        for n in range(0, 40, 2):  # same moment, falling ids
            pair = [message(flow, 100 - n, createdDate="2026"), message(flow, 99 - n, createdDate="2026")]
            await storage.add_messages(pair)
        found = [row.id for row in await storage.messages(flow, MessageFilter())]
        assert found == [f"m{n}" for n in range(100, 60, -1)]
        assert [row.id for row in await storage.messages(flow, MessageFilter(), newest_first=True)] == found[::-1]

    within(scenario())


def test_a_history_is_that_of_its_flow_and_session(storage: Storage) -> None:
    async def scenario() -> None:
        one, two = (await storage.add_flow(FLOW)).id, (await storage.add_flow(FLOW)).id
        await storage.add_messages([message(one, 1), message(one, 2, sessionId="t"), message(two, 3)])
        assert [turn.content for turn in await storage.history(one, "s")] == ["text 1"]
        assert [turn.content for turn in await storage.history(two, "s")] == ["text 3"]
        assert not await storage.history(one, "u")

    within(scenario())


def test_structured_columns_come_back_as_they_were(storage: Storage) -> None:
    async def scenario() -> None:
        flow = (await storage.add_flow(FLOW)).id
        whole = message(
            flow, 1, sourceDocuments=[{"pageContent": "é", "metadata": {}}], usedTools=[], action={"a": None}
        )
        await storage.add_messages([whole])
        (found,) = await storage.messages(flow, MessageFilter())
        assert msgspec.to_builtins(found) == msgspec.to_builtins(whole)

    within(scenario())


def test_messages_are_stored_together_or_not_at_all(storage: Storage) -> None:
    async def scenario() -> None:
        flow = (await storage.add_flow(FLOW)).id
        await storage.add_messages([message(flow, 1)])
        with pytest.raises(IntegrityError):
            await storage.add_messages([message(flow, 2), message(flow, 1)])
        with pytest.raises(FlowNotFound):
            await storage.add_messages([message("no such flow", 3)])
        assert [row.id for row in await storage.messages(flow, MessageFilter())] == ["m1"]

    within(scenario())


def test_what_is_not_there_is_named(storage: Storage) -> None:
    async def scenario() -> None:
        for work in (storage.flow("x"), storage.change_flow("x", {"name": "y"}), storage.delete_flow("x")):
            with pytest.raises(FlowNotFound, match="'x'"):
                await work
        for other in (
            storage.credential("x"),
            storage.secrets("x"),
            storage.delete_credential("x"),
            storage.delete_variable("x"),
            storage.delete_key("x"),
        ):
            with pytest.raises(NotFound, match="'x'"):
                await other
        with pytest.raises(InvalidRequest, match="no API key with this apikeyid"):
            await storage.add_flow(msgspec.structs.replace(FLOW, apikeyid="x"))

    within(scenario())


def test_a_key_is_found_by_its_hash_alone(storage: Storage) -> None:
    async def scenario() -> None:
        made = await storage.add_key("k", ["a", "b"], "given")
        assert await storage.key("given") == msgspec.structs.replace(made, apiKey=None)
        assert await storage.key(hash_of("given")) is None
        assert await storage.key("") is None
        with pytest.raises(InvalidRequest, match="exists already"):
            await storage.add_key("again", [], "given")

    within(scenario())


def test_times_are_written_as_flowise_writes_them() -> None:
    assert timestamp(0) == "1970-01-01T00:00:00.000Z"
    assert timestamp(1.5) == "1970-01-01T00:00:01.500Z"
    assert abs(time.time() - time.mktime(time.strptime(timestamp()[:19], "%Y-%m-%dT%H:%M:%S"))) < 86_400
