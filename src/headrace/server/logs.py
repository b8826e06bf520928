"""One form for every line of the log, ours and the libraries': without queries, user names, headers and keys.

A thread of its own writes the lines, so that nobody waits for the terminal, file or pipe that they go to.
"""

from __future__ import annotations

import atexit
import logging
import re
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from logging.handlers import QueueHandler, QueueListener
from queue import Full, Queue
from types import TracebackType
from typing import Any, Final, Literal
from urllib.parse import quote

import msgspec

_logger = logging.getLogger("headrace")
_access = logging.getLogger("headrace.access")
_MOST_WAITING: Final = 20_000  # lines; more are dropped while nothing takes them
_LEFT: Final = 499  # the status of a request whose caller left before its response
_KEY_IN_PATH: Final = re.compile(r"(?<=/apikey/)[^/]+")
_PIECE: Final = re.compile(r"[^\s\"'<>]+")
_USER: Final = re.compile(r"(?<=://)[^\s/\"'<>]*@")
_QUERY: Final = re.compile(r"[?#]")
# Lengths are bounded: a line may hold megabytes of what somebody sent.
_SECRET: Final = re.compile(
    r"(?i)((?:authorization|cookie|api[_-]?key|token|secret|password)[\w-]{0,64}['\"]?\s{0,8}[:=,]\s{0,8})"
    r"(?:b?'[^']*'|b?\"[^\"]*\"|(?:bearer|basic)\s+[^\s,;]+|[^\s,;'\"]+)"
)
_TOKEN: Final = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}|\b(?:sk|hr|pk)[-_][\w-]{8,}")


def redacted(text: str) -> str:
    """The text without what may be secret in addresses and headers."""
    text = _PIECE.sub(_without_query, _USER.sub("", text))
    return _TOKEN.sub("…", _SECRET.sub(r"\1…", text))


def _without_query(found: re.Match[str]) -> str:
    """A word of the text; an address or a path ends where its query begins."""
    word = found[0]
    query = _QUERY.search(word) if "://" in word or word.lstrip("([").startswith("/") else None
    return f"{word[: query.start()]}?…" if query else word


class Lines(logging.Formatter):
    """Formats a line with its traceback, then takes secrets out of all of it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return redacted(super().format(record))


class JsonLines(logging.Formatter):
    """Formats a line as one JSON object, whose texts hold no secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """The object: time (UTC), level, logger, message, the line's own fields, and its traceback, if any."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": redacted(record.getMessage()),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = redacted(self.formatException(record.exc_info))
        return msgspec.json.encode(line).decode()


FORMATS: Final[dict[str, logging.Formatter]] = {
    "text": Lines("%(asctime)s %(levelname)s %(name)s: %(message)s"),
    "json": JsonLines(),
}


def log_request(method: str, path: str, status: int, size: int, seconds: float, run: str) -> None:
    """Writes a request's line of the access log. Nothing of its query, headers, body or caller is in it."""
    if not _access.isEnabledFor(logging.INFO):
        return
    fields: dict[str, Any] = {
        "method": method,
        "path": _public(path),
        "status": status or _LEFT,
        "bytes": size,
        "ms": round(seconds * 1000, 1),
    }
    if run:
        fields["run"] = run
    _access.info("%s", _Words(fields), extra={"fields": fields})


@lru_cache(1024)
def _public(path: str) -> str:
    """The path on one line, without keys."""
    return _KEY_IN_PATH.sub("…", redacted(quote(path, errors="replace")))


class _Words:
    """A request's line as text, made by the thread that writes it."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def __str__(self) -> str:
        text = "{method} {path} {status} {bytes} B {ms} ms".format(**self._fields)
        return f"{text} run {self._fields['run']}" if "run" in self._fields else text


class _Waiting(QueueHandler):
    """Hands lines as they are to the thread that writes them."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """The line itself: it goes to no other process."""
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """Puts the line behind the others, or drops it when too many wait."""
        with suppress(Full):
            self.queue.put_nowait(record)


def install(form: Literal["text", "json"]) -> None:
    """Sends the access log, every library's warnings, and ours, to standard error in this form. Nothing else writes
    there. Call it once in a process."""
    writer = logging.StreamHandler()
    writer.setFormatter(FORMATS[form])
    waiting = Queue[logging.LogRecord](_MOST_WAITING)
    listener = QueueListener(waiting, writer)
    listener.start()
    atexit.register(_finish, listener)
    handler = _Waiting(waiting)
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(logging.WARNING)
    _access.setLevel(logging.INFO)
    logging.getLogger("_granian").setLevel(logging.ERROR)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _of_a_thread


def _finish(listener: QueueListener) -> None:
    """Writes what waits; nothing, when so much waits that nobody can be reading."""
    with suppress(Full):
        listener.stop()


def _uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    _logger.critical("the server ends", exc_info=(kind, error, traceback))


def _of_a_thread(found: threading.ExceptHookArgs) -> None:
    if found.exc_value is not None:
        name = found.thread.name if found.thread else "a thread"
        _logger.error("%s failed", name, exc_info=(found.exc_type, found.exc_value, found.exc_traceback))
