"""The capabilities that nodes hand to each other. A node's field of one of these types is a port."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from headrace.engine.chat import ChatRequest, Delta, ModelMessage, ToolSpec
from headrace.events import Document

Images = Literal["refused", "with the question", "after the question"]
"""Whether a chat model takes pictures, and in which message of a conversation it likes them best."""


class ChatModel(Protocol):
    """A model that answers a conversation."""

    images: Images

    def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[Delta]]:
        """The answer in batches: everything that one read from the provider brought, at once.

        Raises ProviderError. Closing the iterator closes the provider's connection.
        """
        ...


class Cache(Protocol):
    """Answers of models, kept to be given again to the very same request."""

    async def get(self, key: str) -> str | None:
        """The kept answer."""
        ...

    async def put(self, key: str, answer: str) -> None:
        """Keeps an answer."""
        ...


class Moderation(Protocol):
    """Looks at a question before a model does."""

    async def refusal(self, text: str) -> str | None:
        """What to answer instead, or None when the question may be asked."""
        ...


class OutputParser(Protocol):
    """Asks a model for an answer in a form, and reads it."""

    instructions: str
    """What the model is told about the form."""
    mends: bool
    """Whether a model may mend an answer that cannot be read."""

    def parse(self, text: str) -> Any:
        """The answer as a JSON value. Raises ValueError that says what is wrong with it."""
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


class ToolResult(msgspec.Struct, frozen=True):
    """What a tool gives back: the text that the model reads, and what the answer shows beside it."""

    text: str
    documents: Sequence[Document] = ()
    artifacts: Sequence[dict[str, Any]] = ()


class Tool(Protocol):
    """Something that a model may use."""

    spec: ToolSpec
    return_direct: bool
    """Its result is the run's answer, without another word from the model."""

    async def call(self, arguments: Mapping[str, Any]) -> ToolResult:
        """Does what it is for. Raises HeadraceError, whose text the model reads. Cancelling it stops the work."""
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

    async def send(self, call: HttpCall) -> Body:
        """Sends the call and returns its answer, whose body may still be on its way.

        Retries only here, while nothing of an answer has come. Raises ProviderError.
        """
        ...


class HttpCall(msgspec.Struct, frozen=True):
    """A call to a provider. `secret` is cut out of any error text; `timeout` is for the whole answer, in seconds."""

    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    secret: str = ""
    timeout: float | None = None
    method: Literal["POST", "GET"] = "POST"


class FetchRequest(msgspec.Struct, frozen=True):
    """A request that a flow or its script wants made. `timeout` is for all of it, in seconds."""

    method: str
    url: str
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    timeout: float | None = None


class FetchReply(msgspec.Struct, frozen=True):
    """The whole answer. `url` is where it came from, after redirects."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes
    url: str


Fetch: TypeAlias = Callable[[FetchRequest], Awaitable[FetchReply]]
"""Makes a request. Raises FetchRefused and FetchFailed."""

RunScript: TypeAlias = Callable[[str, Mapping[str, Any]], Awaitable[Any]]
"""Runs JavaScript, the body of an async function, in the sandbox; each value has its name with a `$` in front.

Gives what it returns, None for undefined. Raises ScriptError. Cancelling ends the script at once.
"""


class Outside(msgspec.Struct, frozen=True):
    """What lies beyond a run: the ways to providers and to other servers, and the sandbox."""

    http: Http
    fetch: Fetch
    run_script: RunScript
