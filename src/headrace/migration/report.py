"""Says how a move went: counts per kind, and a sentence for everything that needs somebody's attention."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from headrace.schema import ApiKey, FlowRow

Outcome: TypeAlias = Literal["new", "changed", "same", "ours", "left", "unreadable"]
"""`ours`: what is here is newer, or has the name already. `left`: its flow, message or store is gone in the old one."""


class Tally(msgspec.Struct):
    """The counts of one kind's rows, by outcome."""

    kind: str
    found: int = 0
    new: int = 0
    changed: int = 0
    same: int = 0
    ours: int = 0
    left: int = 0
    unreadable: int = 0

    def add(self, outcome: Outcome, count: int = 1) -> None:
        """Counts rows."""
        self.found += count
        setattr(self, outcome, getattr(self, outcome) + count)


class Report(msgspec.Struct):
    """The result of a move."""

    source: str
    tallies: list[Tally] = []
    homeless: dict[str, int] = {}
    """Rows that have no place here, by what they are."""
    flows: list[FlowRow] = []
    keys: list[ApiKey] = []
    """New keys of flows whose own key is not in the source, each shown here and never again."""
    notes: list[str] = []
    to_upsert: list[tuple[str, str]] = []
    """Kind (flow or store) and id of what was upserted into the old server's memory, and has to be again."""

    def tally(self, kind: str) -> Tally:
        """A new line of the table."""
        self.tallies.append(Tally(kind))
        return self.tallies[-1]
