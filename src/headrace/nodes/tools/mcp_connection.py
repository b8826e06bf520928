"""A connection to an MCP server, kept for a run. Its HTTP goes to checked addresses only, of the one server."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO, TypeAlias, TypeVar

import httpx2
import msgspec

from headrace.engine.concurrency import first
from headrace.engine.ports import Reach
from headrace.errors import FetchFailed, FetchRefused, FlowError, HeadraceError
from headrace.installation import remedy

if TYPE_CHECKING:
    from mcp import Client
    from mcp_types import CallToolResult, Tool

_CONNECTING: Final = 30.0  # seconds
_PATIENCE: Final = 240.0  # seconds for one call; less than the agent waits
_LEAVING: Final = 5.0  # seconds to say goodbye
_HURRY: Final = 0.1
_BYTES: Final = 10 * 1024 * 1024  # of one HTTP answer
_OBJECTS: Final = 10_000  # in it: the SDK takes a second to read ten times as many
_PAGES: Final = 20  # of the list of tools

T = TypeVar("T")


class Remote(msgspec.Struct, frozen=True):
    """A server at an address."""

    url: str
    headers: dict[str, str] = {}
    transport: Literal["", "http", "streamable-http", "streamable_http", "streamableHttp", "sse"] = ""
    """Without it streamable HTTP is tried, then SSE."""
    type: Literal["", "http", "streamable-http", "streamable_http", "streamableHttp", "sse"] = ""
    """Another name of `transport`."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The transports to try."""
        named = self.transport or self.type
        return ("sse",) if named == "sse" else ("http",) if named else ("http", "sse")


class LocalServer(msgspec.Struct, frozen=True):
    """A server that is started for the run and speaks over its standard input and output."""

    command: str
    args: list[str] = []
    env: dict[str, str] = {}

    @property
    def kinds(self) -> tuple[str, ...]:
        """The transports to try."""
        return ("stdio",)


Server: TypeAlias = Remote | LocalServer


class _Bounded(httpx2.AsyncByteStream):
    """An answer that breaks off when it is too large."""

    def __init__(self, inner: AsyncIterator[bytes], close: Any) -> None:
        self._inner, self._close = inner, close

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = objects = 0
        async for part in self._inner:
            size, objects = size + len(part), objects + part.count(b"{")
            if size > _BYTES or objects > _OBJECTS:
                raise httpx2.ReadError(f"the answer has more than {_BYTES} bytes, or than {_OBJECTS} objects")
            yield part

    async def aclose(self) -> None:
        """Closes the connection."""
        await self._close()


class Pinned(httpx2.AsyncBaseTransport):
    """Connects to the addresses that `reach` has checked, under the name that the URL has."""

    def __init__(self, reach: Reach) -> None:
        self._reach, self._inner = reach, httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Looks the host up once, checks it, and connects to what was checked."""
        try:
            addresses = await self._reach(str(request.url))
        except (FetchRefused, FetchFailed) as error:
            raise httpx2.ConnectError(str(error)) from None
        request.headers["Accept-Encoding"] = "identity"  # so that the bound counts what is read
        response = await self._answered(request, addresses)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            await response.aclose()
            raise httpx2.ReadError("the answer is in an encoding that was not asked for")
        stream: Any = response.stream
        bounded = _Bounded(aiter(stream), stream.aclose)
        return httpx2.Response(
            response.status_code, headers=response.headers, stream=bounded, extensions=response.extensions
        )

    async def _answered(self, request: httpx2.Request, addresses: Sequence[str]) -> httpx2.Response:
        """The answer of the first address that can be connected to."""
        failure: httpx2.TransportError = httpx2.ConnectError("the host has no address")
        for address in addresses:
            pinned = httpx2.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,  # with the Host of the URL
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": request.url.host},
            )
            try:
                return await self._inner.handle_async_request(pinned)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failure = error
        raise failure

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._inner.aclose()


class Connection:
    """An MCP session in a task of its own, since the SDK wants to be closed in the task that opened it."""

    def __init__(self, server: Server, reach: Reach) -> None:
        self._server, self._reach = server, reach
        self._leave = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._client: Client | None = None

    async def offers(self) -> list[Tool]:
        """Connects, and gives the server's tools. Raises FlowError and FetchFailed."""
        first: HeadraceError | None = None
        for kind in self._server.kinds:
            try:
                self._client = await self._opened(kind)
                return await self._listed(self._client)
            except FetchFailed as error:
                first = first or error
                await self.close()
        raise first or FlowError("the MCP server speaks no transport that is known")

    async def call(self, name: str, arguments: Mapping[str, Any]) -> CallToolResult:
        """Calls a tool of the server. Raises FetchFailed."""
        if self._client is None:
            raise FetchFailed(f"{self._name} is not connected")
        return await self._within(self._client.call_tool(name, dict(arguments)), _PATIENCE)

    async def leave(self, kind: type[BaseException] | None, *_: object) -> None:
        """Closes at the end of a run, at once when the run did not come to its own end."""
        await self.close(_LEAVING if kind is None else _HURRY)

    async def close(self, seconds: float = _LEAVING) -> None:
        """Says goodbye, but waits no longer than this."""
        task, self._task, self._client = self._task, None, None
        if task is None:
            return
        self._leave.set()
        try:
            await asyncio.wait({task}, timeout=seconds)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @property
    def _name(self) -> str:
        """The server's name in messages; its address may hold a secret."""
        server = self._server
        host = httpx2.URL(server.url).host if isinstance(server, Remote) else Path(server.command).name
        return f"the MCP server {host!r}"

    async def _opened(self, kind: str) -> Client:
        self._leave = asyncio.Event()
        ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._hold(kind, ready, self._leave), name=f"MCP over {kind}")
        return await self._within(ready, _CONNECTING)

    async def _hold(self, kind: str, ready: asyncio.Future[Client], leave: asyncio.Event) -> None:
        async with self._session(kind) as client:
            if not ready.done():
                ready.set_result(client)
            await leave.wait()

    @asynccontextmanager
    async def _session(self, kind: str) -> AsyncGenerator[Client]:
        try:
            from mcp import Client, StdioServerParameters
            from mcp.client.sse import sse_client
            from mcp.client.stdio import stdio_client
            from mcp.client.streamable_http import streamable_http_client
        except ImportError:
            raise FlowError(f"MCP servers need another package: {remedy('mcp')}") from None
        async with AsyncExitStack() as stack:
            if isinstance(self._server, LocalServer):
                server = self._server
                nowhere = stack.enter_context(_nowhere())
                start = StdioServerParameters(command=server.command, args=server.args, env=server.env)
                transport = stdio_client(start, errlog=nowhere)
            elif kind == "sse":
                transport = sse_client(self._server.url, dict(self._server.headers), httpx_client_factory=self._http)
            else:
                http = await stack.enter_async_context(self._http(self._server.headers))
                transport = streamable_http_client(self._server.url, http_client=http, max_sse_event_size=_BYTES)
            yield await stack.enter_async_context(Client(transport, read_timeout_seconds=_PATIENCE, cache=None))

    def _http(
        self, headers: Mapping[str, str] | None = None, timeout: Any = None, auth: Any = None
    ) -> httpx2.AsyncClient:
        """The SDK's way out: pinned, and past no proxy that the environment names."""
        limits = timeout or httpx2.Timeout(_CONNECTING, read=_PATIENCE)
        return httpx2.AsyncClient(
            headers=headers, timeout=limits, auth=auth, transport=Pinned(self._reach), trust_env=False
        )

    async def _listed(self, client: Client) -> list[Tool]:
        tools: list[Tool] = []
        cursor: str | None = None
        for _ in range(_PAGES):
            page = await self._within(client.list_tools(cursor=cursor), _CONNECTING)
            tools += page.tools
            cursor = page.next_cursor
            if not cursor:
                break
        return tools

    async def _within(self, work: Awaitable[T], seconds: float) -> T:
        """Awaits the result unless the session ends before. Raises FetchFailed and, from the session, FlowError."""
        doing = asyncio.ensure_future(work)
        task = self._task
        try:
            await asyncio.wait({doing, *([task] if task else ())}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                if (error := doing.exception()) is None:
                    return doing.result()
                raise FetchFailed(f"{self._name} refused: {_words(error)}") from None
            ended = task.exception() if task and task.done() and not task.cancelled() else None
            if isinstance(ended, FlowError):
                raise ended
            raise FetchFailed(f"{self._name} {f'gave no answer: {_words(ended)}' if ended else 'took too long'}")
        finally:
            doing.cancel()


def _nowhere() -> TextIO:
    """A file that drops a program's error output, which is not for the server's own log."""
    return Path(os.devnull).open("w")


def _words(error: BaseException) -> str:
    """An error's message, or that of the first in a group."""
    error = first(error)
    # Addresses may hold secrets.
    return re.sub(r"(?<!\w)\w++://[^\s'\"]+", "…", (str(error) or type(error).__name__)[:2000])[:500]
