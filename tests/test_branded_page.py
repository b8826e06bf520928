"""A browser at a server with a brand, over HTTPS: what its page looks like, and how many streams it reads at once."""

from pathlib import Path

from browser import new_page
from playwright.sync_api import Browser
from servers import conversation, serving
from test_brand import branded
from upstream import Upstream

ASKING = """async (flow) => {
  let open = 0, most = 0;
  async function ask() {
    const body = JSON.stringify({ question: "/count 60 | /pace 20", streaming: true });
    const head = { method: "POST", headers: { "Content-Type": "application/json" } };
    const response = await fetch(`/api/v1/prediction/${flow}`, { ...head, body });
    most = Math.max(most, ++open);
    const text = await response.text();
    open--;
    return text.includes("w60") && text.trimEnd().endsWith("[DONE]\\"}");
  }
  const whole = await Promise.all(Array.from({ length: 30 }, ask));
  const protocols = performance.getEntriesByType("resource").map((entry) => entry.nextHopProtocol);
  return { whole: whole.every(Boolean), most, protocol: protocols.at(-1) };
}"""
LOOKS = """() => ({
  color: getComputedStyle(document.querySelector("h1")).color,
  logo: document.querySelector("h1 img").naturalWidth > 0,
})"""


def test_a_browser_shows_the_brand_and_reads_more_than_six_streams(
    browser: Browser, tmp_path: Path, upstream: Upstream
) -> None:
    folder = tmp_path / "data"
    branded(folder)
    with (
        serving(folder, "--tls-self-signed", ca=str(folder / "tls.crt")) as server,
        new_page(browser, ignore_https_errors=True, color_scheme="dark") as page,
    ):
        page.goto(f"{server.url}/docs")
        assert page.title() == "Ciniter <Flow> & Co API"
        page.wait_for_function("document.querySelector('h1 img').complete")
        assert page.evaluate(LOOKS) == {"color": "rgb(0, 255, 170)", "logo": True}
        page.emulate_media(color_scheme="light")
        assert page.evaluate(LOOKS)["color"] == "rgb(0, 170, 119)"
        found = page.evaluate(ASKING, server.create_flow(conversation(upstream.url)))
        assert found == {"whole": True, "most": 30, "protocol": "h2"}
