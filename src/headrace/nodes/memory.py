"""Memory: what was said in a session, given to chains and agents: turn by turn, or summarised."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from headrace.engine.annotations import Additional, NodeInfo
from headrace.engine.chat import ChatRequest, ModelMessage
from headrace.engine.chatflow import exchanged, remembered
from headrace.engine.model_events import answer_text
from headrace.engine.node import Context, Node
from headrace.engine.ports import ChatModel
from headrace.schema import MemoryMessage

_SUMMARY: Final = "What was said earlier in this conversation, summarised: {text}"
_SUMMARISE: Final = (
    "Keep a summary of a conversation, so that it can be continued by someone who has read nothing else. Keep names, "
    "numbers, decisions and open questions; leave out what does not matter any more. Use 300 words at most.\n\n"
    "The summary so far:\n{text}\n\nWhat was said since:\n{said}\n\nWrite the new summary and nothing else."
)
_AT_ONCE: Final = 10_000  # tokens of turns in one call
_LONGEST: Final = 40_000  # characters of one message that a summary takes in


class StoredTurns:
    """The turns that came with the request, then the newest `limit` stored messages (None: all of them).

    `tools` says whether agents read again what their tools gave.
    """

    def __init__(self, ctx: Context, limit: int | None = None, *, tools: bool = False) -> None:
        self._ctx, self._limit, self._tools = ctx, limit, tools

    async def messages(self) -> list[ModelMessage]:
        """Earlier turns, oldest first."""
        return [*self._ctx.prior, *remembered(self._newest(await self._ctx.history()))]

    async def exchanges(self) -> list[ModelMessage]:
        """See ToolMemory."""
        if not self._tools:
            return await self.messages()
        return [*self._ctx.prior, *exchanged(self._newest(await self._ctx.history(tools=True)))]

    def _newest(self, rows: Sequence[MemoryMessage]) -> Sequence[MemoryMessage]:
        return rows if self._limit is None else rows[len(rows) - min(self._limit, len(rows)) :]


def tokens(text: str) -> int:
    """Roughly how many tokens a text has: a model counts four bytes of English as one, and a message has a frame."""
    return len(text.encode(errors="replace")) // 4 + 4


class _Summary(msgspec.Struct, frozen=True):
    """A summary of the first `turns` stored messages of a session."""

    text: str = ""
    turns: int = 0


class SummarisedTurns:
    """A summary of older turns, then the newest ones word for word, of `most` tokens in all.

    The summary is kept for the session and grows: a turn is read for it only once.
    """

    def __init__(self, ctx: Context, model: ChatModel, name: str, most: int = 0, *, tools: bool = False) -> None:
        self._ctx, self._model, self._name, self._most, self._tools = ctx, model, name, most, tools

    async def messages(self) -> list[ModelMessage]:
        """Earlier turns, oldest first. Raises ProviderError when they cannot be summarised."""
        return await self._read(remembered)

    async def exchanges(self) -> list[ModelMessage]:
        """See ToolMemory."""
        return await self._read(exchanged)

    async def _read(self, word_for_word: Callable[[Sequence[MemoryMessage]], list[ModelMessage]]) -> list[ModelMessage]:
        rows = list(await self._ctx.history(tools=self._tools))
        summary = await self._kept(len(rows)) if rows else _Summary()
        if old := self._overflow(rows[summary.turns :]):
            summary = await self._longer(summary, old)
            await self._ctx.notes.put(self._name, msgspec.json.encode(summary).decode())
        told = [ModelMessage("system", _SUMMARY.format(text=summary.text))] if summary.text else []
        return [*told, *self._ctx.prior, *word_for_word(rows[summary.turns :])]

    async def _kept(self, stored: int) -> _Summary:
        text = await self._ctx.notes.get(self._name)
        kept = msgspec.json.decode(text, type=_Summary) if text else _Summary()
        return kept if kept.turns <= stored else _Summary()

    def _overflow(self, rows: Sequence[MemoryMessage]) -> Sequence[MemoryMessage]:
        """The oldest turns, as far as the others fit; what is left begins with a question."""
        size, first = sum(map(_size, rows)), 0
        while first < len(rows) and (size > self._most or rows[first].role == "apiMessage"):
            size -= _size(rows[first])
            first += 1
        return rows[:first]

    async def _longer(self, summary: _Summary, rows: Sequence[MemoryMessage]) -> _Summary:
        text = summary.text
        for portion in _portions(rows):
            said = "\n".join(_line(message) for message in exchanged(portion) if message.text)
            asked = _SUMMARISE.format(text=text or "nothing yet", said=said)
            text = (await answer_text(self._model, ChatRequest([ModelMessage("user", asked)]), self._ctx)).strip()
        return _Summary(text, summary.turns + len(rows))


def _size(turn: MemoryMessage) -> int:
    """Roughly the tokens of a turn, and of what its tools gave."""
    return sum(tokens(message.text) for message in exchanged([turn]) if not message.calls)


def _line(message: ModelMessage) -> str:
    """A message, or what a tool gave, as a summary takes it in."""
    who = f"the tool {message.answers.name}" if message.answers else message.role
    return f"{who}: {message.text[:_LONGEST]}"


def _portions(rows: Sequence[MemoryMessage]) -> Iterator[list[MemoryMessage]]:
    """The turns in portions that a model can read at once."""
    portion: list[MemoryMessage] = []
    for row in rows:
        if portion and sum(map(_size, (*portion, row))) > _AT_ONCE:
            yield portion
            portion = []
        portion.append(row)
    yield portion


class BufferMemory(Node, frozen=True, kw_only=True, tag="bufferMemory"):
    """Remembers the whole session."""

    info = NodeInfo(version=2, category="Memory")

    sessionId: Additional[str] = ""
    memoryKey: Additional[str] = "chat_history"
    rememberTools: bool = False
    """Tool agents read again which tools they used and what these gave."""

    async def build(self, ctx: Context) -> StoredTurns:
        """All turns of the run's session."""
        return StoredTurns(ctx, tools=self.rememberTools)


class BufferWindowMemory(Node, frozen=True, kw_only=True, tag="bufferWindowMemory"):
    """Remembers the last `k` turns of the session, a turn being a question and its answer."""

    info = NodeInfo(version=2, category="Memory")

    k: int = 4
    sessionId: Additional[str] = ""
    memoryKey: Additional[str] = "chat_history"
    rememberTools: bool = False
    """Tool agents read again which tools they used and what these gave."""

    async def build(self, ctx: Context) -> StoredTurns:
        """The newest turns of the run's session."""
        return StoredTurns(ctx, max(self.k, 0) * 2, tools=self.rememberTools)


class ConversationSummaryMemory(Node, frozen=True, kw_only=True, tag="conversationSummaryMemory"):
    """Remembers a summary of the session, written by a model."""

    info = NodeInfo(version=2, category="Memory")

    model: ChatModel
    sessionId: Additional[str] = ""
    memoryKey: Additional[str] = "chat_history"
    rememberTools: bool = False
    """The summary takes in what tools gave."""

    async def build(self, ctx: Context) -> SummarisedTurns:
        """The summary of the run's session."""
        return SummarisedTurns(ctx, self.model, "summary", tools=self.rememberTools)


class ConversationSummaryBufferMemory(Node, frozen=True, kw_only=True, tag="conversationSummaryBufferMemory"):
    """Remembers the newest turns word for word, up to a number of tokens, and a summary of those before."""

    info = NodeInfo(category="Memory")

    model: ChatModel
    maxTokenLimit: int = 2000
    sessionId: Additional[str] = ""
    memoryKey: Additional[str] = "chat_history"
    rememberTools: bool = False
    """Tool agents read again which tools they used and what these gave, and the summary takes it in."""

    async def build(self, ctx: Context) -> SummarisedTurns:
        """Summary and turns of the run's session."""
        name, most = "summary of what is beyond the buffer", max(self.maxTokenLimit, 0)
        return SummarisedTurns(ctx, self.model, name, most, tools=self.rememberTools)


NODES = (BufferMemory, BufferWindowMemory, ConversationSummaryMemory, ConversationSummaryBufferMemory)
