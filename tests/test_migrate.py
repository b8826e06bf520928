"""`headrace migrate` over installs that are made here: every kind of row, what cannot be read, and what is refused."""

import asyncio
import json
import random
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from old_install import (
    ALL,
    DATE,
    PASSPHRASE,
    TOKEN,
    OldInstall,
    command,
    counts,
    dated,
    encrypted,
    environment,
    message,
    migrated,
    own_id,
    rows,
)
from servers import KEY, conversation, serving
from upstream import Upstream
from waiting import eventually

from headrace.storage.storage import Storage

OPEN, BOUND, AGENT = own_id("open"), own_id("bound"), own_id("agent")
STORE, LOADER = own_id("store"), own_id("loader")


def flow(url: str = "http://127.0.0.1:9/v1") -> str:
    return json.dumps(conversation(url))


def shop(home: Path, url: str = "http://127.0.0.1:9/v1") -> OldInstall:
    """An install with a row of every kind."""
    old = OldInstall(home)
    graph = flow(url)
    old.add("apikey", dated(id=own_id("key"), apiKey=TOKEN, keyName="Shop", permissions='["chatflows:view"]'))
    old.add(
        "chat_flow",
        dated(id=OPEN, name="Open", flowData=graph, type="CHATFLOW", chatbotConfig='{"allowedOrigins": []}'),
        dated(id=BOUND, name="Bound", flowData=graph, type="CHATFLOW", apikeyid=own_id("key")),
        dated(id=AGENT, name="Agent", flowData='{"nodes": [], "edges": []}', type="AGENTFLOW"),
    )
    old.add(
        "credential",
        dated(id=own_id("c1"), name="Model", credentialName="openAIApi", encryptedData=encrypted({"key": "sk-ö-1"})),
        dated(
            id=own_id("c2"),
            name="Cache",
            credentialName="redisCacheApi",
            encryptedData=encrypted({"port": 6379, "ssl": True, "user": None}, salt=b"other-8-"),
        ),
    )
    old.add("variable", dated(id=own_id("v"), name="company", value="Acme", type="static"))
    old.add("tool", dated(id=own_id("t"), name="add", description="adds", color="red", schema="[]", func="return 1"))
    old.add("chat_message", *(message(OPEN, number, f"text {number}") for number in range(6)))
    old.add(
        "chat_message",
        message(OPEN, 6, "look", chatId="pic", sessionId="pic",
                fileUploads='[{"type": "stored-file", "name": "dot.png", "mime": "image/png"}]'),
    )  # fmt: skip
    old.add(
        "chat_message_feedback",
        {"id": own_id("f"), "chatflowid": OPEN, "chatId": "chat-1", "messageId": own_id(f"{OPEN} 1"),
         "rating": "THUMBS_UP", "content": "good", "createdDate": DATE},
    )  # fmt: skip
    old.add("lead", {"id": own_id("l"), "chatflowid": OPEN, "chatId": "chat-1", "name": "Eve", "createdDate": DATE})
    old.add(
        "schedule_record",
        dated(id=own_id("s"), triggerType="AGENTFLOW", targetId=AGENT, nodeId="start", cronExpression="0 9 * * *",
              timezone="Europe/Oslo", enabled=1, scheduleInputMode="text", workspaceId="w"),
    )  # fmt: skip
    old.add(
        "execution",
        dated(id=own_id("e"), executionData="[]", state="INPROGRESS", agentflowId=AGENT, sessionId="s"),
    )
    old.add(
        "upsert_history",
        {"id": own_id("u1"), "chatflowid": OPEN, "result": '{"numAdded": 1}', "flowData": "[]", "date": DATE},
        {"id": own_id("u2"), "chatflowid": STORE, "result": '{"numAdded": 2}', "flowData": "[]", "date": DATE},
    )
    loader = {
        "id": LOADER,
        "loaderId": "textFile",
        "loaderName": "Hours",
        "loaderConfig": {"txtFile": 'FILE-STORAGE::["hours.txt"]'},
        "files": [{"id": own_id("file"), "name": "hours.txt", "mimePrefix": "text/plain", "size": 4}],
        "totalChunks": 2,
    }
    old.add(
        "document_store",
        dated(id=STORE, name="Birds", status="UPSERTED", loaders=json.dumps([loader]),
              embeddingConfig='{"name": "hashedEmbeddings", "config": {}}'),
    )  # fmt: skip
    old.add(
        "document_store_file_chunk",
        *(
            {"id": own_id(f"chunk {n}"), "docId": LOADER, "storeId": STORE, "chunkNo": n, "pageContent": text,
             "metadata": "{}"}
            for n, text in ((2, "The Heron net is green."), (1, "The Kestrel feeder holds seed."))
        ),
    )  # fmt: skip
    old.add("assistant", dated(id=own_id("assistant"), details="{}", credential=""))
    for path in (f"org/{OPEN}/pic/dot.png", f"org/docustore/{STORE}/hours.txt"):
        file = home / "storage" / path
        file.parent.mkdir(parents=True)
        file.write_bytes(b"9-17")
    return old


KINDS = {
    "API keys": 1, "credentials": 2, "variables": 1, "tools": 1, "flows": 3, "schedules": 1, "messages": 7,
    "feedback": 1, "leads": 1, "executions": 1, "document stores": 1, "chunks": 2, "upserts": 2, "files of chats": 1,
}  # fmt: skip


def secrets(folder: Path, *ids: str) -> list[dict[str, str]]:
    async def read() -> list[dict[str, str]]:
        storage = Storage(folder)
        try:
            return [dict(await storage.secrets(one)) for one in ids]
        finally:
            storage.close()

    return asyncio.run(read())


def test_a_whole_install_comes_over_and_a_second_run_changes_nothing(tmp_path: Path):
    old, folder = shop(tmp_path / "old"), tmp_path / "data"
    before = {path: path.read_bytes() for path in old.home.rglob("*") if path.is_file()}
    first = migrated(old.home, folder)
    assert first.returncode == 0, first.stderr
    assert counts(first.stdout) == {kind: [count, count, 0, 0, 0, 0, 0] for kind, count in KINDS.items()}
    assert "no place here yet: 1 x assistants" in first.stdout
    assert f"upserted again: store {STORE}, 2 passages" in first.stderr
    assert {path: path.read_bytes() for path in old.home.rglob("*") if path.is_file()} == before
    stored, files = rows(folder, *ALL), sorted(folder.rglob("*"))

    second = migrated(old.database, folder)
    assert second.returncode == 0, second.stderr
    ours = ("document stores", "chunks")  # it was upserted here since
    assert counts(second.stdout) == {
        kind: [count, 0, 0, 0, count, 0, 0] if kind in ours else [count, 0, 0, count, 0, 0, 0]
        for kind, count in KINDS.items()
    }
    assert rows(folder, *ALL) == stored
    assert [path for path in sorted(folder.rglob("*")) if "processes" not in str(path)] == [
        path for path in files if "processes" not in str(path)
    ]


def test_a_dry_run_tells_the_same_and_writes_nothing(tmp_path: Path):
    old, folder = shop(tmp_path / "old"), tmp_path / "data"
    told = migrated(old.home, folder, "--dry-run")
    assert told.returncode == 0, told.stderr
    assert not folder.exists()
    assert counts(told.stdout) == {kind: [count, count, 0, 0, 0, 0, 0] for kind, count in KINDS.items()}
    assert migrated(old.home, folder, "--no-upsert").returncode == 0
    stored = rows(folder, *ALL)
    old.change("UPDATE tool SET name = 'sum', updatedDate = '2026-04-01 00:00:00'")
    again = migrated(old.home, folder, "--dry-run")
    assert counts(again.stdout)["tools"] == [1, 0, 1, 0, 0, 0, 0]
    assert rows(folder, *ALL) == stored


def test_values_dates_and_secrets_are_the_old_ones(tmp_path: Path):
    old, folder = shop(tmp_path / "old"), tmp_path / "data"
    assert migrated(old.home, folder, "--no-upsert").returncode == 0
    assert secrets(folder, own_id("c1"), own_id("c2")) == [
        {"key": "sk-ö-1"}, {"port": "6379", "ssl": "true", "user": ""}
    ]  # fmt: skip
    found = rows(folder, *ALL)
    assert TOKEN not in str(found)
    assert next(row for row in found["message"] if "2026-03-01T10:00:01.000Z" in row)[1] == own_id(f"{OPEN} 1")
    assert "ERROR" in found["execution"][0]
    assert [(row[1], row[4], row[5]) for row in found["document_chunk"]] == [
        (own_id("chunk 1"), 1, "The Kestrel feeder holds seed."), (own_id("chunk 2"), 2, "The Heron net is green.")
    ]  # fmt: skip
    assert [path.read_bytes() for path in (folder / "files" / STORE / LOADER).glob("*/hours.txt")] == [b"9-17"]
    assert [path.read_bytes() for path in (folder / "uploads" / OPEN).glob("*/dot.png")] == [b"9-17"]


def test_old_keys_work_bound_flows_refuse_others_and_a_conversation_goes_on(tmp_path: Path, upstream: Upstream):
    old, folder = shop(tmp_path / "old", upstream.url), tmp_path / "data"
    assert migrated(old.home, folder).returncode == 0
    with serving(folder) as server:
        asked = {"question": "and now?", "overrideConfig": {"sessionId": "chat-1"}}
        assert server.send("POST", f"/api/v1/prediction/{BOUND}", asked).status == 401
        assert server.send("POST", f"/api/v1/prediction/{BOUND}", asked, admin=True).status == 401
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert server.send("POST", f"/api/v1/prediction/{BOUND}", asked, bearer).status == 200
        assert server.send("GET", "/api/v1/chatflows", None, bearer).status == 200
        assert server.send("GET", "/api/v1/credentials", None, bearer).status == 403
        upstream.reset()
        assert server.send("POST", f"/api/v1/prediction/{OPEN}", asked).status == 200
        said = str(upstream.requests[-1])
        assert [f"text {number}" in said for number in range(6)] == [True] * 6
        found = server.send("POST", "/api/v1/document-store/vectorstore/query",
                            {"storeId": STORE, "query": "Kestrel feeder"}, admin=True)  # fmt: skip
        assert found.json["docs"][0]["pageContent"] == "The Kestrel feeder holds seed."


def test_newer_rows_win_on_either_side_and_what_stays_is_named(tmp_path: Path):
    old, folder = shop(tmp_path / "old"), tmp_path / "data"
    assert migrated(old.home, folder, "--no-upsert").returncode == 0
    old.change("UPDATE chat_flow SET name = 'Renamed there', updatedDate = '2026-05-01 00:00:00' WHERE id = ?", OPEN)
    old.change("UPDATE variable SET value = 'Other'")
    with closing(sqlite3.connect(folder / "headrace.sqlite")) as ours, ours:
        ours.execute("UPDATE variable SET value = 'Ours', \"updatedDate\" = '2026-06-01T00:00:00.000Z'")
    told = migrated(old.home, folder, "--no-upsert")
    assert (counts(told.stdout)["flows"], counts(told.stdout)["variables"]) == (
        [3, 0, 1, 2, 0, 0, 0], [1, 0, 0, 0, 1, 0, 0]
    )  # fmt: skip
    assert "kept as here: 'company' of the variables" in told.stderr
    found = rows(folder, "flow", "variable")
    assert "Renamed there" in str(found["flow"])
    assert "Ours" in str(found["variable"])


def spoil(old: OldInstall) -> None:
    """One row of every kind that nobody can read, each in another way."""
    old.change("UPDATE chat_flow SET flowData = '{\"nodes\": [' WHERE id = ?", AGENT)
    old.change("UPDATE credential SET encryptedData = 'U2FsdGVkX18=' WHERE name = 'Cache'")
    old.change("UPDATE chat_message SET usedTools = '[{' WHERE id = ?", own_id(f"{OPEN} 2"))
    old.change("UPDATE chat_message SET content = CAST(x'ff41' AS TEXT) WHERE id = ?", own_id(f"{OPEN} 3"))
    old.change("UPDATE chat_message SET role = 'somebody' WHERE id = ?", own_id(f"{OPEN} 4"))
    old.change("UPDATE chat_message SET createdDate = 'noon' WHERE id = ?", own_id(f"{OPEN} 5"))
    old.change("UPDATE chat_message_feedback SET rating = 'MEH'")
    old.change("UPDATE tool SET id = 'no-uuid'")
    old.change("UPDATE apikey SET permissions = '{'")
    old.change("UPDATE variable SET type = 'odd'")
    old.change("UPDATE upsert_history SET result = '{' WHERE id = ?", own_id("u1"))
    old.change("UPDATE document_store_file_chunk SET metadata = '[1' WHERE chunkNo = 2")


def test_rows_that_cannot_be_read_are_named_counted_and_skipped(tmp_path: Path):
    old, folder = shop(tmp_path / "old"), tmp_path / "data"
    spoil(old)
    told = migrated(old.home, folder, "--no-upsert")
    assert told.returncode == 0, told.stderr
    found = counts(told.stdout)
    assert {kind: (row[1], row[6]) for kind, row in found.items() if row[6]} == {
        "API keys": (0, 1), "credentials": (1, 1), "variables": (0, 1), "tools": (0, 1), "flows": (2, 1),
        "messages": (3, 4), "feedback": (0, 1), "chunks": (1, 1), "upserts": (1, 1),
    }  # fmt: skip
    assert found["executions"] == [1, 0, 0, 0, 0, 1, 0]  # its flow did not come
    for name in ("'Agent' of the flows", "'Cache' of the credentials", f"'{own_id(f'{OPEN} 2')}' of the messages"):
        assert f"not moved: {name}: " in told.stderr
    assert "the flow 'Bound' was bound to an API key and is locked" in told.stderr
    assert "API key 'Bound (imported)', shown only now: hr_" in told.stdout


def test_what_deleted_flows_left_behind_is_counted(tmp_path: Path):
    old = shop(tmp_path / "old")
    old.change("DELETE FROM chat_flow WHERE id = ?", OPEN)
    found = counts(migrated(old.home, tmp_path / "data", "--no-upsert").stdout)
    assert [found[kind][5] for kind in ("messages", "feedback", "leads", "executions", "upserts")] == [7, 1, 1, 0, 1]


def test_credentials_that_aws_holds_are_named(tmp_path: Path):
    old = shop(tmp_path / "old")
    old.change("UPDATE credential SET encryptedData = 'FlowiseCredential_12' WHERE name = 'Model'")
    told = migrated(old.home, tmp_path / "data", "--no-upsert")
    assert counts(told.stdout)["credentials"] == [2, 1, 0, 0, 0, 0, 1]
    assert "'Model' of the credentials: its fields are held in AWS" in told.stderr


def test_older_schemas_are_read_as_far_as_they_go(tmp_path: Path):
    """As in releases before workspaces, permissions, executions and document stores; keys were in a file then."""
    older = {
        "chat_flow": "id name flowData deployed isPublic apikeyid chatbotConfig createdDate updatedDate apiConfig",
        "chat_message": "id role chatflowid content sourceDocuments createdDate chatType chatId memoryType sessionId",
        "credential": "id name credentialName encryptedData createdDate updatedDate",
    }
    old, folder = OldInstall(tmp_path / "old", older), tmp_path / "data"
    old.add("chat_flow", dated(id=BOUND, name="Bound", flowData=flow(), apikeyid=own_id("key")))
    told_first = {"role": "userMessage", "chatType": "INTERNAL", "createdDate": DATE, "content": "hi"}
    old.add("chat_message", {"id": own_id("m"), "chatflowid": BOUND, "chatId": "c", **told_first})
    key = {"id": own_id("key"), "keyName": "Old", "apiKey": TOKEN, "apiSecret": "x", "createdAt": "05-Jan-24"}
    (old.home / "api.json").write_text(json.dumps([key]))
    told = migrated(old.home, folder)
    assert told.returncode == 0, told.stderr
    found = counts(told.stdout)
    assert (found["flows"][1], found["messages"][1], found["API keys"][1]) == (1, 1, 1)
    assert "'chat_flow' has no type, category, analytic" in told.stderr
    assert "the API keys have no permissions there" in told.stderr
    assert "CHATFLOW" in rows(folder, "flow")["flow"][0]
    with serving(folder) as server:
        assert server.send("POST", f"/api/v1/prediction/{BOUND}", {"question": "?"}).status == 401
        assert server.send("GET", "/api/v1/credentials", None, {"Authorization": f"Bearer {TOKEN}"}).status == 200


def wrong_key(old: OldInstall) -> list[str]:
    (old.home / "other.key").write_text("another key")
    return ["--key", str(old.home / "other.key")]


def no_key(old: OldInstall) -> list[str]:
    (old.home / "encryption.key").unlink()
    return []


def half_a_database(old: OldInstall) -> list[str]:
    content = old.database.read_bytes()
    old.database.write_bytes(content[: len(content) // 8192 * 4096])
    return []


def no_tables(old: OldInstall) -> list[str]:
    old.change("DROP TABLE chat_flow")
    return []


def no_database(old: OldInstall) -> list[str]:
    old.database.unlink()
    return []


def empty_file(old: OldInstall) -> list[str]:
    old.database.write_bytes(b"")
    return []


def a_picture(old: OldInstall) -> list[str]:
    old.database.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    return []


def a_dump(old: OldInstall) -> list[str]:
    old.database.write_text("--\n-- PostgreSQL database dump\n--\n")
    return []


def half_an_export(old: OldInstall) -> list[str]:
    old.database.write_text('{"ChatFlow": [{"id": ')
    return []


def flow_data_gone(old: OldInstall) -> list[str]:
    old.change("ALTER TABLE chat_flow DROP COLUMN flowData")
    return []


@pytest.mark.parametrize(
    ("spoiled", "reason"),
    [
        (wrong_key, "this key opens none of the 2 credentials, nothing was moved"),
        (no_key, "there are 2 credentials, and no key to open them"),
        (half_a_database, "is damaged, nothing was moved"),
        (no_tables, "is not a database of Flowise: it has no table 'chat_flow'"),
        (no_database, "is not there"),
        (empty_file, "is neither a SQLite database nor an export of Flowise"),
        (a_picture, "is neither a SQLite database nor an export of Flowise"),
        (a_dump, "is a dump: load it into a database server"),
        (half_an_export, "is not valid JSON"),
        (flow_data_gone, "its table 'chat_flow' lacks flowData"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_cannot_be_moved_is_refused_in_one_line(
    tmp_path: Path, spoiled: Callable[[OldInstall], list[str]], reason: str
):
    old, folder = shop(tmp_path / "old"), tmp_path / "data"
    flags = spoiled(old)
    told = migrated(old.home, folder, *flags)
    assert told.returncode == 2
    assert reason in told.stderr
    assert len(told.stderr.strip().splitlines()) == 1
    if folder.exists():
        assert not any(rows(folder, *ALL).values())


def test_the_key_may_stand_in_a_variable_and_a_key_file_may_end_with_a_line(tmp_path: Path):
    old = shop(tmp_path / "old")
    (old.home / "encryption.key").write_text(f"{PASSPHRASE}\n")
    assert migrated(old.home, tmp_path / "one", "--no-upsert").returncode == 0
    (old.home / "encryption.key").unlink()
    done = migrated(old.home, tmp_path / "two", "--no-upsert", FLOWISE_SECRETKEY_OVERWRITE=PASSPHRASE)
    assert counts(done.stdout)["credentials"][1] == 2


def test_a_locked_database_is_told_and_one_that_is_only_read_is_not(tmp_path: Path):
    old, folder = shop(tmp_path / "old"), tmp_path / "data"
    with closing(old.connect()) as other:
        other.execute("BEGIN EXCLUSIVE")
        told = migrated(old.home, folder)
        assert (told.returncode, "is locked by another process" in told.stderr) == (2, True)
        other.rollback()
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM chat_flow").fetchone()
        assert migrated(old.home, folder, "--no-upsert").returncode == 0


def test_what_is_still_in_a_write_ahead_log_comes_too(tmp_path: Path):
    old, copy = shop(tmp_path / "old"), tmp_path / "copy"
    with closing(old.connect()) as live:
        live.execute("PRAGMA journal_mode=WAL")
        with live:
            live.execute("UPDATE tool SET name = 'from the log', updatedDate = '2026-04-01 00:00:00'")
        shutil.copytree(old.home, copy)
    (copy / "database.sqlite-shm").unlink()
    before = sorted(path.name for path in copy.iterdir())
    assert "database.sqlite-wal" in before
    assert migrated(copy, tmp_path / "data", "--no-upsert").returncode == 0
    assert "from the log" in str(rows(tmp_path / "data", "tool"))
    assert sorted(path.name for path in copy.iterdir()) == before


def test_a_move_that_is_killed_twenty_times_ends_like_one_that_was_not(tmp_path: Path):
    old, whole, torn = shop(tmp_path / "old"), tmp_path / "whole", tmp_path / "torn"
    for number in range(40):
        graph = flow().replace("}", "} " * 3, 1)
        old.add("chat_flow", dated(id=own_id(f"flow {number}"), name=f"Flow {number}", flowData=graph, type="CHATFLOW"))
    old.add("chat_message", *(message(OPEN, number, f"text {number}") for number in range(10, 8000)))
    assert migrated(old.home, whole, "--no-upsert").returncode == 0
    moments = sorted(random.Random(7).sample(range(8000), 20))

    def there() -> int:
        if not (torn / "headrace.sqlite").exists():
            return -1
        with closing(sqlite3.connect(torn / "headrace.sqlite")) as db:
            try:
                return db.execute("SELECT (SELECT count(*) FROM flow) + (SELECT count(*) FROM message)").fetchone()[0]
            except sqlite3.OperationalError:  # not made yet
                return -1

    killed = 0
    for moment in moments:
        with subprocess.Popen(command(old.home, torn, "--no-upsert"), env=environment(), stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as process:  # fmt: skip
            eventually(lambda m=moment, p=process: there() >= m or p.poll() is not None, 60, every=0.001)
            process.send_signal(signal.SIGKILL)
            killed += process.wait(20) == -signal.SIGKILL
    assert killed >= 15
    last = migrated(old.home, torn, "--no-upsert")
    assert last.returncode == 0, last.stderr
    assert rows(torn, *ALL) == rows(whole, *ALL)
    files = [{str(path.relative_to(folder)) for path in folder.rglob("*.*") if path.parent != folder}
             for folder in (torn, whole)]  # fmt: skip
    assert files[0] == files[1]


def exported(old: OldInstall) -> dict[str, Any]:
    """What the API's export says of an install."""
    sections = {
        "ChatFlow": "SELECT * FROM chat_flow WHERE type = 'CHATFLOW'",
        "AgentFlowV2": "SELECT * FROM chat_flow WHERE type = 'AGENTFLOW'",
        "ChatMessage": "SELECT * FROM chat_message",
        "ChatMessageFeedback": "SELECT * FROM chat_message_feedback",
        "DocumentStore": "SELECT * FROM document_store",
        "DocumentStoreFileChunk": "SELECT * FROM document_store_file_chunk",
        "Execution": "SELECT * FROM execution",
        "Tool": "SELECT * FROM tool",
        "Variable": "SELECT * FROM variable",
    }
    with closing(old.connect()) as db:
        db.row_factory = sqlite3.Row
        return {section: [dict(row) for row in db.execute(wanted)] for section, wanted in sections.items()}


def test_an_export_comes_over_like_the_database_and_flows_that_were_bound_are_locked(tmp_path: Path):
    old, folder = shop(tmp_path / "old"), tmp_path / "data"
    file = tmp_path / "ExportData.json"
    file.write_text(json.dumps(exported(old)))
    told = migrated(file, folder, "--no-upsert", "--storage", str(old.home / "storage"))
    assert told.returncode == 0, told.stderr
    found = counts(told.stdout)
    left_out = ("API keys", "credentials", "leads", "schedules", "upserts")
    assert {kind: row[1] for kind, row in found.items()} == {
        kind: 0 if kind in left_out else count for kind, count in KINDS.items()
    }
    assert "the flow 'Bound' was bound to an API key and is locked" in told.stderr
    stored = rows(folder, *ALL)
    again = migrated(file, folder, "--no-upsert", "--storage", str(old.home / "storage"))
    assert rows(folder, *ALL) == stored
    assert "shown only now: hr_" not in again.stdout
    with serving(folder) as server:
        assert server.send("POST", f"/api/v1/prediction/{BOUND}", {"question": "?"}).status == 401
        assert KEY not in told.stdout


def test_an_export_without_dates_is_from_now_and_a_second_run_changes_nothing(tmp_path: Path):
    old, folder = shop(tmp_path / "old"), tmp_path / "data"
    kept = {"id", "name", "flowData", "type", "value", "description", "schema", "func", "color"}
    stripped = {
        section: [{name: row[name] for name in row if name in kept} for row in items]
        for section, items in exported(old).items()
        if section in ("ChatFlow", "AgentFlowV2", "Tool", "Variable")
    }
    (tmp_path / "page.json").write_text(json.dumps(stripped))
    told = migrated(tmp_path / "page.json", folder)
    assert [counts(told.stdout)[kind][1] for kind in ("flows", "tools", "variables")] == [3, 1, 1]
    assert "the export has no settings of flows" in told.stderr
    stored = rows(folder, *ALL)
    again = migrated(tmp_path / "page.json", folder)
    assert [counts(again.stdout)[kind][3] for kind in ("flows", "tools", "variables")] == [3, 1, 1]
    assert rows(folder, *ALL) == stored
