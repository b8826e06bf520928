"""The studio as tests use it: a page of it, its nodes and fields, and what may never happen on it."""

import json
from collections.abc import Generator
from typing import Any

import pytest
from browser import new_page
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect
from servers import KEY, Server

DESK: ViewportSize = {"width": 1400, "height": 850}


@pytest.fixture
def studio(browser: Browser, server: Server) -> Generator[Page]:
    """A page of the studio, signed in. It must speak to nobody but the server, and no console line may be an error."""
    with new_page(browser, DESK) as page:
        strangers, said = watched(page, server)
        page.goto(f"{server.url}/studio#key={KEY}")
        expect(page.get_by_role("heading", name="Flows", exact=True)).to_be_visible()
        yield page
        assert (strangers, said) == ([], [])


def watched(page: Page, server: Server) -> tuple[list[str], list[str]]:
    """The requests to others and the lines of errors that the page has from now on."""
    strangers: list[str] = []
    said: list[str] = []
    own = (server.url, "data:", "blob:")
    page.on("request", lambda request: strangers.append(request.url) if not request.url.startswith(own) else None)
    page.on("console", lambda line: said.append(line.text) if line.type in ("error", "warning") else None)
    page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
    return strangers, said


def opened(page: Page, server: Server, flow_id: str) -> Page:
    """The page of a flow, its nodes shown."""
    page.goto(f"{server.url}/studio?flow={flow_id}")
    expect(page.get_by_label("Name of the flow")).to_be_visible()
    return page


def add(page: Page, words: str) -> None:
    """Adds the first node type that the palette finds, by keyboard."""
    page.get_by_label("Search nodes").fill(words)
    page.get_by_label("Search nodes").press("Enter")


def node(page: Page, node_id: str) -> Locator:
    return page.locator(f'[data-node="{node_id}"]')


def choose(page: Page, label: str) -> None:
    """Chooses a node by its label in the list that the panel shows while none is chosen."""
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Node").click()
    page.locator(".canvas-frame .svelte-flow__pane").click(position={"x": 5, "y": 5})
    page.get_by_role("complementary", name="Details").get_by_role("button", name=label, exact=True).click()


def field(page: Page, name: str) -> Locator:
    """The field of an input of the chosen node."""
    return page.locator(f'.field[data-input="{name}"]').first


def save(page: Page) -> None:
    page.keyboard.press("Control+s")
    expect(page.locator(".bar [role=status]")).to_have_text("Saved")


def stored(server: Server, flow_id: str) -> dict[str, Any]:
    """The drawing that the server has."""
    return json.loads(server.send("GET", f"/api/v1/chatflows/{flow_id}", admin=True).json["flowData"])
