"""Draws an answer, and again the parts of it that have changed.

What comes from a model, a tool or a source is shown as text or as Markdown without HTML; labels are literal.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from headrace.apps.chat.answer_state import AnswerState
from headrace.apps.chat.safe_markdown import literal, marked, readable
from headrace.events import Document, UsedTool

_Part = Callable[[AnswerState], Any]
_FIRST = 4  # sources that show at once


class AnswerView:
    """The places of an answer's parts on the page."""

    def __init__(self) -> None:
        self._slots: list[DeltaGenerator] = [st.empty() for _ in _PARTS]
        self._drawn: list[Any] = [None] * len(_PARTS)

    def draw(self, shown: AnswerState) -> None:
        """Shows the answer as far as it has come."""
        for n, (part, show) in enumerate(_PARTS):
            value = part(shown)
            if value == self._drawn[n]:
                continue
            self._drawn[n] = value
            if value is None:
                self._slots[n].empty()
            else:
                with self._slots[n].container():
                    show(value)


def _waiting(_: bool) -> None:
    st.caption("Waiting for the answer")


def _steps(states: Sequence[tuple[str, str]]) -> None:
    running = [label for label, state in states if state == "INPROGRESS"]
    title = f"Step: {literal(running[-1])}" if running else f"{len(states)} steps"
    with st.expander(title, icon=":material/account_tree:"):
        for label, state in states:
            st.markdown(f"- {literal(label)}: {literal(state.lower())}")


def _thinking(thought: tuple[str, int | None, bool]) -> None:
    text, seconds, over = thought
    spent = "Thinking" if not over else "Thought" if not seconds else f"Thought for {seconds} s"
    with st.expander(spent, icon=":material/neurology:"):
        st.markdown(readable(text))


def _tools(tools: Sequence[tuple[UsedTool, bool]]) -> None:
    for tool, answered in tools:
        title = literal(tool.tool) if answered else f"{literal(tool.tool)} is at work"
        with st.expander(title, icon=":material/build:"):
            st.caption("Input")
            _value(tool.toolInput)
            if tool.error:
                st.error(literal(tool.error))
            elif answered:
                st.caption("Output")
                _value(tool.toolOutput)


def _value(value: Any) -> None:
    text = value if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value)).decode()
    st.code(text, language=None if isinstance(value, str) else "json", wrap_lines=True)


def _text(text: str) -> None:
    st.markdown(readable(text))


def _sources(found: tuple[Sequence[Document], str]) -> None:
    sources, answer = found
    st.caption("Sources")
    shown = [(f"{number}\\. {literal(_title(source))}", source) for number, source in enumerate(sources, 1)]
    for title, source in shown[:_FIRST]:
        with st.expander(title, icon=":material/description:"):
            st.html(marked(source.pageContent, answer))
    if more := shown[_FIRST:]:
        with st.expander(f"{len(more)} more"):
            for title, source in more:
                st.caption(title)
                st.html(marked(source.pageContent, answer))


def _title(source: Document) -> str:
    about = source.metadata
    named = next((about[key] for key in ("title", "source", "fileName", "file_name", "url") if about.get(key)), None)
    place = about.get("loc")
    page = place.get("pageNumber") if isinstance(place, dict) else None
    title = str(named) if named else source.pageContent[:60]
    where = about.get("heading") or (page and f"page {page}")
    return f"{title}, {where}" if where else title


def _artifacts(artifacts: Sequence[dict[str, Any]]) -> None:
    for artifact in artifacts:
        data = str(artifact.get("data", ""))
        picture = _picture(data) if artifact.get("type") in ("png", "jpeg", "jpg") else None
        if picture:
            st.image(picture)
        else:
            _value(data)


def _picture(data: str) -> bytes | None:
    try:
        return base64.b64decode(data.rpartition(",")[2], validate=True)
    except ValueError:
        return None


def _part(value: Callable[[AnswerState], Any], show: Callable[[Any], None]) -> tuple[_Part, Callable[[Any], None]]:
    """A part is shown once it has a value."""
    return (lambda shown: value(shown) or None), show


def _tool_calls(shown: AnswerState) -> list[tuple[UsedTool, bool]]:
    return [*((tool, True) for tool in shown.tools), *((tool, False) for tool in shown.called)]


_PARTS = (
    _part(lambda shown: not shown.seq and not shown.ended, _waiting),
    _part(lambda shown: list(shown.steps.items()), _steps),
    _part(
        lambda shown: (shown.thinking, shown.seconds, bool(shown.text) or shown.ended) if shown.thinking else None,
        _thinking,
    ),
    _part(_tool_calls, _tools),
    _part(lambda shown: shown.text, _text),
    _part(lambda shown: shown.artifacts, _artifacts),
    _part(lambda shown: (shown.sources, shown.text) if shown.sources and shown.ended else None, _sources),
)
