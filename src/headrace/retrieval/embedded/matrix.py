"""A collection's vectors as one float32 matrix, memory-mapped, searched exactly. The database is the truth.

Only this module needs numpy, so it is imported when the first search with a vector comes. Everything here blocks, and
belongs to the thread that reads the database.
"""

from __future__ import annotations

import logging
import os
import secrets
import struct
import zlib
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection

from headrace.retrieval.embedded.passages import CollectionRow, vector_ids, vectors

Floats: TypeAlias = npt.NDArray[np.float32]
Ids: TypeAlias = npt.NDArray[np.int64]

_logger = logging.getLogger("headrace.retrieval")
_HEAD = struct.Struct("<8sQQI4x")  # kind of file, rows, dimensions, checksum of the rest
_KIND = b"HRVEC001"
_LOOSE = 1000
"""Vectors that are kept in memory beside the file, or dead in it, before it is written anew."""
_BATCH = 1000
_SAMPLE = 16


class Matrix:
    """The vectors of one collection, each of length one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version = -1
        self._forget(0)

    def _forget(self, dimensions: int) -> None:
        self._dimensions = dimensions
        self._filed: tuple[Ids, Floats] = (np.empty(0, np.int64), np.empty((0, dimensions), np.float32))
        self._loose: tuple[Ids, Floats] = self._filed
        self._live = np.empty(0, np.bool_)
        self._whole = True  # nothing that is held is gone from the database

    def sync(self, c: Connection, row: CollectionRow) -> None:
        """Takes over what has changed in the database since the last time."""
        if self._version == row.version:
            return
        if self._version > row.version or self._dimensions != row.dimensions or self._version < 0:
            self._open(c, row)
        wanted = np.array(vector_ids(c, row), np.int64)
        held = np.concatenate([self._filed[0], self._loose[0]])
        fresh = np.setdiff1d(wanted, held, assume_unique=True)
        dead = len(held) - (len(wanted) - len(fresh))
        if len(fresh) + len(self._loose[0]) + dead > max(_LOOSE, len(wanted) // 8):
            self._rewrite(c, row, wanted)
        elif len(fresh):
            ids, rows = _read(c, fresh, self._dimensions)
            self._loose = np.concatenate([self._loose[0], ids]), np.concatenate([self._loose[1], rows])
        self._live = np.isin(self._ids, wanted, assume_unique=True)
        self._whole = bool(self._live.all())
        self._version = row.version

    @property
    def _ids(self) -> Ids:
        return np.concatenate([self._filed[0], self._loose[0]]) if len(self._loose[0]) else self._filed[0]

    def similarities(self, vector: Sequence[float], allowed: Sequence[int] | None) -> tuple[Ids, Floats]:
        """All ids with their cosines; -inf for those that are gone or not allowed."""
        asked = unit(np.array([vector], np.float32))[0]
        ids = self._ids
        scores = np.concatenate([rows @ asked for _, rows in (self._filed, self._loose) if len(rows)] or [_NOTHING])
        if not self._whole:
            scores[~self._live] = -np.inf
        if allowed is not None:
            scores[~np.isin(ids, np.array(allowed, np.int64))] = -np.inf
        return ids, scores

    def rows(self, ids: Sequence[int]) -> Floats:
        """The vectors of these ids, which must be there."""
        found = [np.searchsorted(self._filed[0], number) for number in ids]
        filed = self._filed[0]
        return np.array(
            [
                self._filed[1][place]
                if place < len(filed) and filed[place] == number
                else self._loose[1][np.flatnonzero(self._loose[0] == number)[0]]
                for place, number in zip(found, ids, strict=True)
            ],
            np.float32,
        ).reshape(len(ids), self._dimensions)

    def cosines(self, ids: Sequence[int], vector: Sequence[float]) -> list[float]:
        """The cosines of these ids alone."""
        return (self.rows(ids) @ unit(np.array([vector], np.float32))[0]).tolist()

    def _open(self, c: Connection, row: CollectionRow) -> None:
        """Takes the file, if it is whole and holds what the database holds."""
        self._forget(row.dimensions or 0)
        try:
            filed = _mapped(self._path, self._dimensions)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            _logger.warning("%s is made anew from the database: %s", self._path.name, error)
            return
        if _agrees(c, filed):
            self._filed = filed
        else:
            _logger.warning("%s is made anew: the database holds other vectors", self._path.name)

    def _rewrite(self, c: Connection, row: CollectionRow, ids: Ids) -> None:
        self._forget(self._dimensions)
        try:
            _write(self._path, ids, self._dimensions, (v for _, v in vectors(c, row.first, row.last)))
            self._filed = _mapped(self._path, self._dimensions)
        except (OSError, ValueError) as error:
            _logger.warning("%s cannot be written, its vectors stay in memory: %s", self._path.name, error)
            if len(ids):
                self._filed = _read(c, ids, self._dimensions)


_NOTHING = np.empty(0, np.float32)


def best(ids: Ids, scores: Floats, most: int) -> list[tuple[int, float]]:
    """The ids with the highest scores, highest first; of equal ones those that were stored first."""
    most = min(most, len(ids))
    if most < 1:
        return []
    least = np.partition(scores, -most)[-most]
    top = np.flatnonzero(scores >= least)  # with all that are as good as the last one
    top = top[np.lexsort((ids[top], -scores[top]))][:most]
    return [(int(ids[place]), float(scores[place])) for place in top if scores[place] > -np.inf]


def spread(rows: Floats, scores: Sequence[float], most: int, diversity: float) -> list[int]:
    """Places of rows that are like the question and unlike each other (maximal marginal relevance)."""
    if not len(rows):
        return []
    relevance = np.array(scores, np.float32) * (1 - diversity)
    likeness = rows @ rows.T
    chosen = [int(np.argmax(relevance))]
    while len(chosen) < min(most, len(rows)):
        gains = relevance - diversity * likeness[:, chosen].max(axis=1)
        gains[chosen] = -np.inf
        chosen.append(int(np.argmax(gains)))
    return chosen


def unit(rows: Floats) -> Floats:
    """The rows, each of length 1."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def _parsed(blobs: Iterable[bytes], dimensions: int) -> Floats:
    return unit(np.frombuffer(b"".join(blobs), "<f4").reshape(-1, dimensions))


def _read(c: Connection, ids: Ids, dimensions: int) -> tuple[Ids, Floats]:
    """The vectors of these ids, ascending."""
    wanted = set(ids.tolist())
    found = [(number, v) for number, v in vectors(c, int(ids[0]), int(ids[-1])) if number in wanted]
    return np.array([number for number, _ in found], np.int64), _parsed((v for _, v in found), dimensions)


def _agrees(c: Connection, filed: tuple[Ids, Floats]) -> bool:
    """True when a sample of the rows is in the database; a database restored from a backup gives ids out again."""
    ids, rows = filed
    places = sorted({*range(0, len(ids), max(1, len(ids) // _SAMPLE)), *range(len(ids) - 1, len(ids))})
    for place in places:
        for _, vector in vectors(c, int(ids[place]), int(ids[place])):
            if len(vector) != rows.shape[1] * 4 or not np.allclose(_parsed([vector], rows.shape[1])[0], rows[place]):
                return False
    return True


def _mapped(path: Path, dimensions: int) -> tuple[Ids, Floats]:
    """Ids and rows of a file. Raises ValueError when it is not whole."""
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise ValueError("it is cut off")
    kind, count, width, checksum = _HEAD.unpack(head)
    if kind != _KIND or width != dimensions or path.stat().st_size != _HEAD.size + count * (8 + 4 * width):
        raise ValueError("its size or kind is wrong")
    if not count:
        return np.empty(0, np.int64), np.empty((0, dimensions), np.float32)
    mapped = np.memmap(path, np.uint8, "r", _HEAD.size)
    if zlib.crc32(mapped.data) != checksum:
        raise ValueError("its checksum is wrong")
    split = count * 8
    return mapped[:split].view("<i8"), mapped[split:].view("<f4").reshape(count, width)


def _write(path: Path, ids: Ids, dimensions: int, blobs: Iterable[bytes]) -> None:
    """Puts a whole file in the place of the one before. Those who have it mapped keep theirs."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    draft = path.with_suffix(f".{secrets.token_hex(4)}")
    try:
        with draft.open("xb") as file:
            file.seek(_HEAD.size)
            data = ids.astype("<i8").tobytes()
            checksum = zlib.crc32(data)
            file.write(data)
            left = iter(blobs)
            while some := list(islice(left, _BATCH)):
                data = _parsed(some, dimensions).astype("<f4").tobytes()
                checksum = zlib.crc32(data, checksum)
                file.write(data)
            file.seek(0)
            file.write(_HEAD.pack(_KIND, len(ids), dimensions, checksum))
        draft.chmod(0o600)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
