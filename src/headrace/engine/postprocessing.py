"""Post-processing: a function of the flow's author that rewrites each answer before anyone sees it."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import msgspec

from headrace.engine.chat import ModelMessage
from headrace.engine.chatflow import said
from headrace.engine.node import Context
from headrace.engine.references import text_of
from headrace.errors import ScriptError
from headrace.events import Event, Prediction, Start, Token, fold

_logger = logging.getLogger("headrace.runs")


async def processed(
    batches: AsyncGenerator[Sequence[Event]], code: str, ctx: Context, history: Sequence[Mapping[str, Any]]
) -> AsyncGenerator[Sequence[Event]]:
    """The events of an answer with its text rewritten; they come all at once, when the answer is whole.

    A function that fails leaves the answer as it is, as in the builder.
    """
    events = [event async for batch in batches for event in batch]
    answer = fold(events)
    raw = ctx.text if ctx.text is not None else answer.text or ""
    if ctx.execution:  # an agent flow's history ends with this very turn
        history = [*history, *said([ModelMessage("user", ctx.question), ModelMessage("assistant", raw)])]
    try:
        text = text_of(await ctx.run_script(_plain(code), {}, **_script_values(raw, answer, history)))
    except ScriptError as error:
        _logger.warning("the post-processing of run %s failed: %s", ctx.run, error)
        text = raw
    ctx.text = None
    yield [Start(text), *([Token(text)] if text else []), *(e for e in events if not isinstance(e, Start | Token))]


def _script_values(raw: str, answer: Prediction, history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The function's `$flow`."""
    return {
        "rawOutput": raw,
        "chatHistory": history,
        "sourceDocuments": msgspec.to_builtins(answer.sourceDocuments or []),
        "usedTools": msgspec.to_builtins(answer.usedTools or []),
        "artifacts": answer.artifacts or [],
        "fileAnnotations": answer.fileAnnotations or [],
    }


def _plain(code: str) -> str:
    """The code itself: the builder stores it as a JSON text."""
    if not code.startswith('"'):
        return code
    try:
        return msgspec.json.decode(code, type=str)
    except msgspec.MsgspecError:
        return code
