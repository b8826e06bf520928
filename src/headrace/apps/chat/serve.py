"""Serves the page: Streamlit without telemetry, in the brand's colours, on this machine's address unless told else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.middleware import Middleware
from streamlit.starlette import App

from headrace.apps.chat.defaults import FILE, FLOWS, LOOK
from headrace.apps.chat.visitors import Visitors
from headrace.client import Headrace
from headrace.errors import HeadraceError
from headrace.schema import Look

PAGE = Path(__file__).with_name("page.py")


def serve(flows: Sequence[str], file: Path, host: str, port: int) -> None:
    """Runs until it is told to stop. `flows` are `<id>` or `<name>=<id>`; `file` is where chats are kept.

    Where the server is and the API key are in the environment, as the client reads them.
    """
    os.environ.update({FLOWS: "\n".join(flows), FILE: str(file)})
    look = _look()
    App(PAGE, middleware=[Middleware(Visitors)]).run(config=_options(look, host, port))


def _look() -> Look:
    """The server's, or ours while it does not answer."""
    with Headrace(timeout=3, attempts=1) as client:
        try:
            return client.look()
        except HeadraceError:
            return LOOK


def _options(look: Look, host: str, port: int) -> dict[str, Any]:
    return {
        "server.address": host,
        "server.port": port,
        "server.headless": True,  # opens no browser, asks for no e-mail address
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": False,
        "browser.serverAddress": host,  # else it asks another server for this machine's address
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "client.showErrorLinks": False,
        "logger.hideWelcomeMessage": True,
        "theme.light.primaryColor": look.color,
        "theme.dark.primaryColor": look.darkColor,
    }
