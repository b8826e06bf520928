"""Runs an agent flow from its Start node on, and tells how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final, Literal
from uuid import uuid4

from headrace.engine.agentflow.execution import Execution
from headrace.engine.agentflow.graph import AgentGraph
from headrace.engine.agentflow.node import AgentRun
from headrace.engine.agentflow.walk import Plan, Walk
from headrace.engine.catalog import Catalog
from headrace.engine.chatflow import remembered
from headrace.engine.inputs import check_asked
from headrace.engine.node import Context
from headrace.engine.overrides import Overrides
from headrace.errors import HeadraceError, InvalidRequest
from headrace.events import AgentFlowEvent, AgentFlowExecutedData, Event
from headrace.schema import FlowFile, NodeData, PredictionRequest

_HISTORY: Final = "Invalid history format: each item needs a role, apiMessage or userMessage, and a text as content"


class Agentflow:
    """An agent flow, ready to run."""

    memory: NodeData | None = None

    def __init__(self, flow: FlowFile, catalog: Catalog) -> None:
        """Raises FlowError for a flow that cannot run, and UnknownNodes."""
        self._graph, self._catalog = AgentGraph(flow, catalog), catalog

    def check(self, request: PredictionRequest) -> None:
        """Raises InvalidRequest for what an agent flow cannot be asked."""
        if request.question and request.form:
            raise InvalidRequest("Question and form cannot be provided at the same time")
        for item in request.history or ():
            if item.role not in ("apiMessage", "userMessage") or not isinstance(item.content, str):
                raise InvalidRequest(_HISTORY)

    async def run(self, ctx: Context, overrides: Overrides) -> AsyncGenerator[Sequence[Event]]:
        """Starts the run: its events in batches, without the terminal ones. Raises FlowError and what nodes raise."""
        check_asked(self._graph.nodes, self._catalog, overrides)
        ctx.execution = Execution(id=str(uuid4()))
        run = AgentRun(ctx, ctx.execution)
        run.past = [*ctx.prior, *remembered(await ctx.history(tools=True))]
        return self._events(run, overrides)

    async def _events(self, run: AgentRun, overrides: Overrides) -> AsyncGenerator[Sequence[Event]]:
        ctx, execution = run.ctx, run.execution
        walk = Walk(Plan(self._graph, self._catalog, overrides), run)
        ctx.note(execution)
        yield [AgentFlowEvent("INPROGRESS")]
        try:
            async with aclosing(walk.events()) as batches:
                async for events in batches:
                    yield events
        except asyncio.CancelledError:
            ctx.parting = [*walk.parting, *_told(run, "TERMINATED")]
            raise
        except HeadraceError:
            yield _told(run, "ERROR")
            raise
        if len(execution.data) < len(run.executed):
            yield _told(run, "FINISHED")
        else:
            execution.state = "FINISHED"
            yield [AgentFlowEvent("FINISHED")]


def _told(run: AgentRun, state: Literal["FINISHED", "ERROR", "TERMINATED"]) -> list[Event]:
    """Everything that was executed, and how it ended."""
    run.execution.state, run.execution.data = state, list(run.executed)
    return [AgentFlowExecutedData(run.execution.data), AgentFlowEvent(state)]
