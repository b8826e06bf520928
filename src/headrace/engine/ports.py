"""The capabilities that nodes hand to each other. A node's field of one of these types is a port."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import msgspec

from headrace.engine.chat import ChatRequest, Delta, ModelMessage, ToolSpec
from headrace.errors import FlowError, ProviderError
from headrace.events import Document

Images = Literal["refused", "with the question", "after the question"]
"""A chat model's handling of pictures: refused, or the message of a conversation that holds them."""


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
        """The answer to give instead, or None when the question may be asked."""
        ...


class OutputParser(Protocol):
    """Asks a model for an answer in a form, and reads it."""

    instructions: str
    """The model's instructions on the form."""
    mends: bool
    """True when a model may mend an answer that cannot be read."""

    def parse(self, text: str) -> Any:
        """The answer as a JSON value. Raises ValueError that says what is wrong with it."""
        ...


class Memory(Protocol):
    """The conversation so far."""

    async def messages(self) -> list[ModelMessage]:
        """Earlier turns, oldest first: the ones sent along with the request, then the stored ones."""
        ...


@runtime_checkable
class ToolMemory(Memory, Protocol):
    """A memory that may know which tools were used."""

    async def exchanges(self) -> list[ModelMessage]:
        """The same with the calls and their results, where the flow wants that: for models that are offered tools."""
        ...


class Notes(Protocol):
    """Notes of nodes on a session beside its messages, each under a name of its own."""

    async def get(self, name: str) -> str | None:
        """The last note; None once a message of the session was deleted."""
        ...

    async def put(self, name: str, text: str) -> None:
        """Keeps it for the session's next runs."""
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
    """A tool's result: the text that the model reads, and data that the answer shows beside it."""

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
        """The bytes since the last read, at least one; b"" at the end. Raises ProviderError."""
        ...

    async def push(self, take: Callable[[bytes], bool]) -> None:
        """Gives each read to `take` as it comes, b"" at the end, or until `take` says False. Raises ProviderError."""

    def close(self) -> None:
        """Closes the socket, unless the answer was read to its end."""
        ...


class Tries(Protocol):
    """The attempts at one call, whatever each of them fails at."""

    async def again(self, failure: ProviderError) -> None:
        """Waits for the time of the next attempt. Raises the failure when there is none, or when it will not pass."""
        ...


class Http(Protocol):
    """The way out to providers: one pool of connections for the process."""

    def tries(self, call: HttpCall) -> Tries:
        """The attempts that a call may have, for a caller that also reads whether its answer has failed."""
        ...

    async def send(self, call: HttpCall, tries: Tries | None = None) -> Body:
        """Sends the call and returns its answer, whose body may still be on its way.

        Tries again here while no answer has begun. Raises ProviderError.
        """
        ...


class HttpCall(msgspec.Struct, frozen=True):
    """A call to a provider. `secret` is cut out of any error text; `timeout` is for the whole answer, in seconds.

    `whom` says in errors who was called.
    """

    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    secret: str = ""
    timeout: float | None = None
    method: Literal["POST", "GET", "PUT", "DELETE"] = "POST"
    whom: str = "the model"


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

Reach: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]
"""The addresses behind a URL, each checked: connect to these, and look nothing up again.

Raises FetchRefused and FetchFailed.
"""

RunScript: TypeAlias = Callable[[str, Mapping[str, Any]], Awaitable[Any]]
"""Runs JavaScript, the body of an async function, in the sandbox; each value has its name with a `$` in front.

Gives what it returns, None for undefined. Raises ScriptError. Cancelling ends the script at once.
"""


class SqlDatabase(Protocol):
    """A database that can be read, within bounds of time and size. Raises StorageError when it cannot be reached."""

    dialect: str

    async def describe(self, include: Sequence[str], ignore: Sequence[str], rows: int) -> str:
        """The tables as a model reads them, each with some of its rows. Raises FlowError for a table that is not there.

        Later queries read no other tables, where the database can tell.
        """
        ...

    async def query(self, statement: str) -> str:
        """The statement's columns and rows as text. Raises FlowError that names the mistake."""
        ...


OpenDatabase: TypeAlias = Callable[[str, str], SqlDatabase]
"""Opens a database by its kind and address. Raises FlowError for one that flows may not read."""


def _no_database(kind: str, address: str) -> SqlDatabase:
    raise FlowError("no databases can be read here")


class Outside(msgspec.Struct, frozen=True):
    """The ways out of a run: to providers, other servers, databases and the sandbox."""

    http: Http
    fetch: Fetch
    run_script: RunScript
    reach: Reach
    library: object = None
    """The `headrace.retrieval.library.Library` of the process; None where there is none."""
    programs: Sequence[str] = ()
    """Command lines that flows may start as MCP servers."""
    open_database: OpenDatabase = _no_database


# Retrieval


class Embeddings(Protocol):
    """A model that turns texts into vectors."""

    name: str
    """Model and options: vectors of one name can be compared with each other, and no others."""

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """One vector a text, in order, all of one length. Raises ProviderError."""
        ...


SearchMode: TypeAlias = Literal["similarity", "lexical", "hybrid", "mmr"]


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """A search in a vector store."""

    text: str
    vector: Sequence[float] | None = None
    """The text's own; None lets the store have it made."""
    k: int = 4
    mode: SearchMode = "similarity"
    """Without vectors every mode is lexical."""
    filter: Mapping[str, Any] = {}
    """Conditions on metadata: `{"key": value}`, `{"key": {"$in": [...]}}`, `$gt` and its kin, `$and`, `$or`, `$not`."""
    narrower: Sequence[Mapping[str, Any]] = ()
    """More conditions, which must hold beside `filter`."""
    threshold: float | None = None
    """Hits with a lower score are left out."""
    fetch: int = 20
    """How many hits MMR chooses from."""
    diversity: float = 0.5
    """MMR: 0 looks only at the question, 1 only at how the hits differ."""


class Scored(msgspec.Struct, frozen=True):
    """A hit: the cosine of question and passage, or without vectors the share of the best hit's BM25."""

    document: Document
    score: float


class VectorStore(Protocol):
    """Passages that can be searched."""

    async def add(self, documents: Sequence[Document]) -> int:
        """Stores passages and says how many are new; one that is there already stays."""
        ...

    async def search(self, search: Search) -> list[Scored]:
        """The best hits, best first. Raises FlowError for a filter that cannot be read."""
        ...

    async def delete(self, ids: Sequence[str]) -> int:
        """Deletes passages and says how many."""
        ...


class Retriever(Protocol):
    """Finds the passages that an answer can rest on."""

    async def find(self, query: str) -> list[Document]:
        """Passages, best first."""
        ...


@runtime_checkable
class Narrowing(Retriever, Protocol):
    """A retriever that can be told to look at a part of what it searches."""

    def narrowed(self, condition: Mapping[str, Any]) -> Retriever:
        """The same retriever for what fulfils this condition too, beside those that it has."""
        ...


class LoadFailure(msgspec.Struct, frozen=True, omit_defaults=True):
    """A document that could not be read: which, in which step, and why."""

    source: str
    step: str
    reason: str
    hides: bool = False
    """It would have led to other documents, which may be there as before."""

    def __str__(self) -> str:
        return f"{self.source!r} could not be {self.step}: {self.reason}"


def unread(known: Iterable[str], brought: Set[str], failures: Sequence[LoadFailure]) -> set[str]:
    """Those known sources that may be as they were: documents that failed, what is inside of folders that failed, and,
    if a failure hides documents, all that were not brought."""
    if any(failure.hides for failure in failures):
        return set(known) - brought
    failed = {failure.source.rstrip("/") for failure in failures}
    return {source for source in known if failed and not failed.isdisjoint(_within(source))}


def _within(source: str) -> Iterator[str]:
    """The source and the folders that it is in."""
    yield source
    for place, sign in enumerate(source):
        if sign == "/":
            yield source[:place]


class Upserted(msgspec.Struct):
    """The result of an upsert; `addedDocs` holds the first thousand added, `failures` the unreadable sources."""

    numAdded: int = 0
    numDeleted: int = 0
    numUpdated: int = 0
    numSkipped: int = 0
    addedDocs: list[Document] = []
    failures: list[LoadFailure] = []


UpsertProgress: TypeAlias = Callable[[Upserted], None]
"""Is told after each batch what has been done so far."""


class Documents(Protocol):
    """The documents of a loader."""

    fingerprint: str
    """Changes when the documents change; "" when only reading them can tell."""

    def read(self) -> AsyncGenerator[Document | LoadFailure]:
        """The documents as they are read. One that fails does not stop the others. Close the iterator."""
        ...


class Splitter(Protocol):
    """Cuts documents into chunks."""

    name: str
    """Kind and options."""

    def split(self, document: Document) -> list[Document]:
        """The document's chunks, each with its lines in `loc`. Blocking: call it in a thread."""
        ...
