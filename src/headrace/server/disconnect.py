"""Work that ends when its caller leaves, or the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from litestar import Request

from headrace.errors import Interrupted
from headrace.server.auth import local

_T = TypeVar("_T")


async def while_there(request: Request[Any, Any, Any], work: Coroutine[Any, Any, _T]) -> _T:
    """Awaits the work and returns its result.

    Raises Interrupted when the caller closes the connection, or the server stops; then the work is cancelled.
    """
    task = asyncio.create_task(work)
    works = local(request).works
    works.add(task)
    task.add_done_callback(works.discard)
    gone = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait([task, gone], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Interrupted("the caller has left; the same request again goes on from here")
        if task.cancelled():
            raise Interrupted("the server is stopping; the same request again goes on from here")
        return task.result()
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request[Any, Any, Any]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
