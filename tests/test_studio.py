"""The studio's canvas in a real browser: flows are opened, drawn and saved."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from agentflows import flow as agent_flow
from agentflows import node as step
from agentflows import reply, start
from browser import new_page, picture
from playwright.sync_api import Browser, Page, expect
from servers import KEY, Server, conversation
from studio_page import DESK, add, choose, field, node, opened, save, stored, studio, watched

__all__ = ["studio"]

TEMPLATES = Path(__file__).parents[2] / "shared" / "flowise" / "templates"
TYPES = {"chatflows": "CHATFLOW", "agentflowsv2": "AGENTFLOW", "agentflows": "MULTIAGENT"}
FOUND = [path for folder in TYPES for path in sorted((TEMPLATES / folder).glob("*.json"))]
FILES = FOUND or [
    pytest.param(
        None, marks=pytest.mark.skip("the templates (../shared/flowise/templates) are not beside this project")
    )
]


def drawing_of(path: Path) -> dict[str, Any]:
    file = json.loads(path.read_text())
    return {"nodes": file["nodes"], "edges": file["edges"], "viewport": {"x": 1, "y": 2, "zoom": 0.5}, "later": [1]}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem if path else "none")
def test_a_file_of_the_older_builder_opens_and_is_saved_as_it_was(studio: Page, server: Server, path: Path) -> None:
    drawn = drawing_of(path)
    flow_id = server.create_flow(drawn, name=path.stem, type=TYPES[path.parent.name])
    page = opened(studio, server, flow_id)
    for one in drawn["nodes"]:
        expect(node(page, one["id"])).to_have_count(1)
    page.get_by_label("Name of the flow").fill("Renamed")
    save(page)
    assert stored(server, flow_id) == drawn


def test_a_chatflow_is_drawn_connected_and_saved(studio: Page, server: Server) -> None:
    studio.get_by_role("button", name="New chatflow").click()
    add(studio, "arithmetic")
    add(studio, "buffer memory")
    add(studio, "conversation chain")
    studio.get_by_label("Model *").select_option(label="Chat Arithmetic")
    studio.get_by_label("Memory", exact=True).select_option(label="Buffer Memory")
    studio.get_by_text("More settings").click()
    field(studio, "systemMessagePrompt").get_by_role("textbox").fill("Be brief.")
    save(studio)
    flow_id = studio.url.rpartition("flow=")[2]
    drawn = stored(server, flow_id)
    chain = next(one["data"] for one in drawn["nodes"] if one["data"]["name"] == "conversationChain")
    assert chain["inputs"]["model"] == "{{chatArithmetic_0.data.instance}}"
    assert chain["inputs"]["systemMessagePrompt"] == "Be brief."
    assert [edge["target"] for edge in drawn["edges"]] == [chain["id"]] * 2
    assert "calculator" in server.ask(flow_id, "What is 6 * 7?").json["text"], "the tool that it is not connected to"


def test_a_connection_is_drawn_with_the_mouse_and_refused_with_the_reason(studio: Page, server: Server) -> None:
    page = opened(studio, server, server.create_flow({"nodes": [], "edges": []}))
    for words in ("arithmetic", "buffer memory", "conversation chain"):
        add(page, words)
    page.get_by_role("button", name="Arrange").click()
    model = page.get_by_label(re.compile("output of Chat Arithmetic"))
    model.drag_to(page.get_by_label("Memory, input of Conversation Chain"))
    expect(page.locator(".notice-line")).to_contain_text("Memory takes BaseMemory, and this is")
    expect(page.locator(".svelte-flow__edge")).to_have_count(0)
    model.drag_to(page.get_by_label("Model, input of Conversation Chain"))
    expect(page.locator(".svelte-flow__edge")).to_have_count(1)


def test_every_step_is_undone_and_done_again(studio: Page, server: Server) -> None:
    drawn = conversation("http://127.0.0.1:9/v1")
    flow_id = server.create_flow(drawn)
    page = opened(studio, server, flow_id)
    add(page, "calculator")
    node(page, "calculator_0").click()
    page.get_by_label("Name of the node").fill("Sums")
    node(page, "calculator_0").click()
    page.keyboard.press("Control+d")
    expect(node(page, "calculator_1")).to_be_visible()
    page.keyboard.press("Delete")
    expect(node(page, "calculator_1")).to_have_count(0)
    page.get_by_role("button", name="Arrange").click()
    undo, redo = page.get_by_role("button", name="Undo"), page.get_by_role("button", name="Redo")
    for _ in range(5):
        undo.click()
    expect(undo).to_be_disabled()
    expect(page.locator(".bar [role=status]")).to_have_text("Saved")
    for _ in range(5):
        redo.click()
    expect(redo).to_be_disabled()
    expect(node(page, "calculator_0").locator(".node-label")).to_have_text("Sums")


def test_nodes_are_copied_into_another_flow_with_their_connections(studio: Page, server: Server) -> None:
    page = opened(studio, server, server.create_flow(conversation("http://127.0.0.1:9/v1")))
    page.keyboard.press("Control+a")
    page.evaluate(
        """() => {
            const data = new DataTransfer();
            document.dispatchEvent(new ClipboardEvent("copy", { clipboardData: data, bubbles: true }));
            sessionStorage.setItem("copied", data.getData("text/plain"));
        }"""
    )
    target = server.create_flow(conversation("http://127.0.0.1:9/v1"))
    opened(page, server, target)
    page.evaluate(
        """() => {
            const data = new DataTransfer();
            data.setData("text/plain", sessionStorage.getItem("copied"));
            document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
        }"""
    )
    expect(page.get_by_text("3 nodes are chosen.")).to_be_visible()
    save(page)
    drawn = stored(server, target)
    assert len({one["id"] for one in drawn["nodes"]}) == 6
    chain = next(one for one in drawn["nodes"] if one["id"] == "conversationChain_1")
    assert chain["data"]["inputs"]["model"] == "{{chatOpenAI_1.data.instance}}"
    assert {edge["target"] for edge in drawn["edges"]} == {"conversationChain_0", "conversationChain_1"}


def test_nodes_are_moved_with_the_arrow_keys_and_the_mouse(studio: Page, server: Server) -> None:
    flow_id = server.create_flow(agent_flow(start(), reply("Hi"), arrows="start_0 directReply_0"), type="AGENTFLOW")
    page = opened(studio, server, flow_id)
    moved = page.locator('.svelte-flow__node[data-id="directReplyAgentflow_0"]')
    moved.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowRight")
    save(page)
    places = {one["id"]: one["position"] for one in stored(server, flow_id)["nodes"]}
    assert places["directReplyAgentflow_0"]["x"] > 0
    assert places["startAgentflow_0"] == {"x": 0, "y": 0}


def test_300_nodes_are_shown_moved_and_saved(studio: Page, server: Server) -> None:
    many = [
        {**reply("Hi", number), "position": {"x": number % 20 * 260 + 260, "y": number // 20 * 120}}
        for number in range(300)
    ]
    arrows = ", ".join(f"directReply_{number} directReply_{number + 1}" for number in range(299))
    flow_id = server.create_flow(
        agent_flow(start(), *many, arrows=f"start_0 directReply_0, {arrows}"), type="AGENTFLOW"
    )
    page = opened(studio, server, flow_id)
    expect(page.locator(".svelte-flow__node")).to_have_count(301)
    box = node(page, "directReplyAgentflow_150").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"], steps=20)
    page.mouse.up()
    save(page)
    drawn = {one["id"]: one for one in stored(server, flow_id)["nodes"]}
    moved = [one["id"] for one in many if drawn[one["id"]]["position"] != one["position"]]
    assert moved == ["directReplyAgentflow_150"]


def test_a_circle_is_refused(studio: Page, server: Server) -> None:
    drawn = agent_flow(start(), reply("Hi"), step("llm", llmModel="chatArithmetic"), arrows="start_0 llm_0")
    page = opened(studio, server, server.create_flow(drawn, type="AGENTFLOW"))
    page.get_by_role("button", name="Arrange").click()
    choose(page, "llm 0")
    expect(page.get_by_label("Goes on to").get_by_role("option")).to_have_text(["Connect…", "directReply 0"])


def test_an_iteration_holds_what_is_dropped_into_it(studio: Page, server: Server) -> None:
    flow_id = server.create_flow(agent_flow(start(), arrows=""), type="AGENTFLOW")
    page = opened(studio, server, flow_id)
    add(page, "iteration")
    page.get_by_label("Search nodes").fill("custom function")
    page.get_by_role("button", name="Custom Function").drag_to(node(page, "iterationAgentflow_0"))
    save(page)
    inside = stored(server, flow_id)["nodes"][-1]
    assert (inside["data"]["name"], inside["parentNode"], inside["extent"]) == (
        "customFunctionAgentflow",
        "iterationAgentflow_0",
        "parent",
    )


def test_notes_and_names_with_markup_are_text(studio: Page, server: Server) -> None:
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>{{constructor}}"
    drawn = conversation("http://127.0.0.1:9/v1", model={"modelName": hostile})
    drawn["nodes"][0]["data"]["label"] = hostile
    page = opened(studio, server, server.create_flow(drawn, name=hostile))
    expect(page.get_by_label("Name of the flow")).to_have_value(hostile)
    expect(node(page, "chatOpenAI_0").locator(".node-label")).to_have_text(hostile)
    page.get_by_role("button", name="Arrange").click()
    node(page, "chatOpenAI_0").click()
    expect(page.get_by_label("Model Name")).to_have_value(hostile)
    page.get_by_role("link", name=re.compile("all flows")).click()
    expect(page.get_by_role("button", name=f"Duplicate {hostile}").first).to_be_visible()
    assert page.evaluate("document.querySelectorAll('script:not([src])').length") == 0


def test_a_draft_outlives_the_tab_and_two_tabs_never_overwrite_each_other(browser: Browser, server: Server) -> None:
    flow_id = server.create_flow(conversation("http://127.0.0.1:9/v1"), name="Shared")
    with new_page(browser, DESK) as one, new_page(browser, DESK) as other:
        for page in (one, other):
            watched(page, server)
            page.goto(f"{server.url}/studio?flow={flow_id}#key={KEY}")
            expect(node(page, "chatOpenAI_0")).to_be_visible()
        one.get_by_label("Name of the flow").fill("Mine")
        other.get_by_label("Name of the flow").fill("Theirs")
        save(other)
        one.keyboard.press("Control+s")
        expect(one.get_by_role("alert")).to_contain_text("changed somewhere else")
        one.reload()
        expect(one.get_by_label("Name of the flow")).to_have_value("Mine")
        expect(one.get_by_role("alert")).to_contain_text("changed somewhere else")
        one.get_by_role("button", name="Open the other version").click()
        expect(one.get_by_label("Name of the flow")).to_have_value("Theirs")


def test_a_picture_shows_an_example_with_its_model_chosen(studio: Page) -> None:
    studio.get_by_role("list", name="Templates").get_by_role("button", name="Ask the docs").click()
    studio.get_by_role("button", name="Arrange").click()
    node(studio, "conversationalRetrievalQAChain_0").click()
    expect(studio.get_by_label("Name of the node")).to_have_value("Conversational Retrieval QA Chain")
    expect(node(studio, "chatExtractive_0").locator(".node-sort")).to_have_text("Chat Extractive")
    expect(studio.locator(".finding")).to_have_count(0)
    picture(studio, "studio")


def test_tabs_of_one_browser_tell_of_each_other(studio: Page, server: Server) -> None:
    flow_id = server.create_flow(conversation("http://127.0.0.1:9/v1"), name="Shared")
    opened(studio, server, flow_id)
    other = studio.context.new_page()
    other.goto(f"{server.url}/studio?flow={flow_id}#key={KEY}")
    expect(node(other, "chatOpenAI_0")).to_be_visible()
    other.get_by_label("Name of the flow").fill("Theirs")
    expect(studio.get_by_role("alert")).to_contain_text("in another tab too")
    save(other)
    studio.evaluate("dispatchEvent(new Event('focus'))")
    expect(studio.get_by_role("alert")).to_contain_text("changed somewhere else")
    other.close()


def test_every_template_opens_whole_and_can_be_saved(studio: Page, server: Server) -> None:
    templates = studio.get_by_role("list", name="Templates").get_by_role("button")
    expect(templates).not_to_have_count(0)
    for number in range(templates.count()):
        name = templates.nth(number).locator(".name").inner_text()
        templates.nth(number).click()
        expect(studio.get_by_label("Name of the flow")).to_have_value(name)
        edges = len(stored(server, studio.url.rpartition("flow=")[2])["edges"])
        expect(studio.locator(".svelte-flow__edge")).to_have_count(edges)
        studio.get_by_role("link", name=re.compile("all flows")).click()


def test_a_flow_written_by_hand_is_drawn_with_its_connections(studio: Page, server: Server) -> None:
    flow_id = server.create_flow(conversation("http://127.0.0.1:9/v1"))
    page = opened(studio, server, flow_id)
    expect(page.locator(".svelte-flow__edge")).to_have_count(2)
    page.get_by_role("button", name="Arrange").click()
    save(page)
    chain = next(one["data"] for one in stored(server, flow_id)["nodes"] if one["id"] == "conversationChain_0")
    assert chain["inputs"]["systemMessagePrompt"] == "Be brief."
    assert "model" in [anchor["name"] for anchor in chain["inputAnchors"]]
