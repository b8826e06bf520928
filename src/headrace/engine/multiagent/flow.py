"""Runs a multi-agent flow from its first step on, or from where it has stopped."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from uuid import uuid4

import msgspec

from headrace.engine.agentflow.execution import Execution
from headrace.engine.agentflow.flow import walked
from headrace.engine.agentflow.progress import Progress, Way
from headrace.engine.agentflow.walk import Walk
from headrace.engine.catalog import Catalog
from headrace.engine.chat import ImagePart, ModelMessage, TextPart
from headrace.engine.inputs import check_asked
from headrace.engine.multiagent.graph import TeamGraph
from headrace.engine.multiagent.memory import Remembered
from headrace.engine.multiagent.node import Opening, TeamRun
from headrace.engine.multiagent.plan import TeamPlan
from headrace.engine.multiagent.telling import TeamTeller
from headrace.engine.node import Context
from headrace.engine.overrides import Overrides
from headrace.events import Event
from headrace.schema import FlowFile, PredictionRequest


class TeamFlow:
    """A multi-agent flow, ready to run."""

    def __init__(self, flow: FlowFile, catalog: Catalog) -> None:
        """Raises FlowError for a flow that cannot run, and UnknownNodes."""
        self._graph, self._catalog = TeamGraph(flow, catalog), catalog
        self.memory = self._graph.memory

    def check(self, request: PredictionRequest) -> None:
        """A multi-agent flow can be asked anything."""

    async def run(self, ctx: Context, overrides: Overrides) -> AsyncGenerator[Sequence[Event]]:
        """Starts the run, or goes on with the context's execution: its events in batches, without the terminal ones.

        Raises FlowError and what steps raise.
        """
        check_asked(self._graph.nodes, self._catalog, overrides)
        plan = TeamPlan(self._graph, self._catalog, overrides, ctx)
        opening = await plan.opening()
        remembered = await opening.agentMemory.recall() if opening.agentMemory else Remembered()
        execution = ctx.execution or Execution(id=str(uuid4()))
        ctx.execution = execution
        progress = execution.progress or await self._begun(ctx, opening, remembered)
        run = TeamRun(ctx, execution, progress, progress.text, opening)
        run.past = remembered.messages or ctx.prior
        return self._events(run, plan)

    async def _begun(self, ctx: Context, opening: Opening, remembered: Remembered) -> Progress:
        state = remembered.state or await opening.channels.begun(ctx)
        way = Way(ready=[self._graph.start.id], said=[_question(ctx)])
        return Progress(way=way, text=ctx.question, state=state)

    async def _events(self, run: TeamRun, plan: TeamPlan) -> AsyncGenerator[Sequence[Event]]:
        teller = TeamTeller(run, self._graph)
        async with aclosing(walked(run, Walk(plan, run, teller, run.ctx.answer), teller)) as batches:
            async for events in batches:
                yield events
        if (memory := run.opening.agentMemory) and run.execution.action is None:
            said = [msgspec.structs.replace(message, name="") for message in run.progress.way.said]
            await memory.keep(Remembered([*run.past, *said], dict(run.state)))


def _question(ctx: Context) -> ModelMessage:
    """The question with its pictures, for those models that take any."""
    pictures = [
        ImagePart(upload.data)
        for upload in ctx.uploads
        if upload.mime.startswith("image/") and upload.type in ("file", "url") and upload.data
    ]
    return ModelMessage("user", [TextPart(ctx.question), *pictures] if pictures else ctx.question)
