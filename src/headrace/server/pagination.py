"""Answers to lists and deletions of stored rows, in Flowise's shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec

_T = TypeVar("_T")


class Deleted(msgspec.Struct):
    """The number of deleted rows; `raw` is always empty."""

    affected: int = 1
    raw: list[Any] = []


class Page(msgspec.Struct, Generic[_T]):
    """One page of rows, and how many there are on all."""

    data: list[_T]
    total: int


def paged(rows: Sequence[_T], page: int, limit: int) -> list[_T] | Page[_T]:
    """All rows, or with `page` (from 1) and `limit` one page of them as `{data, total}`."""
    if page > 0 and limit > 0:
        return Page(list(rows[(page - 1) * limit : page * limit]), len(rows))
    return list(rows)
