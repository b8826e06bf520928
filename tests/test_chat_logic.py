"""The Streamlit chat's logic under Streamlit's own test harness, against a real server and a scripted model."""

import html
import json
import re
from collections.abc import Callable
from pathlib import Path

import agentflows
import pytest
import streamlit as st
from servers import KEY, Server, conversation, free_port
from streamlit.testing.v1 import AppTest
from test_follow_ups import said as said_by_model
from test_follow_ups import suggesting
from upstream import Upstream

from headrace.apps.chat.answer_state import AnswerState, prompts
from headrace.apps.chat.chats import Chat, Chats
from headrace.apps.chat.defaults import FILE, FLOWS
from headrace.apps.chat.safe_markdown import literal, marked, readable
from headrace.apps.chat.serve import PAGE
from headrace.apps.chat.uploads import UNREAD, Taken, taken, uploads_of
from headrace.events import Metadata, RunMetadata, Thinking, Token
from headrace.schema import FileUpload

DOCS = Path(__file__).parents[1] / "docs" / "streamlit.md"
BOUND = 30  # seconds that a run of the script may take
Open = Callable[..., AppTest]


@pytest.fixture
def visit(monkeypatch: pytest.MonkeyPatch, server: Server, chat: str, tmp_path: Path) -> Open:
    """Opens the page for a user, who is told apart by a name here, where there are no cookies."""
    monkeypatch.setenv("HEADRACE_URL", server.url)
    monkeypatch.delenv("HEADRACE_API_KEY", raising=False)
    monkeypatch.setenv(FLOWS, f"Plain chat={chat}")
    monkeypatch.setenv(FILE, str(tmp_path / "chat.sqlite"))

    def opened(user: str = "ann", **query: str) -> AppTest:
        st.cache_data.clear()
        page = AppTest.from_file(str(PAGE), default_timeout=BOUND)
        page.session_state["user"] = user
        page.query_params.update(query)
        return page.run()

    return opened


def said(page: AppTest) -> list[str]:
    return [" ".join(element.value for element in [*one.text, *one.markdown]) for one in page.chat_message]


def button(page: AppTest, label: str) -> AppTest:
    (found,) = [one for one in page.button if one.label == label]
    return found.click().run()


@pytest.mark.parametrize(
    ("label", "feedback", "text"), [("Proceed", "Once.", "Paid: Once."), ("Reject", "", "Dropped.")]
)
def test_a_flow_that_waits_is_answered_with_a_button(
    visit: Open, server: Server, monkeypatch: pytest.MonkeyPatch, label: str, feedback: str, text: str
) -> None:
    human = agentflows.node("humanInput", humanInputDescription="Pay it?")
    drawn = agentflows.flow(
        agentflows.start(),
        human,
        agentflows.reply("Paid: {{ humanInputAgentflow_0 }}"),
        agentflows.reply("Dropped.", 1),
        arrows="start_0 humanInput_0, humanInput_0:0 directReply_0, humanInput_0:1 directReply_1",
    )
    monkeypatch.setenv(FLOWS, f"Asks={server.create_flow(drawn, type='AGENTFLOW')}")
    page = visit()
    page.chat_input[0].set_value("Order 17").run()
    assert "Pay it?" in said(page)[1]
    page.text_input[0].set_value(feedback).run()
    page = button(page, label)
    assert said(page)[2] == (feedback or label)
    assert text in said(page)[3]
    assert [one for one in page.button if one.label == label] == []


def test_a_question_is_answered_and_found_again(visit: Open) -> None:
    page = visit()
    page.chat_input[0].set_value("/say Hello there").run()
    assert said(page) == ["/say Hello there", "Hello there"]
    chat = page.query_params["chat"]
    assert said(visit(chat=chat)) == ["/say Hello there", "Hello there"]
    other = visit("bob", chat=chat)
    assert (said(other), [box.value[:13] for box in other.info]) == ([], ["This chat is "])
    assert [one.label for one in other.sidebar.button] == ["New chat"]


def test_what_was_asked_elsewhere_is_followed_here(visit: Open, server: Server, chat: str, tmp_path: Path) -> None:
    """A page that was lost between storing a question and asking it asks it when it is opened again, once."""
    chats = Chats(tmp_path / "chat.sqlite")
    chats.ask("ann", Chat("c1", chat, ""), "/say Only once")
    assert said(visit(chat="c1"))[1:] == ["Only once"]
    assert said(visit(chat="c1"))[1:] == ["Only once"]
    rows = server.send("GET", f"/api/v1/chatmessage/{chat}?chatId=c1", admin=True).json
    assert [row["role"] for row in rows] == ["userMessage", "apiMessage"]


def test_a_question_that_fails_is_asked_again_in_its_place(visit: Open) -> None:
    page = visit()
    page.chat_input[0].set_value("/fail 1 401 | /say Better").run()
    assert "The script asks for status 401" in page.error[0].value
    button(page, "Try again")
    assert (said(page)[1:], len(page.error)) == (["Better"], 0)


def test_starter_and_follow_up_prompts_are_asked_by_a_click(
    visit: Open, server: Server, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = suggesting(upstream.url, said_by_model(["Why?", "/say *Third*"]))
    columns["chatbotConfig"] |= {"starterPrompts": {"0": {"prompt": "/say First"}, "1": {"prompt": ""}}}
    flow = server.create_flow(conversation(upstream.url), **columns)
    monkeypatch.setenv(FLOWS, flow)
    page = visit()
    assert page.header[0].value == f"Flow {flow[:8]}"
    button(page, "\\/say First")
    assert said(page)[1] == "First"
    button(page, "Why\\?")
    assert said(page)[3] == "You said: Why?"
    button(page, "\\/say \\*Third\\*")
    assert said(page)[4:] == ["/say *Third*", "*Third*"]


def test_a_rating_is_saved_and_shown_again(visit: Open, server: Server, chat: str) -> None:
    page = visit()
    page.chat_input[0].set_value("/say Rate me").run()
    chat_id = page.query_params["chat"]
    page.feedback[0].set_value(1).run()
    ratings = server.send("GET", f"/api/v1/feedback/{chat}?chatId={chat_id}", admin=True).json
    assert [one["rating"] for one in ratings] == ["THUMBS_UP"]
    assert visit(chat=chat_id).feedback[0].value == 1


def test_a_deleted_chat_is_gone(visit: Open) -> None:
    page = visit()
    page.chat_input[0].set_value("/say Forget me").run()
    button(page, "Delete it for good")
    assert said(page) == []
    assert [one.label for one in page.sidebar.button] == ["New chat"]


def test_the_key_lists_the_flows_to_choose_from(visit: Open, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = server.create_flow(conversation("http://127.0.0.1:1/v1"), name="Listed by its key")
    monkeypatch.setenv(FLOWS, "")
    assert "no flow to talk to" in visit().info[0].value
    monkeypatch.setenv("HEADRACE_API_KEY", "wrong")
    assert "Send an API key" in visit().error[0].value
    monkeypatch.setenv("HEADRACE_API_KEY", KEY)
    page = visit(flow=flow)
    assert page.header[0].value == "Listed by its key"


def test_a_server_that_is_away_is_no_loss(visit: Open, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_URL", f"http://127.0.0.1:{free_port()}")
    page = visit()
    page.chat_input[0].set_value("/say Back again").run()
    assert [box.value for box in page.error] == [
        "The server does not answer. What was asked is not lost: try again in a moment."
    ]
    monkeypatch.setenv("HEADRACE_URL", server.url)
    button(page, "Try again")
    assert said(page)[1] == "Back again"


def test_the_app_in_the_docs_answers(server: Server, chat: str) -> None:
    (code,) = re.findall(r"(?ms)^```python app\n(.*?)^```$", DOCS.read_text())
    page = AppTest.from_string(
        code.replace("http://localhost:3000", server.url).replace("<flow-id>", chat), default_timeout=BOUND
    ).run()
    page.chat_input[0].set_value("/say Few lines").run()
    assert said(page) == ["/say Few lines", "Few lines"]


# Texts


def test_only_sentences_that_the_answer_rests_on_are_marked() -> None:
    passage = "The wren weighs nine grams.\nThe <b>heron</b> spears fish & frogs. Both sing."
    assert re.sub("<mark style=.*?>", "<mark>", marked(passage, "A heron spears frogs and fish.")) == (
        '<div style="white-space: pre-wrap">The wren weighs nine grams.\n'
        "<mark>The &lt;b&gt;heron&lt;/b&gt; spears fish &amp; frogs.</mark> Both sing.</div>"
    )


@pytest.mark.parametrize(
    "passage",
    [
        "see headrace.dev for more. Version 1.2 is out.", "plain. text", "", " ", ".", "...", "a.b", "a.b.c d.", "?!.x",
        "one\n\n\ntwo \n three", "  led by blanks. And ended by them  \n", "a\r\nb. c\td", "www.a.example/b?c=d&e=f!g",
        "<p>3 < 4 & 5 > 2.</p>", "Ω. é.x ☃!", "no end", "ends.\n", ".starts so. \u00a0And\u2028so on.\x0b",
        "headrace.dev " * 3 + "e.g. 3.14, i.e. pi. " * 3,
    ],
)  # fmt: skip
@pytest.mark.parametrize("answer", ["x", "see headrace dev for more version blanks ended plain text"])
def test_a_passage_is_shown_with_every_sign_of_it(passage: str, answer: str) -> None:
    shown = marked(passage, answer).removeprefix('<div style="white-space: pre-wrap">').removesuffix("</div>")
    assert html.unescape(re.sub("</?mark[^>]*>", "", shown)) == passage


def test_amounts_are_no_formulas_and_code_stays_as_it_is() -> None:
    assert readable("From $5 to $10, `echo $1`, \\$3.") == "From \\$5 to \\$10, `echo $1`, \\$3."
    assert readable("```\n$1\n```\n$2") == "```\n$1\n```\n\\$2"
    assert readable("Half a block ```sh\n$1") == "Half a block ```sh\n$1"


def test_a_label_is_the_text_itself() -> None:
    assert literal("**a** [b](c)\n:red[d]") == "\\*\\*a\\*\\* \\[b\\]\\(c\\) \\:red\\[d\\]"


def test_follow_up_prompts_are_read_however_often_they_were_encoded() -> None:
    questions = ["Why?", "How?"]
    once = json.dumps(questions)
    assert prompts(once) == prompts(json.dumps(once)) == questions
    assert prompts("not JSON") == prompts(None) == prompts("{}") == []


def test_words_before_a_tool_call_are_no_part_of_the_answer() -> None:
    events = [Thinking("Hm"), Thinking("", 2), Token("Let me see. "), Token("Yes."), Metadata(RunMetadata(text="Yes."))]
    shown = AnswerState()
    for seq, event in enumerate(events, 1):
        shown = shown.after(event, seq)
    assert (shown.text, shown.thinking, shown.seconds, shown.seq) == ("Yes.", "Hm", 2, 5)


# Files


class Picked:
    def __init__(self, name: str, kind: str, content: bytes) -> None:
        self.name, self.type, self._content = name, kind, content

    def getvalue(self) -> bytes:
        return self._content


def test_a_file_goes_along_in_the_way_its_flow_takes_it() -> None:
    images = {"imgUploadSizeAndTypes": [{"fileTypes": ["image/png", ""], "maxUploadSize": 5}]}
    passages = {"fileUploadSizeAndTypes": [{"fileTypes": ["text/plain"], "maxUploadSize": 50}]}
    rag = taken({"uploads": {**images, **passages}})
    assert rag == Taken(["image/png"], ["text/plain"], "file:rag", 50)
    files = [Picked("a.png", "image/png", b"1"), Picked("b.txt", "", b"2")]
    assert [(file.type, file.mime) for file in uploads_of(files, rag)] == [
        ("file", "image/png"),
        ("file:rag", "text/plain"),
    ]
    whole = {"fullFileUpload": {"status": True, "allowedUploadFileTypes": "text/plain, application/pdf"}}
    assert taken({"uploads": images, **whole}) == Taken(["image/png"], ["text/plain", "application/pdf"], UNREAD, 5)
    assert taken({"uploads": {}}).types == []


def test_a_whole_file_is_read_by_the_server_before_it_is_asked_about(
    visit: Open, server: Server, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"fullFileUpload": {"status": True, "allowedUploadFileTypes": "text/plain"}}
    flow = server.create_flow(conversation(upstream.url), chatbotConfig=json.dumps(config))
    note = FileUpload(UNREAD, "note.txt", "text/plain", "data:text/plain;base64,VGhlIHdyZW4gc2luZ3Mu")
    chat = "0b9c7e0e-6d0e-4b52-8d0c-0a4f6f6e7b11"
    Chats(tmp_path / "chat.sqlite").ask("ann", Chat(chat, flow, ""), "/say Read it", [note])
    monkeypatch.setenv(FLOWS, flow)
    assert said(visit(chat=chat))[1] == "Read it"
    assert "The wren sings." in upstream.requests[-1].body["messages"][-1]["content"]
    again = Chats(tmp_path / "chat.sqlite").turns("ann", chat)[0].uploads
    assert [(file.type, file.name, file.data) for file in again] == [("file:full", "note.txt", None)]
