"""The published chat widgets, unchanged, on the page of another site: everything that they ask of the server."""

import base64
import json
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import agentflows
import pytest
from browser import grown, new_page, picture, soon
from clients import counted
from playwright.sync_api import Browser, Locator, Page, expect
from provider import Answer, Provider
from servers import Server, conversation, node
from shop import Kind, Shop, opened, react, widgets
from test_follow_ups import said, suggesting
from test_retrieval_chains import qa
from test_uploads import PIXEL, searching
from uploads import reading
from upstream import Upstream
from waiting import eventually

KINDS: tuple[Kind, ...] = ("bubble", "full", "react bubble", "react full")
HELD = "/count 40 | /hold 8"
GREETING = "Hi there! How can I help?"
DOCS = Path(__file__).parents[1] / "docs" / "widget.md"


@pytest.fixture(scope="module")
def shop() -> Generator[Shop]:
    widgets()
    with opened() as shop:
        yield shop


LAST = """(text) => [...document.querySelector("flowise-chatbot, flowise-fullchatbot")?.shadowRoot
    ?.querySelectorAll(".bot-markdown-content") ?? []].at(-1)?.textContent.trim() === text"""
READY = """() => {
    const had = (path) => performance.getEntriesByType("resource").filter(({ name }) => name.includes(path)).length
    return had("/chatflows-streaming/") && had("/chatflows-streaming/") === had("/public-chatbotConfig/")
}"""


class Chat:
    """The widget on a page, as its user sees it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.widget = page.locator("flowise-chatbot, flowise-fullchatbot")
        self.answers = self.widget.locator(".bot-markdown-content")
        self.questions = self.widget.get_by_test_id("guest-bubble")

    def open(self) -> None:
        """Opens the bubble; a chat that fills the page is open already."""
        expect(self.widget.first).to_be_attached()
        if self.page.locator("flowise-chatbot").count():
            self.widget.locator("button").first.click()
        expect(self.box).to_be_visible()

    @property
    def box(self) -> Locator:
        return self.widget.locator("textarea.text-input")

    def ask(self, question: str) -> None:
        """Asks once the widget knows its flow: until then it takes questions, and reads no stream."""
        expect(self.box).to_be_enabled()
        self.page.wait_for_function(READY)
        self.box.fill(question)
        self.box.press("Enter")

    def expect_answer(self, text: str) -> None:
        """Waits until the newest answer is this."""
        soon(self.page, LAST, text)
        expect(self.answers.last).to_have_text(text)
        expect(self.box).to_be_enabled()


@pytest.fixture
def chat(page: Page) -> Chat:
    return Chat(page)


def flow_for(server: Server, upstream: Upstream, **config: Any) -> str:
    return server.create_flow(conversation(upstream.url), chatbotConfig=config)


def messages(server: Server, flow: str, query: str = "") -> list[dict[str, Any]]:
    return server.send("GET", f"/api/v1/chatmessage/{flow}?{query}", admin=True).json


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_grows_in_each_of_the_widgets(
    server: Server, upstream: Upstream, shop: Shop, chat: Chat, kind: Kind
) -> None:
    flow = flow_for(server, upstream)
    shop.embed(chat.page, server, flow, kind)
    chat.open()
    chat.ask("/count 9 | /hold 1 2 3 5 8")
    grown(chat.answers.last, [counted(number) for number in (1, 2, 3, 5, 8)], upstream.go_on)
    chat.expect_answer(counted(9))
    assert eventually(lambda: messages(server, flow))[-1]["content"] == counted(9)
    assert shop.foreign == []


def test_an_answer_shows_its_sources(server: Server, upstream: Upstream, shop: Shop, chat: Chat) -> None:
    shop.embed(chat.page, server, server.create_flow(qa(upstream.url, returnSourceDocuments=True)))
    chat.open()
    chat.ask("/say It spears fish, says the heron's page.")
    chat.expect_answer("It spears fish, says the heron's page.")
    chat.widget.get_by_title("The heron spears fish.").click()
    expect(chat.widget.get_by_role("dialog")).to_contain_text('"source": "birds"')
    assert shop.foreign == []


def test_an_agent_flow_shows_what_its_nodes_did(server: Server, upstream: Upstream, shop: Shop, chat: Chat) -> None:
    drawn = agentflows.flow(agentflows.start(), agentflows.llm(upstream.url), arrows="start_0 llm_0")
    flow = server.create_flow(drawn, type="AGENTFLOW")
    shop.embed(chat.page, server, flow, theme={"chatWindow": {"showAgentMessages": True}})
    chat.open()
    chat.ask("/say Done.")
    chat.expect_answer("Done.")
    chat.widget.get_by_title("Traces").click()
    expect(chat.widget.get_by_text("Process Flow")).to_be_visible()
    expect(chat.widget.get_by_text("llm 0")).to_be_visible()


def test_an_agent_flow_begins_with_its_form(server: Server, upstream: Upstream, shop: Shop, chat: Chat) -> None:
    fields = [
        {"type": "string", "label": "Drink", "name": "drink", "addOptions": ""},
        {"type": "options", "label": "Size", "name": "size", "addOptions": [{"option": "small"}, {"option": "large"}]},
    ]
    start = agentflows.start(startInputType="formInput", formTitle="Order", formDescription="", formInputTypes=fields)
    order = agentflows.llm(upstream.url, message="/say {{ $form.size }} {{ $form.drink }}")
    flow = server.create_flow(agentflows.flow(start, order, arrows="start_0 llm_0"), type="AGENTFLOW")
    shop.embed(chat.page, server, flow)
    chat.widget.locator("button").first.click()
    chat.widget.locator("input[name=drink]").fill("tea")
    chat.widget.locator("select[name=size]").select_option("large")
    chat.widget.get_by_text("Submit").click()
    chat.expect_answer("large tea")


def test_a_stopped_answer_closes_the_way_to_the_model(
    server: Server, upstream: Upstream, shop: Shop, chat: Chat
) -> None:
    drawn = agentflows.flow(agentflows.start(), agentflows.llm(upstream.url), arrows="start_0 llm_0")
    flow = server.create_flow(drawn, type="AGENTFLOW")
    shop.embed(chat.page, server, flow)
    chat.open()
    chat.ask("/count 3000 | /pace 20")
    expect(chat.answers.last).to_contain_text("w5")
    chat.widget.get_by_title("Stop").click()
    (request,) = upstream.wait_until(lambda requests: requests[0].closed_by_peer_at_token is not None)
    assert (request.closed_by_peer_at_token or 0) < 3000
    expect(chat.box).to_be_enabled()
    assert eventually(lambda: messages(server, flow))[-1]["aborted"] is True
    chat.ask("/say Again.")
    chat.expect_answer("Again.")


def test_clearing_the_chat_of_a_chatflow_stops_it(server: Server, upstream: Upstream, shop: Shop, chat: Chat) -> None:
    flow = flow_for(server, upstream)
    shop.embed(chat.page, server, flow)
    chat.open()
    chat.ask("/count 3000 | /pace 20")
    expect(chat.answers.last).to_contain_text("w5")
    chat.page.evaluate("Chatbot.clearChat()")  # the published widget has a stop button for agent flows alone
    upstream.wait_until(lambda requests: requests[0].closed_by_peer_at_token is not None)
    assert eventually(lambda: messages(server, flow))[-1]["aborted"] is True


@pytest.mark.parametrize(
    ("question", "words"), [("/status 401", "answered 401"), ("/count 9 | /cut 5", "broke inside the answer")]
)
def test_a_failure_of_the_model_is_said_in_words(
    server: Server, upstream: Upstream, shop: Shop, chat: Chat, question: str, words: str
) -> None:
    shop.embed(chat.page, server, flow_for(server, upstream))
    chat.open()
    chat.ask(question)
    expect(chat.answers.last).to_contain_text(words)
    chat.ask("/say Better now.")
    chat.expect_answer("Better now.")


def test_two_users_have_chats_of_their_own(server: Server, upstream: Upstream, shop: Shop, browser: Browser) -> None:
    flow = flow_for(server, upstream)
    with new_page(browser) as one, new_page(browser) as two:
        chats = [Chat(one), Chat(two)]
        for chat in chats:
            shop.embed(chat.page, server, flow)
            chat.open()
        for chat, name in zip(chats, ("Ann", "Bob"), strict=True):
            chat.ask(f"/count 20 | /pace 20 | /say I am {name}.")
        for chat, name in zip(chats, ("Ann", "Bob"), strict=True):
            chat.expect_answer(f"I am {name}.")
            expect(chat.answers).to_have_count(2)
        assert len({message["chatId"] for message in messages(server, flow)}) == 2


def test_a_starter_prompt_is_asked_by_a_click(server: Server, upstream: Upstream, shop: Shop, chat: Chat) -> None:
    starters = {"0": {"prompt": "/say Hello to you."}, "1": {"prompt": ""}}
    shop.embed(chat.page, server, flow_for(server, upstream, starterPrompts=starters))
    chat.open()
    chat.widget.get_by_text("/say Hello to you.").click()
    chat.expect_answer("Hello to you.")
    expect(chat.questions).to_have_text(["/say Hello to you."])


def test_follow_up_prompts_are_shown_and_asked_by_a_click(
    server: Server, upstream: Upstream, shop: Shop, chat: Chat
) -> None:
    flow = server.create_flow(conversation(upstream.url), **suggesting(upstream.url, said(["/say A leaf.", "Why?"])))
    shop.embed(chat.page, server, flow)
    chat.open()
    chat.ask("/say Tea.")
    chat.expect_answer("Tea.")
    expect(chat.widget.get_by_text("Try these prompts")).to_be_visible()
    expect(chat.widget.get_by_text("Why?")).to_be_visible()
    chat.widget.get_by_text("/say A leaf.").click()
    chat.expect_answer("A leaf.")


def test_a_flow_that_does_not_stream_answers_all_at_once(
    server: Server, upstream: Upstream, shop: Shop, chat: Chat
) -> None:
    columns = suggesting(upstream.url, said(["/say A leaf."]))
    columns["chatbotConfig"] |= {
        "chatFeedback": {"status": True},
        "postProcessing": {"enabled": True, "customFunction": "return $flow.rawOutput.toUpperCase()"},
    }
    shop.embed(chat.page, server, server.create_flow(conversation(upstream.url), **columns))
    chat.open()
    chat.ask("/say Tea.")
    chat.expect_answer("TEA.")
    expect(chat.widget.get_by_title("Thumbs Up")).to_be_visible()
    chat.widget.get_by_text("/say A leaf.").click()
    chat.expect_answer("A LEAF.")
    chat.ask("/status 401")
    expect(chat.answers.last).to_contain_text("answered 401")


def test_thumbs_are_saved_with_what_the_user_says(server: Server, upstream: Upstream, shop: Shop, chat: Chat) -> None:
    flow = flow_for(server, upstream, chatFeedback={"status": True})
    shop.embed(chat.page, server, flow)
    chat.open()
    chat.ask("/say Tea.")
    chat.expect_answer("Tea.")
    chat.widget.get_by_title("Thumbs Down").click()
    chat.widget.locator("textarea.feedback-input").fill("I asked for coffee.")
    chat.widget.get_by_text("Submit Feedback").click()
    expect(chat.widget.get_by_text("Submit Feedback")).to_have_count(0)
    *_, answer = messages(server, flow, "feedback=true")
    assert (answer["feedback"]["rating"], answer["feedback"]["content"]) == ("THUMBS_DOWN", "I asked for coffee.")
    chat.widget.get_by_title("Thumbs Up").click()
    chat.widget.locator("textarea.feedback-input").fill("Tea is fine too.")
    chat.widget.get_by_text("Submit Feedback").click()
    expect(chat.widget.get_by_text("Submit Feedback")).to_have_count(0)
    (rating,) = server.send("GET", f"/api/v1/feedback/{flow}", admin=True).json
    assert (rating["rating"], rating["content"]) == ("THUMBS_UP", "Tea is fine too.")


def test_a_lead_is_saved_and_named_with_each_question(
    server: Server, upstream: Upstream, shop: Shop, chat: Chat
) -> None:
    leads = {"status": True, "title": "Who are you?", "name": True, "email": True, "successMessage": "Thanks, Eve."}
    flow = flow_for(server, upstream, leads=leads)
    shop.embed(chat.page, server, flow)
    chat.open()
    chat.widget.locator("input[name=name]").fill("Eve")
    chat.widget.locator("input[name=email]").fill("eve@shop.example")
    chat.widget.locator("input[name=email]").press("Enter")
    expect(chat.widget.locator("input[name=email]")).to_have_count(0)
    chat.ask("/say Hello.")
    chat.expect_answer("Hello.")
    question, _ = messages(server, flow)
    assert question["leadEmail"] == "eve@shop.example"
    (lead,) = server.send("GET", f"/api/v1/leads/{flow}", admin=True).json
    assert (lead["name"], lead["email"], lead["chatId"]) == ("Eve", "eve@shop.example", question["chatId"])


def test_a_picture_goes_to_the_model_and_is_there_after_a_reload(
    server: Server, upstream: Upstream, shop: Shop, chat: Chat
) -> None:
    flow = server.create_flow(conversation(upstream.url, model={"allowImageUploads": True}))
    shop.embed(chat.page, server, flow)
    chat.open()
    file: Any = {"name": "dot.png", "mimeType": "image/png", "buffer": base64.b64decode(PIXEL)}
    chat.widget.locator("input[type=file]").set_input_files(file)
    expect(chat.widget.locator("img")).to_be_visible()
    chat.ask("What is it?")
    chat.expect_answer("You said:")  # the picture comes last
    shown = upstream.requests[0].body["messages"][-1]["content"]
    assert shown[-1]["image_url"]["url"] == f"data:image/png;base64,{PIXEL}"
    chat.page.reload()
    chat.open()
    dot = chat.questions.locator("img")
    expect(dot).to_have_attribute("src", re.compile("get-upload-file"))
    expect(dot).to_have_js_property("naturalWidth", 1)


def test_a_document_is_read_and_stands_before_the_question(
    server: Server, upstream: Upstream, shop: Shop, chat: Chat
) -> None:
    flow = flow_for(server, upstream, fullFileUpload={"status": True, "allowedUploadFileTypes": "text/plain"})
    shop.embed(chat.page, server, flow)
    chat.open()
    note: Any = {"name": "note.txt", "mimeType": "text/plain", "buffer": b"Tea is a leaf."}
    chat.widget.locator("input[type=file]").set_input_files(note)
    expect(chat.widget.get_by_text("note.txt")).to_be_visible()
    chat.ask("/say I have read it.")
    chat.expect_answer("I have read it.")
    asked = upstream.requests[0].body["messages"][-1]["content"]
    assert asked.startswith("<doc name='note.txt'>Tea is a leaf.</doc>")


def test_a_document_is_searched_by_its_chat(server: Server, upstream: Upstream, shop: Shop, chat: Chat) -> None:
    shop.embed(chat.page, server, searching(server, upstream))
    chat.open()
    note: Any = {"name": "wren.txt", "mimeType": "text/plain", "buffer": b"The Wren is small."}
    chat.widget.locator("input[type=file]").set_input_files(note)
    chat.ask("wren | /say It is small.")
    chat.expect_answer("It is small.")
    expect(chat.widget.get_by_title("The Wren is small.")).to_be_visible()


def stored_chat(chat: Chat, flow: str) -> str:
    """The chat's id, as the widget keeps it."""
    return chat.page.evaluate(f"JSON.parse(localStorage.getItem('{flow}_EXTERNAL')).chatId")


def reloaded_in_mid_answer(chat: Chat, question: str = HELD) -> None:
    chat.open()
    chat.ask(question)
    expect(chat.answers.last).to_have_text(counted(8))
    chat.page.reload()


def test_a_reload_in_mid_answer_keeps_the_question_and_the_server_the_answer(
    server: Server, upstream: Upstream, shop: Shop, chat: Chat
) -> None:
    flow = flow_for(server, upstream)
    shop.embed(chat.page, server, flow)
    reloaded_in_mid_answer(chat)
    upstream.go_on()
    chat.open()
    expect(chat.questions).to_have_text([HELD])
    expect(chat.answers).to_have_text([GREETING])
    (run,) = server.send("GET", f"/api/v1/runs?flowId={flow}&chatId={stored_chat(chat, flow)}").json
    assert server.send("GET", run["links"]["events"]).kinds[-1] == "end"
    assert eventually(lambda: messages(server, flow))[-1]["content"] == counted(40)
    chat.ask("/say And on.")
    chat.expect_answer("And on.")


def snippets(server: Server, flow: str, language: str = "html") -> list[str]:
    """The docs' pages, with this server and this flow in them."""
    found = re.findall(rf"(?ms)^```{language}\n(.*?)^```$", DOCS.read_text())
    return [page.replace("<flow-id>", flow).replace("http://localhost:3000", server.url) for page in found]


def test_the_page_of_the_docs_has_the_widget(server: Server, upstream: Upstream, shop: Shop, chat: Chat) -> None:
    shop.show(chat.page, snippets(server, flow_for(server, upstream))[0])
    chat.open()
    chat.ask("/say Hello.")
    chat.expect_answer("Hello.")


@pytest.mark.parametrize("full", [False, True], ids=["bubble", "full"])
def test_the_other_page_of_the_docs_has_the_whole_answer_after_a_reload(
    server: Server, upstream: Upstream, shop: Shop, chat: Chat, full: bool
) -> None:
    flow = flow_for(server, upstream, chatFeedback={"status": True})
    page = snippets(server, flow)[1]
    if full:
        page = "<flowise-fullchatbot></flowise-fullchatbot>" + page.replace("Chatbot.init(", "Chatbot.initFull(")
    shop.show(chat.page, page)
    reloaded_in_mid_answer(chat)
    upstream.go_on()
    expect(chat.answers).to_have_text([GREETING, counted(40)])
    expect(chat.widget.get_by_title("Thumbs Up")).to_be_visible()
    chat.ask("/say And on.")
    chat.expect_answer("And on.")
    chat.page.reload()
    chat.open()
    expect(chat.answers).to_have_text([GREETING, counted(40), "And on."])
    assert len(messages(server, flow)) == 4


@pytest.mark.parametrize("component", ["FullPageChat", "BubbleChat"])
def test_the_component_of_the_docs_has_the_whole_answer_after_a_reload(
    server: Server, upstream: Upstream, shop: Shop, chat: Chat, component: str
) -> None:
    flow = flow_for(server, upstream)
    (written,) = snippets(server, flow, "jsx")
    props = json.dumps({"chatflowid": flow, "apiHost": server.url})
    shop.run(chat.page, react(written.replace("FullPageChat", component), props))
    reloaded_in_mid_answer(chat)
    chat.widget.evaluate("(first) => (first.id = 'first')")
    upstream.go_on()
    expect(chat.page.locator("#first")).to_have_count(0)  # another has taken its place
    chat.open()
    expect(chat.answers).to_have_text([GREETING, counted(40)])
    chat.ask("/say And on.")
    chat.expect_answer("And on.")
    assert len(messages(server, flow)) == 4


def test_the_other_page_says_how_a_run_failed_after_a_reload(
    server: Server, upstream: Upstream, shop: Shop, chat: Chat
) -> None:
    shop.show(chat.page, snippets(server, flow_for(server, upstream))[1])
    reloaded_in_mid_answer(chat, "/count 40 | /hold 8 | /cut 9")
    upstream.go_on()
    expect(chat.answers.last).to_contain_text("broke inside the answer")


@pytest.mark.parametrize("guarded", [False, True])
def test_the_widget_asks_others_only_for_icons_and_a_policy_stops_that(
    server: Server, upstream: Upstream, shop: Shop, chat: Chat, guarded: bool
) -> None:
    text = node("plainText", "Document Loaders", text="The wren.", metadata='{"source": "https://birds.example/wren"}')
    flow = server.create_flow(reading(upstream.url, text))
    (policy,) = re.findall(r"(?m)^default-src .*$", DOCS.read_text())
    shop.embed(chat.page, server, flow, policy=policy.replace("http://localhost:3000", server.url) if guarded else "")
    chat.open()
    chat.ask("wren | /say Small.")
    chat.expect_answer("Small.")
    source = chat.widget.get_by_role("button", name="/wren")
    expect(source.locator("svg")).to_be_visible()  # stands in for an icon that was tried, and did not come
    asked = {url.partition("?")[0] for url in shop.foreign}  # once for each time that the widget draws the source
    assert asked == (set() if guarded else {"https://www.google.com/s2/favicons"})


def speech(text: str) -> Answer:
    """A model's streamed answer in OpenAI's protocol."""
    chunks = [{"delta": {"content": text}}, {"delta": {}, "finish_reason": "stop"}]
    frames = [f"data: {json.dumps({'choices': [chunk]})}\n\n".encode() for chunk in chunks]
    return Answer([*frames, b"data: [DONE]\n\n"], headers={"Content-Type": "text/event-stream"})


def test_the_widget_has_its_picture_taken(server: Server, provider: Provider, shop: Shop, chat: Chat) -> None:
    questions = speech('{"questions": ["Do all birds sleep in flight?", "How long can it stay up?"]}')
    answer = speech("The swift sleeps **on the wing**: it comes to rest only at its nest.")
    provider.answer = lambda seen: questions if seen.body["model"] == "suggester" else answer
    columns = suggesting(provider.url, "")
    columns["chatbotConfig"] |= {
        "chatFeedback": {"status": True},
        "starterPrompts": {"0": {"prompt": "Where does the swift sleep?"}},
    }
    window = {
        "title": "Ask the bookseller", "welcomeMessage": "Good morning! What would you like to know?",
        "sourceDocsTitle": "Sources", "userMessage": {"backgroundColor": "#22303c"},
        "textInput": {"sendButtonColor": "#22303c"}, "feedback": {"color": "#22303c"},
    }  # fmt: skip
    theme = {"chatWindow": window, "button": {"backgroundColor": "#22303c"}}
    flow = server.create_flow(qa(provider.url, returnSourceDocuments=True), **columns)
    shop.embed(chat.page, server, flow, theme=theme)
    chat.open()
    chat.widget.get_by_text("Where does the swift sleep?").click()
    expect(chat.answers.last).to_contain_text("on the wing")
    expect(chat.widget.get_by_text("How long can it stay up?")).to_be_visible()
    expect(chat.widget.get_by_title("The swift sleeps on the wing.")).to_have_css("opacity", "1")
    chat.page.mouse.move(0, 0)
    picture(chat.page, "widget")
