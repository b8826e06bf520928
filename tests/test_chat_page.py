"""The Streamlit chat in a real browser, against a real server and a scripted model."""

import json
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from browser import grown, new_page, picture
from chat_page import ChatPage, answered, ask, chat_of, chatting
from clients import counted
from playwright.sync_api import Browser, Page, Request, expect
from provider import Answer, Provider, chunks
from servers import Server, chat_model, conversation, flow, node
from upstream import Received, Upstream
from waiting import eventually

from headrace.apps.chat.answer_state import AnswerState
from headrace.apps.chat.chats import Chat, Chats
from headrace.apps.chat.visitors import COOKIE
from headrace.events import Document, UsedTool

INJECTIONS: list[dict[str, str]] = json.loads(Path(__file__).with_name("injections.json").read_text())
SWIFT = (
    "The swift sleeps on the wing. Its nest is a cup of feathers under a roof. It can stay in the air for ten months."
)
SAID = (
    "The **swift** sleeps on the wing: it can stay in the air for ten months.\\n\\n"
    "- It eats, drinks and mates in flight.\\n- It lands only to breed.\\n- Ten months are about 7,300 hours."
)


def bird_guide(base: str) -> dict[str, Any]:
    """An agent that looks birds up and calculates; its prompt holds what the scripted model does."""
    script = (
        '{input}\n/tool search_birds {{"input": "swift sleeps"}}'
        ' && calculator {{"input": "10 * 730"}} | /json "SAID" | /hold 8 9 10 11 12'.replace("SAID", SAID)
    )
    tools = ["{{retrieverTool_0.data.instance}}", "{{calculator_0.data.instance}}"]
    about: dict[str, Any] = {"name": "search birds", "description": "Looks birds up.", "returnSourceDocuments": True}
    return flow(
        chat_model(base),
        node("plainText", "Document Loaders", text=SWIFT, metadata='{"source": "birds.md"}'),
        node("memoryVectorStore", "Vector Stores", output="retriever", document=["{{plainText_0.data.instance}}"]),
        node("retrieverTool", "Tools", retriever="{{memoryVectorStore_0.data.instance}}", **about),
        node("calculator", "Tools"),
        node("chatPromptTemplate", "Prompts", systemMessagePrompt="You know birds.", humanMessagePrompt=script),
        node(
            "toolAgent",
            "Agents",
            model="{{chatOpenAI_0.data.instance}}",
            tools=tools,
            chatPromptTemplate="{{chatPromptTemplate_0.data.instance}}",
        ),
    )


def field_notes(base: str) -> dict[str, Any]:
    """Answers from two texts."""
    texts = (SWIFT, "A young swift that leaves the nest stays in the air for two years or longer before it breeds.")
    files = [
        node("plainText", "Document Loaders", n, text=text, metadata=json.dumps({"source": f"{name}.md"}))
        for n, (name, text) in enumerate(zip(("swift", "fledging"), texts, strict=True))
    ]
    documents = [f"{{{{plainText_{n}.data.instance}}}}" for n in range(2)]
    wires = {"model": "{{chatOpenAI_0.data.instance}}", "vectorStoreRetriever": "{{memoryVectorStore_0.data.instance}}"}
    return flow(
        chat_model(base),
        *files,
        node("memoryVectorStore", "Vector Stores", output="retriever", document=documents),
        node("conversationalRetrievalQAChain", "Chains", returnSourceDocuments=True, **wires),
    )


class Stage(NamedTuple):
    """The page, its server, and the ids of the flows."""

    page: ChatPage
    server: Server
    plain: str
    birds: str
    notes: str


@pytest.fixture(scope="module")
def stage(
    browser: Browser, server: Server, endpoint: Upstream, provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Stage]:
    config = {"starterPrompts": {"0": {"prompt": "Which bird sleeps in the air?"}}}
    plain = server.create_flow(conversation(endpoint.url, model={"allowImageUploads": True}))
    birds = server.create_flow(bird_guide(endpoint.url), chatbotConfig=json.dumps(config))
    notes = server.create_flow(field_notes(provider.url))
    offered = [f"Plain chat={plain}", f"Bird guide={birds}", f"Field notes={notes}"]
    with chatting(tmp_path_factory.mktemp("chat"), server.url, offered) as chat_page:
        yield Stage(chat_page, server, plain, birds, notes)


def running(requests: list[Received]) -> bool:
    return any(not one.finished for one in requests)


def left(requests: list[Received]) -> bool:
    return any(one.closed_by_peer_at_token is not None for one in requests)


def test_an_answer_grows_and_shows_its_sources_and_tools(stage: Stage, page: Page, upstream: Upstream) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    stage.page.open(page, stage.birds)
    starter = page.get_by_test_id("stMainBlockContainer").get_by_role("button", name="Which bird sleeps in the air?")
    starter.click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(starter).to_have_count(0)
    answer = page.get_by_test_id("stChatMessage").last
    seen = "The swift sleeps on the wing: it can stay in the air".split()
    texts = [" ".join(seen[:count]) for count in range(8, 13)]
    grown(answer.get_by_test_id("stMarkdown").first, texts, upstream.go_on)
    answered(page, "7,300 hours.")
    expect(answer.locator("strong")).to_have_text("swift")
    answer.get_by_text("calculator").click()
    expect(answer.get_by_text("7300", exact=True)).to_be_visible()
    answer.get_by_text("1. birds.md").click()
    marks = answer.locator("mark")
    expect(marks).to_have_text(["The swift sleeps on the wing.", "It can stay in the air for ten months."])
    answer.get_by_text("calculator").click()
    expect(answer.get_by_text("7300", exact=True)).to_be_hidden()
    assert [url for url in asked if not stage.page.serves(url)] == []
    assert stage.page.addresses <= {"127.0.0.1", "localhost", "::1", "/dev/log"}


def test_the_chat_has_its_picture_taken_while_an_answer_comes(stage: Stage, page: Page, provider: Provider) -> None:
    stream = {"Content-Type": "text/event-stream"}
    provider.always(
        Answer(
            [*chunks("The **swift** sleeps on the wing: it can stay in the air for ten months."), b"data: [DONE]\n\n"],
            headers=stream,
        )
    )
    stage.page.open(page, stage.notes)
    ask(page, "Which bird sleeps in the air?")
    answered(page, "ten months.")
    page.get_by_text(re.compile(r"\d\. swift\.md")).click()  # which is first depends on all words that the server holds
    expect(page.locator("mark")).to_have_count(2)
    said = chunks("A young swift does not land **for two years or longer**: it leaves the nest and")
    provider.once_rephrased(Answer([b"".join(said), b""], headers=stream, held=True))
    ask(page, "And a young one?")
    expect(page.get_by_test_id("stChatMessage").last).to_contain_text("leaves the nest and")
    expect(page.get_by_test_id("stExpander")).to_have_count(2)
    picture(page, "streamlit")
    page.get_by_role("button", name="Stop").click()
    provider.until(lambda seen: seen[-1].left)


def test_a_reload_in_mid_answer_shows_the_whole_answer(stage: Stage, page: Page, upstream: Upstream) -> None:
    stage.page.open(page, stage.plain)
    ask(page, "/count 60 | /hold 11")
    expect(page.get_by_text("w10 w11")).to_be_visible()
    page.reload()
    expect(page.get_by_text("w10 w11")).to_be_visible()
    upstream.go_on()
    answered(page, counted(60))
    assert len(upstream.requests) == 1


def test_a_closed_tab_finds_its_answer_in_the_history(stage: Stage, page: Page, upstream: Upstream) -> None:
    stage.page.open(page, stage.plain)
    ask(page, "/count 40 | /hold 6")
    expect(page.get_by_text("w5 w6")).to_be_visible()
    again = page.context.new_page()
    page.close()
    upstream.go_on()
    stage.page.open(again)
    again.get_by_role("button", name="/count 40").click()
    answered(again, counted(40))
    assert len(upstream.requests) == 1


def test_a_rating_in_mid_answer_is_saved_and_disturbs_nothing(stage: Stage, page: Page, upstream: Upstream) -> None:
    stage.page.open(page, stage.plain)
    ask(page, "/say Hello")
    answered(page, "Hello")
    ask(page, "/count 60 | /hold 11")
    expect(page.get_by_text("w10 w11")).to_be_visible()
    page.get_by_role("radio", name="Thumbs down").first.click()
    asked = f"/api/v1/feedback/{stage.plain}?chatId={chat_of(page)}"
    (rating,) = eventually(lambda: stage.server.send("GET", asked, admin=True).json)
    assert rating["rating"] == "THUMBS_DOWN"
    upstream.go_on()
    answered(page, counted(60))
    assert len(upstream.requests) == 2


def test_the_stop_button_stops_a_model_that_has_gone_silent(stage: Stage, page: Page, upstream: Upstream) -> None:
    stage.page.open(page, stage.plain)
    ask(page, "/count 100 | /pace 20 | /stall 12")
    expect(page.get_by_text("w11 w12")).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    upstream.wait_until(left)
    answered(page, counted(12))
    expect(page.get_by_text("Stopped")).to_be_visible()
    page.reload()
    expect(page.get_by_text("Stopped")).to_be_visible()


def test_a_failure_is_shown_in_words_and_tried_again(stage: Stage, page: Page, upstream: Upstream) -> None:
    stage.page.open(page, stage.plain)
    ask(page, "/fail 1 401 | /say Better now")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The model at")
    expect(alert).to_contain_text("The script asks for status 401")
    again = page.get_by_role("button", name="Try again")
    again.click()
    answered(page, "Better now")
    expect(alert).to_have_count(0)
    expect(page.get_by_test_id("stChatMessage")).to_have_count(2)
    ask(page, "/status 401")
    again.wait_for()
    ask(page, "/say 1 | /stall 1")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(again).to_have_count(0)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped")).to_be_visible()


def test_two_users_are_kept_apart(stage: Stage, browser: Browser, page: Page, upstream: Upstream) -> None:
    stage.page.open(page, stage.plain)
    ask(page, "/say secret of the first")
    answered(page, "secret of the first")
    first = chat_of(page)
    with new_page(browser) as other:
        stage.page.open(other, chat=first)
        expect(other.get_by_text("not one of yours")).to_be_visible()
        expect(other.get_by_text("secret")).to_have_count(0)
        stage.page.open(other, stage.plain)
        ask(other, "/say of the second")
        answered(other, "of the second")
        second = chat_of(other)
        expect(other.get_by_text("secret")).to_have_count(0)
    assert "secret" not in json.dumps(upstream.requests[-1].body)
    rows = [
        row
        for chat in (first, second)
        for row in stage.server.send("GET", f"/api/v1/chatmessage/{stage.plain}?chatId={chat}", admin=True).json
    ]
    assert len({row["sessionId"] for row in rows}) == 2


def test_a_picture_goes_along_with_a_question(stage: Stage, page: Page, upstream: Upstream) -> None:
    stage.page.open(page, stage.plain)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload files").click()
    pixel = Path(__file__).parent / "pixel.png"
    chooser.value.set_files(pixel)
    expect(page.get_by_text("pixel.png")).to_be_visible()
    page.get_by_placeholder("Ask something").fill("Red or blue?")
    page.get_by_role("button", name="Send message").click()  # which waits for the upload
    answered(page, "You said")
    sent = upstream.requests[-1].body["messages"]
    assert "Red or blue?" in [message["content"] for message in sent]
    pictures = [part["image_url"]["url"] for message in sent for part in message["content"] if "image_url" in part]
    assert [url[:22] for url in pictures] == ["data:image/png;base64,"]
    page.reload()
    expect(page.get_by_role("img")).to_have_count(1)


def test_nothing_that_a_model_says_is_executed(stage: Stage, page: Page) -> None:
    """Every attempt as an answer, a thought, a tool, a source, an error, a question and a label."""
    user = "a" * 32
    page.context.add_cookies([{"name": COOKIE, "value": user, "url": stage.page.url}])
    chats, chat = Chats(stage.page.file), Chat("attacks", stage.plain, "")
    for attempt in (one["text"] for one in INJECTIONS):
        chats.ask(user, chat, attempt)
        turn = chats.turns(user, chat.id)[-1]
        chats.ended(turn, everywhere(attempt))
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request))
    stage.page.open(page, chat=chat.id)
    expect(page.get_by_test_id("stChatMessage")).to_have_count(2 * len(INJECTIONS))
    found = page.evaluate(FOUND)
    assert found == {"pwned": None, "elements": [], "handlers": [], "links": []}
    page.locator("a[href^='data:']").first.click()  # browsers follow no link to a page of data
    assert [tab.url for tab in page.context.pages if tab.url.startswith("data:")] == []
    assert page.evaluate("window.pwned ?? null") is None
    others = [request for request in asked if not stage.page.serves(request.url)]
    outcomes = {(request.response(), request.failure) for request in others}  # waits for each
    assert outcomes == {(None, "csp")}, "the browser asks no other server for pictures"


FOUND = """() => {
    document.querySelectorAll('summary').forEach((one) => one.click())
    const all = [...document.querySelector('[data-testid=stMainBlockContainer]').querySelectorAll('*')]
    for (const kind of ['mouseover', 'focus', 'animationend', 'load', 'error', 'toggle'])
        all.forEach((one) => one.dispatchEvent(new Event(kind)))
    const known = ['http:', 'https:', 'mailto:', 'data:']
    const named = (name) => all.filter((one) => one.matches(name)).map((one) => one.outerHTML.slice(0, 200))
    return {
        pwned: window.pwned ?? null,
        elements: named('script, iframe, object, embed, form, base, link, meta, style, animate'),
        handlers: all.filter((one) => one.getAttributeNames().some((name) => name.startsWith('on')))
            .map((one) => one.outerHTML.slice(0, 200)),
        links: all.map((one) => one.protocol).filter((kind) => kind && !known.includes(kind)),
    }
}"""


def everywhere(text: str) -> AnswerState:
    return AnswerState(
        text=text,
        thinking=text,
        steps={text: text},
        tools=[UsedTool(text, text, text), UsedTool("b", {"a": text}, [text], error=text)],
        sources=[Document(text, {"source": text})],
        artifacts=[{"type": "html", "data": text}, {"type": "png", "data": text}],
        follow_ups=[text],
        error=text,
        ended=True,
    )
