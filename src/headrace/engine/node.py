"""The node: a typed record that Flowise's JSON converts into.

The record's tag is Flowise's node name, its fields are Flowise's input names. Fields whose type is a capability
(`headrace.engine.ports`) are its ports, the others are its parameters.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Annotated, Any, ClassVar, Protocol, TypeAlias

import msgspec

from headrace.engine.agentflow.execution import Execution
from headrace.engine.annotations import NodeInfo
from headrace.engine.chat import ModelMessage
from headrace.engine.ports import Documents, Http, LoadFailure, Notes, Outside, Upserted, UpsertProgress
from headrace.errors import FlowError, NotFound
from headrace.events import Document, Event, Prediction, Usage
from headrace.schema import CustomTool, FileUpload, HumanInput, MemoryMessage

Template: TypeAlias = Annotated[str, msgspec.Meta(extra={"template": True})]
"""A text with `{variables}`: what a reference brings into it is text, its braces included."""
Templated: TypeAlias = Annotated[dict[str, Any], msgspec.Meta(extra={"acceptVariable": True})]
"""A JSON parameter in which `{{question}}`, `{{chat_history}}` and other nodes' results are replaced."""


async def _nothing() -> Sequence[dict[str, Any]]:
    return ()


async def _unnoted(_: Execution) -> None:
    pass


class History(Protocol):
    """Stored turns of a flow and session, oldest first."""

    async def __call__(self, *, tools: bool = False) -> Sequence[MemoryMessage]:
        """With `tools` the turns name those that were used."""
        ...


class FlowQuestion(msgspec.Struct, frozen=True):
    """A question from one flow to another. With a `chat` of its own the other remembers nothing of this one."""

    flow: str
    question: str
    overrides: Mapping[str, Any] = {}
    key: str = ""
    """The API key that the other flow may be bound to."""
    chat: str | None = None
    """None for the chat and the session of the run that asks."""


class Context(msgspec.Struct, kw_only=True):
    """The context that one run gives its nodes. Lives as long as the run."""

    run: str
    flow: str
    chat: str
    session: str
    message: str
    """Id that the answer's stored message will have."""
    question: str
    uploads: Sequence[FileUpload] = ()
    attached: str = ""
    """The texts of attached files, which the question begins with."""
    prior: Sequence[ModelMessage] = ()
    """Turns that came with the request."""
    variables: Mapping[str, str] = {}
    history: History
    notes: Notes
    """Notes of the flow's memories on this session."""
    listeners: list[Callable[[Sequence[MemoryMessage]], Awaitable[None]]] = []
    """Called with the question and the answer once they are stored: memories that other systems keep."""
    secrets: Callable[[str], Awaitable[Mapping[str, str]]]
    """The fields of a credential; raises NotFound when it does not exist."""
    saved_tool: Callable[[str], Awaitable[CustomTool]]
    """A tool that is stored on the server; raises NotFound."""
    ask_flow: Callable[[FlowQuestion], Awaitable[Prediction]]
    """Another flow's answer. Raises what that flow raises."""
    outside: Outside
    environ: Mapping[str, str] = os.environ
    kept: dict[str, Any] = {}
    """Values that the flow's nodes keep from run to run in this process, until the flow changes."""
    closing: AsyncExitStack = msgspec.field(default_factory=AsyncExitStack)
    """Connections of the nodes, closed when the run ends."""
    usage: Usage | None = None
    json: Any = None
    """The answer of a flow that answers with a value in place of text."""
    text: str | None = None
    """The answer's text, where it is not simply all that was streamed."""
    fields: dict[str, Any] | None = None
    """More keys of the JSON answer, from a function that ends the flow."""
    values: dict[str, Any] = {}
    """Values that nodes share during the run, by name."""
    shown_values: dict[str, Any] = {}
    """Those of them that the answer shows."""
    webhook: Mapping[str, Any] | None = None
    """The call of a webhook that the flow begins with."""
    form: Mapping[str, Any] | None = None
    """The user's form values, where the flow begins with a form."""
    previous: Callable[[], Awaitable[Sequence[dict[str, Any]]]] = _nothing
    """The executed data of the session's last execution, for agent flows."""
    execution: Execution | None = None
    """The execution of an agent flow so far."""
    answer: HumanInput | None = None
    """A person's answer to a stopped flow; the context then has its execution."""
    resumed: bool = False
    """The run goes on after a process that had it has died; the context then has its execution."""
    note: Callable[[Execution], Awaitable[None]] = _unnoted
    """Keeps the execution as it is now."""
    parting: Sequence[Event] = ()
    """Events of a cancelled run before its `abort`."""

    @property
    def http(self) -> Http:
        """The way to model providers."""
        return self.outside.http

    async def run_script(self, code: str, values: Mapping[str, Any], **flow: Any) -> Any:
        """Runs a script of the flow and returns its value. Raises ScriptError.

        It reads `values`, `$input` (the question), `$vars` and `$flow`.
        """
        known = {
            "chatflowId": self.flow,
            "chatflowid": self.flow,
            "chatId": self.chat,
            "sessionId": self.session,
            "apiMessageId": self.message,
            "input": self.question,
        }
        if self.answer and not self.question:  # undefined, as in Flowise
            del known["input"]
        given = {"input": self.question, **values, "vars": self.variables, "flow": known | flow}
        return await self.outside.run_script(code, given)

    async def credential(self, wanted: str) -> str:
        """The credential's id, or "" for one that this server does not have: then its own keys step in."""
        try:
            if wanted:
                await self.secrets(wanted)
        except NotFound:
            return ""
        return wanted

    def count(self, usage: Usage) -> None:
        """Adds the tokens of one model call to the run's total."""
        if self.usage is None:
            self.usage = usage
            return
        one, two = self.usage, usage
        self.usage = Usage(
            one.input_tokens + two.input_tokens,
            one.output_tokens + two.output_tokens,
            one.total_tokens + two.total_tokens,
            (one.cached_tokens or 0) + (two.cached_tokens or 0) or None,
            (one.reasoning_tokens or 0) + (two.reasoning_tokens or 0) or None,
        )


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A node with its parameters set and its ports connected."""

    about: ClassVar[NodeInfo] = NodeInfo()
    """The type's description beyond its fields and its docstring."""
    former: ClassVar[Mapping[str, str]] = {}
    """Names that earlier versions of the node type had for its inputs, and what they are called now."""
    upserted: ClassVar[frozenset[str]] = frozenset()
    """Inputs that only an upsert reads: a prediction leaves out what is connected to them."""

    @classmethod
    def lacks(cls, environ: Mapping[str, str]) -> str:
        """The message on what the operator has to set up before any flow can use the node; "" for nothing."""
        return ""

    async def build(self, ctx: Context) -> object:
        """The value for the ports that the node is wired to: the node itself, unless its type says otherwise."""
        return self


def _tag(node: Node) -> str:
    """The name of the node's type in flow files."""
    return str(node.__struct_config__.tag)


class Choice(msgspec.Struct, frozen=True):
    """The outcome of a chooser: its value, and the name of the output at which the flow goes on."""

    value: Any
    output: str


class Chooser(Node, frozen=True, kw_only=True):
    """A node behind which the flow goes on at one of its outputs; what is only behind the others does not run."""

    async def build(self, ctx: Context) -> Choice:
        """The choice."""
        raise FlowError(f"a node {_tag(self)!r} chooses nothing")


class Step(Node, frozen=True, kw_only=True):
    """A node that can end a flow."""

    output: str = ""
    """The output that the flow's author chose, by name."""

    async def run(self, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        """Starts the answer: its events in batches, without the terminal ones."""
        raise FlowError(f"a node {_tag(self)!r} cannot end a flow: connect it to a chain or an agent")


class Source(Node, frozen=True, kw_only=True):
    """A node that brings documents. What it lacks it says only when they are read: callers may upsert others."""

    node: str = ""
    """Its label and id, for messages."""
    output: str = ""


class NothingGiven:
    """Implements `headrace.engine.ports.Documents` for a loader that was given nothing to load."""

    fingerprint = ""

    def __init__(self, node: str, reason: str) -> None:
        self._failure = LoadFailure(node, "read", reason)

    async def read(self) -> AsyncGenerator[Document | LoadFailure]:
        """The one failure."""
        yield self._failure


class Sink(Node, frozen=True, kw_only=True):
    """A node that keeps documents: an upsert builds the flow up to it."""

    node: str = ""
    """Its id in the flow; a flow may have several."""
    document: list[Documents] = []
    """The documents that an upsert brings."""

    async def upsert(self, ctx: Context, progress: UpsertProgress) -> Upserted:
        """Brings what it keeps to what its documents say. A document that fails does not stop the others."""
        raise FlowError(f"nothing can be upserted into a node {_tag(self)!r}")

    async def remove(self, ctx: Context, loaders: Sequence[str]) -> int:
        """Deletes what was upserted with these loaders of document stores in its metadata (`docId`); says how many."""
        raise FlowError(f"nothing can be deleted from a node {_tag(self)!r}")
