"""Takes jobs, runs their flows and keeps what was said. The same loop in the server and in a process of its own."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any
from uuid import uuid4

import msgspec

from headrace.engine import chatflow
from headrace.engine.agentflow.execution import Execution
from headrace.engine.batches import passed
from headrace.engine.chat import ModelMessage
from headrace.engine.followups import follow_ups
from headrace.engine.listeners import tell
from headrace.engine.node import Context, FlowQuestion
from headrace.engine.overrides import Overrides
from headrace.engine.ports import Outside
from headrace.engine.postprocessing import processed
from headrace.engine.references import text_of
from headrace.errors import FlowError, FlowNotFound, HeadraceError, Interrupted, RunNotFound
from headrace.events import Event, Fold, Metadata, Prediction, RunMetadata, Usage
from headrace.runtime.backend import Backend
from headrace.runtime.executions import Executions
from headrace.runtime.flows import Flow, Flows, as_it_was, read_config
from headrace.runtime.log import ended
from headrace.runtime.queue import STOPPING, Job
from headrace.runtime.readers import Readers
from headrace.runtime.recording import Recording
from headrace.runtime.registry import Order
from headrace.runtime.survival import is_complete, taken_up, told
from headrace.runtime.turns import turn_rows
from headrace.runtime.uploads import Uploads, attached
from headrace.schema import HistoryMessage, MemoryMessage, PredictionRequest
from headrace.storage.session_notes import SessionNotes
from headrace.storage.storage import Storage
from headrace.storage.variables import variable_values

_logger = logging.getLogger("headrace.runs")
_DEEPEST = 8  # flows that ask each other
_MOST_ASKED = 200  # flows in one run: a few that each ask a few others soon are thousands
_FOLLOW_UP_PATIENCE = 10.0  # seconds that an answer's end may wait for what to ask next
NO_QUESTION = "undefined"  # as Flowise says for a request without one: recordings of it are compared


class Worker:
    """Runs jobs until it is told to stop."""

    def __init__(
        self, backend: Backend, flows: Flows, storage: Storage, executions: Executions, outside: Outside
    ) -> None:
        self._log, self._queue, self._registry = backend
        self._flows, self._storage, self._outside = flows, storage, outside
        self._executions = executions
        self._uploads = Uploads(storage.folder / "uploads")
        self._readers = Readers(self._cancel)
        self._runs: dict[str, tuple[Recording, asyncio.Task[None]]] = {}
        self._early: defaultdict[str, list[Order]] = defaultdict(list)  # orders for jobs that are still in the queue
        self._asked = Counter[str]()  # by run, how many flows its flows have asked

    async def work(self) -> None:
        """Begins each job in a task of its own. Ends when cancelled; the runs go on."""
        async with aclosing(self._queue.jobs()) as jobs:
            async for job in jobs:
                self._begin(job)

    async def obey(self) -> None:
        """Carries out the orders for runs of this process. Ends when cancelled."""
        async with aclosing(self._registry.orders()) as orders:
            async for order in orders:
                if order.run in self._runs:
                    self._carry_out(order)
                elif self._log.tail(order.run):
                    self._early[order.run].append(order)

    def _begin(self, job: Job) -> None:
        recording = Recording(self._log, job.run, job.flow)
        task = asyncio.create_task(recording.record(self._events(job, recording)), name=f"run {job.run}")
        self._runs[job.run] = recording, task
        task.add_done_callback(lambda _: self._forget(job.run))
        if job.patience is not None:
            self._readers.watch(job.run, job.patience)
        for order in self._early.pop(job.run, ()):
            self._carry_out(order)

    def _carry_out(self, order: Order) -> None:
        match order.wish:
            case "come":
                self._readers.come(order.run)
            case "go":
                self._readers.go(order.run)
            case "cancel":
                self._cancel(order.run)

    def _cancel(self, run: str) -> None:
        if found := self._runs.get(run):
            found[0].cancel()

    def _forget(self, run: str) -> None:
        self._runs.pop(run, None)
        self._asked.pop(run, None)
        self._readers.forget(run)

    async def finished(self, seconds: float | None = None) -> bool:
        """Waits until no run goes on, for so many seconds at most; says whether none does."""
        tasks = [task for _, task in self._runs.values()]
        return not tasks or not (await asyncio.wait(tasks, timeout=seconds))[1]

    def interrupt(self) -> None:
        """Ends every run with `error` (interrupted) and `end`: the server is stopping."""
        for recording, _ in self._runs.values():
            recording.cancel(Interrupted(STOPPING))

    async def _events(self, job: Job, recording: Recording) -> AsyncGenerator[Sequence[Event]]:
        for other in job.after:
            with suppress(RunNotFound):
                await ended(self._log, other)
        flow = await self._flows.get(job.flow)
        if job.drawn:
            flow = as_it_was(flow, job.drawn)
        execution, before = None, list[Event]()
        if job.resumed:
            before = await told(self._log, job.run)
            if is_complete(before):
                return
            recording.answer.add(before)
            job = await taken_up(job, self._executions)
        if job.execution:
            execution, drawn = await self._executions.stored(job.execution, resumed=bool(before))
            flow = as_it_was(flow, drawn)
        ctx = await self._context(job, flow)
        if execution:
            ctx.execution, ctx.answer, ctx.resumed = execution, job.request.humanInput, bool(before)
        try:
            await self._answer(job, flow, ctx, recording.write)
            recording.complete()  # what is said is said: a cancel comes too late
            prompts = None
            if flow.row.followUpPrompts:
                prompts = await recording.afterwards(self._follow_ups(flow, ctx, recording.answer.prediction))
            yield [Metadata(await self._keep(job, flow, ctx, recording.answer.prediction, prompts))]
        except asyncio.CancelledError:
            recording.parting = ctx.parting
            if recording.cancelled:
                recording.usage = ctx.usage or _estimate(recording.answer.prediction)
                await self._keep_aborted(job, flow, ctx, recording.answer.prediction)
            raise
        finally:
            if ctx.execution:
                cancelled = recording.cancelled
                await self._executions.end(job, ctx.execution, flow.row.flowData, self._log, cancelled=cancelled)

    async def _answer(self, job: Job, flow: Flow, ctx: Context, write: Callable[[Sequence[Event]], None]) -> None:
        """Writes the flow's answer as it comes; where no node looks at each event, from the model's socket on."""
        overrides = Overrides(flow.api.overrideConfig, job.request.overrideConfig)
        async with ctx.closing, aclosing(await self._answering(flow, ctx, overrides)) as batches:
            await passed(batches, write)

    async def _answering(self, flow: Flow, ctx: Context, overrides: Overrides) -> AsyncGenerator[Sequence[Event]]:
        """The flow's answer, rewritten where its author wants that."""
        batches = await flow.engine.run(ctx, overrides)
        processing = flow.chatbot.postProcessing
        if not processing.enabled or not processing.customFunction:
            return batches
        turns = [*ctx.prior, *chatflow.remembered(await ctx.history())]
        return processed(batches, processing.customFunction, ctx, chatflow.said(turns))

    async def _follow_ups(self, flow: Flow, ctx: Context, answer: Prediction) -> str | None:
        """The follow-up questions as JSON text. A failure leaves the answer as it is."""
        text = answer.text if ctx.text is None else ctx.text
        if not text or (ctx.execution and ctx.execution.action):
            return None
        try:
            async with asyncio.timeout(_FOLLOW_UP_PATIENCE):
                config = read_config(flow.row.followUpPrompts, dict[str, Any], "followUpPrompts")
                found = await follow_ups(config, self._flows.catalog, ctx, text)
        except (HeadraceError, TimeoutError) as error:
            reason = str(error) or f"no answer within {_FOLLOW_UP_PATIENCE:g} s"
            _logger.warning("run %s has no follow-up questions: %s", ctx.run, reason)
            return None
        return msgspec.json.encode(found).decode() if found else None

    async def _keep_aborted(self, job: Job, flow: Flow, ctx: Context, answer: Prediction) -> None:
        try:
            await self._keep(job, flow, ctx, answer, aborted=True)
        except HeadraceError as error:
            _logger.warning("what run %s had said could not be stored: %s", job.run, error)

    async def _context(self, job: Job, flow: Flow) -> Context:
        overrides = Overrides(flow.api.overrideConfig, job.request.overrideConfig)
        variables = await variable_values(self._storage)

        async def history(*, tools: bool = False) -> Sequence[MemoryMessage]:
            turns = () if job.new_chat else await self._storage.history(job.flow, job.session, tools=tools)
            seeing = flow.takes_images_with(job.request.overrideConfig)
            return await self._uploads.seen(job.flow, turns) if seeing else _heard(turns)

        async def previous() -> Sequence[dict[str, Any]]:
            return () if job.new_chat else await self._executions.previous(job.flow, job.session)

        async def ask_flow(asked: FlowQuestion) -> Prediction:
            return await self._ask_flow(job, ctx, asked)

        async def note(execution: Execution) -> None:
            if job.survives:
                await self._executions.store(job, execution, flow.row.flowData, self._log)
            else:
                self._executions.note(job, execution, flow.row.flowData)

        ctx = Context(
            run=job.run,
            flow=job.flow,
            chat=job.chat,
            session=job.session,
            message=job.message,
            question=question_of(job),
            uploads=job.request.uploads or (),
            attached=attached(job.request.uploads or ()),
            prior=[turn for item in job.request.history or () if (turn := _turn(item))],
            variables=variables | overrides.variables(),
            history=history,
            notes=SessionNotes(self._storage.database, job.flow, job.session),
            secrets=self._storage.secrets,
            saved_tool=self._storage.tool,
            outside=self._outside,
            kept=flow.kept,
            form=job.request.form or None,
            webhook=job.webhook,
            previous=previous,
            note=note,
            ask_flow=ask_flow,
        )
        return ctx

    async def _ask_flow(self, asking: Job, parent: Context, asked: FlowQuestion) -> Prediction:
        """Runs another flow inside this run: it ends with it, and what it costs counts here. Its turn is stored."""
        if asking.depth >= _DEEPEST:
            raise FlowError(f"flows ask each other more than {_DEEPEST} deep: the last one is {asked.flow!r}")
        self._asked[asking.run] += 1
        if self._asked[asking.run] > _MOST_ASKED:
            raise FlowError(f"the flows of this run have asked others more than {_MOST_ASKED} times")
        try:
            flow = await self._flows.get(asked.flow)
        except FlowNotFound as error:
            raise FlowError(f"{error}: choose another one in the flow that asks it") from None
        if flow.row.apikeyid:
            key = await self._storage.key(asked.key) if asked.key else None
            if key is None or key.id != flow.row.apikeyid:
                raise FlowError(f"the flow {flow.row.name!r} needs its API key: put it into the credential of the tool")
        request = PredictionRequest(question=asked.question, overrideConfig=dict(asked.overrides) or None)
        job = msgspec.structs.replace(
            asking,
            flow=asked.flow,
            chat=asked.chat or asking.chat,
            session=str(asked.overrides.get("sessionId") or "") or asked.chat or asking.session,
            message=str(uuid4()),
            request=request,
            new_chat=asked.chat is not None or asking.new_chat,
            survives=False,  # its node is executed again as a whole
            resumed=False,
            depth=asking.depth + 1,
        )
        flow.engine.check(request)
        ctx = await self._context(job, flow)
        answer = Fold()

        def write(events: Sequence[Event]) -> None:
            answer.add(events)
            tell(events)

        try:
            await self._answer(job, flow, ctx, write)
            answer.add([Metadata(await self._keep(job, flow, ctx, answer.prediction))])
        finally:
            if ctx.usage:
                parent.count(ctx.usage)
            if ctx.execution:
                await self._executions.end(job, ctx.execution, flow.row.flowData, self._log, cancelled=False)
        return answer.prediction

    async def _keep(
        self,
        job: Job,
        flow: Flow,
        ctx: Context,
        answer: Prediction,
        prompts: str | None = None,
        *,
        aborted: bool = False,
    ) -> RunMetadata:
        """Stores the question and the answer, and returns what `metadata` says about them."""
        memory, execution = flow.engine.memory, ctx.execution
        metadata = RunMetadata(
            chatId=job.chat,
            chatMessageId=job.message,
            question=job.request.question,
            sessionId=job.session,
            memoryType=(memory.label or memory.name) if memory else None,
            followUpPrompts=prompts,
            usage=ctx.usage,
            json=ctx.json,
            text=ctx.text,
            fields=ctx.fields,
            flowVariables=ctx.shown_values or None,
        )
        if execution:
            metadata.form, metadata.executionId, metadata.action = (
                job.request.form or None,
                execution.id,
                execution.action,
            )
            metadata.agentFlowExecutedData = execution.data if execution.amended else None
        files = await self._uploads.keep(job.flow, job.chat, job.request.uploads or ())
        rows = turn_rows(job, flow, metadata, answer, files, aborted=aborted)
        if not job.resumed or not await self._storage.has_message(job.message):
            await self._storage.add_messages(rows)
        for listener in ctx.listeners:
            try:
                used = [msgspec.to_builtins(row.usedTools or []) for row in rows]
                await listener(
                    [MemoryMessage(row.role, row.content, tools=u) for row, u in zip(rows, used, strict=True)]
                )
            except HeadraceError as error:  # the answer is said and stored
                _logger.warning("a memory of run %s could not be written: %s", job.run, error)
        return metadata


def _estimate(answer: Prediction) -> Usage:
    """The estimated usage of a cancelled answer: the provider names its count only at the end."""
    said = len((answer.text or "").split())
    return Usage(0, said, said, estimated=True)


def question_of(job: Job) -> str:
    """The question as the model reads it."""
    question = job.request.question
    missing = "" if job.execution else NO_QUESTION
    asked = missing if question is None else text_of(question)
    documents = attached(job.request.uploads or ())
    return f"{documents}\n\n{asked}" if documents else asked


def _heard(turns: Sequence[MemoryMessage]) -> list[MemoryMessage]:
    """The turns without their pictures, for models that are shown none."""
    return [msgspec.structs.replace(turn, uploads=()) if turn.uploads else turn for turn in turns]


def _turn(item: HistoryMessage) -> ModelMessage | None:
    # Items of the older form `{type, message}` count as turns but carry no content: Flowise never read `message`.
    match item.role or item.type:
        case "apiMessage":
            return ModelMessage("assistant", item.content or "")
        case "userMessage":
            return ModelMessage("user", item.content or "")
        case _:
            return None
