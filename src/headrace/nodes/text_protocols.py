"""The protocols by which models use tools in plain text: ReAct, JSON in a fence, and tags."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from headrace.engine.chat import ModelMessage, Part, TextPart, ToolSpec
from headrace.engine.textmodel import Action, Talk
from headrace.nodes.prompts import filled, variables

_LONGEST_MARK: Final = 40  # characters
_SPEAKERS: Final = {"user": "Human", "assistant": "AI", "system": "Note"}


def about(tools: Sequence[ToolSpec]) -> str:
    """The tools, one a line, each with what its input must be."""
    return "\n".join(f"- {tool.name}: {' '.join(tool.description.split())} {_input(tool)}" for tool in tools)


def _input(tool: ToolSpec) -> str:
    properties = tool.parameters.get("properties", {})
    if not properties:
        return "It needs no input."
    if len(properties) == 1 and next(iter(properties.values())).get("type") == "string":
        return "Its input is a text."
    return f"Its input is a JSON object of this schema: {json.dumps(tool.parameters, ensure_ascii=False)}"


def _names(tools: Sequence[ToolSpec]) -> str:
    return ", ".join(tool.name for tool in tools)


def _said_as(message: ModelMessage, text: str) -> ModelMessage:
    """The message with another text; its pictures stay."""
    pictures: list[Part] = [part for part in message.parts if not isinstance(part, TextPart)]
    return ModelMessage(message.role, [TextPart(text), *pictures] if pictures else text)


class Ending:
    """Lets an answer through up to its end mark, without the blanks around it.

    What may yet turn out to be the mark, or the last blanks, waits.
    """

    def __init__(self, mark: str) -> None:
        self.reached = False
        self.after = ""
        self._mark, self._held, self._begun = mark, "", False

    def feed(self, text: str) -> str:
        """Takes the next text in and gives what is certain to belong to the answer."""
        if self.reached:
            self.after += text
            return ""
        held = self._held + text if self._begun else (self._held + text).lstrip()
        before, mark, self.after = held.partition(self._mark)
        self.reached = bool(mark)
        certain = before.rstrip() if mark else before[: _certain(before, self._mark)].rstrip()
        self._held = "" if mark else held[len(certain) :]
        self._begun = self._begun or bool(certain)
        return certain

    def rest(self) -> str:
        """What waits, when nothing more comes."""
        return self._held.rstrip()


def _certain(text: str, mark: str) -> int:
    """How much of the text cannot be the beginning of the mark."""
    for size in range(min(len(mark) - 1, len(text)), 0, -1):
        if text.endswith(mark[:size]):
            return len(text) - size
    return len(text)


class Marks(NamedTuple):
    """Where the parts of an answer begin and end."""

    action: re.Pattern[str]
    """A wish to use a tool; what looks like a final answer after it is none."""
    over: re.Pattern[str]
    """The model goes on after such a wish."""
    final: re.Pattern[str]
    end: str
    """The end of a final answer."""


class MarkedReader:
    """Implements `headrace.engine.textmodel.Reader` for protocols whose parts have marks."""

    over: bool

    def __init__(self, marks: Marks, action: Callable[[str], Action]) -> None:
        self.over = False
        self._marks, self._action = marks, action
        self._head = ""
        self._answer: Ending | None = None

    def feed(self, text: str) -> str:
        """See Reader."""
        if self._answer is None:
            before = max(0, len(self._head) - _LONGEST_MARK)  # a mark may have begun in the text before
            self._head += text
            final = self._marks.final.search(self._head, before)
            end = final.start() if final else len(self._head)
            self.over = self._marks.over.search(self._head, before, end) is not None
            if final is None or self.over or self._marks.action.search(self._head, 0, end):
                return ""
            self._answer, text = Ending(self._marks.end), self._head[final.end() :]
        told = self._answer.feed(text)
        self.over = bool(self._answer.after.strip())
        return told

    def finish(self) -> Action | str:
        """See Reader."""
        return self._action(self._head) if self._answer is None else self._answer.rest()


_REACT: Final = """\
Work towards the answer in steps. You can use these tools:

{tools}

Write each step in these lines and then stop, so that the tool can be run:

Thought: what you know and what you still need
Action: the name of one tool, one of: {names}
Action Input: what the tool is given

You will then read a line that begins with `Observation:` and holds what the tool gave. Never write that line yourself.
As soon as you can answer, also without any tool, write these lines instead:

Thought: I can answer now
Final Answer: the whole answer for the person who asked"""
_FINAL: Final = re.compile(r"(?:^|(?<=\n))[ \t*#]*Final Answer[ \t*]*:[ \t*]*", re.IGNORECASE)
# No two neighbours in these patterns take the same characters: models may go on with blanks for ever, and every way to
# share them out would be tried.
_ACTION: Final = re.compile(
    r"(?:^|\n)[ \t*#]*Action[ \t\d*]*:(?P<tool>[^\n]*)\n\s*[*#]*Action[ \t\d]*Input[ \t\d*]*:[ \t*]*(?P<input>.*)",
    re.IGNORECASE | re.DOTALL,
)
_OBSERVATION: Final = "\nObservation"
_REACT_MARKS: Final = Marks(_ACTION, re.compile(_OBSERVATION), _FINAL, _OBSERVATION)


class ReAct:
    """Implements `headrace.engine.textmodel.TextProtocol`: Thought, Action, Action Input, Observation, Final Answer."""

    stop: Sequence[str] = (_OBSERVATION,)

    def __init__(self, *, joined: bool = False) -> None:
        self._joined = joined  # into one message, for models that continue a text

    def render(self, talk: Talk, tools: Sequence[ToolSpec]) -> list[ModelMessage]:
        """See TextProtocol."""
        told = _REACT.format(tools=about(tools), names=_names(tools))
        told = f"{talk.system}\n\n{told}" if talk.system else told
        notes = "".join(f" {_thought(step.said)}\nObservation: {step.observation}\nThought:" for step in talk.steps)
        asked = f"Question: {talk.question.text}\nThought:{notes}"
        if self._joined:
            return [_said_as(talk.question, f"{told}\n\n{asked}")]
        return [ModelMessage("system", told), *talk.history, _said_as(talk.question, asked)]

    def reader(self) -> MarkedReader:
        """See TextProtocol."""
        return MarkedReader(_REACT_MARKS, _react_action)


def _thought(said: str) -> str:
    return said.strip().removeprefix("Thought:").strip()


def _react_action(head: str) -> Action:
    said = head.partition(_OBSERVATION)[0].rstrip()
    if (found := _ACTION.search(said)) is None:
        raise ValueError("it has neither `Action:` with `Action Input:` nor `Final Answer:`")
    given = re.split(r"\n(?:Thought|Final Answer):", found["input"], maxsplit=1)[0]
    return Action(_bare(found["tool"].strip(" \t*")), _bare(given), said)


def _bare(text: str) -> str:
    """The text without the quotes, backticks or brackets that models put around names and inputs."""
    text = re.sub(r"^```\w*\n(.*)\n```$", r"\1", text.strip(), flags=re.DOTALL)
    for mark in ('"', "'", "`"):
        if len(text) > 1 and text[0] == text[-1] == mark and mark not in text[1:-1]:
            return text[1:-1]
    return text


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
    """Implements `headrace.engine.textmodel.TextProtocol`: a JSON object with `action` and `action_input`."""

    stop: Sequence[str] = ()

    def render(self, talk: Talk, tools: Sequence[ToolSpec]) -> list[ModelMessage]:
        """See TextProtocol."""
        told = _JSON.format(tools=about(tools), names=_names(tools), question=talk.question.text)
        messages = [ModelMessage("system", f"{talk.system} {_JSON_RULE}".strip()), *talk.history]
        messages.append(_said_as(talk.question, told))
        for step in talk.steps:
            messages.append(ModelMessage("assistant", step.said))
            messages.append(ModelMessage("user", _JSON_SEEN.format(observation=step.observation)))
        return messages

    def reader(self) -> JsonReader:
        """See TextProtocol."""
        return JsonReader()


class JsonReader:
    """Implements `headrace.engine.textmodel.Reader`. The text of a final answer is told while it is written."""

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
        if self._closed or (not self._open and len(self._head) > _LONGEST_PREFACE):
            return ""
        self._head += text
        if not self._open:
            if (found := _JSON_FINAL.search(self._head)) is None:
                return ""
            self._open, self._head = True, self._head[found.end() :]
        return self._decoded()

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
        value = _object(said)
        if value is None and not told:
            raise ValueError("it holds no JSON object with `action` and `action_input`")
        if value is None:  # cut short
            return ""
        action, given = str(value["action"]).strip(), value.get("action_input", "")
        if action.lower() != "final answer":
            return Action(action, given, said)
        answer = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        return answer.removeprefix(told)


def _object(text: str) -> dict[str, Any] | None:
    """The first JSON object in the text that names an action."""
    at = -1
    for _ in range(_MOST_BRACES):
        if (at := text.find("{", at + 1)) < 0:
            return None
        try:
            value: Any = _DECODER.raw_decode(text, at)[0]
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and "action" in value:
            return value
    return None


_TAGS: Final = """\
You can use these tools:

{tools}

To use one, write its name and its input in tags, and then stop:
<tool>{first}</tool><tool_input>what the tool is given</tool_input>
What it gives comes back to you as <observation>…</observation>; never write that yourself.
When you can answer, write the whole answer in tags of its own: <final_answer>…</final_answer>"""
_TOOL: Final = re.compile(
    r"<tool>(?P<tool>[^<]*)</tool>\s*<tool_input>(?P<input>.*?)(?:</tool_input>|<observation>|$)", re.DOTALL
)
_TAG_MARKS: Final = Marks(
    re.compile("<tool>"), re.compile(r"</tool_input>\s*\S"), re.compile("<final_answer>"), "</final_answer>"
)


class Tags:
    """Implements `headrace.engine.textmodel.TextProtocol`: `<tool>`, `<tool_input>`, `<final_answer>`.

    The system message may be a template with `{tools}`, `{chat_history}`, `{input}` and `{agent_scratchpad}`, as flows
    of the builder have it; what it leaves out stands in messages of its own.
    """

    stop: Sequence[str] = ("</tool_input>", "</final_answer>")

    def render(self, talk: Talk, tools: Sequence[ToolSpec]) -> list[ModelMessage]:
        """See TextProtocol."""
        notes = "".join(f"{step.said}\n<observation>{step.observation}</observation>\n" for step in talk.steps)
        values = {
            "tools": about(tools),
            "chat_history": "\n".join(f"{_SPEAKERS.get(m.role, m.role)}: {m.text}" for m in talk.history),
            "input": talk.question.text,
            "agent_scratchpad": notes,
        }
        named = variables(talk.system)
        told = filled(talk.system, values)
        if "tools" not in named:
            told = f"{told}\n\n{_TAGS.format(tools=values['tools'], first=tools[0].name if tools else 'name')}".strip()
        if "input" in named:
            messages = [_said_as(talk.question, told)]
        else:
            messages = [ModelMessage("system", told), talk.question]
        if "chat_history" not in named:
            messages[-1:-1] = talk.history
        return messages if "agent_scratchpad" in named else [*messages, *_steps(talk)]

    def reader(self) -> MarkedReader:
        """See TextProtocol."""
        return MarkedReader(_TAG_MARKS, _tag_action)


def _steps(talk: Talk) -> list[ModelMessage]:
    messages: list[ModelMessage] = []
    for step in talk.steps:
        messages.append(ModelMessage("assistant", step.said))
        messages.append(ModelMessage("user", f"<observation>{step.observation}</observation>"))
    return messages


def _tag_action(head: str) -> Action:
    if (found := _TOOL.search(head)) is None:
        raise ValueError("it has neither `<tool>` with `<tool_input>` nor `<final_answer>`")
    tool, given = found["tool"].strip(), found["input"].strip()
    said = head[: found.start()] + f"<tool>{tool}</tool><tool_input>{given}</tool_input>"
    return Action(tool, given, said)
