"""Answers to lists and deletions of stored rows, in Flowise's shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

_T = TypeVar("_T")


class Deleted(msgspec.Struct):
    """How many rows are gone; `raw` is always empty."""

    affected: int = 1
    raw: list[Any] = []


def paged(rows: Sequence[_T], page: int, limit: int) -> list[_T] | dict[str, Any]:
    """All rows, or with `page` (from 1) and `limit` one page of them as `{data, total}`."""
    if page > 0 and limit > 0:
        return {"data": list(rows[(page - 1) * limit : page * limit]), "total": len(rows)}
    return list(rows)
