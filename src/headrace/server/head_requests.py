"""HEAD wherever GET is answered. The server itself leaves the body out."""

from __future__ import annotations

from typing import Final

from litestar.types import ASGIApp, Receive, Scope, Send

HEAD: Final = "head"
"""In the state of a request for the headers alone: streams end at once."""


def answering_head(app: ASGIApp) -> ASGIApp:
    """ASGI middleware that asks for the same with GET."""

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope["method"] = "GET"
            scope["state"][HEAD] = True
        await app(scope, receive, send)

    return answered
