"""The page's cookie, which tells browsers apart, and its content policy, which allows this server alone.

The policy is what makes pictures in an answer harmless: one on another server, whose address may carry what was said
here, is never asked for.
"""

from __future__ import annotations

import base64
import re
import secrets
from hashlib import sha256
from pathlib import Path
from typing import Final

import streamlit
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE: Final = "headrace_chat"
COOKIE_VALUE: Final = re.compile("[0-9a-f]{32}")
_YEAR: Final = 365 * 24 * 60 * 60


class Visitors:
    """Adds both to every page that is sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app, self._policy = app, policy()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves what the application serves."""
        if scope["type"] != "http" or "text/html" not in Headers(scope=scope).get("accept", ""):
            await self._app(scope, receive, send)
            return
        known = COOKIE in HTTPConnection(scope).cookies
        secure = "; Secure" if scope["scheme"] == "https" else ""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = self._policy
                headers["Referrer-Policy"] = "no-referrer"
                if not known:
                    value = f"{COOKIE}={secrets.token_hex(16)}"
                    headers.append("Set-Cookie", f"{value}; Path=/; Max-Age={_YEAR}; HttpOnly; SameSite=Lax{secure}")
            await send(message)

        await self._app(scope, receive, answer)


def policy() -> str:
    """A content policy under which Streamlit's page works and reaches no other server."""
    page = (Path(streamlit.__file__).parent / "static" / "index.html").read_text()
    inline = re.findall(r"(?s)<script>(.*?)</script>", page)
    scripts = " ".join(f"'sha256-{base64.b64encode(sha256(code.encode()).digest()).decode()}'" for code in inline)
    return "; ".join(
        (
            "default-src 'self'",
            f"script-src 'self' {scripts}",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "worker-src 'self' blob:",
            "object-src 'none'",
            "frame-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        )
    )
