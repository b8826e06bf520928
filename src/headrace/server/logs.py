"""One form for every line of the log, ours and the libraries': without queries, user names, headers and keys."""

from __future__ import annotations

import logging
import re
import sys
import threading
from types import TracebackType
from typing import Final

_logger = logging.getLogger("headrace")
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


def install() -> None:
    """Sends every library's warnings, and ours, to standard error in this form. Nothing else writes there."""
    handler = logging.StreamHandler()
    handler.setFormatter(Lines("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(logging.WARNING)
    logging.getLogger("_granian").setLevel(logging.ERROR)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _of_a_thread


def _uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    _logger.critical("the server ends", exc_info=(kind, error, traceback))


def _of_a_thread(found: threading.ExceptHookArgs) -> None:
    if found.exc_value is not None:
        name = found.thread.name if found.thread else "a thread"
        _logger.error("%s failed", name, exc_info=(found.exc_type, found.exc_value, found.exc_traceback))
