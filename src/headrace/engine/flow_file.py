"""Reads a flow file as people have it: made by a builder of any version, by a script, or by hand.

What can be told from the rest of the file is put in; what says nothing is left out. The rest must be right.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headrace.engine.complaints import complaint
from headrace.errors import InvalidRequest
from headrace.schema import FlowFile

_BYTE_ORDER_MARK = "\ufeff"
_STORES: Final = ("pinecone", "chroma", "qdrant", "faiss", "postgres")
TODAY: Final[Mapping[str, str]] = {
    **dict.fromkeys(("openAIToolAgent", "mistralAIToolAgent", "conversationalRetrievalAgent"), "toolAgent"),
    "mrklAgentChat": "reactAgentChat",
    "mrklAgentLLM": "reactAgentLLM",
    **{f"{store}{task}": store for store in _STORES for task in ("ExistingIndex", "Upsert")},
}
"""Node types by the names that they had in old flows: those that have the same inputs under another name today."""


def read_flow(text: str) -> FlowFile:
    """The flow. Raises InvalidRequest with the place of the mistake."""
    try:
        value = _decoded(text)
        if isinstance(value, str):  # JSON inside of JSON, as scripts sometimes store it
            value = _decoded(value)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise InvalidRequest(f"the flow is not valid JSON: {error}") from None
    try:
        return msgspec.convert(_tidied(value), FlowFile)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"this is not a flow: {complaint(error)}; export it from the builder again") from None


def _decoded(text: str) -> Any:
    return msgspec.json.decode(text.strip().removeprefix(_BYTE_ORDER_MARK))


def _tidied(flow: Any) -> Any:
    if not isinstance(flow, dict) or not isinstance(flow.get("nodes"), list):
        return flow
    edges = flow.get("edges")
    return {
        "nodes": [_node(node) if isinstance(node, dict) else node for node in flow["nodes"]],
        "edges": [_edge(edge) for edge in edges if _connects(edge)] if isinstance(edges, list) else [],
    }


def _node(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node whose data has the node's own id: that is what arrows and references name."""
    data: Any = node.get("data")
    if not isinstance(data, dict):
        return dict(node)
    key = _name(node.get("id"), data.get("id"))
    named = {} if key is None else {"id": key}
    if not data.get("name"):
        named |= {"name": key.rpartition("_")[0]} if key and "_" in key else {}
    kind = named.get("name", data.get("name"))
    if isinstance(kind, str) and kind in TODAY:
        named["name"] = TODAY[kind]
    kept = {name: value for name, value in data.items() if value is not None}
    if not isinstance(kept.get("outputs"), dict):
        kept.pop("outputs", None)
    if not isinstance(kept.get("credential"), str):
        kept.pop("credential", None)
    kept["inputParams"] = [one for one in _listed(kept.get("inputParams")) if isinstance(one, dict)]
    texts = {name: str(kept[name]) for name in ("label", "category") if name in kept}
    outer = {name: value for name, value in node.items() if value is not None}
    if "parentNode" in outer:
        outer["parentNode"] = str(outer["parentNode"])
    return {**outer, **named, "data": {**kept, **texts, **named}}


def _name(*values: Any) -> str | None:
    """The first of these that can be an id, as a text: scripts number their nodes."""
    return next((str(value) for value in values if isinstance(value, (str, int, float)) and value != ""), None)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _connects(edge: Any) -> bool:
    """True for an arrow between two different nodes of the flow."""
    if not isinstance(edge, dict):
        return False
    source, target = _name(edge.get("source")), _name(edge.get("target"))
    return source is not None and target is not None and source != target


def _edge(edge: Mapping[str, Any]) -> dict[str, Any]:
    handle = edge.get("sourceHandle")
    return {
        "source": _name(edge["source"]),
        "target": _name(edge["target"]),
        "sourceHandle": handle if isinstance(handle, str) else None,
    }
