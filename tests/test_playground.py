"""The playground in a real browser, against a real server and a scripted model."""

import json
import re
import subprocess
import sys
import time
from typing import Any

import agentflows
from browser import grown, new_page
from clients import counted
from playground import alone, ask, ended, opened, text, turn
from playwright.sync_api import Browser, Page, expect
from servers import KEY, Server, chat_model, conversation, flow, node
from test_retrieval_chains import documents
from upstream import Upstream

__all__ = ["alone"]

PLAYING = """() => {
    const text = document.querySelector("article.replay")?.innerText ?? "";
    return text.includes("w3") && !text.includes("w50");
}"""


def test_an_answer_grows_on_the_page_and_the_graph_shows_who_speaks(
    alone: Page, server: Server, chat: str, upstream: Upstream
) -> None:
    page = opened(alone, server, chat)
    ask(page, "/count 40 | /hold 1 2 3 5 8 13")
    model = page.locator('.graph [data-node="chatOpenAI_0"]')
    expect(model).to_have_attribute("data-state", "running")
    expect(page.locator('.graph [data-node="conversationChain_0"]')).to_have_attribute("data-state", "running")
    answer = turn(page).locator(".answer > .markdown")
    grown(answer, [counted(number) for number in (1, 2, 3, 5, 8, 13)], upstream.go_on)
    ended(page)
    expect(model).to_have_attribute("data-state", "done")
    assert text(page) == counted(40)
    assert "tokens" in turn(page).locator(".foot").inner_text()


def test_a_flow_that_waits_is_answered_with_a_button(alone: Page, server: Server) -> None:
    human = agentflows.node("humanInput", humanInputDescription="Pay it?")
    drawn = agentflows.flow(
        agentflows.start(), human, agentflows.reply("Paid: {{ humanInputAgentflow_0 }}"),
        arrows="start_0 humanInput_0, humanInput_0:0 directReply_0",
    )  # fmt: skip
    page = opened(alone, server, server.create_flow(drawn, type="AGENTFLOW"))
    ask(page, "Order 17")
    form = page.locator(".approval")
    expect(form.get_by_role("button")).to_have_text(["Proceed", "Reject"])
    page.reload()
    form.get_by_label("Feedback").fill("Only once.")
    form.get_by_role("button", name="Proceed").click()
    expect(page.locator("article.turn")).to_have_count(2)
    ended(page)
    assert text(page) == "Paid: Only once."
    expect(form).to_have_count(0)


def test_every_event_shows_with_its_time_and_bytes(alone: Page, server: Server, chat: str) -> None:
    page = opened(alone, server, chat)
    ask(page, "/count 300 | /burst")
    ended(page)
    summary = page.locator("#events .summary")
    expect(summary).to_contain_text("303 frames")  # start, tokens, metadata, end
    rows = page.locator(".event")
    assert rows.count() < 80, "only what is in sight exists"
    expect(rows.last).to_contain_text("end")
    page.locator(".events").press("Home")
    first = rows.first
    expect(first).to_contain_text("start")
    expect(page.locator(".detail strong")).to_have_text("start")
    frame = page.locator(".detail pre").first.inner_text()
    run = re.findall(r"id:([0-9a-f]{32}):1\nmessage:\ndata:\{\"event\":\"start\"", frame)
    assert run
    size = len(f"{frame}\n\n".encode())
    expect(page.locator('.event[aria-selected="true"] .size')).to_have_text(f"{size} B")
    assert re.fullmatch(r"\+\d+\.\d{3}", page.locator('.event[aria-selected="true"] .when').inner_text())


def test_sources_and_tools_show_with_what_they_were_asked_and_said(
    alone: Page, server: Server, upstream: Upstream
) -> None:
    tool = node(
        "retrieverTool", "Tools", name="search birds", description="Looks birds up.", returnSourceDocuments=True,
        retriever="{{memoryVectorStore_0.data.instance}}",
    )  # fmt: skip
    wires: dict[str, Any] = {"model": "{{chatOpenAI_0.data.instance}}", "tools": ["{{retrieverTool_0.data.instance}}"]}
    parts = flow(chat_model(upstream.url), *documents(), tool, node("toolAgent", "Agents", **wires))
    page = opened(alone, server, server.create_flow(parts))
    ask(page, '/tool search_birds {"input": "wren"}')
    ended(page)
    used = turn(page).locator(".tool")
    expect(used.locator("summary")).to_contain_text("search_birds")
    used.locator("summary").click()
    expect(used.locator(".field").first).to_contain_text("wren")
    expect(used.locator(".field").last).to_contain_text("The wren is very small.")
    source = turn(page).locator(".passage")
    expect(source).to_have_count(1)
    expect(source.locator(".source")).to_have_text("birds")
    source.locator("summary").press("Enter")
    expect(source.locator("p")).to_have_text("The wren is very small.")
    for name in ("memoryVectorStore_0", "retrieverTool_0", "toolAgent_0"):
        expect(page.locator(f'.graph [data-node="{name}"]')).to_have_attribute("data-state", "done")


def test_a_tool_lights_up_while_it_runs_where_the_agent_tells(alone: Page, server: Server, upstream: Upstream) -> None:
    slow = node(
        "chainTool", "Tools", name="slow", description="Asks a model.", baseChain="{{llmChain_0.data.instance}}"
    )
    prompt = node("promptTemplate", "Prompts", template="{question}\n/count 10 | /hold 5")
    chain = node(
        "llmChain", "Chains", output="llmChain", model="{{chatOpenAI_0.data.instance}}",
        prompt="{{promptTemplate_0.data.instance}}",
    )  # fmt: skip
    wires: dict[str, Any] = {"model": "{{chatOpenAI_0.data.instance}}", "tools": ["{{chainTool_0.data.instance}}"]}
    ending = node("toolAgent", "Agents", enableDetailedStreaming=True, **wires)
    page = opened(alone, server, server.create_flow(flow(chat_model(upstream.url), prompt, chain, slow, ending)))
    ask(page, '/tool slow {"input": "count"}')
    tool = page.locator('.graph [data-node="chainTool_0"]')
    expect(tool).to_have_attribute("data-state", "running")
    expect(page.locator('.graph [data-node="chatOpenAI_0"]')).to_have_attribute("data-state", "done")
    expect(turn(page).locator(".tool summary")).to_have_text(re.compile("slow.*running"))
    upstream.go_on()
    ended(page)
    expect(tool).to_have_attribute("data-state", "done")
    expect(turn(page).locator(".tool")).to_have_count(1)


def test_a_reload_in_mid_answer_ends_with_the_whole_answer(
    alone: Page, server: Server, chat: str, upstream: Upstream
) -> None:
    page = opened(alone, server, chat)
    ask(page, "/say Before. | /burst")
    ended(page)
    ask(page, "/count 60 | /hold 5")
    expect(turn(page)).to_contain_text("w5")
    page.reload()
    expect(turn(page, 1)).to_contain_text("w5")
    upstream.go_on()
    ended(page)
    assert text(page) == counted(60)
    assert page.locator("article.turn").count() == 2
    assert "Before." in turn(page, 0).inner_text()
    assert len(upstream.requests) == 2, "a reload asks nothing twice"


def test_stop_closes_the_connection_to_the_model(alone: Page, server: Server, chat: str, upstream: Upstream) -> None:
    page = opened(alone, server, chat)
    ask(page, "/count 2000 | /pace 20")
    expect(turn(page)).to_contain_text("w4")
    page.locator("#stop").click()
    ended(page, "cancelled")
    assert upstream.wait_until(lambda r: r[-1].closed_by_peer_at_token is not None)
    expect(turn(page).locator(".callout")).to_have_text("Stopped.")
    expect(page.locator("#send")).to_be_visible()


def test_a_failure_is_said_in_words_and_the_question_can_be_asked_again(alone: Page, server: Server, chat: str) -> None:
    page = opened(alone, server, chat)
    ask(page, "/fail 1 401 | /say It works now.")
    ended(page, "failed")
    callout = turn(page).locator(".callout")
    expect(callout).to_contain_text("answered 401")
    expect(callout.locator("code")).to_have_text("provider_unauthorized")
    expect(page.locator('.graph [data-node="conversationChain_0"]')).to_have_attribute("data-state", "failed")
    turn(page).get_by_role("button", name="Try again").click()
    ended(page)
    assert text(page) == "It works now."


def test_a_refused_question_says_why(alone: Page, server: Server) -> None:
    flow_id = server.create_flow(flow(node("noSuchNode", "Chains", label="Mystery")))
    page = opened(alone, server, flow_id, key=True)
    expect(page.locator(".graph .gone")).to_have_count(1)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.method))
    ask(page, "Hello?")
    ended(page, "failed")
    expect(turn(page).locator(".callout")).to_contain_text("noSuchNode")
    assert asked.count("POST") == 1
    page.reload()
    expect(turn(page).locator(".callout")).to_contain_text("noSuchNode")
    assert asked.count("POST") == 1, "what never became a run is not asked again by a reload"


def test_two_users_are_kept_apart(alone: Page, browser: Browser, server: Server, chat: str) -> None:
    first = opened(alone, server, chat)
    with new_page(browser) as second:
        opened(second, server, chat)
        ask(first, "/say Only for one. | /pace 30")
        ask(second, "/say Only for two. | /pace 30")
        for page, mine, theirs in ((first, "one", "two"), (second, "two", "one")):
            ended(page)
            assert text(page) == f"Only for {mine}."
            page.locator("#tab-runs").click()
            expect(page.locator(".run")).to_have_count(1)
            page.reload()
            ended(page)
            assert theirs not in page.locator("#turns").inner_text()


def test_a_reader_that_disconnects_resumes_after_its_last_event(
    alone: Page, server: Server, chat: str, upstream: Upstream
) -> None:
    page = opened(alone, server, chat)
    ask(page, "/count 60 | /hold 5")
    expect(turn(page)).to_contain_text("w5")
    page.get_by_role("button", name="Disconnect").click()
    expect(turn(page)).to_have_attribute("data-state", "detached")
    assert text(page) == counted(5)
    page.locator("#tab-runs").click()
    expect(page.locator(".run .badge")).to_have_text("running")
    upstream.go_on()
    turn(page).get_by_role("button", name="Resume").click()
    ended(page)
    assert text(page) == counted(60)
    assert len(upstream.requests) == 1


def test_a_run_that_goes_on_is_followed_from_the_history(
    alone: Page, server: Server, chat: str, upstream: Upstream
) -> None:
    page = opened(alone, server, chat)
    ask(page, "/count 50 | /hold 3")
    expect(turn(page)).to_contain_text("w3")
    page.get_by_role("button", name="Disconnect").click()
    page.locator("#tab-runs").click()
    page.locator(".run").get_by_role("button", name="Follow").click()
    expect(page.locator("article.turn")).to_have_count(2)
    expect(turn(page)).to_contain_text("w3")
    upstream.go_on()
    ended(page)
    assert text(page) == counted(50)
    assert len(upstream.requests) == 1


def test_a_run_is_replayed_at_the_speed_it_happened_and_cancelled_from_the_history(
    alone: Page, server: Server, chat: str, upstream: Upstream
) -> None:
    page = opened(alone, server, chat)
    ask(page, "/count 50 | /pace 40")
    ended(page)
    page.locator("#tab-runs").click()
    began = time.monotonic()
    page.locator(".run").get_by_role("button", name="Replay").click()
    page.wait_for_function(PLAYING)
    replay = page.locator("article.replay")
    expect(replay).to_have_attribute("data-state", "finished")
    assert time.monotonic() - began > 1.9  # 49 pauses of 40 ms
    assert "w50" in replay.inner_text()
    assert len(upstream.requests) == 1
    replay.get_by_role("button", name="Close").click()
    ask(page, "/count 2000 | /pace 20")
    page.locator(".run").first.get_by_role("button", name="Cancel").click()
    ended(page, "cancelled")
    assert upstream.wait_until(lambda r: r[-1].closed_by_peer_at_token is not None)


def test_an_agent_flow_lights_the_node_that_runs(alone: Page, server: Server, upstream: Upstream) -> None:
    parts = agentflows.flow(agentflows.start(), agentflows.llm(upstream.url), arrows="start_0 llm_0")
    page = opened(alone, server, server.create_flow(parts, type="AGENTFLOW"))
    ask(page, "/count 30 | /hold 9")
    model = page.locator('.graph [data-node="llmAgentflow_0"]')
    expect(model).to_have_attribute("data-state", "running")
    expect(page.locator('.graph [data-node="startAgentflow_0"]')).to_have_attribute("data-state", "done")
    expect(page.locator(".legend")).to_contain_text("Running: llm 0")
    upstream.go_on()
    ended(page)
    expect(model).to_have_attribute("data-state", "done")


def dropped(page: Page, name: str, content: str) -> None:
    """Drops a file onto the page."""
    page.evaluate(
        """([name, content]) => {
            const data = new DataTransfer();
            data.items.add(new File([content], name, { type: "application/json" }));
            const how = { dataTransfer: data, bubbles: true, cancelable: true };
            for (const kind of ["dragenter", "dragover", "drop"])
                document.body.dispatchEvent(new DragEvent(kind, how));
        }""",
        [name, content],
    )


def test_a_dropped_flow_file_is_stored_and_its_coverage_shown(alone: Page, server: Server, upstream: Upstream) -> None:
    page = alone
    page.goto(server.url)
    parts = conversation(upstream.url)
    parts["nodes"].append(node("noSuchMemory", "Memory"))
    dropped(page, "Mine <b>Chatflow</b>.json", json.dumps(parts))
    expect(page.locator("#key-dialog")).to_be_visible()  # storing needs the key; the file waits for it
    page.locator("#key").fill("wrong")
    page.locator("#key-form button[type=submit]").click()
    expect(page.locator("#key-error")).to_contain_text("API key")
    page.locator("#key").fill(KEY)
    page.locator("#key-form button[type=submit]").click()
    report = page.locator(".coverage")
    expect(report).to_contain_text("3 of 4 node types run here")
    expect(report).to_contain_text("Missing: noSuchMemory")
    expect(report.locator(".findings.faint li")).to_have_text(
        "noSuchMemory (noSuchMemory_0) is a 'noSuchMemory', which this server does not have: replace it, or install a "
        "package that brings it; the answer does not need it"
    )
    expect(report.locator("strong")).to_have_text("Mine <b>Chatflow</b>")
    expect(page.locator(".flow-list")).to_contain_text("Mine <b>Chatflow</b>")
    expect(page.locator("#flow-name")).to_have_text("Mine <b>Chatflow</b>")
    parts["nodes"].pop()
    dropped(page, "Whole.json", json.dumps({"ChatFlow": [{"name": "Whole", "flowData": json.dumps(parts)}]}))
    expect(report).to_contain_text("All 3 node types run here")
    ask(page, "/say Hello there.")
    ended(page)
    assert text(page) == "Hello there."
    bound = {"name": "Bound", "flowData": json.dumps(parts), "apikeyid": "gone"}
    dropped(page, "Bound.json", json.dumps({"ChatFlow": [bound]}))
    expect(page.locator(".report .key")).to_contain_text('API key "Bound (imported)", shown only now: hr_')
    expect(page.locator(".report")).to_contain_text("is locked")
    dropped(page, "broken.json", "{")
    expect(page.locator(".report .error")).to_have_text("broken.json: this is no JSON file")


def test_the_key_of_a_printed_link_works_and_leaves_the_address(alone: Page, server: Server, chat: str) -> None:
    page = alone
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{server.url}/#key={KEY}")
    expect(page.locator(".flow-list li").first).to_be_visible()
    assert KEY not in page.url
    assert not [url for url in asked if KEY in url.partition("#")[0]]
    assert page.evaluate("Object.values(localStorage).join()").find(KEY) == -1
    assert page.evaluate("sessionStorage.getItem('headrace.key')") == KEY
    page.locator("#open-key").click()
    page.locator("#forget-key").click()
    expect(page.locator(".flow-list li")).to_have_count(0)
    assert page.evaluate("sessionStorage.getItem('headrace.key')") is None


def test_without_a_key_a_flow_opens_by_its_id_and_no_other_shows(alone: Page, server: Server, chat: str) -> None:
    page = alone
    page.goto(server.url)
    expect(page.locator(".flow-list li")).to_have_count(0)
    expect(page.locator("#new-chat")).to_be_disabled()
    page.locator("#flow-id").fill("00000000-0000-4000-8000-000000000000")
    page.locator("#flow-id").press("Enter")
    expect(page.locator(".hello .error")).to_contain_text("00000000-0000")
    page.locator("#flow-id").fill(chat)
    page.locator("#flow-id").press("Enter")
    expect(page.locator(".graph .node")).to_have_count(3)
    ask(page, "/say Open.")
    ended(page)


def test_the_code_for_a_flow_runs_as_it_is_copied(alone: Page, server: Server, chat: str) -> None:
    page = opened(alone, server, chat)
    ask(page, '/say It\'s "here".')
    ended(page)
    page.locator("#tab-code").click()
    code = {
        s: page.locator(f'section.code[aria-label="{s}"] pre').inner_text() for s in ("Python", "TypeScript", "curl")
    }
    assert all(chat in snippet for snippet in code.values())

    for command in ([sys.executable, "-c", code["Python"]], ["sh", "-c", code["curl"]]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert "here" in done.stdout, done.stderr


def test_everything_can_be_done_with_the_keyboard(alone: Page, server: Server, chat: str) -> None:
    page = opened(alone, server, chat)
    page.locator("#question").focus()
    page.keyboard.type("/say From the keyboard.")
    page.keyboard.press("Enter")
    ended(page)
    page.locator("#tab-live").focus()
    for name in ("runs", "code", "live", "code"):
        page.keyboard.press("ArrowRight" if name != "code" or page.locator("#view-runs").is_visible() else "End")
        expect(page.locator(f"#view-{name}")).to_be_visible()
        expect(page.locator(f"#tab-{name}")).to_be_focused()
    page.keyboard.press("Home")
    page.get_by_role("button", name="Enlarge").focus()
    page.keyboard.press("Enter")
    assert page.locator("#graph").bounding_box() == {"x": 0, "y": 52.5, "width": 1280, "height": 747.5}
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Enlarge")).to_be_focused()
    page.locator("#open-key").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#key")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#key-dialog")).to_be_hidden()
    expect(page.locator("#open-key")).to_be_focused()
