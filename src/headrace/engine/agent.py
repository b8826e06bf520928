"""The agent loop: the model speaks and asks for tools, they run, it reads what they gave, until it has answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, Protocol

import msgspec

from headrace.engine.chat import ChatRequest, Delta, ModelMessage, ToolCall
from headrace.engine.conversation import Conversation, Round, ToolUse
from headrace.engine.listeners import listen
from headrace.engine.model_answer import LONGEST_ARGUMENTS, ModelAnswer, arguments_object, arguments_of
from headrace.engine.model_events import ModelEvents
from headrace.engine.node import Context
from headrace.engine.ports import ChatModel, Tool, ToolResult
from headrace.engine.schemas import mismatch
from headrace.engine.trace import Trace
from headrace.errors import FlowError, HeadraceError
from headrace.events import Artifacts, Event, SourceDocuments, Token, UsedTool, UsedTools

MAX_ITERATIONS: Final = 15
STOPPED: Final = "Agent stopped due to max iterations."
_logger = logging.getLogger("headrace.runs")
_AT_ONCE: Final = 8  # tools that run side by side
_MOST_CALLS: Final = 64  # of one turn; the model is told about those beyond
_LONGEST_RESULT: Final = 200_000  # characters that the model is given to read
_PATIENCE: Final = 300.0  # seconds that one call may take


class Voice(Protocol):
    """Turns an agent's work into events while it goes on."""

    def begin(self) -> None:
        """The model begins a turn."""
        ...

    def events(self, deltas: Sequence[Delta]) -> list[Event]:
        """The events of a batch of the model's deltas."""
        ...

    def asked(self, turn: ModelAnswer) -> list[Event]:
        """The events of a turn that ends with calls of tools."""
        ...


class Quiet:
    """Tells nothing but what the model says."""

    def __init__(self, answer: ModelEvents) -> None:
        self.events = answer.events

    def begin(self) -> None:
        """Every turn is told alike."""

    def asked(self, turn: ModelAnswer) -> list[Event]:
        """Calls are told with the answer."""
        return []


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
        facts: bool = False,
        asking: Collection[str] = (),
    ) -> None:
        """`asking` names the tools that wait for a person's approval; `facts` asks for what the provider says."""
        self._ctx, self._model, self._facts, self._asking = ctx, model, facts or traced, asking
        self._tools = {tool.spec.name: tool for tool in tools}
        self._most = max_iterations or MAX_ITERATIONS
        self._trace = Trace() if traced else None
        self.talk = Conversation(())
        """The conversation so far."""
        self.verdict: str | None = None
        """The answer where the model has not the last word."""

    async def run(self, messages: Sequence[ModelMessage]) -> AsyncGenerator[Sequence[Event]]:
        """The answer to a conversation: tokens as they come, then sources, used tools and artifacts, each if any."""
        answer = ModelEvents(self._ctx)
        async with aclosing(self.work(Conversation(list(messages)), Quiet(answer))) as batches:
            async for events in batches:
                yield events
        yield [*answer.end(), *self._reasoning_events()]
        texts = [one.message.text for one in self.talk.rounds]
        said, answer = "".join(texts), texts[-1] if texts else ""
        if self.verdict is not None:
            yield [Token(self.verdict)]
            answer = self.verdict
            said += answer
        if said != answer:  # words before a tool call are no part of the answer
            self._ctx.text = answer

    async def work(self, talk: Conversation, voice: Voice) -> AsyncGenerator[Sequence[Event]]:
        """Goes on until the model has answered, a tool has the last word, or calls wait for a person.

        `talk` and `verdict` say what came of it. Calls that wait in the given conversation are approved: they run.
        """
        await self.use(talk)
        while not self._over():
            turn = ModelAnswer()
            voice.begin()
            request = ChatRequest(self.talk.messages, [t.spec for t in self._tools.values()], facts=self._facts)
            async with aclosing(self._model.stream(request)) as batches:
                async for deltas in batches:
                    turn.add(deltas)
                    if events := voice.events(deltas):
                        yield events
            self.talk = self.talk.added(Round(turn.message, [None] * len(turn.calls), turn.usage, turn.facts))
            if not turn.calls:
                return
            if events := voice.asked(turn):
                yield events
            async with aclosing(self._answer(turn)) as steps:
                async for events in steps:
                    yield events

    async def use(self, talk: Conversation) -> None:
        """Runs the calls that wait in the conversation, without another word from the model."""
        self.talk = talk
        if talk.waiting:
            last = talk.rounds[-1]
            await self._used(last.message.calls, [place for place, use in enumerate(last.uses) if use is None])

    def _over(self) -> bool:
        """True when the model is asked no more; sets the verdict where it has not the last word."""
        rounds = self.talk.rounds
        if self.talk.waiting:
            return True
        if rounds and (direct := [use.result.text for use in rounds[-1].uses if use and use.returns]):
            self.verdict = direct[0]
        elif len(rounds) >= self._most:
            self.verdict = STOPPED
        return self.verdict is not None

    async def _answer(self, turn: ModelAnswer) -> AsyncGenerator[Sequence[Event]]:
        """Runs the tools of a turn, but for those that wait for a person."""
        free = [place for place, call in enumerate(turn.calls) if not self._waits(call, place)]
        if self._trace is None:
            await self._used(turn.calls, free)
        else:
            async with aclosing(self._traced(self._trace, turn, free)) as steps:
                async for events in steps:
                    yield events

    def _waits(self, call: ToolCall, place: int) -> bool:
        known = call.name in self._tools and len(call.arguments) <= LONGEST_ARGUMENTS and place < _MOST_CALLS
        return known and call.name in self._asking

    def _reasoning_events(self) -> list[Event]:
        """The used tools as the answer shows them."""
        uses = self.talk.uses
        documents = [document for use in uses for document in use.result.documents]
        artifacts = [artifact for use in uses for artifact in use.result.artifacts]
        shown = [use.event for use in uses if use.event]
        events: list[Event] = [SourceDocuments(documents)] if documents else []
        events += [UsedTools(shown)] if shown else []
        return [*events, Artifacts(artifacts)] if artifacts else events

    async def _traced(self, trace: Trace, turn: ModelAnswer, places: Sequence[int]) -> AsyncGenerator[Sequence[Event]]:
        """Runs the tools of one turn, and tells meanwhile what they do."""
        yield trace.decided(turn)
        working = asyncio.create_task(self._used(turn.calls, places), name=f"tools of {self._ctx.run}")
        working.add_done_callback(lambda _: trace.pause())
        try:
            async for events in trace.events():
                yield events
            await working
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def _used(self, calls: Sequence[ToolCall], places: Sequence[int]) -> None:
        """Runs the calls at these places of a turn side by side and keeps what they gave. Cancelling stops them all."""
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(call: ToolCall, place: int) -> ToolUse:
            async with limit:
                if self._trace is None:
                    listen()
                    return await self._use(call, place)
                self._trace.started(call)
                use = await self._use(call, place)
                self._trace.ended(call, use.result.text, use.event.error if use.event else None)
                return use

        uses: list[ToolUse | None] = list(self.talk.rounds[-1].uses)
        found = await asyncio.gather(*(one(calls[place], place) for place in places))
        for place, use in zip(places, found, strict=True):
            uses[place] = use
        self.talk = self.talk.answered(uses)

    async def _use(self, call: ToolCall, number: int) -> ToolUse:
        if number >= _MOST_CALLS:
            return _tool_use(call, f"Too many tools at once: only the first {_MOST_CALLS} calls were carried out.")
        if (tool := self._tools.get(call.name)) is None:
            return _tool_use(call, f"{call.name} is not a valid tool, try another one.")
        if len(call.arguments) > LONGEST_ARGUMENTS:
            return _tool_use(call, f"The arguments are longer than {LONGEST_ARGUMENTS} characters: use shorter ones.")
        value = arguments_of(call)
        arguments = arguments_object(value, tool.spec.parameters)
        shown = value if isinstance(value, str) else arguments
        known = _known(tool.spec.parameters, arguments)
        if wrong := mismatch(tool.spec.parameters, known):
            text = f"Received tool input did not match expected schema: {wrong}"
            return ToolUse(call, ToolResult(text), UsedTool(call.name, shown, "", text))
        return await self._called(tool, call, shown, known)

    async def _called(self, tool: Tool, call: ToolCall, shown: Any, known: dict[str, Any]) -> ToolUse:
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
        return ToolUse(call, result, UsedTool(call.name, shown, result.text), tool.return_direct)


def attempts(calls: Sequence[ToolCall]) -> str:
    """The waiting calls as the asked person reads them: each as JSON in a block of code."""
    return "".join(f"\nAttempting to use tool:\n```json\n{_json(described(call))}\n```" for call in calls)


def described(call: ToolCall) -> dict[str, Any]:
    """The call as clients are shown it. Raises ProviderMalformed."""
    return {"name": call.name, "args": arguments_object(arguments_of(call), {}), "id": call.id, "type": "tool_call"}


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


async def called(tool: Tool, arguments: Mapping[str, Any]) -> ToolResult:
    """Calls a tool and returns its result. Raises FlowError when it takes too long, and the tool's own errors."""
    try:
        async with asyncio.timeout(_PATIENCE):
            return await tool.call(arguments)
    except TimeoutError:
        raise FlowError(f"{tool.spec.name} took longer than {_PATIENCE:.0f} seconds") from None


def _tool_use(call: ToolCall, text: str) -> ToolUse:
    return ToolUse(call, ToolResult(text))


def _failed(call: ToolCall, shown: Any, text: str) -> ToolUse:
    return ToolUse(call, ToolResult(text), UsedTool(call.name, shown, "", text))


def _known(schema: Mapping[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments without those that a tool with a closed list of them does not know: models invent some."""
    if schema.get("additionalProperties") is not False:
        return arguments
    return {name: value for name, value in arguments.items() if name in schema.get("properties", {})}
