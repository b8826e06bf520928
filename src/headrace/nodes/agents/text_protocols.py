"""Protocols by which models use tools in plain text, with marks between the parts: ReAct, and tags."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from headrace.engine.chat import ModelMessage, Part, TextPart, ToolSpec
from headrace.engine.text_tools import Action, Transcript
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


def names(tools: Sequence[ToolSpec]) -> str:
    """Their names."""
    return ", ".join(tool.name for tool in tools)


def said_as(message: ModelMessage, text: str) -> ModelMessage:
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
        """The waiting text, when nothing more comes."""
        return self._held.rstrip()


def _certain(text: str, mark: str) -> int:
    """The length of the text's part that cannot be the beginning of the mark."""
    for size in range(min(len(mark) - 1, len(text)), 0, -1):
        if text.endswith(mark[:size]):
            return len(text) - size
    return len(text)


class Marks(NamedTuple):
    """The marks at which the parts of an answer begin and end."""

    action: re.Pattern[str]
    """A wish to use a tool; what looks like a final answer after it is none."""
    over: re.Pattern[str]
    """The model goes on after such a wish."""
    final: re.Pattern[str]
    end: str
    """The end of a final answer."""


class MarkedReader:
    """Implements `headrace.engine.text_tools.Reader` for protocols whose parts have marks."""

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
_MADE_UP: Final = re.compile(r"\n[ \t*#]*Observation", re.IGNORECASE)
_NEXT: Final = re.compile(r"\n[ \t*#]*(?:Thought|Final Answer)[ \t*]*:", re.IGNORECASE)
_REACT_MARKS: Final = Marks(_ACTION, _MADE_UP, _FINAL, _OBSERVATION)


class ReAct:
    """Implements `headrace.engine.text_tools.TextProtocol` in lines: Thought, Action, Observation, Final Answer."""

    stop: Sequence[str] = (_OBSERVATION,)

    def __init__(self, *, joined: bool = False) -> None:
        self._joined = joined  # into one message, for models that continue a text

    def render(self, transcript: Transcript, tools: Sequence[ToolSpec]) -> list[ModelMessage]:
        """See TextProtocol."""
        told = _REACT.format(tools=about(tools), names=names(tools))
        told = f"{transcript.system}\n\n{told}" if transcript.system else told
        notes = "".join(
            f" {_thought(step.said)}\nObservation: {step.observation}\nThought:" for step in transcript.steps
        )
        asked = f"Question: {transcript.question.text}\nThought:{notes}"
        if self._joined:
            return [said_as(transcript.question, f"{told}\n\n{asked}")]
        return [ModelMessage("system", told), *transcript.history, said_as(transcript.question, asked)]

    def reader(self) -> MarkedReader:
        """See TextProtocol."""
        return MarkedReader(_REACT_MARKS, _react_action)


def _thought(said: str) -> str:
    return said.strip().removeprefix("Thought:").strip()


def _react_action(head: str) -> Action:
    said = _MADE_UP.split(head, maxsplit=1)[0].rstrip()
    if (found := _ACTION.search(said)) is None:
        raise ValueError("it has neither `Action:` with `Action Input:` nor `Final Answer:`")
    given = _NEXT.split(found["input"], maxsplit=1)[0]
    return Action(_bare(found["tool"].strip(" \t*")), _bare(given), said)


def _bare(text: str) -> str:
    """The text without the quotes, backticks or brackets that models put around names and inputs."""
    text = re.sub(r"^```\w*\n(.*)\n```$", r"\1", text.strip(), flags=re.DOTALL)
    for mark in ('"', "'", "`"):
        if len(text) > 1 and text[0] == text[-1] == mark and mark not in text[1:-1]:
            return text[1:-1]
    return text


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
    """Implements `headrace.engine.text_tools.TextProtocol`: `<tool>`, `<tool_input>`, `<final_answer>`.

    The system message may be a template with `{tools}`, `{chat_history}`, `{input}` and `{agent_scratchpad}`, as flows
    of the builder have it; what it leaves out stands in messages of its own.
    """

    stop: Sequence[str] = ("</tool_input>", "</final_answer>")

    def render(self, transcript: Transcript, tools: Sequence[ToolSpec]) -> list[ModelMessage]:
        """See TextProtocol."""
        notes = "".join(f"{step.said}\n<observation>{step.observation}</observation>\n" for step in transcript.steps)
        values = {
            "tools": about(tools),
            "chat_history": "\n".join(f"{_SPEAKERS.get(m.role, m.role)}: {m.text}" for m in transcript.history),
            "input": transcript.question.text,
            "agent_scratchpad": notes,
        }
        named = variables(transcript.system)
        told = filled(transcript.system, values)
        if "tools" not in named:
            told = f"{told}\n\n{_TAGS.format(tools=values['tools'], first=tools[0].name if tools else 'name')}".strip()
        messages = (
            [said_as(transcript.question, told)]
            if "input" in named
            else [ModelMessage("system", told), transcript.question]
        )
        if "chat_history" not in named:
            messages[-1:-1] = transcript.history
        return messages if "agent_scratchpad" in named else [*messages, *_steps(transcript)]

    def reader(self) -> MarkedReader:
        """See TextProtocol."""
        return MarkedReader(_TAG_MARKS, _tag_action)


def _steps(transcript: Transcript) -> list[ModelMessage]:
    messages: list[ModelMessage] = []
    for step in transcript.steps:
        messages.append(ModelMessage("assistant", step.said))
        messages.append(ModelMessage("user", f"<observation>{step.observation}</observation>"))
    return messages


def _tag_action(head: str) -> Action:
    if (found := _TOOL.search(head)) is None:
        raise ValueError("it has neither `<tool>` with `<tool_input>` nor `<final_answer>`")
    tool, given = found["tool"].strip(), found["input"].strip()
    said = head[: found.start()] + f"<tool>{tool}</tool><tool_input>{given}</tool_input>"
    return Action(tool, given, said)
