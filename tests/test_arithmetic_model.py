"""The built-in model for tools: which questions it recognises, and what it says about what the tools gave."""

import asyncio
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.chat import ChatRequest, Delta, ModelMessage, TextDelta, ToolCall, ToolCallDelta, ToolSpec
from headrace.nodes.tools.arithmetic import calculated
from headrace.providers.arithmetic import ArithmeticChat, expressions, results_text, wishes

SUMS = {
    "what is 17% of 2,340?": "17/100*2340",
    "12*(3+4), please": "12*(3+4)",
    "twenty-five times four": "25*4",
    "the square root of (9+16)": "sqrt(9+16)",
    "5 squared": "5^2",
    "20% off 80": "(1-20/100)*80",
    "100 - 20%": "100*(1-20/100)",
    "3 * 20%": "3*(20/100)",
    "17 % 5": "17%5",
    "10 x 4": "10*4",
    "half of 90": "0.5*90",
    "-5 + 3": "-5+3",
    "1,000,000 / 3": "1000000/3",
    "2 ^ 10 = ?": "2^10",
    "10 percent of 50 plus 3": "10/100*50+3",
    "How much is $5 + $7?": "5+7",
}
NO_SUMS = [
    "hello", "", "chapter 3", "I was born 1990-05-03", "is it 3:45 now?", "What is 5 and 6?", "(1+2", "e-mail",
    "x" * 5000, "on 24/12/2026", "(" * 900, "__import__('os').system('x')",
]  # fmt: skip
CLOCKS = [
    "what day is it?", "What's the time?", "what is today's date", "Which year is it", "what date and time is it?",
    "what day of the week is it?", "Tell me the time", "current date",
]  # fmt: skip
NO_CLOCKS = ["what time do shops open?", "how many days until Christmas?", "how are you today?", "What a day!"]
TOOLS = [ToolSpec(name, "", {"type": "object"}) for name in ("calculator", "current_date_time")]


@pytest.mark.parametrize(("question", "expression"), SUMS.items())
def test_arithmetic_in_words_is_recognised(question: str, expression: str) -> None:
    assert expressions(question) == [expression]
    assert calculated(expression)


@pytest.mark.parametrize("question", [*NO_SUMS, *NO_CLOCKS])
def test_what_is_no_arithmetic_is_left_alone(question: str) -> None:
    assert wishes(question) == []


@pytest.mark.parametrize("question", CLOCKS)
def test_a_question_about_date_or_time_is_recognised(question: str) -> None:
    assert wishes(question) == [("current_date_time", {})]


def test_one_question_may_need_both_tools() -> None:
    assert wishes("What is 7 divided by 2, and what day is it?") == [
        ("calculator", {"input": "7/2"}),
        ("current_date_time", {}),
    ]


@given(st.text(alphabet="0123456789+-*/^%(). ,sqrtofplusx", max_size=80))
def test_any_text_is_read(question: str) -> None:
    assert all(len(expression) <= 1000 for expression in expressions(question))


def answer(question: str, tools: list[ToolSpec]) -> list[Delta]:
    async def run() -> list[Delta]:
        request = ChatRequest([ModelMessage("user", question)], tools)
        async with aclosing(ArithmeticChat().stream(request)) as batches:
            return [delta async for deltas in batches for delta in deltas]

    return asyncio.run(run())


def test_a_tool_that_is_not_offered_is_not_asked_for() -> None:
    deltas = answer("1+1", TOOLS[1:])
    assert not [delta for delta in deltas if isinstance(delta, ToolCallDelta)]
    assert "'calculator'" in "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    assert [delta.name for delta in answer("1+1", TOOLS) if isinstance(delta, ToolCallDelta)] == ["calculator"]


def test_what_the_tools_gave_is_said_in_sentences() -> None:
    def result(name: str, arguments: str, text: str) -> ModelMessage:
        return ModelMessage("tool", text, answers=ToolCall("1", name, arguments))

    moment = '{"date": "2026-11-04", "time": "09:05:07", "day": "Wednesday", "timezone": "UTC"}'
    assert results_text([result("calculator", '{"input": "1+1"}', "2"), result("current_date_time", "{}", moment)]) == (
        "1+1 is 2. It is Wednesday, 4 November 2026, 09:05 (UTC)."
    )
    assert results_text([result("current_date_time", "{}", "noon")]) == "The clock says: noon"
    assert "could not work out 1/0: no" in results_text([result("calculator", '{"input": "1/0"}', "no")])
