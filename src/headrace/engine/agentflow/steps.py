"""Which nodes come next on a way through a level. Nothing here is changed in place.

An arrow is taken or, behind an output that was not chosen, dead. A node runs once all its arrows are settled and one of
them is taken; if all are dead, so are the arrows behind it. So a node after both branches of a condition runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import msgspec

from headrace.engine.agentflow.graph import Level
from headrace.engine.agentflow.progress import Arrow, Way
from headrace.errors import FlowError


def onward(way: Way, level: Level, output: str | None) -> Way:
    """The way after its next node, which goes on at one of its outputs, or at all of them."""
    node, *others = way.ready
    settled = dict.fromkeys(way.taken, True) | dict.fromkeys(way.dead, False)
    ready = _settle(settled, level, [(arrow, output in (None, arrow.output)) for arrow in level.arrows_from[node]])
    return _settled(way, settled, [*others, *ready])


def back(way: Way, level: Level, target: str) -> Way:
    """The way after its next node, which goes back to an earlier one: all that is behind that one starts anew."""
    node, *others = way.ready
    if target not in level.nodes:
        raise FlowError(f"{node!r} loops back to {target!r}, which is not beside it: choose another node")
    again = level.after(target)
    settled = dict.fromkeys(way.taken, True) | dict.fromkeys(way.dead, False)
    settled = {arrow: taken for arrow, taken in settled.items() if arrow.source not in again}
    return _settled(way, settled, [*others, target])


def _settled(way: Way, settled: Mapping[Arrow, bool], ready: Sequence[str]) -> Way:
    taken = [arrow for arrow, was_taken in settled.items() if was_taken]
    dead = [arrow for arrow, was_taken in settled.items() if not was_taken]
    return msgspec.structs.replace(way, ready=ready, taken=taken, dead=dead)


def _settle(settled: dict[Arrow, bool], level: Level, arrows: Sequence[tuple[Arrow, bool]]) -> list[str]:
    """Marks arrows as taken or dead, and those that die with them; returns the nodes that can run now."""
    ready: list[str] = []
    waiting = deque(arrows)
    while waiting:
        arrow, taken = waiting.popleft()
        settled[arrow] = taken
        before = [settled.get(other) for other in level.arrows_to[arrow.target]]
        if None in before:
            continue
        if any(before):
            ready.append(arrow.target)
        else:
            waiting.extend((other, False) for other in level.arrows_from[arrow.target])
    return ready
