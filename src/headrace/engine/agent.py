"""The agent loop: the model speaks and asks for tools, they run, it reads what they gave, until it has answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

import msgspec

from headrace.engine.answering import Telling
from headrace.engine.chat import ChatRequest, ModelMessage, ToolCall
from headrace.engine.listeners import listen
from headrace.engine.node import Context
from headrace.engine.ports import ChatModel, Tool, ToolResult
from headrace.engine.schemas import mismatch
from headrace.engine.trace import Trace
from headrace.engine.turn import LONGEST_ARGUMENTS, Turn, as_object, given
from headrace.errors import FlowError, HeadraceError
from headrace.events import Artifacts, Event, SourceDocuments, Token, UsedTool, UsedTools

MAX_ITERATIONS: Final = 15
STOPPED: Final = "Agent stopped due to max iterations."
_logger = logging.getLogger("headrace.runs")
_AT_ONCE: Final = 8  # tools that run side by side
_MOST_CALLS: Final = 64  # of one turn; the model is told about those beyond
_LONGEST_RESULT: Final = 200_000  # characters that the model is given to read
_PATIENCE: Final = 300.0  # seconds that one call may take


class Use(msgspec.Struct, frozen=True):
    """One call that was answered: by a tool, or by the loop itself, which then shows no use of a tool."""

    call: ToolCall
    result: ToolResult
    shown: UsedTool | None = None
    returns: bool = False


class Agent:
    """A model with its tools, for one run."""

    def __init__(
        self,
        ctx: Context,
        model: ChatModel,
        tools: Sequence[Tool],
        *,
        max_iterations: int | None = None,
        traced: bool = False,
    ) -> None:
        self._ctx, self._model = ctx, model
        self._tools = {tool.spec.name: tool for tool in tools}
        self._most = max_iterations or MAX_ITERATIONS
        self._trace = Trace() if traced else None
        self._uses: list[Use] = []

    async def run(self, messages: Sequence[ModelMessage]) -> AsyncGenerator[Sequence[Event]]:
        """The answer to a conversation: tokens as they come, then sources, used tools and artifacts, each if any."""
        talk, telling, said = list(messages), Telling(self._ctx), ""
        specs, answer = [tool.spec for tool in self._tools.values()], ""
        for _ in range(self._most):
            turn = Turn()
            request = ChatRequest(talk, specs, facts=self._trace is not None)
            async with aclosing(self._model.stream(request)) as batches:
                async for deltas in batches:
                    turn.add(deltas)
                    if events := telling.events(deltas):
                        yield events
            answer, said = turn.text, said + turn.text
            if not (calls := turn.calls):
                break
            if self._trace is None:
                uses = await self.used(calls)
            else:
                async with aclosing(self._traced(self._trace, turn)) as steps:
                    async for events in steps:
                        yield events
                uses = self._uses[-len(calls) :]
            talk += [turn.message, *(ModelMessage("tool", use.result.text, answers=use.call) for use in uses)]
            if direct := [use.result.text for use in uses if use.returns]:
                answer = direct[0]
                break
        else:
            answer = STOPPED
        yield [*telling.end(), *self._shown()]
        if answer in (STOPPED, *(use.result.text for use in self._uses if use.returns)):
            yield [Token(answer)]
            said += answer
        if said != answer:  # words before a tool call are no part of the answer
            self._ctx.text = answer

    def _shown(self) -> list[Event]:
        """What the answer shows of the tools."""
        documents = [document for use in self._uses for document in use.result.documents]
        artifacts = [artifact for use in self._uses for artifact in use.result.artifacts]
        shown = [use.shown for use in self._uses if use.shown]
        events: list[Event] = [SourceDocuments(documents)] if documents else []
        events += [UsedTools(shown)] if shown else []
        return [*events, Artifacts(artifacts)] if artifacts else events

    async def _traced(self, trace: Trace, turn: Turn) -> AsyncGenerator[Sequence[Event]]:
        """Runs the tools of one turn, and tells meanwhile what they do."""
        yield trace.decided(turn)
        working = asyncio.create_task(self.used(turn.calls), name=f"the tools of run {self._ctx.run}")
        working.add_done_callback(lambda _: trace.pause())
        try:
            async for events in trace.told():
                yield events
            await working
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def used(self, calls: Sequence[ToolCall]) -> list[Use]:
        """Runs the tools of one turn side by side; answers in the order of the calls. Cancelling it stops them all."""
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(call: ToolCall, number: int) -> Use:
            async with limit:
                if self._trace is None:
                    listen()
                    return await self._use(call, number)
                self._trace.started(call)
                use = await self._use(call, number)
                self._trace.ended(call, use.result.text, use.shown.error if use.shown else None)
                return use

        uses = await asyncio.gather(*(one(call, number) for number, call in enumerate(calls)))
        self._uses += uses
        return uses

    async def _use(self, call: ToolCall, number: int) -> Use:
        if number >= _MOST_CALLS:
            return _told(call, f"Too many tools at once: only the first {_MOST_CALLS} calls were carried out.")
        if (tool := self._tools.get(call.name)) is None:
            return _told(call, f"{call.name} is not a valid tool, try another one.")
        if len(call.arguments) > LONGEST_ARGUMENTS:
            return _told(call, f"The arguments are longer than {LONGEST_ARGUMENTS} characters: use shorter ones.")
        value = given(call)
        arguments = as_object(value, tool.spec.parameters)
        shown = value if isinstance(value, str) else arguments
        known = _known(tool.spec.parameters, arguments)
        if wrong := mismatch(tool.spec.parameters, known):
            text = f"Received tool input did not match expected schema: {wrong}"
            return Use(call, ToolResult(text), UsedTool(call.name, shown, "", text))
        return await self._called(tool, call, shown, known)

    async def _called(self, tool: Tool, call: ToolCall, shown: Any, known: dict[str, Any]) -> Use:
        try:
            result = await called(tool, known)
        except HeadraceError as error:
            return _failed(call, shown, str(error))
        except Exception:  # a tool may come from another package, and its fault is the model's to know
            _logger.exception("the tool %r of run %s failed", call.name, self._ctx.run)
            return _failed(call, shown, f"{call.name} failed")
        if len(result.text) > _LONGEST_RESULT:
            text = f"{result.text[:_LONGEST_RESULT]}\n[cut here: {len(result.text)} characters in all]"
            result = msgspec.structs.replace(result, text=text)
        return Use(call, result, UsedTool(call.name, shown, result.text), tool.return_direct)


async def called(tool: Tool, arguments: Mapping[str, Any]) -> ToolResult:
    """What the tool gives. Raises FlowError when it takes too long, and what the tool raises."""
    try:
        async with asyncio.timeout(_PATIENCE):
            return await tool.call(arguments)
    except TimeoutError:
        raise FlowError(f"{tool.spec.name} took longer than {_PATIENCE:.0f} seconds") from None


def _told(call: ToolCall, text: str) -> Use:
    return Use(call, ToolResult(text))


def _failed(call: ToolCall, shown: Any, text: str) -> Use:
    return Use(call, ToolResult(text), UsedTool(call.name, shown, "", text))


def _known(schema: Mapping[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments without those that a tool with a closed list of them does not know: models invent some."""
    if schema.get("additionalProperties") is not False:
        return arguments
    return {name: value for name, value in arguments.items() if name in schema.get("properties", {})}
