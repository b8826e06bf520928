"""Converts an execution of Flowise that waits for a person into progress from which the flow goes on here.

Flowise keeps what was executed, and finds the way again from that; here the way itself is kept. So it is walked again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from headrace.engine.agentflow import steps
from headrace.engine.agentflow.graph import Level
from headrace.engine.agentflow.progress import Arrow, Progress, Way
from headrace.engine.chat import ModelMessage
from headrace.engine.flow_file import read_flow
from headrace.engine.graph import nodes_of
from headrace.errors import HeadraceError

_ASKS: Final = "humanInputAgentflow"
_LOOP: Final = "loopAgentflow"


class Paused(msgspec.Struct, frozen=True):
    """The question to a person, and the flow's progress."""

    action: dict[str, Any]
    progress: Progress


def paused(flow_data: str, executed: Sequence[Mapping[str, Any]]) -> Paused | None:
    """The place where a flow waits at a Human Input node; None where it cannot be told from what was executed."""
    if not executed or executed[-1].get("status") != "STOPPED":
        return None
    *before, last = executed
    try:
        action = msgspec.convert(_data(last)["output"]["humanInputAction"], dict[str, Any])
        way = _walked(_level(flow_data), before)
        if _data(last).get("name") != _ASKS or last["nodeId"] not in way.ready:
            return None
    except (HeadraceError, KeyError, TypeError, ValueError):
        return None
    way = _at(way, last["nodeId"])
    start = _data(executed[0])
    given = start.get("output") or {}
    text = str(given.get("question") or given.get("form") or "")
    forgetful = any((start.get(part) or {}).get("ephemeralMemory") is True for part in ("input", "output"))
    said = [message for entry in before for message in _said(entry)] if forgetful else []
    progress = Progress(
        way=msgspec.structs.replace(way, said=said, text=_text(before[-1]) if before else ""),
        text=text,
        form=_form(start, text) if given.get("form") else None,
        state=_data(last).get("state") or {},
        steps=len(executed),
        forgetful=forgetful,
    )
    return Paused(action, progress)


def _level(flow_data: str) -> Level:
    flow = read_flow(flow_data)
    outside = {node.data.id for node in flow.nodes if not node.parentNode}
    arrows = [Arrow(e.source, (e.sourceHandle or "").rpartition("-output-")[2], e.target) for e in flow.edges]
    return Level([node for node in nodes_of(flow) if node.id in outside], arrows)


def _walked(level: Level, executed: Sequence[Mapping[str, Any]]) -> Way:
    """The way after these executions. Raises ValueError when they do not fit the flow as it is now."""
    way = Way(ready=level.starts)
    rounds: dict[str, int] = {}
    for entry in executed:
        node, data = entry["nodeId"], _data(entry)
        if node not in level.nodes:  # inside of an iteration, which has an entry of its own
            continue
        if node not in way.ready or entry.get("status") != "FINISHED":
            raise ValueError(node)
        way, target = _at(way, node), (data.get("output") or {}).get("nodeID")
        if data.get("name") == _LOOP and target:
            rounds[node] = rounds.get(node, 0) + 1
            way = msgspec.structs.replace(steps.back(way, level, target), rounds=dict(rounds), gone_back=rounds[node])
        else:
            way = steps.onward(way, level, _chosen(data))
    return way


def _at(way: Way, node: str) -> Way:
    """With this node as the next of those that can run."""
    return msgspec.structs.replace(way, ready=[node, *(other for other in way.ready if other != node)])


def _chosen(data: Mapping[str, Any]) -> str | None:
    """The output of a condition that was fulfilled; None for a node that goes on at all of its outputs."""
    conditions = (data.get("output") or {}).get("conditions")
    if not isinstance(conditions, list):
        return None
    return next((str(n) for n, one in enumerate(conditions) if one.get("isFulfilled")), str(len(conditions)))


def _data(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    data = entry.get("data")
    return data if isinstance(data, dict) else {}


def _text(entry: Mapping[str, Any]) -> str:
    return str((_data(entry).get("output") or {}).get("content") or "")


def _said(entry: Mapping[str, Any]) -> list[ModelMessage]:
    said = _data(entry).get("chatHistory") or []
    return [
        ModelMessage("assistant" if one.get("role") == "assistant" else "user", str(one.get("content") or ""))
        for one in said
        if isinstance(one, dict)
    ]


def _form(start: Mapping[str, Any], text: str) -> dict[str, str] | None:
    """The form that was filled in: lines of `name: value`."""
    asked = (start.get("input") or {}).get("form")
    inputs = asked.get("inputs") if isinstance(asked, dict) else None
    names = {str(one.get("name")) for one in inputs or [] if isinstance(one, dict)}
    filled: dict[str, str] = {}
    for line in text.split("\n"):
        name, colon, value = line.partition(": ")
        if colon and name in names:
            filled[name] = value
    return filled or None
