"""`overrideConfig`: which inputs of a flow a caller may set, and to what.

Nothing may be set unless the flow's `apiConfig.overrideConfig` is on and lists the input, by node label and input
name. That holds for every form of value, objects included (Flowise lets those through).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


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
        """Whether callers may set this input of the nodes with this label."""
        return self.status and any(p.enabled and p.name == name for p in self.nodes.get(label, ()))


class Overrides:
    """What one request sets, under the flow's rules."""

    def __init__(self, rules: OverrideRules, values: Mapping[str, Any] | None) -> None:
        self._rules = rules
        self._values = values or {}

    def variables(self) -> dict[str, str]:
        """Variables that the request sets."""
        given = self._values.get("vars")
        if not self._rules.status or not isinstance(given, Mapping):
            return {}
        return {p.name: given[p.name] for p in self._rules.variables if p.enabled and given.get(p.name) is not None}

    def apply(self, node_id: str, name: str, label: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs that the request changes for this node, with their new values."""
        changed: dict[str, Any] = {}
        for key, value in self._values.items():
            if not self._rules.allows(label, key):
                continue
            if isinstance(value, Mapping):
                if node_id in value:
                    value = value[node_id]
                elif any(name in other for other in value):
                    continue  # meant for another node of this type
            if value is not None and value != "":  # both mean "not set", as in the flow itself
                changed[key] = _merged(inputs.get(key), value)
        return changed


def _merged(old: Any, new: Any) -> Any:
    if isinstance(new, list) and isinstance(old, list):
        return [*old, *(item for item in new if item not in old)]
    if isinstance(new, Mapping):
        if isinstance(old, str) and old.startswith("{"):
            try:
                old = msgspec.json.decode(old)
            except msgspec.DecodeError:
                return new
        return {**old, **new} if isinstance(old, Mapping) else new
    return new
