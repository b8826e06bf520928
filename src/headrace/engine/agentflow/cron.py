"""Cron texts: what they mean, and the moments in a time zone that they name.

There are five fields, or six with seconds in front. Where a change of the clock leaves a time out, it comes as much
later as the clock jumps; where one repeats times, a text that goes through every hour names both, any other the first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from headrace.errors import FlowError

_MONTHS: Final = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split()
_DAYS: Final = "SUN MON TUE WED THU FRI SAT".split()
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_FURTHEST: Final = 366 * 41  # days: a certain weekday that is a 29th of February may be that far away


class _Kind(NamedTuple):
    name: str
    least: int
    most: int
    words: Sequence[str] = ()

    def number(self, text: str, position: int) -> int:
        if text.upper() in self.words:
            return self.least + self.words.index(text.upper())
        if not _NUMBER.fullmatch(text) or not self.least <= int(text) <= self.most:
            raise _Bad(position, f"{text!r} is no {self.name} from {self.least} to {self.most}")
        return int(text)


_KINDS: Final = (
    _Kind("second", 0, 59),
    _Kind("minute", 0, 59),
    _Kind("hour", 0, 23),
    _Kind("day of the month", 1, 31),
    _Kind("month", 1, 12, _MONTHS),
    _Kind("day of the week", 0, 7, _DAYS),
)


class _Bad(Exception):
    def __init__(self, position: int, reason: str) -> None:
        self.position, self.reason = position, reason


class Cron:
    """A cron text that was read."""

    def __init__(self, text: str) -> None:
        """Raises FlowError, which names the position, counted from 1."""
        try:
            self._read(text)
        except _Bad as error:
            raise FlowError(
                f"the cron text {text!r} cannot be read at position {error.position + 1}: {error.reason}"
            ) from None

    def _read(self, text: str) -> None:
        parts = [(part.group(), part.start()) for part in re.finditer(r"\S+", text)]
        if len(parts) not in (5, 6):
            reason = f"it has {len(parts)} fields, and needs five, or six with seconds"
            raise _Bad(parts[6][1] if len(parts) > 6 else len(text), reason)
        if len(parts) == 5:
            parts.insert(0, ("0", 0))
        fields = [_values(kind, *part) for kind, part in zip(_KINDS, parts, strict=True)]
        self._seconds, self._minutes, self._hours = (sorted(field) for field in fields[:3])
        self._days, self._months, self._weekdays = fields[3], fields[4], {day % 7 for day in fields[5]}
        self._either = not any(parts[place][0].startswith("*") for place in (3, 5))
        longest = max(31 if month in (1, 3, 5, 7, 8, 10, 12) else 29 if month == 2 else 30 for month in self._months)
        if min(self._days) > longest and not self._either:
            raise _Bad(parts[3][1], "none of its months has this day")

    def following(self, after: datetime, zone: ZoneInfo) -> datetime:
        """The next moment after that one, in UTC."""
        day = after.astimezone(zone).date() - timedelta(days=1)  # what the clock skips at midnight belongs to it
        for _ in range(_FURTHEST):
            if self._is_on(day) and (moments := list(self._moments(day, after, zone))):
                return min(moments)
            day += timedelta(days=1)
        raise AssertionError("every cron text that can be read names a moment")

    def _is_on(self, day: date) -> bool:
        if day.month not in self._months:
            return False
        by_month, by_week = day.day in self._days, day.isoweekday() % 7 in self._weekdays
        return by_month or by_week if self._either else by_month and by_week

    def _moments(self, day: date, after: datetime, zone: ZoneInfo) -> Iterator[datetime]:
        """The first moment after that one in each minute of the day."""
        twice = len(self._hours) == 24
        for hour in self._hours:
            for minute in self._minutes:
                local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
                for begin in {local.astimezone(UTC), local.replace(fold=int(twice)).astimezone(UTC)}:
                    moments = (begin + timedelta(seconds=second) for second in self._seconds)
                    if begin + timedelta(minutes=1) > after:
                        yield from islice((moment for moment in moments if moment > after), 1)


def _values(kind: _Kind, text: str, position: int) -> set[int]:
    """The numbers that a field names: `*`, numbers, words, ranges and steps, with commas."""
    found: set[int] = set()
    for item in text.split(","):
        found |= _item(kind, item, position)
        position += len(item) + 1
    return found


def _item(kind: _Kind, text: str, position: int) -> set[int]:
    span, slash, step_text = text.partition("/")
    step = 1
    if slash:
        if not _NUMBER.fullmatch(step_text) or not int(step_text):
            raise _Bad(position + len(span) + 1, f"{step_text!r} is no step of 1 or more")
        step = int(step_text)
    first_text, dash, last_text = span.partition("-")
    if span == "*":
        first, last = kind.least, kind.most
    else:
        first = kind.number(first_text, position)
        last = kind.most if slash else first
        if dash:
            last = kind.number(last_text, position + len(first_text) + 1)
        if last < first:
            raise _Bad(position, f"the range {span!r} ends before it begins")
    return set(range(first, last + 1, step))
