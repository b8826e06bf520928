"""Flows ready to run: read once from the store, kept until they change."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Final, Literal, Protocol, TypeVar

import msgspec

from headrace.engine.agentflow.flow import Agentflow
from headrace.engine.agentflow.schedule import Schedule, schedule_of
from headrace.engine.agentflow.webhook import Webhook
from headrace.engine.catalog import Catalog
from headrace.engine.chatflow import Chatflow
from headrace.engine.complaints import complaint
from headrace.engine.flow_file import read_flow
from headrace.engine.graph import Graph, reads_question, sink, streams, takes_images
from headrace.engine.inputs import fields_of
from headrace.engine.multiagent.flow import TeamFlow
from headrace.engine.multiagent.graph import is_multiagent
from headrace.engine.node import Context
from headrace.engine.overrides import OverrideRules, Overrides
from headrace.engine.python_engine import PythonEngine
from headrace.errors import FlowError, HeadraceError, InvalidRequest
from headrace.events import Event
from headrace.runtime.python_flows import PYTHON, PythonFlows
from headrace.schema import ContinueFor, FlowFile, FlowRow, NodeData, PredictionRequest
from headrace.storage.storage import Storage

_T = TypeVar("_T")


class PostProcessing(msgspec.Struct, frozen=True):
    """A function in JavaScript that rewrites each answer."""

    enabled: bool = False
    customFunction: str = ""


class FullFileUpload(msgspec.Struct, frozen=True):
    """The setting for whole files attached to questions, and their types."""

    status: bool = False
    allowedUploadFileTypes: str = ""

    @property
    def types(self) -> list[str]:
        """The MIME types."""
        return [kind.strip() for kind in self.allowedUploadFileTypes.split(",") if kind.strip()]


class ChatbotConfig(msgspec.Struct, frozen=True):
    """The part of a flow's `chatbotConfig` that the server itself reads."""

    allowedOrigins: list[str] = []
    allowedOriginsError: str = ""
    postProcessing: PostProcessing = PostProcessing()
    fullFileUpload: FullFileUpload = FullFileUpload()


class RateLimit(msgspec.Struct, frozen=True):
    """`apiConfig.rateLimit`: at most `limitMax` predictions in `limitDuration` seconds for each caller."""

    status: bool = True
    limitDuration: float | None = None
    limitMax: int | None = None
    limitMsg: str | None = None


class Unanswered(msgspec.Struct, frozen=True):
    """The answer to a flow's question that nobody has answered `after` so many seconds."""

    after: Annotated[float, msgspec.Meta(ge=0)]
    answer: Literal["proceed", "reject"] = "reject"
    feedback: str | None = None


class ApiConfig(msgspec.Struct, frozen=True):
    """The part of a flow's `apiConfig` that the server reads."""

    overrideConfig: OverrideRules = OverrideRules()
    onDisconnect: Literal["continue", "cancel"] | ContinueFor = "continue"
    """The run's fate when its last reader leaves."""
    sameSession: Literal["parallel", "queue", "reject", "interrupt"] = "parallel"
    """The fate of a prediction whose session has a run already."""
    rateLimit: RateLimit | None = None
    onCrash: Literal["end", "continue"] = "end"
    """The fate of an agent flow's run whose process has died: another process may go on with it."""
    missedRuns: Literal["skip", "once"] = "skip"
    """The fate of the times of a schedule at which no server was there: one run makes up for them, or none."""
    unanswered: Unanswered | None = None
    """Questions to people that expire; None lets them wait for ever."""
    showInternals: bool | None = None
    """True shows everybody what the nodes of an agent flow are told, give and keep; None leaves it to the server."""


class Engine(Protocol):
    """A flow that is ready to run."""

    memory: NodeData | None
    """The node whose label is the `memoryType` of answers."""

    def check(self, request: PredictionRequest) -> None:
        """Raises InvalidRequest for what this flow cannot be asked."""
        ...

    async def run(self, ctx: Context, overrides: Overrides) -> AsyncGenerator[Sequence[Event]]:
        """Starts the answer: its events in batches, without the terminal ones."""
        ...


_ENGINES: Final[Mapping[str, Callable[[FlowFile, Catalog], Engine]]] = {"AGENTFLOW": Agentflow}
"""The engines by flow type. All other types are chatflows, or multi-agent flows where their nodes are such."""


class Flow:
    """A stored flow with everything read out of it that predictions need."""

    def __init__(self, row: FlowRow, catalog: Catalog) -> None:
        self.row = row
        self.kept: dict[str, Any] = {}
        """Values that the flow's nodes keep from run to run."""
        self.catalog = catalog
        self.draft = False
        """The drawing is one that is tried, and not the stored one."""

    @cached_property
    def file(self) -> FlowFile:
        """Nodes and edges. Raises InvalidRequest when the stored text is not a flow."""
        return read_flow(self.row.flowData)

    @cached_property
    def chatbot(self) -> ChatbotConfig:
        """The parsed `chatbotConfig`."""
        return read_config(self.row.chatbotConfig, ChatbotConfig, "chatbotConfig")

    @cached_property
    def api(self) -> ApiConfig:
        """The parsed `apiConfig`."""
        return read_config(self.row.apiConfig, ApiConfig, "apiConfig")

    @cached_property
    def engine(self) -> Engine:
        """The flow's engine. Raises FlowError and UnknownNodes."""
        otherwise = TeamFlow if is_multiagent(self.file) else Chatflow
        return _ENGINES.get(self.row.type, otherwise)(self.file, self.catalog)

    @property
    def webhook(self) -> Webhook | None:
        """The webhook that the flow begins with. Raises FlowError for one that is not set up."""
        return self.engine.webhook if isinstance(self.engine, Agentflow) else None

    @property
    def survives(self) -> bool:
        """True when other processes may go on with its runs; what is rewritten as a whole cannot be taken up."""
        wanted = self.api.onCrash == "continue" and isinstance(self.engine, Agentflow)
        return wanted and not self.chatbot.postProcessing.enabled

    @property
    def schedule(self) -> Schedule | None:
        """The schedule that the flow begins by. Raises FlowError for one that cannot be read."""
        if self.row.type != "AGENTFLOW":
            return None
        starts = (node.data.inputs for node in self.file.nodes if node.data.name == "startAgentflow")
        return next(filter(None, map(schedule_of, starts)), None)

    @cached_property
    def takes_images(self) -> bool:
        """True when one of its models is shown pictures, if the request sets nothing else."""
        return any(takes_images(node.data, node.data.inputs) for node in self.file.nodes)

    def takes_images_with(self, values: Mapping[str, Any] | None) -> bool:
        """The same, or one is with what the request sets, where the flow allows that."""
        overrides = Overrides(self.api.overrideConfig, values)
        nodes = [node.data for node in self.file.nodes] if values else []
        return self.takes_images or any(takes_images(node, overrides.of(node)) for node in nodes)

    @cached_property
    def takes_texts(self) -> bool:
        """True when texts of files in front of the question reach anything."""
        return self.chatbot.fullFileUpload.status or any(
            reads_question(node.data, self.catalog) for node in self.file.nodes
        )

    @cached_property
    def file_inputs(self) -> set[str]:
        """Inputs of the loaders of its one vector store that callers may give files to."""
        try:
            order = Graph(self.file, self.catalog, sink(self.file, self.catalog)).order
        except HeadraceError:
            return set()
        rules, loaders = self.api.overrideConfig, [node for node in order if node.category == "Document Loaders"]
        return {
            name
            for node in loaders
            for name in fields_of(self.catalog[node.name])
            if (name == "file" or name.endswith("File")) and rules.allows(node.label, name)
        }

    @cached_property
    def streams(self) -> bool:
        """True when predictions can be streamed. Raises FlowError for a flow without a valid ending."""
        return streams(self.file, self.row.type, self.catalog, post_processing=self.chatbot.postProcessing.enabled)


def read_config(text: str | None, kind: type[_T], name: str) -> _T:
    """Reads a configuration column; null and "" mean "not set" at any depth. Raises FlowError."""
    try:
        value: Any = msgspec.json.decode(text) if text else None
        return msgspec.convert({} if value is None else _set_values(value), kind, strict=False)
    except msgspec.MsgspecError as error:
        raise FlowError(f"the flow's {name} cannot be read: {complaint(error)}") from None


def _set_values(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _set_values(item) for key, item in value.items() if item not in (None, "")}
    return value


def as_it_was(flow: Flow, drawn: str) -> Flow:
    """The flow with the nodes that it had, and the settings that it has."""
    if flow.row.flowData == drawn:
        return flow
    return Flow(msgspec.structs.replace(flow.row, flowData=drawn), flow.catalog)


def draft_of(flow: Flow, drawn: str) -> Flow:
    """The flow with nodes that are not saved, to be tried. Raises InvalidRequest for text that is no drawing."""
    if flow.row.type == PYTHON:
        raise InvalidRequest(f"the flow {flow.row.name!r} is written in Python: there is no drawing of it to try")
    read_flow(drawn)
    draft = Flow(msgspec.structs.replace(flow.row, flowData=drawn), flow.catalog)
    draft.draft = True
    return draft


class FlowInPython(Flow):
    """A flow that is written in Python: each run gets the code as it is then."""

    def __init__(self, row: FlowRow, catalog: Catalog, python: PythonFlows) -> None:
        super().__init__(row, catalog)
        self._python = python

    @property
    def engine(self) -> Engine:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The flow's engine. Raises FlowNotFound when its file is not there."""
        return PythonEngine(self._python.get(self.row.id), self.catalog)

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the form. Raises FlowNotFound."""
        return self._python.get(self.row.id).schema

    @property
    def description(self) -> str:
        """The docstring of the code. Raises FlowNotFound when its file is not there."""
        return self._python.get(self.row.id).description

    def takes_images_with(self, values: Mapping[str, Any] | None) -> bool:
        """The code sees every file."""
        return True

    @cached_property
    def takes_images(self) -> bool:
        """The code sees every file."""
        return True

    @cached_property
    def takes_texts(self) -> bool:
        """The code sees every file."""
        return True

    @cached_property
    def streams(self) -> bool:
        """True: the events of the code are sent as they come."""
        return True


class Flows:
    """The flows of a store, each read once."""

    def __init__(self, storage: Storage, catalog: Catalog, python: PythonFlows) -> None:
        self.catalog = catalog
        self._python = python
        self._storage = storage
        self._kept: dict[str, Flow] = {}

    async def get(self, flow_id: str) -> Flow:
        """The flow as it is now. Raises FlowNotFound."""
        row = await self._storage.flow(flow_id)
        flow = self._kept.get(flow_id)
        if flow is None or flow.row is not row:  # the store gives the same row until it changes
            flow = self._kept[flow_id] = self._made(row)
        return flow

    def _made(self, row: FlowRow) -> Flow:
        return FlowInPython(row, self.catalog, self._python) if row.type == PYTHON else Flow(row, self.catalog)
