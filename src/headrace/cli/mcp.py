"""`headrace mcp`: the flows of a running server as tools for programs that start their MCP servers themselves."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Final

import click
import httpx2
import msgspec

from headrace.cli.terminal import command
from headrace.settings import Settings
from headrace.sse import Decoder

_VERSION: Final = "io.modelcontextprotocol/protocolVersion"
_UNREACHABLE: Final = -32000


@click.command()
@click.option("--url", help="Address of the server; HEADRACE_URL or this machine's without it.")
@click.option("--flow", metavar="ID", help="Offer only this flow.")
@click.pass_obj
@command
async def mcp(settings: Settings, url: str | None, flow: str | None) -> None:
    """Offer the flows of a running server as MCP tools over standard input and output.

    HEADRACE_API_KEY is the key: its flows are the tools.
    """
    base = (url or os.environ.get("HEADRACE_URL") or f"http://localhost:{settings.port}").rstrip("/")
    path = f"/mcp/{flow}" if flow else "/mcp"
    headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    if key := os.environ.get("HEADRACE_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    limits = httpx2.Timeout(None, connect=10)
    async with httpx2.AsyncClient(headers=headers, timeout=limits, params={"onDisconnect": "cancel"}) as http:
        await Bridge(http, base + path).work()


class Bridge:
    """Sends each message of standard input to the server, and what it answers to standard output."""

    def __init__(self, http: httpx2.AsyncClient, url: str) -> None:
        self._http, self._url = http, url
        self._version = ""
        self._calls: dict[Any, asyncio.Task[None]] = {}

    async def work(self) -> None:
        """Ends when standard input does and everything is answered."""
        async with asyncio.TaskGroup() as group:
            while line := await asyncio.to_thread(sys.stdin.buffer.readline):
                if line.strip():
                    self._begin(group, line)

    def _begin(self, group: asyncio.TaskGroup, line: bytes) -> None:
        message: Any = None
        with suppress(msgspec.DecodeError):
            message = msgspec.json.decode(line)
        fields: Mapping[str, Any] = message if isinstance(message, dict) else {}
        params: Mapping[str, Any] = found if isinstance(found := fields.get("params"), dict) else {}
        if fields.get("method") == "notifications/cancelled":
            if call := self._calls.get(params.get("requestId")):
                call.cancel()  # the server cancels the run when its reader leaves
            return
        number = fields.get("id")
        call = group.create_task(self._send(line, number, params))
        if isinstance(number, str | int):
            self._calls[number] = call
            call.add_done_callback(lambda _: self._calls.pop(number, None))

    async def _send(self, line: bytes, number: Any, params: Mapping[str, Any]) -> None:
        meta = params.get("_meta")
        version = meta.get(_VERSION) if isinstance(meta, dict) else None
        headers = {"MCP-Protocol-Version": version or self._version} if version or self._version else {}
        try:
            async with self._http.stream("POST", self._url, content=line, headers=headers) as response:
                async for data in _messages(response):
                    self._learn(data)
                    _write(data)
        except httpx2.HTTPError as error:
            if number is not None:
                reason = f"the server at {self._url} cannot be reached: {error}"
                failed = {"code": _UNREACHABLE, "message": reason}
                _write(msgspec.json.encode({"jsonrpc": "2.0", "id": number, "error": failed}))

    def _learn(self, data: bytes) -> None:
        """Keeps the version that the answer to `initialize` names: every later request carries it."""
        if b'"protocolVersion"' in data:
            self._version = msgspec.json.decode(data).get("result", {}).get("protocolVersion", self._version)


async def _messages(response: httpx2.Response) -> AsyncIterator[bytes]:
    """The JSON texts of an answer, each on one line."""
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        body = await response.aread()
        if body.strip():
            yield body
        return
    decoder = Decoder()
    async for chunk in response.aiter_bytes():
        for event in decoder.feed(chunk):
            yield event.data.encode()


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data + b"\n")
    sys.stdout.buffer.flush()
