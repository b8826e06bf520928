"""The chats that people have had here, in a SQLite file: who asked what, by which run, and what came of it."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
from msgspec import structs

from headrace.apps.chat.answer_state import AnswerState
from headrace.schema import FileUpload, HumanInput

_TABLES = """
CREATE TABLE IF NOT EXISTS chat (id TEXT PRIMARY KEY, user TEXT NOT NULL, flow TEXT NOT NULL, title TEXT NOT NULL,
                                 at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS chat_user ON chat (user, at);
CREATE TABLE IF NOT EXISTS turn (position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
                                 chat TEXT NOT NULL REFERENCES chat ON DELETE CASCADE, question TEXT NOT NULL,
                                 uploads BLOB NOT NULL, run TEXT, shown BLOB, rating TEXT,
                                 answer BLOB);
CREATE INDEX IF NOT EXISTS turn_chat ON turn (chat, position);
"""
_PATIENCE = 10.0  # seconds to wait for another process that writes
_TITLE = 60  # characters


class Chat(msgspec.Struct, frozen=True):
    """A chat of one user with one flow."""

    id: str
    flow: str
    title: str


class Exchange(msgspec.Struct, frozen=True):
    """A question, the run that answers it once it has begun, and the answer once it is whole.

    `id` is the question's Idempotency-Key: to ask it again is to join its run.
    """

    id: str
    chat: str
    question: str
    uploads: list[FileUpload]
    run: str | None = None
    shown: AnswerState | None = None
    rating: str | None = None
    answer: HumanInput | None = None
    """The answer to a flow that waited for it; the question says it in words."""


class Chats:
    """The file. Whatever is read or changed is named by its user, so nobody sees or touches what is another's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        with self._open() as c:
            c.executescript(f"PRAGMA journal_mode = WAL; {_TABLES}")
            if "answer" not in [row[1] for row in c.execute("PRAGMA table_info(turn)")]:  # a file of an earlier version
                with suppress(sqlite3.OperationalError):  # another process was faster
                    c.execute("ALTER TABLE turn ADD COLUMN answer BLOB")

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path, timeout=_PATIENCE)
        try:
            with connection:
                connection.execute("PRAGMA foreign_keys = ON")
                yield connection
        finally:
            connection.close()

    def of(self, user: str) -> list[Chat]:
        """The user's chats, newest first."""
        with self._open() as c:
            rows = c.execute("SELECT id, flow, title FROM chat WHERE user = ? ORDER BY at DESC", (user,))
            return [Chat(*row) for row in rows]

    def turns(self, user: str, chat: str) -> list[Exchange]:
        """The questions of a chat with their answers, oldest first."""
        with self._open() as c:
            rows = c.execute(
                "SELECT turn.id, chat, question, uploads, run, shown, rating, answer"
                " FROM turn JOIN chat ON chat.id = turn.chat"
                " WHERE user = ? AND chat = ? ORDER BY position",
                (user, chat),
            )
            return [_turn(row) for row in rows]

    def turn(self, user: str, chat: str, key: str) -> Exchange | None:
        """One of them."""
        return next((turn for turn in self.turns(user, chat) if turn.id == key), None)

    def ask(
        self,
        user: str,
        chat: Chat,
        question: str,
        uploads: Sequence[FileUpload] = (),
        answer: HumanInput | None = None,
    ) -> None:
        """Stores a question, and its chat when it is the first one; or an answer to what the flow has asked."""
        now = time.time()
        with self._open() as c:
            c.execute(
                "INSERT INTO chat VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET at = ? WHERE user = ?",
                (chat.id, user, chat.flow, " ".join(question.split())[:_TITLE], now, now, user),
            )
            c.execute(
                "INSERT INTO turn (id, chat, question, uploads, answer)"
                " SELECT ?, id, ?, ?, ? FROM chat WHERE id = ? AND user = ?",
                (str(uuid4()), question, msgspec.json.encode(uploads), msgspec.json.encode(answer), chat.id, user),
            )

    def again(self, turn: Exchange) -> None:
        """Puts the question anew, in its place."""
        self._set("id = ?, run = NULL, shown = NULL, rating = NULL", str(uuid4()), turn.id)

    def attached(self, turn: Exchange) -> None:
        """Keeps the turn's files in the form in which they go along with the question."""
        self._set("uploads = ?", msgspec.json.encode(turn.uploads), turn.id)

    def began(self, turn: Exchange, run: str) -> None:
        """Keeps the run that answers."""
        self._set("run = ?", run, turn.id)

    def ended(self, turn: Exchange, shown: AnswerState) -> None:
        """Keeps the whole answer; of the files of a question that is answered, only pictures."""
        with self._open() as c:
            c.execute("UPDATE turn SET shown = ? WHERE id = ?", (msgspec.json.encode(shown), turn.id))
            if turn.uploads and shown.error is None:
                (stored,) = c.execute("SELECT uploads FROM turn WHERE id = ?", (turn.id,)).fetchone()
                kept = [_kept(file) for file in msgspec.json.decode(stored, type=list[FileUpload])]
                c.execute("UPDATE turn SET uploads = ? WHERE id = ?", (msgspec.json.encode(kept), turn.id))

    def rated(self, turn: Exchange, rating: str) -> None:
        """Keeps the rating."""
        self._set("rating = ?", rating, turn.id)

    def _set(self, what: str, value: Any, turn: str) -> None:
        with self._open() as c:
            c.execute(f"UPDATE turn SET {what} WHERE id = ?", (value, turn))  # noqa: S608  # our own words

    def delete(self, user: str, chat: str) -> None:
        """Forgets a chat."""
        with self._open() as c:
            c.execute("DELETE FROM chat WHERE id = ? AND user = ?", (chat, user))


def _kept(file: FileUpload) -> FileUpload:
    return file if file.mime.startswith("image/") else structs.replace(file, data=None)


def _turn(row: tuple[Any, ...]) -> Exchange:
    key, chat, question, uploads, run, shown, rating, answer = row
    whole = msgspec.json.decode(shown, type=AnswerState) if shown else None
    given = msgspec.json.decode(answer, type=HumanInput | None) if answer else None
    files = msgspec.json.decode(uploads, type=list[FileUpload])
    return Exchange(key, chat, question, files, run, whole, rating, given)
