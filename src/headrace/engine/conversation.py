"""A conversation with tools as plain data: it can be stored, and another process can continue it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import msgspec

from headrace.engine.chat import FactsDelta, ModelMessage, ToolCall
from headrace.engine.ports import ToolResult
from headrace.events import Usage, UsedTool


class ToolUse(msgspec.Struct, frozen=True):
    """One call that was answered: by a tool, or by the loop itself, which then shows no use of a tool."""

    call: ToolCall
    result: ToolResult
    event: UsedTool | None = None
    returns: bool = False


class Round(msgspec.Struct, frozen=True):
    """One turn of the model, and what each of its calls gave: None for one that waits for a person."""

    message: ModelMessage
    uses: Sequence[ToolUse | None] = ()
    usage: Usage | None = None
    facts: FactsDelta = FactsDelta({})


class Conversation(msgspec.Struct, frozen=True):
    """A conversation: its first messages, and the rounds since."""

    opening: Sequence[ModelMessage]
    rounds: Sequence[Round] = ()
    spent: Sequence[int] = ()
    """The tokens of each turn, those of rejected ones too."""

    @property
    def messages(self) -> list[ModelMessage]:
        """The messages for the model's next turn."""
        messages = list(self.opening)
        for one in self.rounds:
            messages.append(one.message)
            messages += [ModelMessage("tool", use.result.text, answers=use.call) for use in one.uses if use]
        return messages

    @property
    def uses(self) -> list[ToolUse]:
        """The calls that were answered, in order."""
        return [use for one in self.rounds for use in one.uses if use]

    @property
    def waiting(self) -> list[ToolCall]:
        """The calls of the last round that wait for a person."""
        if not self.rounds:
            return []
        last = self.rounds[-1]
        return [call for call, use in zip(last.message.calls, last.uses, strict=False) if use is None]

    def added(self, one: Round) -> Self:
        """With a further round."""
        spent = one.usage.total_tokens if one.usage else 0
        return msgspec.structs.replace(self, rounds=[*self.rounds, one], spent=[*self.spent, spent])

    def answered(self, uses: Sequence[ToolUse | None]) -> Self:
        """With the last round's calls answered."""
        last = msgspec.structs.replace(self.rounds[-1], uses=list(uses))
        return msgspec.structs.replace(self, rounds=[*self.rounds[:-1], last])

    def announced(self, text: str) -> Self:
        """With words after those of the last turn."""
        last = self.rounds[-1]
        message = msgspec.structs.replace(last.message, content=last.message.text + text)
        return msgspec.structs.replace(self, rounds=[*self.rounds[:-1], msgspec.structs.replace(last, message=message)])

    @property
    def rejected(self) -> Self:
        """Without the calls that wait; a round that has no other one goes whole."""
        last, done = self.rounds[-1], [use for use in self.rounds[-1].uses if use]
        message = msgspec.structs.replace(last.message, calls=[use.call for use in done])
        kept = [msgspec.structs.replace(last, message=message, uses=done)] if done else []
        return msgspec.structs.replace(self, rounds=[*self.rounds[:-1], *kept])
