"""The failures that the database keeps: enough to find their cause, however many documents failed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.engine.ports import LoadFailure

_KEPT = 100
_LONGEST = 500
"""Characters of a name or a reason: a page may lead to addresses of any length."""


def kept(failures: Sequence[LoadFailure]) -> list[LoadFailure]:
    """The first hundred failures, long texts in them cut. How many there were is counted beside them."""
    return [
        msgspec.structs.replace(failure, source=failure.source[:_LONGEST], reason=failure.reason[:_LONGEST])
        for failure in failures[:_KEPT]
    ]
