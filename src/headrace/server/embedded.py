"""The server as an ASGI application inside another one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

from litestar.types import Receive, Scope, Send

from headrace.assembly import opened
from headrace.brand.look import read_brand
from headrace.python_flow import PythonFlow
from headrace.server.admin_key import keep_admin_key
from headrace.server.admission import Admission
from headrace.server.app import create_app
from headrace.settings import load


class EmbeddedApp:
    """An ASGI application to be mounted under any path.

    It begins to work with its lifespan, or with its first request. Frameworks do not call the lifespans of what is
    mounted: enter `lifespan` in that of the application around it, so that runs end in order.
    """

    def __init__(self, flows: Sequence[PythonFlow | str], settings: dict[str, Any]) -> None:
        """Flows are functions or the places of files. Raises InvalidRequest for settings that cannot be read."""
        places = [flow for flow in flows if isinstance(flow, str)]
        self._flows = [flow for flow in flows if isinstance(flow, PythonFlow)]
        self._settings = load(**settings, flows=",".join(places) or None)
        self._app: Admission | None = None
        self._starting = asyncio.Lock()
        self._stack = AsyncExitStack()

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serves a request, or the lifespan."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        app = self._app or await self._started()
        inner = dict(scope)
        # Frameworks disagree on whether a path begins with the one that the application is mounted at.
        inner["path"] = scope["path"].removeprefix(scope.get("root_path") or "") or "/"
        inner["root_path"], inner["state"] = "", {}
        await app(cast("Scope", inner), receive, send)

    @asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncGenerator[None]:
        """Works for the time of the block; at its end runs get `shutdown_grace` seconds. May be entered once."""
        await self._started()
        try:
            yield
        finally:
            await self._stack.aclose()

    async def _started(self) -> Admission:
        async with self._starting:
            if self._app is None:
                settings = self._settings
                here = await self._stack.enter_async_context(opened(settings, self._flows))
                if settings.admin_key:
                    await keep_admin_key(here.storage, settings.admin_key)
                app = create_app(settings, here, read_brand(settings.brand, settings.folder))
                working = here.working(heartbeat=settings.heartbeat, grace=settings.shutdown_grace)
                await self._stack.enter_async_context(working)
                cutting = asyncio.create_task(app.outgoing.cut_slow_readers())
                self._stack.callback(cutting.cancel)
                self._app = app
            return self._app

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        try:
            await self._started()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._stack.aclose()
        await send({"type": "lifespan.shutdown.complete"})
