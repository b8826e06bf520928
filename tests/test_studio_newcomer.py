"""A newcomer at the studio: with mouse and keyboard only, flows are built from nothing, asked, and answer."""

import json

from browser import picture, soon
from playwright.sync_api import Page, expect
from servers import Server
from studio_page import add, choose, field, node, save, studio

__all__ = ["studio"]


def ask(page: Page, question: str) -> None:
    page.get_by_role("tab", name="Try it").click()
    page.get_by_label("Question", exact=True).fill(question)
    page.keyboard.press("Enter")


def ended(page: Page) -> None:
    soon(page, "() => [...document.querySelectorAll('article.turn')].at(-1)?.dataset.state === 'finished'")
    expect(page.locator("article.turn").last).to_have_attribute("data-state", "finished")


def goes_on(page: Page, label: str, target: str, when: str = "Goes on to") -> None:
    """Draws an arrow from a node to another one, in the panel."""
    choose(page, label)
    page.get_by_label(when, exact=True).select_option(label=target)


def test_a_chatflow_with_retrieval_is_built_and_answers(studio: Page, server: Server) -> None:
    page = studio
    page.get_by_role("button", name="New chatflow").click()
    add(page, "plain text")
    field(page, "text").get_by_role("textbox").fill("The turbine of the old mill was built in 1911 by Ada Brook.")
    add(page, "in-memory vector store")
    page.get_by_label("Document", exact=True).select_option(label="Plain Text")
    add(page, "extractive")
    add(page, "conversational retrieval qa")
    page.get_by_label("Model *").select_option(label="Chat Extractive")
    page.get_by_label("Vector Store Retriever *").select_option(label="In-Memory Vector Store")
    expect(page.locator(".finding[data-stops]")).to_have_count(0)
    page.get_by_role("button", name="Arrange").click()
    ask(page, "Who built the turbine?")
    ended(page)
    expect(page.locator("article.turn .answer")).to_contain_text("Ada Brook")
    expect(node(page, "chatExtractive_0")).to_have_attribute("data-light", "done")
    save(page)
    assert "Ada Brook" in server.ask(page.url.rpartition("flow=")[2], "Who built the turbine?").json["text"]


def test_an_agent_with_a_tool_asks_a_person_and_goes_on(studio: Page, server: Server) -> None:
    page = studio
    page.get_by_role("button", name="New agent flow").click()
    expect(node(page, "startAgentflow_0")).to_be_visible()
    add(page, "agent")
    page.get_by_label("Model *").select_option(label="Chat Arithmetic")
    page.get_by_role("button", name="Add to Tools").click()
    field(page, "agentSelectedTool").get_by_role("combobox").select_option(label="Calculator")
    expect(node(page, "agentAgentflow_0").locator(".node-sort")).to_have_text("Agent · Chat Arithmetic")
    add(page, "human input")
    field(page, "humanInputDescription").get_by_role("textbox").fill("May I send it?")
    add(page, "direct reply")
    message = field(page, "directReplyMessage").get_by_role("textbox")
    message.fill("Sent: {{")
    goes_on(page, "Start", "Agent 0")
    goes_on(page, "Agent 0", "Human Input 0")
    goes_on(page, "Human Input 0", "Direct Reply 0", "Goes on when: Proceed")
    choose(page, "Direct Reply 0")
    field(page, "directReplyMessage").get_by_role("button", name="Variables").click()
    page.get_by_role("list", name="Variables").get_by_role("button", name="agentAgentflow_0").click()
    expect(message).to_have_value("Sent: {{agentAgentflow_0}}")
    page.get_by_role("button", name="Arrange").click()
    ask(page, "What is 6 * 7?")
    expect(page.locator(".approval")).to_be_visible()
    expect(node(page, "agentAgentflow_0")).to_have_attribute("data-light", "done")
    expect(node(page, "humanInputAgentflow_0")).to_have_attribute("data-light", "waiting")
    page.locator(".approval").get_by_role("button", name="Proceed").click()
    expect(page.locator("article.turn")).to_have_count(2)
    ended(page)
    expect(page.locator("article.turn").last.locator(".answer")).to_contain_text("Sent: 6*7 is 42.")
    for ran in ("startAgentflow_0", "agentAgentflow_0", "humanInputAgentflow_0", "directReplyAgentflow_0"):
        expect(node(page, ran)).to_have_attribute("data-light", "done")
    picture(page, "studio-try")
    choose(page, "Agent 0")
    expect(page.locator(".last-try")).to_contain_text("calculator")
    save(page)
    drawn = json.loads(
        server.send("GET", f"/api/v1/chatflows/{page.url.rpartition('flow=')[2]}", admin=True).json["flowData"]
    )
    tools = next(one for one in drawn["nodes"] if one["id"] == "agentAgentflow_0")["data"]["inputs"]["agentTools"]
    assert [one["agentSelectedTool"] for one in tools] == ["calculator"]


def test_a_flow_that_begins_with_a_form_is_tried(studio: Page) -> None:
    studio.get_by_role("list", name="Templates").get_by_role("button", name="Form with approval").click()
    studio.get_by_role("tab", name="Try it").click()
    form = studio.get_by_role("group", name="Holiday")
    for label, value in (("Your name", "Ada"), ("First day", "Monday"), ("Last day", "Friday")):
        form.get_by_label(label).fill(value)
    form.get_by_role("button", name="Begin").click()
    studio.locator(".approval").get_by_role("button", name="Proceed").click()
    expect(studio.locator("article.turn")).to_have_count(2)
    ended(studio)
    expect(studio.locator("article.turn").last.locator(".answer")).to_contain_text("Enjoy your holiday, Ada")
