"""Prompt templates. `{name}` is a variable, `{{` and `}}` are braces, and `{a: b}` stays as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec

from headrace.engine.annotations import Input, NodeInfo
from headrace.engine.chat import ModelMessage, Role, ToolCall
from headrace.engine.node import Context, Node, Template, Templated
from headrace.engine.references import text_of
from headrace.errors import FlowError

_ROLES: Final[Mapping[str, Role]] = {
    **dict.fromkeys(("user", "human", "userMessage"), "user"),
    **dict.fromkeys(("assistant", "ai", "apiMessage"), "assistant"),
    "system": "system",
    "tool": "tool",
}
# A colon inside braces marks a piece of JSON that someone pasted, not a variable.
_PIECE = re.compile(r"\{\{|\}\}|\{([^{}:]+)\}")


def variables(template: str) -> list[str]:
    """Names of the template's variables, each once, in order of appearance."""
    return list(dict.fromkeys(match[1] for match in _PIECE.finditer(template) if match[1]))


def filled(template: str, values: Mapping[str, Any]) -> str:
    """The template with its variables replaced, in one pass. Raises FlowError for one without a value."""

    def piece(match: re.Match[str]) -> str:
        if not match[1]:
            return match[0][0]
        if values.get(match[1]) is None:
            raise FlowError(f"the prompt's variable {match[1]!r} has no value: set it in Format Prompt Values")
        return text_of(values[match[1]])

    return _PIECE.sub(piece, template)


class PromptTemplate(Node, frozen=True, kw_only=True, tag="promptTemplate"):
    """One message with variables."""

    info = NodeInfo(category="Prompts")

    template: Template = ""
    promptValues: Annotated[Templated, Input(list=True)] = {}

    @property
    def variables(self) -> Sequence[str]:
        """Names of the variables, in order of appearance."""
        return variables(self.template)

    @property
    def values(self) -> Mapping[str, Any]:
        """Values that the flow sets."""
        return self.promptValues

    def format(self, values: Mapping[str, Any]) -> list[ModelMessage]:
        """The message, as the user's."""
        return [ModelMessage("user", filled(self.template, values))]


class ChatPromptTemplate(Node, frozen=True, kw_only=True, tag="chatPromptTemplate"):
    """A system and a human message with variables."""

    info = NodeInfo(version=2, category="Prompts")

    systemMessagePrompt: Template = ""
    humanMessagePrompt: Template = ""
    promptValues: Annotated[Templated, Input(list=True)] = {}
    messageHistoryCode: Annotated[
        str,
        Input(type="code"),
    ] = ""
    """A script that returns messages, which stand between the two."""

    async def build(self, ctx: Context) -> ChatPromptTemplate:
        """The template with the messages that its script returns. Raises FlowError for what are none."""
        if not self.messageHistoryCode.strip():
            return self
        given = await ctx.run_script(self.messageHistoryCode, {})
        if not isinstance(given, list):
            raise FlowError("the prompt's message history must be a list of messages: return one from its code")
        return _PromptWithHistory(**msgspec.structs.asdict(self), told=history_messages(given))

    @property
    def variables(self) -> Sequence[str]:
        """Names of the variables, in order of appearance."""
        return list(dict.fromkeys(variables(self.systemMessagePrompt) + variables(self.humanMessagePrompt)))

    @property
    def values(self) -> Mapping[str, Any]:
        """Values that the flow sets."""
        return self.promptValues

    def format(self, values: Mapping[str, Any]) -> list[ModelMessage]:
        """The system message, then the user's."""
        return [
            ModelMessage("system", filled(self.systemMessagePrompt, values)),
            ModelMessage("user", filled(self.humanMessagePrompt, values)),
        ]


class _PromptWithHistory(ChatPromptTemplate, frozen=True, kw_only=True):
    told: list[ModelMessage]

    def format(self, values: Mapping[str, Any]) -> list[ModelMessage]:
        first, last = super().format(values)
        return [first, *self.told, last]


def history_messages(given: Sequence[Any]) -> list[ModelMessage]:
    """The result of a script as messages: LangChain's objects, `{role, content}`, pairs of a role and a text, texts.

    Raises FlowError for anything else.
    """
    calls: dict[str, ToolCall] = {}
    return [_message(one, place, calls) for place, one in enumerate(given)]


class _ToldCall(msgspec.Struct):
    id: str = ""
    name: str = ""
    args: dict[str, Any] = {}


class _Told(msgspec.Struct):
    """A message as a script returns it; LangChain's objects have a type in place of a role."""

    role: str = ""
    type: str = ""
    content: Any = ""
    name: str = ""
    tool_calls: list[_ToldCall] = []
    tool_call_id: str = ""


def _message(given: Any, place: int, calls: dict[str, ToolCall]) -> ModelMessage:
    """`calls` are those that the messages before have asked for, by id."""
    if isinstance(given, str):
        return ModelMessage("user", given)
    pair = dict(zip(("role", "content"), given, strict=False)) if isinstance(given, list) else given
    try:
        told = msgspec.convert(pair, _Told)
        role = _ROLES[told.role or told.type]
    except (msgspec.ValidationError, KeyError) as error:
        raise FlowError(f"the prompt's message history has no message at place {place}: {error}") from None
    content = text_of(told.content or "")
    if role == "tool":
        asking = calls.get(told.tool_call_id) or ToolCall(told.tool_call_id, told.name, "")
        return ModelMessage(role, content, answers=asking)
    asked = [ToolCall(call.id, call.name, text_of(call.args)) for call in told.tool_calls]
    calls |= {call.id: call for call in asked}
    return ModelMessage(role, content, calls=asked if role == "assistant" else ())


NODES = (PromptTemplate, ChatPromptTemplate)
