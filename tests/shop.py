"""A shop's web site, on an origin of its own, whose pages embed the published chat widgets, unchanged.

`npm ci` installs the widgets; pages load them from the shop itself, and React's from a bundle that esbuild makes.
"""

import json
import re
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Page, Route
from servers import Server
from sites import Answer, Site, html, site
from typescript import built, installed

FOLDER = Path(__file__).parent / "widget"
Kind = Literal["bubble", "full", "react bubble", "react full"]
_FOREIGN = re.compile(r"https?://(?!127\.0\.0\.1[:/])")  # a pattern, since a function would be asked in this thread
LOOK = """<!doctype html><meta charset="utf-8"><title>Harbour Books</title><style>
body { margin: 0; font: 16px/1.5 sans-serif; background: #f6f4ef; color: #22303c }
header { padding: 28px 48px; background: #22303c; color: #f6f4ef; font-size: 26px }
main { display: flex; gap: 24px; padding: 40px 48px }
main div { flex: 0 1 220px; padding: 20px; background: white; border-radius: 8px } i { color: #687a88 }
</style>"""
BOOKS = """<header>Harbour Books</header><main>
<div><b>Birds of the Coast</b><br><i>field guide</i></div><div><b>Tides and Tables</b><br><i>almanac</i></div>
<div><b>Knots for Everyone</b><br><i>with drawings</i></div></main>"""
PLAIN = """import Chatbot from "/web.js"
Chatbot.{init}({props})
"""
REACT = """import {{ createElement }} from "react"
import {{ createRoot }} from "react-dom/client"
{component}
createRoot(document.getElementById("chat")).render(createElement(Chat, window.chat))
"""


def widgets() -> Path:
    """Where the published packages are installed."""
    return installed(FOLDER, "the chat widget") / "node_modules"


def react(component: str, props: str) -> bytes:
    """A page's script that shows a component, `Chat` of these lines, with its properties as JSON."""
    return f"window.chat = {props}\n".encode() + _bundled(component)


@cache
def _bundled(component: str) -> bytes:
    packages = widgets()
    esbuild = built() / "node_modules" / ".bin" / "esbuild"
    rules = [
        "--bundle",
        "--format=esm",
        "--loader=jsx",
        "--jsx=automatic",
        "--define:process.env.NODE_ENV='production'",
    ]
    done = subprocess.run(
        [str(esbuild), *rules],
        input=REACT.format(component=component).encode(),
        capture_output=True,
        cwd=packages.parent,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


class Shop:
    """The site, and what its pages asked of whom."""

    def __init__(self, server: Site) -> None:
        self.site, self.url = server, server.url
        self.foreign: list[str] = []
        """Addresses that are neither the shop's nor the server's; none is reached."""

    def embed(
        self, page: Page, server: Server, flow: str, kind: Kind = "bubble", policy: str = "", **props: Any
    ) -> None:
        """Opens the shop's page with the widget on it, under a content security policy."""
        given = {"chatflowid": flow, "apiHost": server.url, **props}
        match kind:
            case "bubble":
                script = PLAIN.format(init="init", props=json.dumps(given)).encode()
            case "full":
                script = PLAIN.format(init="initFull", props=json.dumps(given)).encode()
            case "react bubble":
                script = react('import { BubbleChat as Chat } from "flowise-embed-react"', json.dumps(given))
            case "react full":
                script = react('import { FullPageChat as Chat } from "flowise-embed-react"', json.dumps(given))
        self.run(page, script, policy)

    def run(self, page: Page, script: bytes, policy: str = "") -> None:
        """Opens a page that runs this script."""
        self.site.paths["/chat.js"] = Answer(script, "text/javascript")
        self.show(page, '<div id="chat"></div><script type="module" src="/chat.js"></script>', policy)

    def show(self, page: Page, body: str, policy: str = "") -> None:
        """Opens a page with this on it."""
        self.site.paths["/web.js"] = Answer((widgets() / "flowise-embed/dist/web.js").read_bytes(), "text/javascript")
        headers = {"Content-Security-Policy": policy} if policy else {}
        self.site.paths["/"] = html(LOOK + BOOKS + body, headers=headers)
        self.foreign.clear()
        page.route(_FOREIGN, self._refuse)
        page.goto(f"{self.url}/")

    def _refuse(self, route: Route) -> None:
        self.foreign.append(route.request.url)
        route.abort()


@contextmanager
def opened() -> Generator[Shop]:
    """A shop for the time of the block."""
    with site() as server:
        yield Shop(server)
