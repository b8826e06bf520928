"""Odd streams: what providers, gateways and proxies really send, each row with what must be read of it, by hand.

A row is a name, the bytes, and what differs from an answer "Hi" that ends with `stop`.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple


class Odd(NamedTuple):
    """A stream and what it gives: joined text, reasoning, calls as (id, name, arguments), end, counts, error."""

    name: str
    stream: bytes
    text: str = "Hi"
    thinking: str = ""
    calls: Sequence[tuple[str, str, str]] = ()
    finish: str | None = "stop"
    usage: tuple[int, int, int] | None = None
    error: str | None = None


def failed(name: str, stream: bytes, error: str = "provider_unavailable", text: str = "", **more: Any) -> Odd:
    """A row for a stream that ends with an error, after this text."""
    return Odd(name, stream, text, finish=None, error=error, **more)


def data(*values: Any) -> bytes:
    """Server-sent events; a text stands for itself."""
    return "".join(f"data: {each if isinstance(each, str) else json.dumps(each)}\n\n" for each in values).encode()


def lines(*values: Any) -> bytes:
    """Lines of JSON."""
    return "".join(f"{json.dumps(each)}\n" for each in values).encode()
