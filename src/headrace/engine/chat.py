"""Messages to a chat model and the deltas of its answer, the same for every provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from headrace.events import Document, Usage

Role = Literal["system", "user", "assistant", "tool"]


class TextPart(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """Text inside a message of several parts."""

    text: str


class ImagePart(msgspec.Struct, frozen=True, tag_field="type", tag="image"):
    """A picture: a data URI or an address."""

    url: str


Part: TypeAlias = TextPart | ImagePart


class ToolCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model's wish to use a tool. `arguments` is JSON text as the model wrote it, which may be broken."""

    id: str
    name: str
    arguments: str
    signature: str = ""
    """The provider's opaque text that must be sent back with the call."""


class Thought(msgspec.Struct, frozen=True, omit_defaults=True):
    """A block of a model's reasoning. Providers that sign it want it back with the tool calls that followed it."""

    text: str
    signature: str = ""
    redacted: bool = False
    """The provider shows no text, and the signature is all there is of the block."""


class ModelMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of a conversation with a model."""

    role: Role
    content: str | Sequence[Part]
    calls: Sequence[ToolCall] = ()
    """Tool calls of an assistant's message."""
    thoughts: Sequence[Thought] = ()
    """Thinking of an assistant before its tool calls."""
    answers: ToolCall | None = None
    """The call that a message of role "tool" is the result of."""
    name: str = ""
    """Who speaks, where several speak in one role: letters, digits, `_` and `-`."""
    uses: Sequence[Mapping[str, Any]] = ()
    """The tools that an earlier answer used, as executions show them; models are not told."""

    @property
    def text(self) -> str:
        """The message's text; pictures leave no trace in it."""
        return self.content if isinstance(self.content, str) else joined_text(self.parts)

    @property
    def parts(self) -> Sequence[Part]:
        """The content as parts; empty text gives none."""
        if isinstance(self.content, str):
            return [TextPart(self.content)] if self.content else []
        return self.content


def joined_text(parts: Sequence[Part]) -> str:
    """The texts of the parts in one."""
    return "".join(part.text for part in parts if isinstance(part, TextPart))


class ToolSpec(msgspec.Struct, frozen=True):
    """A tool as a model sees it. `parameters` is the JSON Schema of an object."""

    name: str
    description: str
    parameters: dict[str, Any]


class OutputSchema(msgspec.Struct, frozen=True):
    """The schema of a structured answer: a JSON Schema and its name."""

    name: str
    schema: dict[str, Any]


class ChatRequest(msgspec.Struct, frozen=True):
    """One turn of a model: the conversation, the tools it may call, the form that its answer must have."""

    messages: Sequence[ModelMessage]
    tools: Sequence[ToolSpec] = ()
    choice: str = "auto"
    """"auto", "none", "required", or the name of the tool that must be called."""
    schema: OutputSchema | None = None
    """With it the answer's text is JSON of this form, by whichever means the provider has."""
    stop: Sequence[str] = ()
    """Where the answer shall end, without these words, if the provider can do that; a few at most."""
    facts: bool = False
    """True to end the answer with the provider's facts on the call, where its adapter has them."""


class TextDelta(msgspec.Struct, frozen=True):
    """Text of the answer; "" where the provider opens the answer without text."""

    text: str


class ThinkingDelta(msgspec.Struct, frozen=True, omit_defaults=True):
    """Text of the model's reasoning, or the signature that closes a block of it."""

    text: str
    signature: str = ""
    redacted: bool = False
    """The block is closed by this signature and has no text."""


class ToolCallDelta(msgspec.Struct, frozen=True):
    """A fragment of a tool call: fragments of one `index` belong together, their arguments are joined."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    signature: str = ""


class CitationDelta(msgspec.Struct, frozen=True):
    """A source that the provider's model cites: the cited text, with `source` and `title` in its metadata."""

    document: Document


class UsageDelta(msgspec.Struct, frozen=True):
    """Tokens of the whole call, once."""

    usage: Usage


Finish = Literal["stop", "length", "tool_calls", "other"]


class FinishDelta(msgspec.Struct, frozen=True):
    """The reason why the model stopped. An answer that a filter stopped ends with ProviderFiltered instead."""

    reason: Finish


class FactsDelta(msgspec.Struct, frozen=True):
    """The provider's facts on the whole call, in its own words; only for requests that want `facts`."""

    facts: dict[str, Any]
    id: str = ""
    """The provider's id of the answer."""


Delta: TypeAlias = TextDelta | ThinkingDelta | ToolCallDelta | CitationDelta | UsageDelta | FinishDelta | FactsDelta
