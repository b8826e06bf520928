"""Collections of passages in the database: the statements, each a function over a connection.

A collection's chunks are a range of ids (`tables.chunk` here); every change of them counts up the collection's version.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection

from headrace.events import Document
from headrace.retrieval.embedded import full_text
from headrace.retrieval.embedded.filters import Condition
from headrace.storage.dialect import execute, json_text, listed

_SPAN = 2**32
_FIND = "SELECT id, name, embedding, dimensions, version, fingerprint FROM collection WHERE name = ?"
_ADD_CHUNK = (
    'INSERT INTO chunk (id, collection, source, "key", hash, upsert, text, metadata) VALUES (?, ?, ?, ?, ?, ?, ?, ?)'
)

_CACHE = (
    'INSERT INTO embedding_cache (id, "key", vector) VALUES (?, ?, ?) '
    'ON CONFLICT ("key") DO UPDATE SET id = excluded.id, vector = excluded.vector'
)


class CollectionRow(NamedTuple):
    """A collection as it is now."""

    id: int
    name: str
    embedding: str | None
    dimensions: int | None
    version: int
    fingerprint: str | None

    @property
    def first(self) -> int:
        """The lowest id that a chunk can have."""
        return self.id * _SPAN

    @property
    def last(self) -> int:
        """The highest one."""
        return self.first + _SPAN - 1

    @property
    def ids(self) -> tuple[int, int]:
        """Both."""
        return self.first, self.last


class IndexedPassage(NamedTuple):
    """A passage on its way into the database. `vector` is float32, little-endian; None without a model."""

    source: str
    key: str
    hash: str
    document: Document
    vector: bytes | None = None


def find_collection(c: Connection, name: str) -> CollectionRow | None:
    """The collection of this name, if there is one."""
    row = execute(c, _FIND, (name,)).first()
    return None if row is None else CollectionRow(*row)


def exists(c: Connection, collection: int) -> bool:
    """True for the id of a collection."""
    return execute(c, "SELECT 1 FROM collection WHERE id = ?", (collection,)).first() is not None


def open_collection(c: Connection, name: str, now: str) -> CollectionRow:
    """The collection of this name, made if need be."""
    execute(
        c,
        'INSERT INTO collection (name, next, version, upserts, "createdDate") VALUES (?, 0, 0, 0, ?) '
        "ON CONFLICT (name) DO NOTHING",
        (name, now),
    )
    found = find_collection(c, name)
    assert found
    return found


def collection_names(c: Connection, prefix: str) -> list[str]:
    """Names of collections that begin so, oldest first."""
    statement = "SELECT name FROM collection WHERE substr(name, 1, length(?)) = ? ORDER BY id"
    return [name for (name,) in execute(c, statement, (prefix, prefix))]


def claim(c: Connection, name: str, embedding: str | None, most: int) -> bool:
    """Makes the collection one of vectors of this model; whether it is one now, or must be asked again.

    Vectors of several models cannot be compared, so its chunks go first, at most so many at once.
    """
    row = find_collection(c, name)
    if row is None or row.embedding == embedding:
        return True
    if delete_some(c, row, most):
        return False
    execute(c, "UPDATE collection SET embedding = ?, dimensions = NULL WHERE id = ?", (embedding, row.id))
    return True


def fix_dimensions(c: Connection, name: str, given: int) -> int:
    """The length of a collection's vectors, which its first one decides."""
    row = find_collection(c, name)
    if row and row.dimensions != given and (row.dimensions is None or not count(c, row)):
        execute(c, "UPDATE collection SET dimensions = ? WHERE id = ?", (given, row.id))
        return given
    return row.dimensions or given if row else given


def begin_upsert(c: Connection, collection: int) -> tuple[int, int]:
    """The number of a new upsert and the first id it can give; the collection is incomplete until it is finished."""
    number, following = execute(
        c,
        "UPDATE collection SET upserts = upserts + 1, fingerprint = NULL WHERE id = ? RETURNING upserts, next",
        (collection,),
    ).one()
    return number, collection * _SPAN + following


def finish_upsert(c: Connection, collection: int, number: int, fingerprint: str | None) -> None:
    """Says what the collection holds now, unless a later upsert is at work."""
    execute(c, "UPDATE collection SET fingerprint = ? WHERE id = ? AND upserts = ?", (fingerprint, collection, number))


def known(c: Connection, collection: int, wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Source and key of those chunks that are there, with their hashes."""
    rows = execute(
        c,
        f"SELECT chunk.source, chunk.key, chunk.hash FROM {listed(c, 'lists')} AS wanted CROSS JOIN chunk "
        "WHERE chunk.collection = ? AND chunk.source = wanted.value ->> 0 AND chunk.key = wanted.value ->> 1",
        (json_text(wanted), collection),
    )
    return {(source, key): found for source, key, found in rows}


def add_chunks(c: Connection, collection: int, upsert: int, chunks: Sequence[IndexedPassage]) -> list[int]:
    """Stores those that are not there yet and marks the others as seen; returns the ids of the new ones.

    A chunk whose hash has changed takes the place of the one before.
    """
    there = known(c, collection, [(chunk.source, chunk.key) for chunk in chunks])
    kept = [chunk for chunk in chunks if there.get((chunk.source, chunk.key)) == chunk.hash]
    fresh = [chunk for chunk in chunks if there.get((chunk.source, chunk.key)) != chunk.hash]
    if kept:
        seen = [(upsert, upsert, chunk.source, chunk.key) for chunk in kept]
        _each(c, "UPDATE chunk SET upsert = ? WHERE upsert < ? AND", collection, seen)
    if old := [(chunk.source, chunk.key) for chunk in fresh if (chunk.source, chunk.key) in there]:
        _each(c, "DELETE FROM chunk WHERE", collection, old)
    if not fresh:
        return []
    return _insert(c, collection, upsert, fresh)


def _each(c: Connection, statement: str, collection: int, values: list[tuple[Any, ...]]) -> None:
    execute(
        c,
        f'{statement} source = ? AND "key" = ? AND collection = {collection:d}',
        values,
    )


def _insert(c: Connection, collection: int, upsert: int, chunks: Sequence[IndexedPassage]) -> list[int]:
    following = execute(
        c,
        "UPDATE collection SET next = next + ?, version = version + 1 WHERE id = ? RETURNING next",
        (len(chunks), collection),
    ).scalar_one()
    first = collection * _SPAN + following - len(chunks)
    rows = [
        (
            first + place,
            collection,
            chunk.source,
            chunk.key,
            chunk.hash,
            upsert,
            chunk.document.pageContent,
            json_text(chunk.document.metadata),
        )
        for place, chunk in enumerate(chunks)
    ]
    execute(c, _ADD_CHUNK, rows)
    full_text.add(c, [(row[0], row[6]) for row in rows])
    if vectors := [(row[0], chunk.vector) for row, chunk in zip(rows, chunks, strict=True) if chunk.vector is not None]:
        execute(c, "INSERT INTO chunk_vector (id, vector) VALUES (?, ?)", vectors)
    return [row[0] for row in rows]


def delete_unseen(c: Connection, row: CollectionRow, upsert: int, sources: Sequence[str], most: int) -> int:
    """Deletes at most so many chunks of these sources that no upsert from `upsert` on has seen."""
    unseen = f"SELECT id FROM chunk WHERE collection = ? AND source IN {listed(c, 'texts')} AND upsert < ? LIMIT ?"
    return _delete(c, row.id, unseen, (row.id, json_text(sources), upsert, most))


def delete_since(c: Connection, row: CollectionRow, source: str, first: int) -> int:
    """Deletes chunks of a source that have this id or a later one, and says how many."""
    later = "SELECT id FROM chunk WHERE collection = ? AND source = ? AND id >= ?"
    return _delete(c, row.id, later, (row.id, source, first))


def delete_chunks(c: Connection, row: CollectionRow, ids: Sequence[int]) -> int:
    """Deletes chunks by id and says how many."""
    wanted = f"SELECT id FROM chunk WHERE id IN {listed(c, 'numbers')} AND id BETWEEN ? AND ?"
    return _delete(c, row.id, wanted, (json_text(ids), row.first, row.last))


def _delete(c: Connection, collection: int, ids: str, values: tuple[Any, ...]) -> int:
    count = execute(c, f"DELETE FROM chunk WHERE id IN ({ids})", values).rowcount
    if count:
        execute(c, "UPDATE collection SET version = version + 1 WHERE id = ?", (collection,))
    return count


def delete_some(c: Connection, row: CollectionRow, most: int) -> int:
    """Deletes at most so many chunks, whichever, and says how many."""
    return _delete(c, row.id, "SELECT id FROM chunk WHERE collection = ? LIMIT ?", (row.id, most))


def delete_collection(c: Connection, row: CollectionRow) -> None:
    """Deletes the collection with its chunks. Its id is never used again."""
    execute(c, "DELETE FROM collection WHERE id = ?", (row.id,))


def any_chunk(c: Connection, row: CollectionRow) -> bool:
    """True when there is a chunk."""
    return execute(c, "SELECT 1 FROM chunk WHERE collection = ? LIMIT 1", (row.id,)).first() is not None


def count(c: Connection, row: CollectionRow) -> int:
    """The number of chunks."""
    return execute(c, "SELECT count(*) FROM chunk WHERE collection = ?", (row.id,)).scalar_one()


def sources(c: Connection, row: CollectionRow) -> list[str]:
    """The sources of the collection's chunks."""
    found = execute(c, "SELECT DISTINCT source FROM chunk WHERE collection = ?", (row.id,))
    return [source for (source,) in found]


def matching(c: Connection, row: CollectionRow, where: Condition) -> list[int]:
    """Ids of the chunks whose metadata fulfil a condition, ascending."""
    statement = f"SELECT id FROM chunk WHERE id BETWEEN ? AND ? AND ({where.sql}) ORDER BY id"
    return [found for (found,) in execute(c, statement, (row.first, row.last, *where.values))]


def vector_ids(c: Connection, row: CollectionRow) -> list[int]:
    """Ids of the chunks that have vectors, ascending."""
    found = execute(c, "SELECT id FROM chunk_vector WHERE id BETWEEN ? AND ? ORDER BY id", (row.first, row.last))
    return [number for (number,) in found]


def vectors(c: Connection, first: int, last: int) -> Iterator[tuple[int, bytes]]:
    """Ids and vectors of a range of ids, ascending, read as they are taken."""
    statement = "SELECT id, vector FROM chunk_vector WHERE id BETWEEN ? AND ? ORDER BY id"
    found = execute(c, statement, (first, last), stream_results=True)
    while some := found.fetchmany(1000):
        yield from ((number, vector) for number, vector in some)


def documents(c: Connection, ids: Sequence[int]) -> list[Document]:
    """The chunks of these ids, in this order."""
    statement = f"SELECT id, text, metadata FROM chunk WHERE id IN {listed(c, 'numbers')}"
    rows = {row[0]: row for row in execute(c, statement, (json_text(ids),))}
    return [
        Document(rows[number][1], msgspec.json.decode(rows[number][2]), str(number)) for number in ids if number in rows
    ]


def cached_vectors(c: Connection, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    """Vectors that were paid for before, by the hash of model and text."""
    statement = 'SELECT "key", vector FROM embedding_cache WHERE "key" = ?'
    return {row[0]: row[1] for key in keys if (row := execute(c, statement, (key,)).first())}


def cache_vectors(c: Connection, found: Sequence[tuple[bytes, bytes]], most: int) -> None:
    """Keeps vectors, and of all the newest `most` bytes."""
    total = execute(c, "SELECT coalesce(max(id), 0) FROM embedding_cache").scalar_one()
    rows: list[tuple[int, bytes, bytes]] = []
    for key, vector in found:
        total += len(vector)
        rows.append((total, key, vector))
    if rows:
        execute(c, _CACHE, rows)
        execute(c, "DELETE FROM embedding_cache WHERE id <= ?", (total - most,))
