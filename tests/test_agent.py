"""The agent loop: what the model reads, what the reader sees, and what neither can break."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from calls import context

from headrace.engine.agent import MAX_ITERATIONS, STOPPED, Agent
from headrace.engine.chat import (
    ChatRequest,
    Delta,
    FinishDelta,
    ModelMessage,
    TextDelta,
    ThinkingDelta,
    Thought,
    ToolCall,
    ToolCallDelta,
    ToolSpec,
)
from headrace.engine.listeners import tell
from headrace.engine.model_answer import ModelAnswer, arguments_object, arguments_of
from headrace.engine.node import Context
from headrace.engine.ports import Images, ToolResult
from headrace.errors import FlowError, ProviderMalformed
from headrace.events import AgentTrace, Artifacts, Document, Event, SourceDocuments, Start, Thinking, Token, UsedTools

OBJECT: dict[str, Any] = {"type": "object", "properties": {}}
HI = [ModelMessage("user", "Hi")]


def call(name: str, arguments: Any = None, index: int = 0) -> list[Delta]:
    """A call in fragments, as providers send it."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
    pieces = [text[at : at + 3] for at in range(0, min(len(text), 300), 3)] + [text[300:]]
    return [ToolCallDelta(index, f"c{index}", name), *(ToolCallDelta(index, arguments=piece) for piece in pieces)]


class Script:
    """A model that says in each turn what the script says, the last line again and again."""

    images: Images = "refused"

    def __init__(self, *turns: Sequence[Delta]) -> None:
        self.turns = list(turns)
        self.requests: list[ChatRequest] = []
        self.told: list[int] = []
        """Of each turn, how many deltas were taken."""

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[Delta]]:
        self.requests.append(ChatRequest(list(request.messages), request.tools))
        self.told.append(0)
        for delta in self.turns[min(len(self.requests), len(self.turns)) - 1]:
            self.told[-1] += 1
            yield [delta]
        yield [FinishDelta("stop")]

    @property
    def last_told(self) -> list[str]:
        """What the tools said, as the model read it last."""
        return [message.text for message in self.requests[-1].messages if message.role == "tool"]


class Given:
    """A tool that does what its function does."""

    def __init__(self, name: str, function: Any, *, returns: bool = False, parameters: Any = None) -> None:
        self.spec = ToolSpec(name, f"Does {name}.", parameters or OBJECT)
        self.return_direct = returns
        self._function = function

    async def call(self, arguments: Mapping[str, Any]) -> ToolResult:
        result = self._function(arguments)
        result = await result if asyncio.iscoroutine(result) else result
        return ToolResult(result) if isinstance(result, str) else result


def run(model: Script, *tools: Given, **how: Any) -> tuple[list[Event], Context]:
    ctx = context()

    async def told() -> list[Event]:
        async with aclosing(Agent(ctx, model, tools, **how).run(HI)) as batches:
            return [event async for batch in batches for event in batch]

    return asyncio.run(told()), ctx


def used(events: Sequence[Event]) -> list[dict[str, Any]]:
    return [
        {"tool": tool.tool, "input": tool.toolInput, "output": tool.toolOutput, "error": tool.error}
        for event in events
        if isinstance(event, UsedTools)
        for tool in event.data
    ]


def test_a_tool_runs_and_its_result_is_read_before_the_answer() -> None:
    model = Script([TextDelta(""), *call("add", {"a": 1})], [TextDelta("two")])
    events, ctx = run(model, Given("add", lambda arguments: f"{arguments['a']} + 1 = 2"))
    assert [type(event) for event in events] == [Start, Token, UsedTools]
    assert used(events) == [{"tool": "add", "input": {"a": 1}, "output": "1 + 1 = 2", "error": None}]
    first, second = model.requests
    assert [tool.name for tool in first.tools] == ["add"]
    assert [message.role for message in second.messages] == ["user", "assistant", "tool"]
    assert second.messages[1].calls[0].arguments == '{"a": 1}'
    assert model.last_told == ["1 + 1 = 2"]
    assert ctx.text is None


def test_words_before_a_tool_are_streamed_and_are_no_part_of_the_answer() -> None:
    model = Script([TextDelta("Let me see. "), *call("look")], [TextDelta("Done.")])
    events, ctx = run(model, Given("look", lambda _: "seen"))
    assert "".join(event.data for event in events if isinstance(event, Token)) == "Let me see. Done."
    assert ctx.text == "Done."


def test_the_first_token_is_out_before_the_tool_has_finished() -> None:
    async def told() -> list[Event]:
        released, begun = asyncio.Event(), asyncio.Event()

        async def wait(_: Any) -> str:
            begun.set()
            await released.wait()
            return "late"

        model = Script([TextDelta("Looking. "), *call("wait")], [TextDelta("Found.")])
        seen: list[Event] = []
        async with aclosing(Agent(context(), model, [Given("wait", wait)]).run(HI)) as batches:
            seen += await anext(batches)
            assert Token("Looking. ") in seen
            rest = asyncio.ensure_future(anext(batches))
            await asyncio.wait_for(begun.wait(), 5)
            assert not rest.done()
            released.set()
            seen += await asyncio.wait_for(rest, 5)
            async for batch in batches:
                seen += batch
        return seen

    assert Token("Found.") in asyncio.run(told())


def test_the_tools_of_one_turn_run_side_by_side_and_answer_in_their_order() -> None:
    async def told() -> list[str]:
        both = asyncio.Barrier(2)

        async def meet(arguments: Mapping[str, Any]) -> str:
            await both.wait()  # neither gets past alone
            return str(arguments["n"])

        model = Script([*call("meet", {"n": 1}), *call("meet", {"n": 2}, 1)], [TextDelta("ok")])
        async with asyncio.timeout(5), aclosing(Agent(context(), model, [Given("meet", meet)]).run(HI)) as batches:
            async for _ in batches:
                pass
        return model.last_told

    assert asyncio.run(told()) == ["1", "2"]


def test_a_tool_that_returns_directly_ends_the_run_with_its_result() -> None:
    model = Script([TextDelta("Wait. "), *call("status")])
    events, ctx = run(model, Given("status", lambda _: "shipped", returns=True))
    assert [type(event) for event in events] == [Start, Token, UsedTools, Token]
    assert events[-1] == Token("shipped")
    assert ctx.text == "shipped"
    assert len(model.requests) == 1


def boom(_: Any) -> str:
    raise ZeroDivisionError("a secret of the machine")


def refuses(_: Any) -> str:
    raise FlowError("the moon is down")


PARAMETERS = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
TOLD: dict[str, tuple[list[Delta], str, list[str | None]]] = {
    "a tool that does not exist": (call("nope"), "nope is not a valid tool, try another one.", []),
    "a tool that fails": (call("refuses"), "the moon is down", ["the moon is down"]),
    "a tool with a fault": (call("boom"), "boom failed", ["boom failed"]),
    "arguments of another form": (
        call("typed", {"n": "x"}),
        "Received tool input did not match expected schema: 'x' is not of type 'integer' at $.n",
        ["Received tool input did not match expected schema: 'x' is not of type 'integer' at $.n"],
    ),
    "arguments that are no object": (call("echo", "[1]"), "[1]", [None]),
    "no arguments": (call("echo", ""), "none", [None]),
    "arguments without measure": (
        call("echo", json.dumps({"x": "y" * 5_000_000})),
        "The arguments are longer than 1000000 characters: use shorter ones.",
        [],
    ),
}


@pytest.mark.parametrize(("wish", "told", "errors"), TOLD.values(), ids=TOLD.keys())
def test_the_model_is_told_what_went_wrong(wish: list[Delta], told: str, errors: list[str | None]) -> None:
    model = Script(wish, [TextDelta("I see.")])
    tools = (
        Given("boom", boom),
        Given("refuses", refuses),
        Given("typed", lambda _: "typed", parameters=PARAMETERS),
        Given("echo", lambda arguments: json.dumps(arguments.get("input")) if arguments else "none"),
    )
    events, _ = run(model, *tools)
    assert model.last_told == [told]
    assert [tool["error"] for tool in used(events)] == errors
    assert Token("I see.") in events


def test_arguments_that_are_not_json_end_the_run() -> None:
    with pytest.raises(ProviderMalformed, match="called 'echo' with arguments that are not JSON"):
        run(Script(call("echo", "not json")), Given("echo", lambda _: ""))


def test_a_model_that_never_stops_is_stopped() -> None:
    model = Script([TextDelta("Again. "), *call("look")])
    events, ctx = run(model, Given("look", lambda _: "nothing"))
    assert len(model.requests) == MAX_ITERATIONS
    assert events[-1] == Token(STOPPED)
    assert ctx.text == STOPPED
    model = Script(call("look"))
    run(model, Given("look", lambda _: "nothing"), max_iterations=2)
    assert len(model.requests) == 2


def test_a_thousand_calls_at_once_are_bounded() -> None:
    ran: list[Any] = []
    wishes = [delta for number in range(1000) for delta in call("look", {"n": number}, number)]
    model = Script(wishes, [TextDelta("ok")])
    run(model, Given("look", lambda arguments: ran.append(arguments) or "seen"))
    assert len(ran) == 64
    assert model.last_told.count("seen") == 64
    assert model.last_told[64:] == ["Too many tools at once: only the first 64 calls were carried out."] * 64
    assert len(model.requests[1].messages[1].calls) == 128, "providers take no more back"


def test_arguments_that_never_end_are_not_kept_nor_sent_back() -> None:
    endless = [*call("look"), *(ToolCallDelta(0, arguments="x" * 10_000) for _ in range(2000))]
    turn = ModelAnswer()
    turn.add(endless)
    assert len(turn.calls[0].arguments) < 1_020_000
    model = Script(endless, [TextDelta("ok")])
    run(model, Given("look", lambda _: "seen"))
    assert model.last_told == ["The arguments are longer than 1000000 characters: use shorter ones."]
    assert model.requests[1].messages[1].calls[0].arguments == "{}"


@pytest.mark.parametrize("arguments", ["[" * 100_000, '{"a":' * 100_000, "\x00"])
def test_arguments_that_cannot_be_read_end_the_run_and_nothing_else(arguments: str) -> None:
    with pytest.raises(ProviderMalformed, match="called 'look' with arguments that are not JSON"):
        run(Script(call("look", arguments)), Given("look", lambda _: "seen"))


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        ('{"a": "\\ud800"}', {"a": "\ufffd"}),
        ('{"a": "\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ("null", {}),
        (" ", {}),
    ],
    ids=["half of a character", "both halves", "encoded twice", "null", "white space"],
)
def test_arguments_are_read_as_models_write_them(arguments: str, right: dict[str, Any]) -> None:
    assert arguments_object(arguments_of(ToolCall("c", "look", arguments)), {}) == right


def test_a_result_without_measure_is_cut() -> None:
    model = Script(call("dump"), [TextDelta("ok")])
    run(model, Given("dump", lambda _: "x" * 50_000_000))
    (told,) = model.last_told
    assert len(told) < 201_000
    assert told.endswith("[cut here: 50000000 characters in all]")


def test_documents_and_artifacts_of_tools_are_shown() -> None:
    found = ToolResult("text", [Document("a passage", {"source": "s"})], [{"type": "png", "data": "x"}])
    events, _ = run(Script(call("find"), [TextDelta("ok")]), Given("find", lambda _: found))
    assert [type(event) for event in events] == [Start, Token, SourceDocuments, UsedTools, Artifacts]


def test_thoughts_go_back_with_the_calls_that_they_led_to() -> None:
    thinking = [ThinkingDelta("hm"), ThinkingDelta("m"), ThinkingDelta("", "signed")]
    model = Script([*thinking, *call("look")], [TextDelta("ok")])
    events, _ = run(model, Given("look", lambda _: "seen"))
    assert model.requests[1].messages[1].thoughts == [Thought("hmm", "signed")]
    assert [event.data for event in events if isinstance(event, Thinking)] == ["hm", "m", ""]


def test_a_traced_agent_tells_every_step() -> None:
    model = Script(call("refuses", {"a": 1}), [TextDelta("ok")])
    events, _ = run(model, Given("refuses", refuses), traced=True)
    steps = [event.data for event in events if isinstance(event, AgentTrace)]
    assert [step["step"] for step in steps] == ["agent_action", "tool_start", "tool_error"]
    assert json.loads(steps[0]["action"])["toolInput"] == {"a": 1}
    assert steps[1]["tool"] == "refuses"
    assert steps[1]["runId"] == steps[2]["runId"]
    assert {step["parentRunId"] for step in steps[1:]} == {steps[0]["runId"]}


def test_a_trace_shows_what_happens_inside_a_tool_while_it_runs() -> None:
    async def told() -> list[dict[str, Any]]:
        released = asyncio.Event()

        async def nested(_: Any) -> str:
            tell([Start(""), Token("half")])
            await released.wait()
            return "whole"

        model, steps = Script(call("nested"), [TextDelta("ok")]), list[dict[str, Any]]()
        agent = Agent(context(), model, [Given("nested", nested)], traced=True)
        async with asyncio.timeout(5), aclosing(agent.run(HI)) as batches:
            async for batch in batches:
                steps += [event.data for event in batch if isinstance(event, AgentTrace)]
                if steps and steps[-1].get("data") == "half":
                    released.set()
        return steps

    steps = asyncio.run(told())
    assert [step["step"] for step in steps] == ["agent_action", "tool_start", "tool_event", "tool_event", "tool_end"]
    assert (steps[3]["event"], steps[3]["data"], steps[3]["tool"]) == ("token", "half", "nested")
    assert len({step["runId"] for step in steps[1:]}) == 1


def test_what_a_trace_repeats_is_bounded() -> None:
    model = Script([TextDelta("x" * 200_000), *call("dump", {"x": "y" * 900_000})], [TextDelta("ok")])
    events, _ = run(model, Given("dump", lambda _: "z" * 10_000_000), traced=True)
    traced = [event for event in events if isinstance(event, AgentTrace)]
    assert [event.data["step"] for event in traced] == ["agent_action", "tool_start", "tool_end"]
    assert all(len(json.dumps(event.data)) < 400_000 for event in traced)


@pytest.mark.parametrize("traced", [False, True])
def test_leaving_the_run_stops_its_tools(traced: bool) -> None:
    async def leave() -> bool:
        begun, stopped = asyncio.Event(), asyncio.Event()

        async def wait(_: Any) -> str:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()
            raise AssertionError("it cannot come here")

        async def work() -> None:
            agent = Agent(context(), Script(call("wait")), [Given("wait", wait)], traced=traced)
            async with aclosing(agent.run(HI)) as batches:
                async for _ in batches:
                    pass

        task = asyncio.ensure_future(work())
        await asyncio.wait_for(begun.wait(), 5)
        task.cancel()
        await asyncio.wait([task], timeout=5)
        return stopped.is_set() and task.cancelled()

    assert asyncio.run(leave())
