"""`headrace migrate` over a whole install that a real Flowise wrote, which lies beside the project or is not tested."""

import asyncio
import json
import re
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from old_install import ALL, counts, migrated, rows
from servers import Server, serving

from headrace.storage.storage import Storage
from headrace.vectors.postgres_server import Place

INSTALL = Path(__file__).parents[2] / "shared" / "flowise" / "installs" / "a"
FACTS: dict[str, Any] = json.loads((INSTALL / "facts.json").read_text()) if INSTALL.exists() else {}
pytestmark = pytest.mark.skipif(not FACTS, reason="an install of Flowise is not beside this project")
TABLES = {
    "API keys": "apikey", "credentials": "credential", "variables": "variable", "tools": "tool", "flows": "chat_flow",
    "messages": "chat_message", "feedback": "chat_message_feedback", "leads": "lead", "executions": "execution",
    "document stores": "document_store", "chunks": "document_store_file_chunk", "upserts": "upsert_history",
}  # fmt: skip


def secrets(folder: Path, facts: dict[str, Any]) -> dict[str, dict[str, str]]:
    async def read() -> dict[str, dict[str, str]]:
        storage = Storage(folder)
        try:
            return {name: dict(await storage.secrets(one["id"])) for name, one in facts["credentials"].items()}
        finally:
            storage.close()

    return asyncio.run(read())


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("moved") / "data"
    told = migrated(INSTALL, folder, "--no-upsert")
    assert told.returncode == 0, told.stderr
    found = counts(told.stdout)
    assert {kind: found[kind][1] for kind in TABLES} == {k: FACTS["tables"][table] for k, table in TABLES.items()}
    assert found["files of chats"][1] == 1
    return folder


@pytest.fixture(scope="module")
def server(moved: Path) -> Generator[Server]:
    with serving(moved) as server:
        yield server


def test_the_counts_of_every_kind_are_the_old_ones_and_a_second_run_changes_nothing(moved: Path):
    stored = rows(moved, *ALL)
    again = counts(migrated(INSTALL, moved, "--no-upsert").stdout)
    assert all(
        found == same and not any((new, changed, bad)) for found, new, changed, same, _, _, bad in again.values()
    )
    assert rows(moved, *ALL) == stored


def test_every_credential_has_its_old_value(moved: Path):
    assert secrets(moved, FACTS) == {name: one["plain"] for name, one in FACTS["credentials"].items()}


def test_old_keys_work_and_the_flow_that_is_bound_refuses_others(server: Server):
    widget, deploy = (key["apiKey"] for key in FACTS["apiKeys"])
    bound = f"/api/v1/prediction/{FACTS['flows']['handbook']}"
    assert server.send("POST", bound, {"question": "?"}).status == 401
    assert server.send("POST", bound, {"question": "?"}, {"Authorization": f"Bearer {deploy}"}).status == 401
    assert server.send("POST", bound, {"question": "?"}, {"Authorization": f"Bearer {widget}"}).status != 401
    assert server.send("GET", "/api/v1/chatflows", None, {"Authorization": f"Bearer {deploy}"}).status == 200
    assert server.send("GET", "/api/v1/credentials", None, {"Authorization": f"Bearer {deploy}"}).status == 403


def test_messages_feedback_leads_files_and_executions_are_there(server: Server):
    support = FACTS["flows"]["support"]
    messages = server.send("GET", f"/api/v1/chatmessage/{support}", None, admin=True).json
    assert len(messages) == 14
    picture = next(one for one in messages if one.get("fileUploads"))
    name = json.loads(picture["fileUploads"])[0]["name"] if isinstance(picture["fileUploads"], str) else "dot.png"
    found = f"chatflowId={support}&chatId={picture['chatId']}&fileName={quote(name)}"
    assert server.send("GET", f"/api/v1/get-upload-file?{found}", None, admin=True).body[:4] == b"\x89PNG"
    assert len(server.send("GET", f"/api/v1/leads/{support}", None, admin=True).json) == 2
    assert server.send("GET", "/api/v1/executions", None, admin=True).json["total"] == 7


@pytest.mark.parametrize("file", ["export.json", "export.api.json.gz"])
def test_the_export_brings_what_is_in_it(tmp_path: Path, file: str):
    told = migrated(INSTALL / file, tmp_path / "data", "--no-upsert")
    assert told.returncode == 0, told.stderr
    found = counts(told.stdout)
    missing = ("API keys", "credentials", "leads", "upserts")
    assert {kind: found[kind][1] for kind in TABLES} == {
        kind: 0 if kind in missing else FACTS["tables"][table] for kind, table in TABLES.items()
    }


def test_the_install_comes_from_postgresql_too(tmp_path: Path, database: Place):
    psycopg = pytest.importorskip("psycopg")
    address = f"host={database.host} dbname=postgres user={database.user} password={database.password}"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS flowise")
        connection.execute("CREATE DATABASE flowise")
    dump = (INSTALL / "postgres.sql").read_text()
    dump = re.sub(r"^(CREATE|COMMENT ON) EXTENSION.*?;$", "", dump, flags=re.M)
    dump = re.sub(r"DEFAULT public\.uuid_generate_v4\(\)", "DEFAULT gen_random_uuid()", dump)
    dump = re.sub(r"^\\.*$", "", dump, flags=re.M)
    with psycopg.connect(address.replace("dbname=postgres", "dbname=flowise"), autocommit=True) as connection:
        connection.execute(dump)
    facts = json.loads((INSTALL / "facts.postgres.json").read_text())
    url = f"postgresql://{database.user}:{database.password}@/flowise?host={quote(database.host, safe='')}"
    flags = ("--key", str(INSTALL / "encryption.key"), "--storage", str(INSTALL / "storage.postgres"), "--no-upsert")
    told = migrated(url, tmp_path / "data", *flags)
    assert told.returncode == 0, told.stderr
    found = counts(told.stdout)
    assert {kind: found[kind][1] for kind in TABLES} == {k: facts["tables"][table] for k, table in TABLES.items()}
    assert secrets(tmp_path / "data", facts) == {name: one["plain"] for name, one in facts["credentials"].items()}
    stored = rows(tmp_path / "data", *ALL)
    assert database.password not in told.stdout + told.stderr
    assert migrated(url, tmp_path / "data", *flags).returncode == 0
    assert rows(tmp_path / "data", *ALL) == stored


def test_a_wrong_password_of_the_server_is_told_in_one_line(tmp_path: Path, database: Place):
    url = f"postgresql://guarded:wrong@/postgres?host={quote(database.host, safe='')}"
    told: subprocess.CompletedProcess[str] = migrated(url, tmp_path / "data")
    assert (told.returncode, len(told.stderr.strip().splitlines())) == (2, 1)
    assert "cannot be opened" in told.stderr


def test_an_execution_that_waits_can_be_answered(server: Server):
    refund = FACTS["flows"]["refund"]
    path = f"/api/v1/prediction/{refund}"
    answer = {"type": "proceed", "startNodeId": "humanInputAgentflow_0"}
    for session in ("refund-paused", "refund-rejected-once"):
        asked = {"humanInput": answer, "overrideConfig": {"sessionId": session}, "chatId": session}
        reply = server.send("POST", path, asked)
        assert "nothing waits" not in reply.text
        assert "llmAgentflow_0" in reply.text or "cannot reach the model" in reply.text, reply.text
