"""The parts of a flow that have a node type: its nodes, and the components that agent flows' nodes hold inside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from headrace.engine.inputs import where
from headrace.engine.overrides import read_json
from headrace.schema import NodeData


class Part(NamedTuple):
    """A node, or a component inside one."""

    node: NodeData
    name: str
    """The name of its type."""
    inputs: Mapping[str, Any]
    credential: str
    """The credential's id; "" for none."""

    @property
    def is_node(self) -> bool:
        """True when it is the node itself."""
        return self.inputs is self.node.inputs

    @property
    def place(self) -> str:
        """The part as messages name it."""
        return where(self.node) if self.is_node else f"{self.name} in {where(self.node)}"


def parts_of(node: NodeData) -> Iterator[Part]:
    """The node and the components inside it: the input `x` names one where `xConfig` is beside it."""
    yield Part(node, node.name, node.inputs, own_credential(node))
    yield from _components(node, node.inputs)


def own_credential(node: NodeData) -> str:
    """The id of the credential that the node itself has; "" for none."""
    return node.credential or _credential(node.inputs)


def _components(node: NodeData, value: Any) -> Iterator[Part]:
    value = read_json(value)
    if isinstance(value, list):
        for item in value:
            yield from _components(node, item)
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        name = value.get(key.removesuffix("Config")) if key.endswith("Config") else None
        if isinstance(name, str) and name:
            config = read_json(inner)
            inputs = config if isinstance(config, dict) else {}
            # A configuration repeats the name of its component.
            own = {other: one for other, one in inputs.items() if other != key.removesuffix("Config")}
            yield Part(node, name, own, _credential(own))
        yield from _components(node, inner)


def _credential(inputs: Mapping[str, Any]) -> str:
    found = inputs.get("FLOWISE_CREDENTIAL_ID") or inputs.get("credential")
    return found if isinstance(found, str) and "{{" not in found else ""
