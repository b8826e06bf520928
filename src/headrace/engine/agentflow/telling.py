"""Events that tell clients of an agent flow's run."""

from __future__ import annotations

from typing import Any, Final, Literal, Protocol

from headrace.engine.agentflow.node import AgentRun
from headrace.events import Action, AgentFlowEvent, AgentFlowExecutedData, Event, NextAgentFlow, Token
from headrace.schema import NodeData

Broken = Literal["ERROR", "TERMINATED"]
"""The endings of a run that has not got to its end."""
_ALL_TOLD: Final = 100  # so many executions are told after each node; of more, after every tenth part of them


class Teller(Protocol):
    """Makes events of a walk's steps. The run's progress holds the executions that they are about."""

    def opened(self) -> list[Event]:
        """The run begins, or goes on."""
        ...

    def begun(self, node: NodeData) -> list[Event]:
        """The node is about to be executed."""
        ...

    def ended(self, node: NodeData, status: str, *, inside: bool) -> list[Event]:
        """The node was executed, or has stopped with a question; `inside` of an iteration or not."""
        ...

    def failed(self, node: NodeData, status: Broken, error: str) -> list[Event]:
        """The node has failed, or was cancelled."""
        ...

    def amended(self, text: str) -> list[Event]:
        """The newest execution has got this text in place of its own."""
        ...

    def stopped(self, action: dict[str, Any]) -> list[Event]:
        """The run waits for a person."""
        ...

    def finished(self) -> list[Event]:
        """The run has got to its end."""
        ...

    def broken(self, state: Broken) -> list[Event]:
        """The run has failed, or was cancelled."""
        ...


class AgentFlowTeller:
    """Tells each node's state as it changes, and all executions after each node."""

    def __init__(self, run: AgentRun) -> None:
        self._run = run

    def opened(self) -> list[Event]:
        """See Teller."""
        return [AgentFlowEvent("INPROGRESS")]

    def begun(self, node: NodeData) -> list[Event]:
        """See Teller."""
        return [_next_event(node, "INPROGRESS")]

    def ended(self, node: NodeData, status: str, *, inside: bool) -> list[Event]:
        """See Teller. Of nodes inside of an iteration no executions are told: they come with the iteration's."""
        return [_next_event(node, status), *([] if inside else self._report())]

    def failed(self, node: NodeData, status: Broken, error: str) -> list[Event]:
        """See Teller."""
        return [_next_event(node, status, error)]

    def amended(self, text: str) -> list[Event]:
        """See Teller."""
        run = self._run
        if len(run.execution.data) == len(run.progress.executed):  # else all of it is yet to be told
            run.execution.data, run.execution.amended = list(run.progress.executed), True
        return [Token(text)]

    def stopped(self, action: dict[str, Any]) -> list[Event]:
        """See Teller."""
        return [AgentFlowEvent("STOPPED"), Action(action), AgentFlowEvent("STOPPED")]

    def finished(self) -> list[Event]:
        """See Teller."""
        told = len(self._run.execution.data) == len(self._run.progress.executed)
        return [*([] if told else self._all()), AgentFlowEvent("FINISHED")]

    def broken(self, state: Broken) -> list[Event]:
        """See Teller."""
        return [*self._all(), AgentFlowEvent(state)]

    def _report(self) -> list[Event]:
        """All executions so far; of very many only now and then, or a long loop would send the square of its length."""
        executed, told = self._run.progress.executed, self._run.execution.data
        return self._all() if len(executed) <= _ALL_TOLD or len(executed) >= len(told) * 1.1 else []

    def _all(self) -> list[Event]:
        self._run.execution.data = list(self._run.progress.executed)
        return [AgentFlowExecutedData(self._run.execution.data)]


def _next_event(node: NodeData, status: str, error: str | None = None) -> NextAgentFlow:
    data = {"nodeId": node.id, "nodeLabel": node.label, "status": status, "error": error}
    return NextAgentFlow({key: value for key, value in data.items() if key != "error" or value is not None})
