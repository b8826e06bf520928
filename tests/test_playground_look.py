"""How the playground holds up: for people with other senses, under long answers, and in its picture."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from browser import DESK, PHONE, new_page, picture
from playground import alone, ask, ended, opened, turn
from playwright.sync_api import Browser, Page, expect
from provider import Answer, Provider, chunks
from servers import Server, chat_model, flow, node, serving
from test_playground_text import WRITTEN
from test_retrieval_chains import qa
from typescript import built
from upstream import Upstream

__all__ = ["alone"]


def axe(page: Page, rules: Sequence[str]) -> list[str]:
    """What axe-core finds by these rules, or by all, that is serious or worse."""
    if page.evaluate("window.axe === undefined"):
        page.evaluate((built() / "node_modules" / "axe-core" / "axe.min.js").read_text())
    chosen = {"runOnly": list(rules)} if rules else {}
    found = page.evaluate("(chosen) => axe.run(document, { resultTypes: ['violations'], ...chosen })", chosen)
    grave = [item for item in found["violations"] if item["impact"] in ("serious", "critical")]
    return [f"{item['id']}: {[node['html'] for node in item['nodes']][:3]}" for item in grave]


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_axe_finds_nothing_serious(
    browser: Browser, server: Server, upstream: Upstream, colours: Any, size: Any
) -> None:
    built()
    flow_id = server.create_flow(qa(upstream.url, returnSourceDocuments=True), name=f"Birds {'and more ' * 12}")
    rules = ["color-contrast"] if colours == "dark" else []  # nothing else depends on the colours
    with new_page(browser, size, color_scheme=colours, reduced_motion="reduce") as page:
        opened(page, server, flow_id, key=True)
        assert page.evaluate("document.body.scrollWidth") == size["width"], "a long name fits"
        found = {"hello": axe(page, rules)}
        ask(page, "What does the heron spear?")
        ended(page)
        turn(page).locator(".passage summary").click()
        ask(page, f"/json {json.dumps(WRITTEN)} | /burst")
        expect(page.locator("article.turn")).to_have_count(2)
        ended(page)
        found["answer"] = axe(page, rules)
        ask(page, "/status 401")
        ended(page, "failed")
        for view in ("live", "runs", "code"):
            page.locator(f"#tab-{view}" if size == DESK else f"#bottom [data-view={view}]").click()
            if view == "live":
                page.locator(".events").press("Home")
            if view == "runs":
                expect(page.locator(".run")).to_have_count(3)
            found[view] = axe(page, rules)
        if size == PHONE:
            page.locator("#open-flows").click()
            page.wait_for_function("getComputedStyle(document.getElementById('flows')).translate === '0px'")
            found["flows"] = axe(page, rules)
        page.locator("#open-key").click()
        found["key"] = axe(page, rules)
        assert found == {name: [] for name in found}


SHAPES: dict[str, Callable[[int], str]] = {
    "paragraph": lambda n: " ".join(f"**w{i}**" if i % 4 == 0 else f"w{i}" for i in range(n)),
    "code": lambda n: "```\n" + "\n".join(f"line {i} of code" for i in range(n // 4)),
    "list": lambda n: "\n".join(f"- item **{i}** here" for i in range(n // 4)),
    "item": lambda n: "- " + "\n  ".join(f"line {i} of one" for i in range(n // 4)),
    "table": lambda n: "| a | b |\n|---|--:|\n" + "\n".join(f"| row {i} | **{i}** |" for i in range(n // 6)),
    "quote": lambda n: "\n".join(f"> - item **{i}** here" for i in range(n // 5)),
}
WHOLE = """(last) => document.querySelector(".turn[data-state=finished] .answer > .markdown")
    ?.textContent.includes(last)"""
TASKS = ["-*", "disabled-by-default-devtools.timeline", "toplevel"]


def longest_task(page: Page, act: Callable[[], None]) -> float:
    """Milliseconds of processor time of the page's longest task meanwhile: what else the machine does is not in it."""
    browser = page.context.browser
    assert browser
    browser.start_tracing(page=page, categories=TASKS)
    act()
    events = json.loads(browser.stop_tracing())["traceEvents"]
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    tasks = [e for e in events if "RunTask" in e["name"] and names[e["pid"], e["tid"]] == "CrRendererMain"]
    return max(e["tdur"] for e in tasks if "tdur" in e) / 1000


def saying(base: str, text: str, pace: str) -> dict[str, Any]:
    """A flow that always says this, so that the page does not show the text as a question too."""
    prompt = node("promptTemplate", "Prompts", template=f"{{question}}\n/json {json.dumps(text)} | {pace}")
    wires = {"model": "{{chatOpenAI_0.data.instance}}", "prompt": "{{promptTemplate_0.data.instance}}"}
    return flow(chat_model(base), prompt, node("llmChain", "Chains", output="llmChain", **wires))


@pytest.mark.parametrize(
    ("tokens", "pace"),
    [(2000, "/burst"), pytest.param(10_000, "/pace 5", marks=pytest.mark.soak)],
    ids=["part", "whole"],
)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_long_answer_freezes_nothing_and_stays_small(
    request: pytest.FixtureRequest,
    alone: Page,
    server: Server,
    upstream: Upstream,
    tokens: int,
    pace: str,
    shape: str,
) -> None:
    if tokens == 10_000 and "soak" not in (request.config.getoption("markexpr") or ""):
        pytest.skip("the whole of it runs with -m soak")
    text = SHAPES[shape](tokens)
    last = re.findall(r"\d+", text)[-1]
    opened(alone, server, server.create_flow(saying(upstream.url, text, pace)))

    def answered() -> None:
        ask(alone, "Go on.")
        alone.wait_for_function(WHOLE, arg=last, timeout=120_000, polling=100)  # `expect` reads the page at some length

    longest = longest_task(alone, answered)
    print(f"\nlongest task: {longest:.0f} ms for {tokens} tokens as {shape}")
    assert 0 < longest < 100
    assert alone.locator(".event").count() < 80
    assert alone.evaluate("document.querySelectorAll('#turns *').length") < tokens * 1.2
    assert alone.evaluate("performance.memory.usedJSHeapSize") < 64 * 1024 * 1024


def drawn(base: str) -> dict[str, Any]:
    """Questions about runs, answered from two texts, as somebody has arranged it in the builder."""
    texts = (
        "Resume a stream with the id of its last event.",
        "A run goes on when its reader leaves, unless it shall not.",
    )
    files = [
        node("plainText", "Document Loaders", n, label="Runs", text=text, metadata=f'{{"source": "{name}"}}')
        for n, (text, name) in enumerate(zip(texts, ("docs/runs.md", "docs/runs.md"), strict=True))
    ]
    wires = {"document": [f"{{{{plainText_{n}.data.instance}}}}" for n in range(2)], "topK": "2"}
    store = node("memoryVectorStore", "Vector Stores", label="Vector Store", output="retriever", **wires)
    chain = node(
        "conversationalRetrievalQAChain", "Chains", label="Answers", returnSourceDocuments=True,
        model="{{chatOpenAI_0.data.instance}}", vectorStoreRetriever="{{memoryVectorStore_0.data.instance}}",
    )  # fmt: skip
    nodes = [chat_model(base), *files, store, chain]
    for part, (x, y) in zip(nodes, [(400, 0), (0, 250), (0, 550), (400, 400), (800, 200)], strict=True):
        part["position"] = {"x": x, "y": y}
    return flow(*nodes)


def test_a_picture_of_the_playground_is_taken(browser: Browser, provider: Provider, tmp_path: Path) -> None:
    first = chunks(
        "Ask for the run's events with the id of the last frame that you have:\n\n"
        '```bash\ncurl -N http://localhost:3000/api/v1/runs/$run/events -H "Last-Event-ID: $run:57"\n```\n\n'
        "You get what comes **after** that event, byte for byte as it was sent the first time."
    )
    second = chunks(
        "Only if you want it to. A run belongs to its log, not to a connection:\n\n"
        "- by default it goes on, and you find the whole answer when you come back\n"
        '- with `onDisconnect: "cancel"` it ends when its last'
    )
    stream = {"Content-Type": "text/event-stream"}
    provider.always(Answer([*first, b"data: [DONE]\n\n"], headers=stream))
    with serving(tmp_path / "data", "--demo") as server, new_page(browser) as page:
        flow_id = server.create_flow(drawn(f"{provider.url}/v1"), name="Questions about runs")
        server.ask(flow_id, "Are you awake?")  # the picture shows what a warm flow takes
        opened(page, server, flow_id, key=True)
        ask(page, "How do I resume a stream?")
        ended(page)
        provider.once_rephrased(Answer([b"".join(second), b""], headers=stream, held=True))
        ask(page, "Does a run end when its reader leaves?")
        expect(turn(page)).to_contain_text("when its last")
        expect(page.locator(".graph [data-state=running]")).to_have_count(2)
        picture(page, "playground")
        page.locator("#stop").click()
        ended(page, "cancelled")
