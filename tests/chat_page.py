"""`headrace chat` as a process of its own, and what tests read on its page."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from pathlib import Path

from browser import soon
from playwright.sync_api import Page, expect
from servers import free_port, until_connected

# Notes every address that the process looks up or connects to; a site module is what a bare Python loads first.
_NOTES = """
import os, sys
def note(event, args):
    if event in ("socket.getaddrinfo", "socket.connect"):
        where = args[0] if event == "socket.getaddrinfo" else args[1]
        with open(os.environ["TEST_ADDRESSES"], "a") as file:
            file.write(f"{where[0] if isinstance(where, tuple) else where}\\n")
sys.addaudithook(note)
"""


class ChatPage:
    """The page at `url`; `file` holds its chats."""

    def __init__(self, folder: Path, server: str, flows: Sequence[str], **environ: str) -> None:
        self.port, self.file, self._addresses = free_port(), folder / "chat.sqlite", folder / "addresses"
        self.url = f"http://127.0.0.1:{self.port}"
        (folder / "sitecustomize.py").write_text(_NOTES)
        offered = [part for flow in flows for part in ("--flow", flow)]
        command = [sys.executable, "-m", "headrace", "--data-dir", str(folder), "chat"]
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("HEADRACE_", "STREAMLIT_"))}
        notes = {"PYTHONPATH": str(folder), "TEST_ADDRESSES": str(self._addresses)}
        with (folder / "chat.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--url", server, "--port", str(self.port), *offered],
                env={**clean, **notes, **environ},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        until_connected(self.port)

    @property
    def addresses(self) -> set[str]:
        """Whom the process has asked for or spoken to."""
        return set(self._addresses.read_text().split())

    def serves(self, url: str) -> bool:
        """True when the address is on this page's own server."""
        return url.startswith((self.url, self.url.replace("http", "ws", 1), "data:", "blob:"))

    def open(self, page: Page, flow: str = "", chat: str = "") -> None:
        """Shows the page, ready for a question."""
        query = f"?chat={chat}" if chat else f"?flow={flow}" if flow else ""
        page.goto(self.url + "/" + query)
        page.get_by_placeholder("Ask something").wait_for()


@contextlib.contextmanager
def chatting(folder: Path, server: str, flows: Sequence[str], **environ: str) -> Generator[ChatPage]:
    """A chat page for the time of the block."""
    app = ChatPage(folder, server, flows, **environ)
    try:
        yield app
    finally:
        app.process.send_signal(signal.SIGTERM)
        app.process.wait(30)


def ask(page: Page, question: str) -> None:
    """Asks as a person does."""
    page.get_by_placeholder("Ask something").fill(question)
    page.keyboard.press("Enter")


WHOLE = """(text) => [...document.querySelectorAll('[data-testid=stChatMessage]')].at(-1)?.textContent.includes(text)
    && ![...document.querySelectorAll('button')].some((button) => button.textContent.endsWith('Stop'))"""


def answered(page: Page, text: str) -> None:
    """Waits for this text in the newest answer, and until it is whole."""
    soon(page, WHOLE, text)
    expect(page.get_by_test_id("stChatMessage").last).to_contain_text(text)
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)


def chat_of(page: Page) -> str:
    """Id of the chat that the page shows."""
    page.wait_for_url(re.compile(r"chat="))
    return page.url.rpartition("chat=")[2]
