"""Cross-origin requests: sites that the operator allows everywhere, and sites that a flow allows for itself."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qs

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from headrace.errors import HeadraceError, NotFound, RunNotFound
from headrace.runtime.local import Local
from headrace.server.auth import origin_allowed
from headrace.server.origins import Sites

_OF_A_FLOW = re.compile(
    r"/api/v1/(?:predictions?|internal-prediction|public-chatbotConfig|chatflows-streaming|chatflows-uploads|attachments|chatmessage/abort"
    r"|vector/(?:internal-)?upsert)/([^/]+)"
)
_OF_A_RUN = re.compile(r"/api/v1/runs/([^/]+)")
_FEEDBACK = re.compile(r"/api/v1/feedback/([^/]+)")
_FLOW_IN_THE_BODY = (
    *("/api/v1/leads", "/api/v1/leads/", "/api/v1/feedback", "/api/v1/feedback/"),
    "/api/v1/openai-assistants-file/download",
)
WIDGET = "/api/v1/widget.js"
_EXPOSED = b"X-Run-Id, Retry-After"


class Cors:
    """ASGI middleware. A refused origin gets no permission header; the browser does the rest."""

    def __init__(self, app: ASGIApp, here: Local, origins: str) -> None:
        self._app, self._here = app, here
        self._sites = Sites(origins.strip("\"' ").split(","))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers preflights and adds the permission headers to everything else."""
        if scope["type"] != "http" or (origin := _header(scope, b"origin")) is None:
            await self._app(scope, receive, send)
            return
        allowed = await self._allowed(origin.decode("latin-1"), scope)
        headers = [(b"vary", b"Origin"), *(self._permission(origin) if allowed else ())]
        if scope["method"] == "OPTIONS" and (method := _header(scope, b"access-control-request-method")):
            asked = _header(scope, b"access-control-request-headers") or b""
            allows = ((b"access-control-allow-methods", method), (b"access-control-allow-headers", asked))
            await send(
                {"type": "http.response.start", "status": 204, "headers": [*headers, *(allows if allowed else ())]}
            )
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        await self._app(scope, receive, with_headers)

    async def _allowed(self, origin: str, scope: Scope) -> bool:
        if self._sites.allow(origin):
            return True
        if origin == "null":
            return False
        if scope["path"] == WIDGET:
            return True  # the same for everybody
        if scope["path"] in _FLOW_IN_THE_BODY:
            return True  # the endpoint itself refuses the sites that its flow does not name
        try:
            await self._here.storage.refresh()
            flow = await self._flow(scope["path"], scope["query_string"])
            return flow is not None and origin_allowed(origin, (await self._here.flows.get(flow)).chatbot)
        except RunNotFound:
            return True  # the answer says just that, which a page must be able to tell from a broken connection
        except HeadraceError:
            return False

    async def _flow(self, path: str, query: bytes) -> str | None:
        """The flow that a request is about: its own, or that of the run or of the feedback."""
        if found := _OF_A_FLOW.match(path):
            return found[1]
        if found := _OF_A_RUN.match(path):
            return (await self._here.runs.info(found[1])).chatflowid
        if found := _FEEDBACK.match(path):
            try:
                return (await self._here.ratings.one(found[1])).chatflowid
            except NotFound:  # a new one, whose path names the flow
                return found[1]
        return parse_qs(query.decode("latin-1")).get("flowId", [None])[0] if path == "/api/v1/runs" else None

    def _permission(self, origin: bytes) -> Iterable[tuple[bytes, bytes]]:
        yield b"access-control-allow-origin", b"*" if self._sites.all else origin
        yield b"access-control-expose-headers", _EXPOSED


def _header(scope: Scope, name: bytes) -> bytes | None:
    return next((value for key, value in scope["headers"] if key == name), None)
