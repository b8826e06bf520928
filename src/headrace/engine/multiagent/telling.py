"""Events that tell clients of a multi-agent flow's run: after each step all reasoning so far, at the end the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from headrace.engine.agentflow.telling import Broken
from headrace.engine.multiagent.graph import TeamGraph
from headrace.engine.multiagent.node import SEQUENTIAL, TeamRun
from headrace.events import (
    Action,
    AgentReasoning,
    Artifacts,
    Document,
    Event,
    NextAgent,
    SourceDocuments,
    Start,
    Token,
    UsedTool,
    UsedTools,
)
from headrace.schema import NodeData

_OVER: Final = ("FINISH", "END")
_FOUND: Final = ("usedTools", "sourceDocuments", "artifacts")


class TeamTeller:
    """Tells what each step has said, has used and has changed."""

    def __init__(self, run: TeamRun, graph: TeamGraph) -> None:
        self._run, self._graph = run, graph
        self._reasoning: list[dict[str, Any]] = []
        self._answer = ""
        self._found: dict[str, list[Any]] = {name: [] for name in _FOUND}
        self._is_started = False

    def opened(self) -> list[Event]:
        """See Teller. What was told before the run was interrupted is told again; after a question it begins anew."""
        if self._run.ctx.answer is None:
            for entry in self._run.progress.executed:
                self._take(self._graph.top.nodes[entry["nodeId"]], entry["data"].get("output") or {})
        return []

    def begun(self, node: NodeData) -> list[Event]:
        """See Teller."""
        return []

    def ended(self, node: NodeData, status: str, *, inside: bool) -> list[Event]:
        """See Teller."""
        output = self._run.progress.executed[-1]["data"].get("output") or {}
        self._take(node, output)
        if "messages" not in output:
            return []
        told: list[Event] = [] if self._is_started else [Start(list(self._reasoning))]
        self._is_started = True
        told.append(AgentReasoning(list(self._reasoning)))
        if (following := self._reasoning[-1].get("next")) and following not in _OVER:
            told.append(NextAgent(self._label(str(following))))
        return told

    def failed(self, node: NodeData, status: Broken, error: str) -> list[Event]:
        """See Teller."""
        return []

    def amended(self, text: str) -> list[Event]:
        """See Teller."""
        return []

    def stopped(self, action: dict[str, Any]) -> list[Event]:
        """See Teller."""
        return [*self._said(), Action(action), *self._rests()]

    def finished(self) -> list[Event]:
        """See Teller."""
        return [*self._said(), *self._rests()]

    def broken(self, state: Broken) -> list[Event]:
        """See Teller."""
        self._run.execution.data = list(self._run.progress.executed)
        return []

    def _take(self, node: NodeData, output: Mapping[str, Any]) -> None:
        if "messages" in output:
            title, texts = self._graph.titles[node.id], list(output["messages"])
            for condition in self._graph.conditions_before(node.id):
                about = {"nodeName": condition.name, "nodeId": condition.id}
                self._reasoning.append(
                    {"agentName": self._graph.titles[condition.id], "messages": [*texts[:-1], title], **about}
                )
            self._reasoning.append(_reasoning(node, title, texts, output))
            self._answer = texts[-1] if texts else self._answer
        self._answer = output.get("answer", self._answer)
        for name, found in self._found.items():
            found += output.get(name) or []
        self._found["usedTools"] += output.get("pending") or []

    def _label(self, name: str) -> str:
        """The title of the step that a state names as the next one."""
        step = self._graph.named(name)
        return self._graph.titles[step] if step else name

    def _said(self) -> list[Event]:
        if not self._answer:
            return []
        return [*([] if self._is_started else [Start(self._answer)]), Token(self._answer)]

    def _rests(self) -> list[Event]:
        self._run.execution.data = list(self._run.progress.executed)
        tools, documents, artifacts = (self._found[name] for name in _FOUND)
        return [
            UsedTools(msgspec.convert(tools, list[UsedTool])),
            SourceDocuments(msgspec.convert(documents, list[Document])),
            Artifacts(artifacts),
        ]


def _reasoning(node: NodeData, title: str, texts: Sequence[str], output: Mapping[str, Any]) -> dict[str, Any]:
    """A step as clients are told of it: without tools there is a null for each message, as recordings have it."""
    changed = output.get("state", {})
    next_one = {key: changed[key] for key in ("next", "instructions") if changed.get(key) is not None}
    found = {name: output.get(name, [None] * len(texts)) for name in _FOUND}
    is_supervisor = node.name == "supervisor"
    return {
        "agentName": title,
        "messages": list(texts),
        **next_one,
        **found,
        "state": changed,
        **({"nodeName": node.name} if node.category == SEQUENTIAL else {}),
        "nodeId": "" if is_supervisor else node.id,
    }
