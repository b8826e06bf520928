"""The parts of a run's events that visitors are not shown: what nodes of agent flows are told, give and keep.

Visitors see which nodes and agents ran and how they ended. Prompts, inputs, outputs and the state are for those who may
read the flow itself, and for everybody where the flow or the server says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec
from litestar.connection import ASGIConnection

from headrace.events import Prediction
from headrace.runtime.flows import Flow
from headrace.runtime.log import Entry
from headrace.server.auth import may

_CONCERNED: Final = re.compile(
    rb'\{"event":"(?:agentFlowExecutedData|agentReasoning|start|metadata|action|agent_trace)"'
)
_NODE: Final = ("nodeId", "nodeLabel", "previousNodeIds", "status")
_DATA: Final = ("id", "name", "error", "iterationIndex", "parentNodeId")
_STEP: Final = ("agentName", "nodeName", "nodeId", "next")
_EMPTY: Final = ("input", "output", "state")  # clients look into them unasked


async def shows_internals(connection: ASGIConnection[Any, Any, Any, Any], flow: Flow) -> bool:
    """True when the caller sees all of the flow's events: by its setting, the server's, or a key that may read it."""
    shown = flow.api.showInternals
    if shown is None:
        shown = connection.app.state.settings.show_internals
    return shown or await may(connection, "chatflows:view")


def without_internals(entry: Entry) -> Entry:
    """An event as visitors see it, under the same number. Equal events give equal bytes."""
    if not _CONCERNED.match(entry.data):
        return entry
    event = msgspec.json.decode(entry.data)
    data = event.get("data")
    shown = _public_data(event["event"], data)
    return entry if shown == data else Entry(entry.seq, msgspec.json.encode({**event, "data": shown}))


def prediction_without_internals(prediction: Prediction) -> Prediction:
    """A whole answer as visitors see it."""
    return msgspec.structs.replace(
        prediction,
        agentFlowExecutedData=_nodes(prediction.agentFlowExecutedData),
        agentReasoning=_steps(prediction.agentReasoning),
        action=_action(prediction.action),
    )


def _nodes(executed: Any) -> Any:
    if not isinstance(executed, list):
        return None
    return [_node(entry) for entry in executed if isinstance(entry, dict)]


def _node(entry: dict[str, Any]) -> dict[str, Any]:
    data = entry.get("data")
    data = data if isinstance(data, dict) else {}
    kept = {key: data[key] for key in _DATA if key in data} | {key: {} for key in _EMPTY if key in data}
    return {**{key: entry[key] for key in _NODE if key in entry}, "data": kept}


def _steps(reasoning: Any) -> Any:
    """The steps of a multi-agent flow. A text is the first word of another flow's answer, which is told anyway."""
    if not isinstance(reasoning, list):
        return reasoning
    return [_step(step) for step in reasoning if isinstance(step, dict)]


def _step(step: dict[str, Any]) -> dict[str, Any]:
    told = {key: [] for key, value in step.items() if isinstance(value, list)}
    return {**{key: step[key] for key in _STEP if key in step}, **told, **({"state": {}} if "state" in step else {})}


def _action(action: Any) -> Any:
    """A question to a person without what its node was told."""
    if not isinstance(action, dict) or not isinstance(action.get("data"), dict):
        return action
    return {**action, "data": {**action["data"], "input": {}}}


def _metadata(data: Any) -> Any:
    if not isinstance(data, dict):
        return data
    shown = {name: show(data[name]) for name, show in _IN_METADATA.items() if data.get(name) is not None}
    return {**data, **shown}


def _trace(step: Any) -> Any:
    """A step of a trace; a tool that is a flow tells that flow's events in it."""
    if not isinstance(step, dict) or step.get("event") not in _SHOWN:
        return step
    return {**step, "data": _public_data(step["event"], step.get("data"))}


def _public_data(kind: str, data: Any) -> Any:
    return _SHOWN[kind](data)


_IN_METADATA: Final[dict[str, Callable[[Any], Any]]] = {"agentFlowExecutedData": _nodes, "action": _action}
_SHOWN: Final[dict[str, Callable[[Any], Any]]] = {
    "agentFlowExecutedData": _nodes,
    "agentReasoning": _steps,
    "start": _steps,
    "metadata": _metadata,
    "action": _action,
    "agent_trace": _trace,
}
