"""Conversations for protocols with two roles, whose turns alternate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from headrace.engine.chat import ModelMessage


def turns(
    messages: Iterable[ModelMessage],
    assistant: str,
    blocks: str,
    blocks_of: Callable[[ModelMessage], Iterable[Mapping[str, Any]]],
) -> list[dict[str, Any]]:
    """The messages for a protocol with two roles and lists of blocks: neighbours of one role are one turn.

    System messages go elsewhere there, and empty turns are refused, so both are left out.
    """
    found: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            continue
        role = assistant if message.role == "assistant" else "user"
        said = list(blocks_of(message))
        if found and found[-1]["role"] == role:
            found[-1][blocks] += said
        elif said:
            found.append({"role": role, blocks: said})
    return found
