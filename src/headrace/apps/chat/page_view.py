"""A look at the page by one visitor: what is shown, and what the clicks on it do.

Everything that changes something is a callback, which Streamlit calls before it draws; drawing only shows and follows.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import streamlit as st
from msgspec import structs
from streamlit.delta_generator import DeltaGenerator

from headrace.apps.chat.answer_state import AnswerState
from headrace.apps.chat.answer_stream import AnswerStream, stop
from headrace.apps.chat.answer_view import AnswerView
from headrace.apps.chat.chats import Chat, Chats, Exchange
from headrace.apps.chat.defaults import FILE, FLOWS, LOOK
from headrace.apps.chat.safe_markdown import literal
from headrace.apps.chat.uploads import content_of, taken, uploads_of
from headrace.apps.chat.visitors import COOKIE, COOKIE_VALUE
from headrace.client import Headrace
from headrace.errors import ConnectionFailed, HeadraceError
from headrace.schema import FileUpload, HumanInput, Look, Rating

_TICK = 0.1  # seconds between two looks at an answer on its way
_SLOWER = 100_000  # characters of an answer that make it a second more
_RATINGS: tuple[Rating, Rating] = ("THUMBS_DOWN", "THUMBS_UP")  # as `st.feedback` numbers them
_UNREACHABLE = "The server does not answer."
_LOST = f"{_UNREACHABLE} What was asked is not lost: try again in a moment."
_LISTED = 50  # chats
_MARK = (  # of a brand without a logo: waves in its colour
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" width="32" height="32">'
    '<rect width="32" height="32" rx="8" fill="{}"/><path d="M6 13q4-4 8 0t8 0 4 0M6 20q4-4 8 0t8 0 4 0" fill="none"'
    ' stroke="#fff" stroke-width="2.6" stroke-linecap="round"/></svg>'
)


def show() -> None:
    """Draws the page."""
    given, key = os.environ.get(FLOWS, ""), os.environ.get("HEADRACE_API_KEY", "")
    client = _client(os.environ.get("HEADRACE_URL", ""), key)
    logo = _dress(client)
    try:
        flows = _flows(client, given) if given or key else {}
    except ConnectionFailed:
        st.error(_UNREACHABLE)
        st.button("Try again", icon=":material/refresh:")
        return
    except HeadraceError as error:
        st.error(_sentence(str(error)))
        return
    if not flows:
        st.info(
            "There is no flow to talk to. Start this page with `headrace chat --flow <id>`, or set `HEADRACE_API_KEY`"
            " to a key with the permission `chatflows:view`, whose flows are then listed here."
        )
        return
    chats = _chats(os.environ.get(FILE, "~/.headrace/chat.sqlite"))
    Visit(client, chats, _user(), flows, logo).show()


def _user() -> str:
    """Whose browser this is. One that takes no cookies is somebody new with every visit."""
    cookie = str(st.context.cookies.get(COOKIE))
    return cookie if COOKIE_VALUE.fullmatch(cookie) else st.session_state.setdefault("user", uuid4().hex)


@st.cache_resource
def _client(url: str, key: str) -> Headrace:
    return Headrace(url or None, key, timeout=10, attempts=2)


@st.cache_resource
def _chats(path: str) -> Chats:
    return Chats(Path(path).expanduser())


@st.cache_data(ttl=30, show_spinner=False)
def _flows(_client: Headrace, given: str) -> dict[str, str]:
    """The flows to choose from: names by ids. Raises HeadraceError."""
    if given:
        named = [line.rpartition("=") for line in given.splitlines()]
        return {flow: name or _config(_client, flow).get("title") or f"Flow {flow[:8]}" for name, _, flow in named}
    return {row.id: row.name for row in _client.flows()}


def _config(client: Headrace, flow: str) -> Mapping[str, Any]:
    """The flow's chat configuration; empty while it cannot be read, since the answer to a question will say why."""
    try:
        return _stored_config(client, flow)
    except HeadraceError:
        return {}


@st.cache_data(ttl=30, show_spinner=False)
def _stored_config(_client: Headrace, flow: str) -> Mapping[str, Any]:
    return _client.chat_config(flow)


def _dress(client: Headrace) -> str | bytes:
    """Puts the brand's name and logo on the page. Returns the logo, or what stands for it."""
    try:
        look, logo = _look(client)
    except HeadraceError:
        look, logo = LOOK, None
    logo = logo or _MARK.format(look.color)
    st.set_page_config(page_title=look.name, page_icon=logo)
    st.logo(logo, size="large")
    st.sidebar.subheader(literal(look.name), anchor=False)
    return logo


@st.cache_data(ttl=300, show_spinner=False)
def _look(_client: Headrace) -> tuple[Look, str | bytes | None]:
    look = _client.look()
    if not look.logo:
        return look, None
    logo = _client.logo()
    return look, logo.decode() if b"<svg" in logo else logo


class Visit:
    """The page as its visitor sees it now. Which chat is open says the address, so a reload opens it again."""

    def __init__(self, client: Headrace, chats: Chats, user: str, flows: Mapping[str, str], logo: str | bytes) -> None:
        self._client, self._chats, self._user, self._flows, self._logo = client, chats, user, flows, logo
        self._mine = [chat for chat in chats.of(user) if chat.flow in flows]
        wanted = st.query_params.get("chat")
        self._chat = next((chat for chat in self._mine if chat.id == wanted), None)
        self._unknown = bool(wanted) and self._chat is None
        chosen = self._chat.flow if self._chat else st.query_params.get("flow", "")
        self._flow = chosen if chosen in flows else next(iter(flows))

    def show(self) -> None:
        """Draws everything, then follows the answer that is on its way."""
        with st.sidebar:
            self._choices()
        if notice := st.session_state.pop("notice", None):
            st.warning(_sentence(notice))
        if self._unknown:
            st.info("This chat is not one of yours, or it has been deleted.")
        turns = self._chats.turns(self._user, self._chat.id) if self._chat else []
        welcome = st.empty()
        if not turns:
            with welcome.container():
                self._welcome()
        waiting: list[tuple[Exchange, AnswerView, DeltaGenerator]] = []
        for turn in turns:
            _question(turn)
            if turn.shown is None:
                waiting.append((turn, *self._coming(turn)))
            else:
                self._answer(turn, turn.shown, last=turn is turns[-1])
        self._input(disabled=bool(waiting))
        if waiting:
            self._follow(*waiting[0])

    def _choices(self) -> None:
        st.button("New chat", icon=":material/edit_square:", width="stretch", on_click=self._open, args=(None,))
        key = f"flow of {self._chat.id if self._chat else None}"
        ids = list(self._flows)
        st.selectbox(
            "Flow",
            ids,
            ids.index(self._flow),
            format_func=lambda flow: self._flows[flow],
            key=key,
            on_change=self._choose,
            args=(key,),
        )
        if self._mine:
            st.caption("Your chats")
        for chat in self._mine[:_LISTED]:
            st.button(
                literal(chat.title) or "Files",
                key=f"open {chat.id}",
                type="secondary" if chat == self._chat else "tertiary",
                width="stretch",
                on_click=self._open,
                args=(chat,),
            )
        if self._chat:
            with st.popover("Delete this chat", icon=":material/delete:", width="stretch"):
                st.button("Delete it for good", on_click=self._delete, args=(self._chat,))

    def _welcome(self) -> None:
        st.header(literal(self._flows[self._flow]), anchor=False)
        self._suggest(starters(_config(self._client, self._flow)), "start")

    def _suggest(self, questions: Sequence[str], key: str) -> None:
        with st.container():  # one place, which the next turn takes
            for number, question in enumerate(questions):
                st.button(literal(question), key=f"{key} {number}", on_click=self._ask, args=(question,))

    def _coming(self, turn: Exchange) -> tuple[AnswerView, DeltaGenerator]:
        """The place of an answer that is on its way, and one below it.

        What was shown here before is emptied first: Streamlit keeps it until the script ends, which may take long.
        """
        with st.empty().container(), st.chat_message("assistant", avatar=self._logo):
            board = AnswerView()
            st.button("Stop", key=f"stop {turn.id}", icon=":material/stop_circle:", on_click=self._stop, args=(turn,))
            return board, st.empty()

    def _answer(self, turn: Exchange, shown: AnswerState, *, last: bool) -> None:
        with st.chat_message("assistant", avatar=self._logo):
            AnswerView().draw(shown)
            if shown.aborted:
                st.caption("Stopped")
            if shown.error:
                st.error(_sentence(shown.error))
                again = st.empty()  # what was here before goes at once, not when the script ends
                if last:
                    again.button("Try again", icon=":material/refresh:", on_click=self._chats.again, args=(turn,))
            elif shown.message:
                rated = _RATINGS.index(turn.rating) if turn.rating else None
                key = f"rate {turn.id}"
                st.feedback("thumbs", key=key, default=rated, on_change=self._rate, args=(turn, shown.message, key))
        if last:
            self._suggest(shown.follow_ups, "follow up")
            if shown.action:
                self._approval(turn, shown.action)

    def _approval(self, turn: Exchange, action: Mapping[str, Any]) -> None:
        """A field for feedback, and the buttons of a flow that waits for its visitor."""
        about, key = action.get("data") or {}, f"feedback {turn.id}"
        if (about.get("input") or {}).get("humanInputEnableFeedback") is not False:
            st.text_input("Feedback", key=key)
        for name, kind, label in (("approve", "proceed", "Proceed"), ("reject", "reject", "Reject")):
            text = str((action.get("mapping") or {}).get(name) or label)
            answer = HumanInput(type=kind, startNodeId=about.get("nodeId"))
            st.button(literal(text), key=f"{kind} {turn.id}", on_click=self._decide, args=(answer, text, key))

    def _input(self, *, disabled: bool) -> None:
        takes = taken(_config(self._client, self._flow))
        st.chat_input(
            "Ask something",
            key="question",
            accept_file="multiple" if takes.types else False,
            file_type=takes.types or None,
            max_upload_size=takes.most or None,
            disabled=disabled,
            on_submit=self._submit,
        )

    def _follow(self, turn: Exchange, board: AnswerView, below: DeltaGenerator) -> None:
        """Shows the answer as it comes. An interrupted script leaves it; the next one goes on from there.

        Streamlit starts the next one before this one has noticed, so what they share, an answer so far, never changes.
        """
        readers: dict[str, AnswerStream] = st.session_state.setdefault("readers", {})
        before = readers.get(turn.id)
        following = readers[turn.id] = AnswerStream(
            self._chats, turn, self._flow, before.shown if before else AnswerState()
        )
        with following.reading():
            while not following.over(_TICK + len(following.shown.text) / _SLOWER):
                board.draw(following.shown)
                below.empty()  # only a script that shows something is interrupted by a click
        board.draw(following.shown)
        if following.lost:
            with below.container():
                st.error(_LOST)
                st.button("Try again", icon=":material/refresh:")
            return
        self._chats.ended(turn, following.shown)
        readers.pop(turn.id, None)
        st.rerun()

    # What clicks do

    def _open(self, chat: Chat | None) -> None:
        st.query_params.from_dict({"chat": chat.id} if chat else {"flow": self._flow})

    def _choose(self, key: str) -> None:
        st.query_params.from_dict({"flow": st.session_state[key]})

    def _submit(self) -> None:
        given = st.session_state.question
        if isinstance(given, str):
            self._ask(given)
        elif given:
            takes = taken(_config(self._client, self._flow))
            self._ask(given.text, uploads_of(given.files, takes))

    def _ask(self, question: str, uploads: Sequence[FileUpload] = (), answer: HumanInput | None = None) -> None:
        chat = self._chat or Chat(str(uuid4()), self._flow, "")
        self._chats.ask(self._user, chat, question, uploads, answer)
        self._open(chat)

    def _decide(self, answer: HumanInput, label: str, key: str) -> None:
        feedback = str(st.session_state.get(key) or "").strip() or None
        self._ask(feedback or label, answer=structs.replace(answer, feedback=feedback))

    def _stop(self, turn: Exchange) -> None:
        now = self._chats.turn(self._user, turn.chat, turn.id)
        try:
            if now and now.shown is None:
                stop(self._client, self._chats, now, self._flow)
        except HeadraceError as error:
            st.session_state.notice = str(error)

    def _rate(self, turn: Exchange, message: str, key: str) -> None:
        chosen = st.session_state[key]
        if chosen is None:
            return
        try:
            self._client.rate(self._flow, message, _RATINGS[chosen])
        except HeadraceError as error:
            st.session_state.notice = f"Your rating was not taken: {error}"
        else:
            self._chats.rated(turn, _RATINGS[chosen])

    def _delete(self, chat: Chat) -> None:
        self._chats.delete(self._user, chat.id)
        self._open(None)


def _sentence(text: str) -> str:
    return literal(text[:1].upper() + text[1:])


def _question(turn: Exchange) -> None:
    with st.chat_message("user", avatar=":material/person:"):
        st.text(turn.question)
        for file in turn.uploads:
            if file.mime.startswith("image/") and file.data:
                st.image(content_of(file), caption=literal(file.name), width=240)
            else:
                st.caption(f":material/attach_file: {literal(file.name)}")


def starters(config: Mapping[str, Any]) -> list[str]:
    """The questions that the flow's author proposes."""
    given = config.get("starterPrompts")
    entries = given.values() if isinstance(given, dict) else given if isinstance(given, list) else ()
    found = [entry.get("prompt") for entry in entries if isinstance(entry, dict)]
    return [text for text in found if isinstance(text, str) and text.strip()]
