"""The TypeScript library in a real browser, on a page of another site than the server's."""

from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from typing import Any

import pytest
from clients import counted
from playwright.sync_api import Page
from proxy import proxied
from scripted import serving
from servers import Server, conversation
from test_site import Quiet
from typescript import built
from upstream import Upstream

READ = """async ([baseUrl, flow, question]) => {
  const { HeadraceClient } = await import("/dist/esm/index.js");
  const client = new HeadraceClient({ baseUrl, backoff: 1, attempts: 2 });
  const stream = client.stream(flow, question);
  const kinds = [];
  try {
    for await (const event of stream) {
      if (event.event === "token" && kinds.at(-1) === "token") continue;
      kinds.push(event.event);
      if (question.includes("/pace") && event.event === "token") await stream.cancel();
    }
    return [kinds.join(" "), (await stream.final()).text, (await client.run(stream.runId)).state];
  } catch (error) {
    return [kinds.join(" "), error.code];
  }
}"""

BESIDES = """async ([baseUrl, flow]) => {
  const { HeadraceClient } = await import("/dist/esm/index.js");
  const client = new HeadraceClient({ baseUrl });
  const { title } = await client.chatConfig(flow);
  const chatId = crypto.randomUUID();
  const uploads = await client.attach(flow, chatId, [new File(["A wren."], "wren.txt", { type: "text/plain" })]);
  const { text, chatMessageId } = await client.predict(flow, "/say Small.", { chatId, uploads });
  const { rating } = await client.rate(flow, chatMessageId, "THUMBS_UP");
  return [title, uploads.map(({ name, data }) => [name, data]), text, rating];
}"""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """A site that has the built library; its page is the list of the folder's files."""
    pages = partial(Quiet, directory=str(built()))
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), pages)) as server:
        yield f"http://localhost:{server.server_port}"


def asked(page: Page, site: str, *about: str) -> list[Any]:
    """What a stream gives on a page of the site: the kinds of its events, then text and state, or the error's code."""
    page.goto(f"{site}/dist/")
    return page.evaluate(READ, list(about))


def test_a_page_on_an_allowed_site_resumes_and_cancels(
    page: Page, site: str, server: Server, upstream: Upstream
) -> None:
    flow = server.create_flow(conversation(upstream.url), chatbotConfig={"allowedOrigins": [site]})
    with proxied(server.port, events=5) as proxy:
        assert asked(page, site, proxy.url, flow, "/count 40") == [
            "start token metadata end",
            counted(40),
            "finished",
        ]
        assert [method for method, _ in proxy.requests if method == "POST"] == ["POST"]
        assert len([method for method, last in proxy.requests if method == "GET" and last]) == 8
    kinds, text, state = asked(page, site, server.url, flow, "/count 500 | /pace 5")
    assert (kinds, state) == ("start token abort end", "cancelled")
    assert counted(500).startswith(text)


def test_a_page_on_an_allowed_site_sends_files_and_rates(
    page: Page, site: str, server: Server, upstream: Upstream
) -> None:
    config = {
        "title": "Birds",
        "allowedOrigins": [site],
        "fullFileUpload": {"status": True, "allowedUploadFileTypes": "text/plain"},
    }
    flow = server.create_flow(conversation(upstream.url), chatbotConfig=config)
    page.goto(f"{site}/dist/")
    found = page.evaluate(BESIDES, [server.url, flow])
    assert found == ["Birds", [["wren.txt", "A wren."]], "Small.", "THUMBS_UP"]


def test_a_page_on_another_site_is_refused(page: Page, site: str, server: Server, upstream: Upstream) -> None:
    flow = server.create_flow(conversation(upstream.url), chatbotConfig={"allowedOrigins": ["https://shop.example"]})
    assert asked(page, site, server.url, flow, "/count 3") == ["", "connection_failed"]
    assert upstream.requests == []
