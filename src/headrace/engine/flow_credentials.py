"""Gives a node of a stored flow one of the server's credentials, and leaves everything else of the flow as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from headrace.engine.catalog import Catalog
from headrace.engine.description import node_info
from headrace.errors import InvalidRequest

_INSIDE = "FLOWISE_CREDENTIAL_ID"
_DEPTH = 20  # components within components


def with_credential(flow_data: str, wanted: str, credential: str, kind: str, catalog: Catalog) -> str:
    """The flow's JSON with this credential, of this kind, at the node with this id or label.

    A node of an agent flow may hold its model, its tools and their parts inside; those of them that take this kind of
    credential get it. Raises InvalidRequest.
    """
    try:
        flow: Any = msgspec.json.decode(flow_data.removeprefix("\ufeff"))
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the flow is not valid JSON: {error}") from None
    data = _data(flow, wanted)
    name = str(data.get("name") or "")
    takes = _kinds(name, catalog)
    places = [] if takes and kind in takes else list(_inside(data.get("inputs"), kind, catalog))
    if takes is not None and kind not in takes and not places:
        known = ", ".join(sorted(takes)) or "none at all"
        raise InvalidRequest(f"the node {wanted!r} ({name}) takes no credential of the type {kind!r} but {known}")
    for place in places:
        place[_INSIDE] = credential
    if not places:
        data["credential"] = credential
    return msgspec.json.encode(flow).decode()


def _data(flow: Any, wanted: str) -> dict[str, Any]:
    """The data of the only node with this id or label. Raises InvalidRequest."""
    nodes = _dicts(flow.get("nodes") if isinstance(flow, dict) else None)
    found = [node for node in nodes if str(node.get("id")) == wanted] or [
        node for node in nodes if isinstance(node.get("data"), dict) and node["data"].get("label") == wanted
    ]
    if len(found) > 1:
        raise InvalidRequest(f"several nodes are labelled {wanted!r}: use one of the ids {_ids(found)}")
    if not found or not isinstance(found[0].get("data"), dict):
        raise InvalidRequest(f"the flow has no node {wanted!r}: it has {_ids(nodes) or 'none'}")
    return found[0]["data"]


def _ids(nodes: Sequence[dict[str, Any]]) -> str:
    return ", ".join(str(node.get("id")) for node in nodes)


def _kinds(name: str, catalog: Catalog) -> Sequence[str] | None:
    """The kinds of credentials that a node type takes; None for a type that this server does not know."""
    return node_info(catalog[name]).credentials if name in catalog else None


def _inside(value: Any, kind: str, catalog: Catalog, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The inputs of every component inside that takes this kind: `agentModel` names it, `agentModelConfig` has them."""
    if depth > _DEPTH:
        return
    if isinstance(value, list):
        for item in value:
            yield from _inside(item, kind, catalog, depth + 1)
    if not isinstance(value, dict):
        return
    for name, item in value.items():
        component = value.get(name.removesuffix("Config"))
        if isinstance(item, dict) and isinstance(component, str) and kind in (_kinds(component, catalog) or ()):
            yield item
        yield from _inside(item, kind, catalog, depth + 1)


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
