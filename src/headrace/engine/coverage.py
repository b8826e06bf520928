"""The coverage report: what this server does not do of a flow, and what to do about it.

It is read from what the node types say of themselves (`headrace.engine.annotations`) and from what the server holds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import msgspec

from headrace.engine.agentflow.graph import AgentGraph
from headrace.engine.catalog import Catalog
from headrace.engine.findings import CHECKS, Finding, Inventory, Look
from headrace.engine.graph import Graph, nodes_of
from headrace.engine.inputs import current
from headrace.engine.multiagent.graph import TeamGraph, is_multiagent
from headrace.engine.node import Node, Sink
from headrace.engine.parts import Part, parts_of
from headrace.engine.references import is_dangling, node_ids
from headrace.errors import FlowError
from headrace.schema import FlowFile


class Coverage(msgspec.Struct, frozen=True):
    """The node types of a flow that this server runs, those that it lacks, and everything else that is to be known."""

    runs: list[str]
    missing: list[str]
    findings: list[Finding] = []
    """Those that stop the flow come first."""

    @property
    def stops(self) -> bool:
        """True when the flow cannot answer here as it is."""
        return any(finding.stops for finding in self.findings)


class _Wanted(NamedTuple):
    """The nodes that an answer needs, those that only an upsert needs, and the reason for which nothing can run."""

    answer: Collection[str]
    upsert: Collection[str]
    failure: str = ""


def coverage(
    flow: FlowFile, catalog: Catalog, *, kind: str = "CHATFLOW", flow_id: str = "", has: Inventory | None = None
) -> Coverage:
    """The report for a flow of this type. Without an inventory it says nothing of what the server holds."""
    nodes = nodes_of(flow)
    parts = [part for node in nodes for part in parts_of(node)]
    names = sorted({part.name for part in parts})
    missing = [name for name in names if name not in catalog]
    wanted = _wanted(flow, {**dict.fromkeys(missing, Node), **catalog}, kind)
    findings = [Finding("", "", "structure", "", stops=True, message=wanted.failure)] if wanted.failure else []
    ids = {node.id for node in nodes}
    for part in parts:
        if part.name not in catalog:
            findings.append(_missing(part, needed=part.node.id in wanted.answer))
        elif part.node.id in wanted.answer or part.node.id in wanted.upsert:
            inputs = {name: _without_lost(value, ids) for name, value in part.inputs.items()}
            look = Look(part, catalog[part.name], current(catalog[part.name], inputs), flow_id, has)
            found = (finding for check in CHECKS for finding in check(look))
            findings += found if part.node.id in wanted.answer else map(_for_upserts, found)
    if has:
        findings += _store_parts(parts, catalog, has)
    findings = list(dict.fromkeys(findings))
    return Coverage([n for n in names if n in catalog], missing, sorted(findings, key=lambda one: not one.stops))


def _wanted(flow: FlowFile, catalog: Catalog, kind: str) -> _Wanted:
    everything = {node.id for node in nodes_of(flow)}
    try:
        if kind == "AGENTFLOW":
            AgentGraph(flow, catalog)
            return _Wanted(everything, ())
        order = TeamGraph(flow, catalog).nodes if is_multiagent(flow) else Graph(flow, catalog).order
        answer = {node.id for node in order}
    except FlowError as error:
        return _Wanted(everything, (), str(error))
    upsert: set[str] = set()
    for node in nodes_of(flow):
        if issubclass(catalog[node.name], Sink):
            upsert |= {one.id for one in Graph(flow, catalog, node).order}
    return _Wanted(answer, upsert - answer)


def _without_lost(value: Any, ids: Collection[str]) -> Any:
    """The value without references to nodes that are not in the flow any more."""
    if isinstance(value, list):
        return [one for one in value if not (is_dangling(one) and not node_ids(one) & set(ids))]
    return "" if is_dangling(value) and not node_ids(value) & set(ids) else value


def _missing(part: Part, *, needed: bool) -> Finding:
    node = part.node
    end = "" if needed else "; the answer does not need it"
    message = (
        f"{part.place} is a {part.name!r}, which this server does not have: replace it, or install a package that "
        f"brings it{end}"
    )
    return Finding(node.id, node.label or node.name, "node", "", needed, message)


def _for_upserts(finding: Finding) -> Finding:
    """The same of a node that answers do not need."""
    message = f"{finding.message} (only upserts need this)"
    return msgspec.structs.replace(finding, stops=False, message=message)


def _store_parts(parts: Collection[Part], catalog: Catalog, has: Inventory) -> Iterator[Finding]:
    """Node types inside the document stores that the flow names."""
    text = str([part.inputs for part in parts])
    for key, names in has.stores.items():
        for name in sorted(set(names) - catalog.keys()):
            if key in text:
                message = f"the document store {key!r} is made with a {name!r}, which this server does not have"
                yield Finding("", "", "documentStore", "", stops=True, message=f"{message}: choose another one in it")
