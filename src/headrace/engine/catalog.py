"""Node types by tag: the built-in ones and those of installed packages (entry-point group `headrace.nodes`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points

from headrace.engine.node import Node

Catalog = Mapping[str, type[Node]]


def tag(kind: type[Node]) -> str:
    """The node name in flow files."""
    return str(kind.__struct_config__.tag)


def catalog(families: Iterable[Iterable[type[Node]]]) -> Catalog:
    """The given node types and the installed ones.

    An entry point of the group `headrace.nodes` names a sequence of node types; it may not replace a built-in one.
    """
    types = {tag(kind): kind for family in families for kind in family}
    for point in entry_points(group="headrace.nodes"):
        for kind in point.load():
            if types.setdefault(tag(kind), kind) is not kind:
                raise ValueError(f"{point.value!r} brings a node {tag(kind)!r}, which exists already")
    return types
