"""A browser at a server with a brand, over HTTPS: what the pages look like, and how many streams one reads at once."""

import base64
from collections.abc import Generator
from pathlib import Path
from typing import Literal

import pytest
from browser import new_page
from chat_page import answered, ask, chatting
from playwright.sync_api import Browser, Page, expect
from servers import Server, conversation, serving
from test_brand import BRAND, LOGO, branded
from upstream import Upstream

ASKING = """(flow) => {
  window.open = 0;
  async function ask() {
    const body = JSON.stringify({ question: "/count 30 | /hold 15", streaming: true });
    const head = { method: "POST", headers: { "Content-Type": "application/json" } };
    const response = await fetch(`/api/v1/prediction/${flow}`, { ...head, body });
    window.open++;
    const text = await response.text();
    return text.includes("w30") && text.trimEnd().endsWith("[DONE]\\"}");
  }
  window.asked = Promise.all(Array.from({ length: 30 }, ask));
}"""
ASKED = """async () => {
  const whole = await window.asked;
  const protocols = performance.getEntriesByType("resource").map((entry) => entry.nextHopProtocol);
  return { whole: whole.every(Boolean), protocol: protocols.at(-1) };
}"""
ACCENTS: dict[Literal["light", "dark"], str] = {"light": "rgb(0, 170, 119)", "dark": "rgb(0, 255, 170)"}
LOOKS = """() => ({
  color: getComputedStyle(document.querySelector("h1")).color,
  logo: document.querySelector("h1 img").naturalWidth > 0,
})"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("branded") / "data" / "tls.crt"


@pytest.fixture(scope="module")
def branded_server(certificate: Path) -> Generator[Server]:
    branded(certificate.parent)
    with serving(certificate.parent, "--tls-self-signed", ca=str(certificate)) as server:
        yield server


def test_a_browser_shows_the_brand_and_reads_more_than_six_streams(
    browser: Browser, branded_server: Server, upstream: Upstream
) -> None:
    with new_page(browser, ignore_https_errors=True, color_scheme="dark") as page:
        page.goto(f"{branded_server.url}/docs")
        assert page.title() == "Ciniter <Flow> & Co API"
        page.wait_for_function("document.querySelector('h1 img').complete")
        assert page.evaluate(LOOKS) == {"color": "rgb(0, 255, 170)", "logo": True}
        page.emulate_media(color_scheme="light")
        assert page.evaluate(LOOKS)["color"] == "rgb(0, 170, 119)"
        page.evaluate(ASKING, branded_server.create_flow(conversation(upstream.url)))
        page.wait_for_function("window.open === 30")  # and none of them can end before
        upstream.go_on(30)
        assert page.evaluate(ASKED) == {"whole": True, "protocol": "h2"}


def test_the_chat_has_the_brand(
    branded_server: Server, certificate: Path, upstream: Upstream, page: Page, tmp_path: Path
) -> None:
    flow = branded_server.create_flow(conversation(upstream.url))
    with chatting(tmp_path, branded_server.url, [f"Plain={flow}"], SSL_CERT_FILE=str(certificate)) as chat:
        chat.open(page)
        expect(page).to_have_title(BRAND["name"])
        expect(page.get_by_test_id("stSidebar").get_by_role("heading")).to_have_text(BRAND["name"])
        ask(page, "/say Hello")
        answered(page, "Hello")
        logo = f"data:image/svg+xml;base64,{base64.b64encode(LOGO.encode()).decode()}"
        for place in ("stSidebarLogo", "stChatMessageAvatarImage"):
            expect(page.get_by_test_id(place)).to_have_attribute("src", logo)
        for colours, accent in ACCENTS.items():
            page.emulate_media(color_scheme=colours)
            page.reload()
            page.get_by_placeholder("Ask something").fill("Something")
            expect(page.get_by_role("button", name="Send message")).to_have_css("background-color", accent)
