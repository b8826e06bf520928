"""`overrideConfig`: which inputs of a flow a caller may set, and to what.

Nothing may be set unless the flow's `apiConfig.overrideConfig` is on and lists the input, by node label and input
name. That holds for every form of value, objects included (Flowise lets those through).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.errors import InvalidRequest
from headrace.schema import NodeData


class Parameter(msgspec.Struct, frozen=True):
    """An input that callers may set."""

    name: str = ""
    enabled: bool = False


class OverrideRules(msgspec.Struct, frozen=True):
    """`apiConfig.overrideConfig` of a flow."""

    status: bool = False
    nodes: dict[str, list[Parameter]] = {}
    variables: list[Parameter] = []

    def allows(self, label: str, name: str) -> bool:
        """True when callers may set this input of the nodes with this label."""
        return self.status and any(p.enabled and p.name == name for p in self.nodes.get(label, ()))


class Overrides:
    """The overrides of one request, under the flow's rules."""

    def __init__(self, rules: OverrideRules, values: Mapping[str, Any] | None) -> None:
        self._rules = rules
        self._values = values or {}

    def variables(self) -> dict[str, str]:
        """Variables that the request sets. Raises InvalidRequest for what is no object."""
        given = read_json(self._values.get("vars"))
        if not self._rules.status or given in (None, ""):
            return {}
        if not isinstance(given, Mapping):
            raise InvalidRequest("the variables at $.overrideConfig.vars are no object: write names and values")
        return {p.name: given[p.name] for p in self._rules.variables if p.enabled and given.get(p.name) is not None}

    def of(self, node: NodeData) -> dict[str, Any]:
        """The values that the request sets for this node's inputs, as they came."""
        found: dict[str, Any] = {}
        for key, value in self._values.items():
            if not self._rules.allows(node.label, key):
                continue
            by_node = read_json(value)
            if isinstance(by_node, Mapping):
                if node.id in by_node:
                    value = by_node[node.id]
                elif any(re.fullmatch(rf"{re.escape(node.name)}_\d+", other) for other in by_node):
                    continue  # meant for another node of this type
            if value is not None and value != "" and value != []:  # they mean "not set", as in the flow itself
                found[key] = value
        return found


def read_json(value: Any) -> Any:
    """Parses a JSON text, since forms can send nothing else. Anything else is returned as it is."""
    if isinstance(value, str) and value.strip().startswith(("{", "[")):
        try:
            return msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
            return value
    return value


def merged(old: Any, new: Any) -> Any:
    """The request's value with what the flow's own one adds to it: lists go on, objects have the keys of both."""
    old = read_json(old)
    if isinstance(new, list) and isinstance(old, list):
        return [*old, *(item for item in new if item not in old)]
    if isinstance(new, Mapping) and isinstance(old, Mapping):
        return {**old, **new}
    if isinstance(new, Mapping) and _is_table(old):
        return [*old, *({"key": key, "value": value} for key, value in new.items())]
    return new


def _is_table(value: Any) -> bool:
    """True for a list of keys with values, as the builder writes states and headers."""
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) and "key" in row for row in value)
