"""Runs an agent flow from its Start node on, or from where it has stopped, and tells how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final
from uuid import uuid4

import msgspec

from headrace.engine.agentflow.components import AgentFlowPlan
from headrace.engine.agentflow.execution import Execution
from headrace.engine.agentflow.form import check_form, form_of
from headrace.engine.agentflow.graph import AgentGraph
from headrace.engine.agentflow.node import AgentRun, filled
from headrace.engine.agentflow.progress import Progress, Way
from headrace.engine.agentflow.schedule import schedule_of
from headrace.engine.agentflow.telling import AgentFlowTeller, Broken, Teller
from headrace.engine.agentflow.walk import Walk
from headrace.engine.agentflow.webhook import Webhook, webhook_of
from headrace.engine.catalog import Catalog
from headrace.engine.chatflow import remembered
from headrace.engine.inputs import check_asked
from headrace.engine.node import Context
from headrace.engine.overrides import Overrides
from headrace.errors import HeadraceError, InvalidRequest
from headrace.events import Event
from headrace.schema import FlowFile, NodeData, PredictionRequest

_HISTORY: Final = "Invalid history format: each item needs a role, apiMessage or userMessage, and a text as content"


class Agentflow:
    """An agent flow, ready to run."""

    memory: NodeData | None = None

    def __init__(self, flow: FlowFile, catalog: Catalog) -> None:
        """Raises FlowError for a flow that cannot run, and UnknownNodes."""
        self._graph, self._catalog = AgentGraph(flow, catalog), catalog
        schedule = schedule_of(self._graph.start.inputs)
        self._form = schedule.fields if schedule else form_of(self._graph.start)

    @property
    def webhook(self) -> Webhook | None:
        """The webhook that the flow begins with. Raises FlowError for one that is not set up."""
        return webhook_of(self._graph.start.inputs)

    def check(self, request: PredictionRequest) -> None:
        """Raises InvalidRequest for what an agent flow cannot be asked, and InvalidForm."""
        if request.question and request.form:
            raise InvalidRequest("Question and form cannot be provided at the same time")
        if request.humanInput is None and (request.form is not None or not request.question):
            check_form(self._form, request.form or {})
        for item in request.history or ():
            if item.role not in ("apiMessage", "userMessage") or not isinstance(item.content, str):
                raise InvalidRequest(_HISTORY)

    async def run(self, ctx: Context, overrides: Overrides) -> AsyncGenerator[Sequence[Event]]:
        """Starts the run, or goes on with the context's execution: its events in batches, without the terminal ones.

        Raises FlowError and what nodes raise.
        """
        check_asked(self._graph.nodes, self._catalog, overrides)
        text = filled(ctx.form) if ctx.form else ctx.question
        execution = ctx.execution or Execution(id=str(uuid4()))
        ctx.execution = execution
        run = AgentRun(ctx, execution, execution.progress or self._begun(ctx, text), text)
        if ctx.resumed:
            run.take_up()
        answer = ctx.answer if run.progress.asks else None  # else it has been taken before the process died
        run.past = ctx.prior
        if not run.progress.forgetful:
            run.past = [*ctx.prior, *remembered(await ctx.history(tools=True))]
            if answer:
                _forget_said(run)
        teller = AgentFlowTeller(run)
        return walked(run, Walk(AgentFlowPlan(self._graph, self._catalog, overrides), run, teller, answer), teller)

    def _begun(self, ctx: Context, text: str) -> Progress:
        way = Way(ready=self._graph.top.starts)
        return Progress(way=way, text=text, attached=ctx.attached, form=ctx.form, webhook=ctx.webhook)


async def walked(run: AgentRun, walk: Walk, teller: Teller) -> AsyncGenerator[Sequence[Event]]:
    """The walk's events from its beginning to its end; how it ended is noted with the execution."""
    ctx, execution = run.ctx, run.execution
    execution.state, execution.progress = "INPROGRESS", run.progress
    if not ctx.resumed:
        if events := teller.opened():
            yield events
        await ctx.note(execution)
    try:
        async with aclosing(walk.events()) as batches:
            async for events in batches:
                yield events
    except asyncio.CancelledError:
        ctx.parting = [*walk.parting, *_broken(run, teller, "TERMINATED")]
        raise
    except HeadraceError:
        yield _broken(run, teller, "ERROR")
        raise
    if execution.action:
        execution.state = "STOPPED"
        yield teller.stopped(execution.action)
    else:
        execution.state, execution.progress = "FINISHED", run.progress
        yield teller.finished()


def _broken(run: AgentRun, teller: Teller, state: Broken) -> list[Event]:
    run.execution.state, run.execution.progress = state, run.progress
    return teller.broken(state)


def _forget_said(run: AgentRun) -> None:
    """Drops the nodes' messages: the session's history has them by now, as the answering person has read it."""
    path = [msgspec.structs.replace(way, said=()) for way in run.progress.path]
    run.progress = run.progress.at(path)
