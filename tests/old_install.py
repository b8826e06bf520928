"""An install of Flowise, made by the tests: its tables in a SQLite file, a key, files, and encrypted credentials."""

import base64
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from headrace.storage.dialect import engine_for

PASSPHRASE = "a-key-that-the-tests-made-up-0001"
TOKEN = "old-key-0001-of-the-shop"
DATE = "2026-03-01 10:00:00"

TABLES = {
    "chat_flow": (
        "id name flowData type deployed isPublic apikeyid chatbotConfig apiConfig analytic speechToText textToSpeech "
        "followUpPrompts category mcpServerConfig webhookSecret workspaceId createdDate updatedDate"
    ),
    "chat_message": (
        "id role chatflowid content sourceDocuments usedTools fileAnnotations fileUploads createdDate chatType chatId "
        "memoryType sessionId leadEmail agentReasoning action artifacts followUpPrompts executionId reasonContent"
    ),
    "chat_message_feedback": "id chatflowid chatId messageId rating content createdDate",
    "credential": "id name credentialName encryptedData createdDate updatedDate workspaceId",
    "apikey": "id apiKey apiSecret keyName createdDate updatedDate workspaceId permissions",
    "variable": "id name value type createdDate updatedDate workspaceId",
    "tool": "id name description color iconSrc schema func createdDate updatedDate workspaceId",
    "lead": "id chatflowid chatId name email phone createdDate",
    "execution": (
        "id executionData action state agentflowId sessionId isPublic createdDate updatedDate stoppedDate workspaceId"
    ),
    "schedule_record": (
        "id triggerType targetId nodeId cronExpression timezone enabled scheduleInputMode defaultInput defaultForm "
        "lastRunAt nextRunAt endDate workspaceId createdDate updatedDate"
    ),
    "upsert_history": "id chatflowid result flowData date",
    "document_store": (
        "id name description status loaders whereUsed vectorStoreConfig embeddingConfig recordManagerConfig "
        "createdDate updatedDate workspaceId"
    ),
    "document_store_file_chunk": "id docId storeId chunkNo pageContent metadata",
    "assistant": "id details credential type createdDate updatedDate",
    "migrations": "id timestamp name",
}


def own_id(name: str) -> str:
    """The same UUID for the same name."""
    return str(uuid5(NAMESPACE_URL, name))


def encrypted(fields: Mapping[str, Any], passphrase: str = PASSPHRASE, salt: bytes = b"saltsalt") -> str:
    """Fields as CryptoJS encrypts them with a passphrase."""
    made = block = b""
    while len(made) < 48:
        block = hashlib.md5(block + passphrase.encode() + salt).digest()
        made += block
    padder = padding.PKCS7(128).padder()
    text = padder.update(json.dumps(fields).encode()) + padder.finalize()
    encryptor = Cipher(algorithms.AES(made[:32]), modes.CBC(made[32:])).encryptor()
    return base64.b64encode(b"Salted__" + salt + encryptor.update(text) + encryptor.finalize()).decode()


class OldInstall:
    """A home folder."""

    def __init__(self, home: Path, tables: Mapping[str, str] = TABLES) -> None:
        home.mkdir()
        self.home, self.database = home, home / "database.sqlite"
        (home / "encryption.key").write_text(PASSPHRASE)
        with closing(self.connect()) as db, db:
            for table, columns in tables.items():
                db.execute(f"CREATE TABLE {table} ({', '.join(_column(name) for name in columns.split())})")

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.database)

    def add(self, table: str, *rows: Mapping[str, Any]) -> None:
        with closing(self.connect()) as db, db:
            for row in rows:
                names = ", ".join(f'"{name}"' for name in row)
                db.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(row))})", [*row.values()])

    def change(self, statement: str, *values: Any) -> None:
        with closing(self.connect()) as db, db:
            db.execute(statement, values)


def _column(name: str) -> str:
    if name == "id":
        return '"id" varchar PRIMARY KEY NOT NULL'
    return f'"{name}" {"integer" if name == "chunkNo" else "text"}'


def message(flow: str, number: int, text: str, **more: Any) -> dict[str, Any]:
    """A message; even numbers are the visitor's."""
    return {
        "id": own_id(f"{flow} {number}"),
        "role": "apiMessage" if number % 2 else "userMessage",
        "chatflowid": flow,
        "content": text,
        "createdDate": f"2026-03-01 10:{number // 60 % 60:02}:{number % 60:02}.{number // 3600:03}",
        "chatType": "EXTERNAL",
        "chatId": "chat-1",
        "sessionId": "chat-1",
        **more,
    }


def dated(**row: Any) -> dict[str, Any]:
    return {"createdDate": DATE, "updatedDate": DATE, **row}


def migrated(source: Path | str, folder: Path, *flags: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs `headrace migrate` to its end."""
    return subprocess.run(
        command(source, folder, *flags), capture_output=True, text=True, timeout=120, env=environment(**environ)
    )


def command(source: Path | str, folder: Path, *flags: str) -> list[str]:
    return [sys.executable, "-m", "headrace", "migrate", str(source), "--data-dir", str(folder), *flags]


def environment(**environ: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HEADRACE_", "OPENAI_", "FLOWISE_"))}
    return {**clean, **environ}


def counts(told: str) -> dict[str, list[int]]:
    """The report's table: for each kind its seven numbers."""
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in told.splitlines() if line.startswith("│")]
    return {row[0]: [int(cell or 0) for cell in row[1:]] for row in rows if len(row) == 8}


def rows(folder: Path, *tables: str) -> dict[str, list[tuple[Any, ...]]]:
    """Everything in these tables of a data folder, without what is random: sealed texts."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    with engine_for(folder / "headrace.sqlite").connect() as connection:
        for table in tables:
            names = [row[1] for row in connection.exec_driver_sql(f'PRAGMA table_info("{table}")')]
            wanted = ", ".join(f'"{name}"' for name in names if name != "sealed")
            found[table] = [tuple(row) for row in connection.exec_driver_sql(f"SELECT {wanted} FROM {table}")]
    return found


ALL = (
    "flow credential variable tool api_key message feedback lead execution upsert_history store_upsert_history "
    "document_store document_loader document_chunk"
).split()
