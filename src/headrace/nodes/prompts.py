"""Prompt templates. `{name}` is a variable, `{{` and `}}` are braces, and `{a: b}` stays as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from headrace.engine.annotations import Input, NodeInfo
from headrace.engine.chat import ModelMessage
from headrace.engine.node import Node, Template, Templated
from headrace.engine.references import text_of
from headrace.errors import FlowError

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
        Input(
            type="code",
            refused="has message history as code, which cannot run here: clear that field, and connect a memory to the "
            "chain",
        ),
    ] = ""

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


NODES = (PromptTemplate, ChatPromptTemplate)
