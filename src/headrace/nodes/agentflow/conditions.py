"""The condition node of agent flows, and what it can compare."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
import re2

from headrace.engine.agentflow.node import AgentNode, Task
from headrace.engine.annotations import Input, options
from headrace.engine.references import text_of
from headrace.errors import FlowError
from headrace.events import Event

_NUMBER: Final = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


_TEXTS: Final[dict[str, Callable[[str, str], bool]]] = {
    "contains": lambda one, two: two in one,
    "notContains": lambda one, two: two not in one,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "equal": lambda one, two: one == two,
    "notEqual": lambda one, two: one != two,
    "isEmpty": lambda one, _: not one,
    "notEmpty": lambda one, _: bool(one),
}
_NUMBERS: Final[dict[str, Callable[[float, float], bool]]] = {
    "smaller": lambda one, two: one < two,
    "smallerEqual": lambda one, two: one <= two,
    "equal": lambda one, two: one == two,
    "notEqual": lambda one, two: one != two,
    "larger": lambda one, two: one > two,
    "largerEqual": lambda one, two: one >= two,
}


class Condition(msgspec.Struct, frozen=True):
    """Two values and how they are compared."""

    type: Literal["string", "number", "boolean"] = "string"
    value1: Any = ""
    operation: Annotated[str, Input(options=options(*dict.fromkeys((*_TEXTS, *_NUMBERS, "regex"))))] = "equal"
    value2: Any = ""


def fulfilled(condition: Condition) -> bool:
    """True when the condition holds. Raises FlowError for unknown operations or bad patterns."""
    one, two = ("" if value is None else text_of(value) for value in (condition.value1, condition.value2))
    if condition.operation == "regex":
        return _matches(two, one)
    if condition.type == "number" and condition.operation in _NUMBERS:
        return _NUMBERS[condition.operation](_number(one) or 0, _number(two) or 0)
    if condition.type == "number" and condition.operation in ("isEmpty", "notEmpty"):
        return (_number(one) is None) is (condition.operation == "isEmpty")
    if condition.type == "boolean" and condition.operation in ("equal", "notEqual"):
        return (_truth(one) == _truth(two)) is (condition.operation == "equal")
    if condition.type == "string" and condition.operation in _TEXTS:
        return _TEXTS[condition.operation](one, two)
    raise FlowError(f"a condition on a {condition.type} knows no operation {condition.operation!r}")


def _number(text: str) -> float | None:
    """The number that the text begins with, as the builder's own code reads it; where there is none, 0 is compared."""
    found = _NUMBER.match(text)
    return float(found[0]) if found else None


def _truth(text: str) -> bool:
    return text.strip().lower() not in ("", "false", "0", "null")


def _matches(pattern: str, text: str) -> bool:
    """RE2 takes time in proportion to the text, whatever the pattern is: both may come from a question."""
    quiet = re2.Options()
    quiet.log_errors = False
    try:
        return re2.search(pattern, text, quiet) is not None
    except re2.error as error:
        raise FlowError(f"a condition's pattern {pattern[:60]!r} cannot be read: {error}") from None


class ConditionNode(AgentNode, frozen=True, kw_only=True, tag="conditionAgentflow"):
    """Goes on at the first condition that holds, or else at the last output."""

    conditions: Annotated[list[Condition], msgspec.Meta(extra={"acceptVariable": True})] = []

    async def run(self, task: Task) -> AsyncGenerator[Sequence[Event]]:
        """Marks the output that is taken."""
        every = [msgspec.to_builtins(condition) for condition in self.conditions]
        task.input_record = {"conditions": {str(number): condition for number, condition in enumerate(every)}}
        for number, condition in enumerate(self.conditions):
            if fulfilled(condition):
                every[number] = {**every[number], "isFulfilled": True}
                task.taken = str(number)
                break
        otherwise = {**msgspec.to_builtins(Condition()), "isFulfilled": task.taken is None}
        task.taken = task.taken or str(len(every))
        task.output = {"conditions": [*every, otherwise]}
        yield []


NODES = (ConditionNode,)
