"""The capabilities that nodes hand to each other. A node's field of one of these types is a port."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import msgspec

from headrace.events import Usage

Role = Literal["system", "user", "assistant"]
Images = Literal["refused", "with the question", "after the question"]
"""Whether a chat model takes pictures, and in which message of a conversation it likes them best."""


class TextPart(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """Text inside a message of several parts."""

    text: str


class ImagePart(msgspec.Struct, frozen=True, tag_field="type", tag="image"):
    """A picture: a data URI or an address."""

    url: str


Part: TypeAlias = TextPart | ImagePart


class ModelMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of a conversation with a model."""

    role: Role
    content: str | Sequence[Part]

    @property
    def text(self) -> str:
        """The message's text; pictures leave no trace in it."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, TextPart))


class TextDelta(msgspec.Struct, frozen=True):
    """Text of the answer; "" where the provider opens the answer without text."""

    text: str


class UsageDelta(msgspec.Struct, frozen=True):
    """Tokens of the whole call, once."""

    usage: Usage


Delta: TypeAlias = TextDelta | UsageDelta


@runtime_checkable
class ChatModel(Protocol):
    """A model that answers a conversation."""

    images: Images

    def stream(self, messages: Sequence[ModelMessage]) -> AsyncGenerator[Sequence[Delta]]:
        """The answer in batches: everything that one read from the provider brought, at once.

        Raises ProviderError. Closing the iterator closes the provider's connection.
        """
        ...


@runtime_checkable
class Memory(Protocol):
    """The conversation so far."""

    async def messages(self) -> list[ModelMessage]:
        """Earlier turns, oldest first: the ones sent along with the request, then the stored ones."""
        ...


@runtime_checkable
class Prompt(Protocol):
    """Messages with open variables."""

    @property
    def variables(self) -> Sequence[str]:
        """Names of the variables, in order of appearance."""
        ...

    @property
    def values(self) -> Mapping[str, Any]:
        """Values that the flow sets for some of them."""
        ...

    def format(self, values: Mapping[str, Any]) -> list[ModelMessage]:
        """The messages with every variable replaced. Raises FlowError for one without a value."""
        ...


class Http(Protocol):
    """The way out to providers: one pool of connections for the process."""

    def stream(self, call: HttpCall) -> AsyncGenerator[bytes]:
        """POSTs and gives the answer's body as it arrives. Retries only before the first byte. Raises ProviderError."""
        ...


class HttpCall(msgspec.Struct, frozen=True):
    """A POST to a provider. `secret` is cut out of any error text; `timeout` is for the whole answer, in seconds."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    secret: str = ""
    timeout: float | None = None
