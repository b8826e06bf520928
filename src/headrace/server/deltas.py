"""The executed nodes of an agent flow, told to a stream's reader once each."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from headrace.runtime.log import Entry

_EXECUTED: Final = re.compile(rb'\{"event":"agentFlowExecutedData"')


class _Executed(msgspec.Struct):
    event: str
    data: list[msgspec.Raw]


class Deltas:
    """The executed nodes that one reader knows: a number for each of them, not the node itself."""

    def __init__(self) -> None:
        self._told: list[int] = []

    def of(self, entry: Entry) -> Entry:
        """The event with the nodes that are new or have changed; `from` says how many before them stay as they were."""
        if not _EXECUTED.match(entry.data):
            return entry
        nodes = [bytes(node) for node in msgspec.json.decode(entry.data, type=_Executed).data]
        told = list(map(hash, nodes))
        pairs = zip(told, self._told, strict=False)
        same = next((place for place, (new, old) in enumerate(pairs) if new != old), min(len(told), len(self._told)))
        self._told = told
        shown: dict[str, Any] = {"event": "agentFlowExecutedData", "data": list(map(msgspec.Raw, nodes[same:]))}
        return Entry(entry.seq, msgspec.json.encode({**shown, "from": same}))
