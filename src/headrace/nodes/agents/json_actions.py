"""The protocol by which models use tools with JSON in a block of code: a tool to use, or the final answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from headrace.engine.chat import ModelMessage, ToolSpec
from headrace.engine.text_tools import Action, Transcript
from headrace.nodes.agents.text_protocols import about, names, said_as

_JSON_RULE: Final = "Whatever is asked, the form of your answers is the one that the last message describes."
_JSON: Final = """\
These tools can be used for you:

{tools}

Answer with one JSON object in a block of code and nothing around it. To have a tool used:

```json
{{
    "action": "the tool's name, one of: {names}",
    "action_input": "what the tool is given"
}}
```

To say something to the person who asks:

```json
{{
    "action": "Final Answer",
    "action_input": "all that you want to say"
}}
```

This is what the person says:

{question}"""
_JSON_SEEN: Final = """\
TOOL RESPONSE:
{observation}

USER'S INPUT: none yet. The person has not seen what the tool gave. If it answers the question, say the answer with \
"Final Answer"; if not, have another tool used. Again one JSON object in a block of code and nothing else."""
_JSON_FINAL: Final = re.compile(r'\{\s*"action"\s*:\s*"Final Answer"\s*,\s*"action_input"\s*:\s*"', re.IGNORECASE)
_JSON_PIECE: Final = re.compile(
    r'[^"\\]+|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u(?![dD][89abAB])[0-9a-fA-F]{4}|\\[^u]'
)
_DECODER: Final = json.JSONDecoder(strict=False)  # models put real line breaks into texts
_LONGEST_PREFACE: Final = 2000  # characters before the object; behind a longer one the answer is told in one piece
_MOST_BRACES: Final = 50


class JsonActions:
    """Implements `headrace.engine.text_tools.TextProtocol`: a JSON object with `action` and `action_input`."""

    stop: Sequence[str] = ()

    def render(self, transcript: Transcript, tools: Sequence[ToolSpec]) -> list[ModelMessage]:
        """See TextProtocol."""
        told = _JSON.format(tools=about(tools), names=names(tools), question=transcript.question.text)
        messages = [ModelMessage("system", f"{transcript.system} {_JSON_RULE}".strip()), *transcript.history]
        messages.append(said_as(transcript.question, told))
        for step in transcript.steps:
            messages.append(ModelMessage("assistant", step.said))
            messages.append(ModelMessage("user", _JSON_SEEN.format(observation=step.observation)))
        return messages

    def reader(self) -> JsonReader:
        """See TextProtocol."""
        return JsonReader()


class JsonReader:
    """Implements `headrace.engine.text_tools.Reader`. The text of a final answer is told while it is written."""

    over: bool

    def __init__(self) -> None:
        self.over = False
        self._all: list[str] = []
        self._head = ""
        self._told: list[str] = []
        self._open = self._closed = False  # the answer's text

    def feed(self, text: str) -> str:
        """See Reader."""
        self._all.append(text)
        if self._closed:
            self.over = self.over or bool(text.strip(" \n}`"))
            return ""
        if self.over or (not self._open and len(self._head) > _LONGEST_PREFACE):
            return ""
        self._head += text
        if not self._open and not self._opens("}" in text):
            return ""
        return self._decoded()

    def _opens(self, ends: bool) -> bool:
        """True once the answer's text has begun. `ends` says that an object may have ended, which may want a tool."""
        found = _JSON_FINAL.search(self._head)
        if ends and (wish := _object(self._head[: found.start()] if found else self._head)):
            self.over = not _is_final(wish.value)
        if found is None or self.over:
            return False
        self._open, self._head = True, self._head[found.end() :]
        return True

    def _decoded(self) -> str:
        told, at = "", 0
        while piece := _JSON_PIECE.match(self._head, at):
            text = piece[0]
            try:
                told += json.loads(f'"{text}"') if text[0] == "\\" else text
            except ValueError:  # an escape that is none
                told += text[1:]
            at = piece.end()
        self._closed = self._head[at : at + 1] == '"'
        self._head = self._head[at:]
        self._told.append(told)
        return told

    def finish(self) -> Action | str:
        """See Reader."""
        said, told = "".join(self._all), "".join(self._told)
        if self._closed:
            return ""
        found = _object(said)
        if found is None and not told:
            raise ValueError("it holds no JSON object with `action` and `action_input`")
        if found is None:  # cut short
            return ""
        given = found.value.get("action_input", "")
        if not _is_final(found.value):
            wish = said[: found.end]
            return Action(str(found.value["action"]).strip(), given, f"{wish}\n```" if "```" in wish else wish)
        answer = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        return answer.removeprefix(told)


class _Object(NamedTuple):
    value: dict[str, Any]
    end: int
    """Where it ends in the text."""


def _is_final(value: Mapping[str, Any]) -> bool:
    return str(value["action"]).strip().lower() == "final answer"


def _object(text: str) -> _Object | None:
    """The first JSON object in the text that names an action."""
    at = -1
    for _ in range(_MOST_BRACES):
        if (at := text.find("{", at + 1)) < 0:
            return None
        try:
            value, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and "action" in value:
            return _Object(value, end)
    return None
