"""The capabilities that nodes hand to each other. A node's field of one of these types is a port."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

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


class ChatModel(Protocol):
    """A model that answers a conversation."""

    images: Images

    def stream(self, messages: Sequence[ModelMessage]) -> AsyncGenerator[Sequence[Delta]]:
        """The answer in batches: everything that one read from the provider brought, at once.

        Raises ProviderError. Closing the iterator closes the provider's connection.
        """
        ...


class Memory(Protocol):
    """The conversation so far."""

    async def messages(self) -> list[ModelMessage]:
        """Earlier turns, oldest first: the ones sent along with the request, then the stored ones."""
        ...


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


class Body(Protocol):
    """The answer to a call, read as it arrives."""

    async def read(self) -> bytes:
        """What has arrived since the last read, at least a byte; b"" at the end. Raises ProviderError."""
        ...

    def close(self) -> None:
        """Closes the socket, unless the answer was read to its end."""
        ...


class Http(Protocol):
    """The way out to providers: one pool of connections for the process."""

    async def post(self, call: HttpCall) -> Body:
        """Sends the call and returns its answer, whose body may still be on its way.

        Retries only here, while nothing of an answer has come. Raises ProviderError.
        """
        ...


class HttpCall(msgspec.Struct, frozen=True):
    """A POST to a provider. `secret` is cut out of any error text; `timeout` is for the whole answer, in seconds."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    secret: str = ""
    timeout: float | None = None
