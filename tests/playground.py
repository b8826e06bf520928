"""The playground as tests use it: a page of it, its turns, and what may never happen on it."""

from collections.abc import Generator
from typing import Any

import pytest
from browser import soon
from playwright.sync_api import Page, expect
from servers import KEY, Server


def ask(page: Page, question: str) -> None:
    page.locator("#question").fill(question)
    page.locator("#question").press("Enter")


def opened(page: Page, server: Server, flow_id: str, *, key: bool = False) -> Page:
    page.goto(f"{server.url}/?flow={flow_id}{f'#key={KEY}' if key else ''}")
    expect(page.locator(".hello h2")).not_to_have_text("Playground")
    return page


def turn(page: Page, number: int = -1) -> Any:
    return page.locator("article.turn").nth(number)


def ended(page: Page, state: str = "finished") -> None:
    last = "(state) => [...document.querySelectorAll('article.turn')].at(-1)?.dataset.state === state"
    soon(page, last, state)
    expect(turn(page)).to_have_attribute("data-state", state)


def text(page: Page) -> str:
    return turn(page).locator(".answer > .markdown").inner_text()


@pytest.fixture
def alone(page: Page, server: Server) -> Generator[Page]:
    """The page of a test, which must speak to nobody but the server and break no rule of its policy."""
    strangers: list[str] = []
    said: list[str] = []
    page.on("request", lambda r: strangers.append(r.url) if not r.url.startswith((server.url, "data:")) else None)
    page.on("console", lambda message: said.append(message.text))
    page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
    yield page
    assert strangers == []
    assert [line for line in said if "Content Security" in line or line.startswith("dialog")] == []
