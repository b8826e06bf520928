"""The panel of a node and the studio's other pages in a real browser."""

import json
import re
from typing import Any, Literal

import pytest
from admin import call, ok
from agentflows import condition, contains, reply, start
from agentflows import flow as agent_flow
from browser import PHONE, new_page
from playwright.sync_api import Browser, Page, expect
from servers import KEY, Server, conversation
from studio_page import add, choose, field, node, opened, save, stored, studio, watched
from typescript import built

__all__ = ["studio"]

PROGRAM = "const answer = 6 * 7; // the product\nreturn answer;"


def data_of(server: Server, flow_id: str, node_id: str) -> dict[str, Any]:
    return next(one["data"] for one in stored(server, flow_id)["nodes"] if one["id"] == node_id)


def new_flow(page: Page, server: Server, kind: str = "CHATFLOW") -> str:
    drawn = agent_flow(start(), arrows="") if kind == "AGENTFLOW" else {"nodes": [], "edges": []}
    flow_id = server.create_flow(drawn, type=kind)
    opened(page, server, flow_id)
    return flow_id


def test_numbers_options_and_switches_are_stored_as_they_are(studio: Page, server: Server) -> None:
    flow_id = new_flow(studio, server)
    add(studio, "openai")
    field(studio, "temperature").get_by_role("spinbutton").fill("0.25")
    field(studio, "allowImageUploads").get_by_role("checkbox").check()
    studio.get_by_text("More settings").click()
    field(studio, "reasoningEffort").get_by_role("combobox").select_option(label="high")
    field(studio, "baseOptions").get_by_role("textbox").fill('{"a": ')
    expect(field(studio, "baseOptions")).to_contain_text("This is not valid JSON")
    field(studio, "baseOptions").get_by_role("textbox").fill('{"a": 1}')
    expect(field(studio, "baseOptions").locator(".error")).to_have_count(0)
    save(studio)
    inputs = data_of(server, flow_id, "chatOpenAI_0")["inputs"]
    assert (inputs["temperature"], inputs["allowImageUploads"], inputs["reasoningEffort"]) == (0.25, True, "high")
    assert inputs["baseOptions"] == '{"a": 1}'


def test_a_credential_is_made_and_chosen_in_the_panel(studio: Page, server: Server) -> None:
    flow_id = new_flow(studio, server)
    add(studio, "chatAnthropic")
    studio.get_by_label("Credential", exact=False).select_option(label="New Anthropic credential…")
    form = studio.get_by_role("group", name="New Anthropic credential")
    form.get_by_role("button", name="Create").click()
    expect(form.get_by_role("alert")).to_contain_text("Give it a name")
    form.get_by_label("Name *").fill("Of the team")
    form.locator("input[type=password]").fill("sk-secret")
    form.get_by_role("button", name="Create").click()
    expect(form).to_have_count(0)
    save(studio)
    chosen = data_of(server, flow_id, "chatAnthropic_0")["credential"]
    rows = {row["id"]: row["name"] for row in ok(call(server, "GET", "credentials"))}
    assert rows[chosen] == "Of the team"
    assert "sk-secret" not in studio.content()
    studio.goto(f"{server.url}/studio?page=credentials")
    studio.get_by_role("button", name="Delete Of the team").click()
    studio.get_by_role("button", name="Really delete Of the team").click()
    expect(studio.get_by_text("Of the team")).to_have_count(0)


def test_code_is_coloured_and_kept(studio: Page, server: Server) -> None:
    flow_id = new_flow(studio, server, "AGENTFLOW")
    add(studio, "custom function")
    code = field(studio, "customFunctionJavascriptFunction")
    code.get_by_role("textbox").fill(PROGRAM)
    expect(code.locator("pre .word")).to_have_text(["const", "return"])
    expect(code.locator("pre .comment")).to_have_text("// the product")
    save(studio)
    stored_code = data_of(server, flow_id, "customFunctionAgentflow_0")["inputs"]["customFunctionJavascriptFunction"]
    assert stored_code == PROGRAM


def test_groups_are_added_moved_and_removed_and_the_ways_on_follow(studio: Page, server: Server) -> None:
    parts = start(), condition(contains("a"), contains("b")), reply("A"), reply("B", 1), reply("C", 2)
    arrows = (
        "start_0 condition_0, condition_0:0 directReply_0, condition_0:1 directReply_1, condition_0:2 directReply_2"
    )
    flow_id = server.create_flow(agent_flow(*parts, arrows=arrows), type="AGENTFLOW")
    page = opened(studio, server, flow_id)
    choose(page, "condition 0")
    page.get_by_role("button", name="Move Conditions 2 up").click()
    first = page.get_by_role("group", name="Conditions 1")
    expect(first.locator('[data-input="value2"] :is(input, textarea)')).to_have_value("b")
    page.get_by_role("button", name="Add to Conditions").click()
    expect(node(page, "conditionAgentflow_0").locator(".port.out")).to_have_count(4)
    for _ in range(2):
        page.get_by_role("button", name="Remove Conditions 1").click()
    expect(node(page, "conditionAgentflow_0").locator(".port.out")).to_have_count(2)
    save(page)
    drawn = stored(server, flow_id)
    assert [edge["target"] for edge in drawn["edges"]][1:] == ["directReplyAgentflow_0", "directReplyAgentflow_1"]


def test_inputs_show_and_hide_with_the_values_of_others(studio: Page, server: Server) -> None:
    new_flow(studio, server, "AGENTFLOW")
    choose(studio, "start 0")
    expect(field(studio, "formTitle")).to_have_count(0)
    field(studio, "startInputType").get_by_role("combobox").select_option("formInput")
    expect(field(studio, "formTitle")).to_be_visible()
    field(studio, "startInputType").get_by_role("combobox").select_option("chatInput")
    expect(field(studio, "formTitle")).to_have_count(0)


def test_files_are_held_in_the_flow(studio: Page, server: Server) -> None:
    flow_id = new_flow(studio, server)
    add(studio, "text file")
    chosen = {"name": "mill.txt", "mimeType": "text/plain", "buffer": b"The mill is old."}
    field(studio, "txtFile").locator("input[type=file]").set_input_files(chosen)  # type: ignore[arg-type]
    expect(field(studio, "txtFile")).to_contain_text("mill.txt")
    save(studio)
    held = data_of(server, flow_id, "textFile_0")["inputs"]["txtFile"]
    assert held == "data:text/plain;base64,VGhlIG1pbGwgaXMgb2xkLg==,filename:mill.txt"


def test_another_model_comes_with_its_own_settings_in_one_step(studio: Page, server: Server) -> None:
    flow_id = new_flow(studio, server, "AGENTFLOW")
    add(studio, "llm")
    model = field(studio, "llmModel").get_by_role("combobox")
    model.select_option("chatOpenAI")
    studio.locator("summary", has_text="Settings of OpenAI").wait_for()
    field(studio, "temperature").get_by_role("spinbutton").fill("0.1")
    model.select_option("chatArithmetic")
    save(studio)
    inputs = data_of(server, flow_id, "llmAgentflow_0")["inputs"]
    assert (inputs["llmModel"], inputs["llmModelConfig"]) == ("chatArithmetic", {"llmModel": "chatArithmetic"})
    studio.get_by_role("button", name="Undo").click()
    save(studio)
    inputs = data_of(server, flow_id, "llmAgentflow_0")["inputs"]
    assert inputs["llmModel"] == inputs["llmModelConfig"]["llmModel"] == "chatOpenAI"


def test_answers_with_markup_are_text(studio: Page, server: Server) -> None:
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    drawn = agent_flow(start(), reply(hostile), arrows="start_0 directReply_0")
    page = opened(studio, server, server.create_flow(drawn, type="AGENTFLOW"))
    page.get_by_role("tab", name="Try it").click()
    page.get_by_label("Question", exact=True).fill(hostile)
    page.keyboard.press("Enter")
    expect(page.locator("article.turn .answer")).to_contain_text(hostile)
    expect(page.locator("article.turn .question")).to_contain_text(hostile)
    choose(page, "directReply 0")
    expect(page.locator(".last-try")).to_contain_text("onerror")
    assert page.locator("article.turn :is(img, script), .last-try :is(img, script)").count() == 0


def test_what_is_wrong_stands_beside_the_field_at_once(studio: Page, server: Server) -> None:
    new_flow(studio, server, "AGENTFLOW")
    add(studio, "http")
    expect(field(studio, "url").locator(".error")).to_contain_text("needs the input 'url'")
    field(studio, "url").get_by_role("textbox").fill("https://example.com")
    expect(field(studio, "url").locator(".error")).to_have_count(0)


def test_settings_are_saved_apart_from_the_drawing(studio: Page, server: Server) -> None:
    config = json.dumps({"title": "Kept", "starterPrompts": {"0": {"prompt": "One?"}}})
    flow_id = server.create_flow(conversation("http://127.0.0.1:9/v1"), chatbotConfig=config)
    page = opened(studio, server, flow_id)
    page.get_by_role("tab", name="Settings").click()
    questions = page.get_by_label("Questions to begin with")
    expect(questions).to_have_value("One?")
    questions.fill("One?\nTwo?")
    page.get_by_label("Web sites that may use the flow").fill("https://shop.example")
    page.get_by_role("button", name="Save settings").click()
    expect(page.locator(".notice-line")).to_contain_text("The settings are saved.")
    row = ok(call(server, "GET", f"chatflows/{flow_id}"))
    assert json.loads(row["chatbotConfig"]) == {
        "title": "Kept",
        "starterPrompts": {"0": {"prompt": "One?"}, "1": {"prompt": "Two?"}},
        "welcomeMessage": "",
        "allowedOrigins": ["https://shop.example"],
    }
    page.get_by_role("tab", name="Try it").click()
    expect(page.get_by_role("button", name="Two?")).to_be_visible()


def test_code_to_copy_names_this_flow(studio: Page, server: Server) -> None:
    flow_id = server.create_flow(conversation("http://127.0.0.1:9/v1"))
    page = opened(studio, server, flow_id)
    page.get_by_role("tab", name="Use it").click()
    expect(page.get_by_label("Link to a page that asks this flow")).to_have_value(f"{server.url}/?flow={flow_id}")
    for name in ("Python", "TypeScript", "curl", "Web page"):
        expect(page.get_by_role("region", name=f"{name} code")).to_contain_text(flow_id)


def test_an_unknown_key_is_refused_and_signing_out_forgets_it(browser: Browser, server: Server) -> None:
    with new_page(browser) as page:
        page.goto(f"{server.url}/studio")
        page.get_by_label("API key").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_have_text("The server does not know this key.")
        page.get_by_label("API key").fill(KEY)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Flows", exact=True)).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        page.reload()
        expect(page.get_by_label("API key")).to_be_visible()


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_nothing_serious_stands_in_the_way_of_people_with_assistive_tools(
    studio: Page, server: Server, colours: Literal["light", "dark"]
) -> None:
    axe = (built() / "node_modules" / "axe-core" / "axe.min.js").read_text()
    parts = start(), condition(contains("a")), reply("A")
    drawn = agent_flow(*parts, arrows="start_0 condition_0, condition_0:0 directReply_0")
    flow_id = server.create_flow(drawn, type="AGENTFLOW")
    studio.emulate_media(color_scheme=colours)

    def check(where: str) -> None:
        # The page's policy lets no inline script in; the tool is evaluated through the browser's own debugger.
        studio.evaluate(axe)
        found = studio.evaluate("axe.run().then(({violations}) => violations)")
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        assert [(one["id"], [each["html"][:160] for each in one["nodes"]][:3]) for one in serious] == [], where

    check("the list of flows")
    studio.get_by_role("button", name="Credentials").click()
    expect(studio.get_by_role("heading", name="Credentials")).to_be_visible()
    check("the credentials")
    opened(studio, server, flow_id)
    check("a flow")
    choose(studio, "condition 0")
    check("a node")
    for tab in ("Try it", "Use it", "Settings"):
        studio.get_by_role("tab", name=tab).click()
        check(tab)


def test_the_days_of_a_schedule_are_chosen(studio: Page, server: Server) -> None:
    flow_id = new_flow(studio, server, "AGENTFLOW")
    choose(studio, "start 0")
    field(studio, "startInputType").get_by_role("combobox").select_option("scheduleInput")
    field(studio, "scheduleFrequency").get_by_role("combobox").select_option("weekly")
    field(studio, "scheduleOnTime").locator("input").fill("08:30")
    for day in ("Friday", "Monday"):
        field(studio, "scheduleOnDayOfWeek").get_by_label(day).check()
    save(studio)
    inputs = data_of(server, flow_id, "startAgentflow_0")["inputs"]
    assert (inputs["scheduleOnTime"], inputs["scheduleOnDayOfWeek"]) == ("08:30", "1,5")


def test_a_phone_shows_palette_canvas_and_panel(browser: Browser, server: Server) -> None:
    flow_id = server.create_flow(conversation("http://127.0.0.1:9/v1"))
    with new_page(browser, PHONE, has_touch=True) as page:
        strangers, said = watched(page, server)
        page.goto(f"{server.url}/studio?flow={flow_id}#key={KEY}")
        page.get_by_role("button", name="Add nodes").tap()
        page.get_by_label("Search nodes").fill("calculator")
        page.get_by_role("button", name=re.compile("^Calculator")).tap()
        expect(node(page, "calculator_0")).to_be_visible()
        expect(page.get_by_label("Name of the node")).to_have_value("Calculator")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert (strangers, said) == ([], [])
