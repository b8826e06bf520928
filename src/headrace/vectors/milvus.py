"""Milvus through its own client (the extra `milvus`): flows name the address of its gRPC, see decision 0019.

A passage is a row with its text, its vector, and its metadata as further fields: the form of Flowise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from headrace.errors import FlowError, ProviderNotFound, ProviderRefused
from headrace.events import Document
from headrace.vectors.milvus_server import Place, connected
from headrace.vectors.served import Hit, Near, Point, ServedStore

if TYPE_CHECKING:
    from pymilvus import AsyncMilvusClient

_KEY: Final = "langchain_primaryid"
_TEXT: Final = "langchain_text"
_VECTOR: Final = "langchain_vector"
_DYNAMIC: Final = "$meta"  # Milvus's name for all fields that a collection does not declare
_WHOLE: Final = "_default"  # Milvus's name for the partition of what was put into none
_LONGEST: Final = 65_535  # bytes of a text, the most that Milvus takes
_PATIENCE: Final = 60.0  # seconds for one call
_VARCHAR: Final = 21
_VECTORS: Final = range(100, 200)  # types of fields that hold vectors
_FLOATS: Final = 101


class _Field(msgspec.Struct):
    name: str
    type: int
    params: dict[str, Any] = {}
    is_primary: bool = False


class _Collection(msgspec.Struct):
    fields: list[_Field]
    auto_id: bool = False
    enable_dynamic_field: bool = False

    @property
    def key(self) -> _Field:
        """The field of the id."""
        return next(field for field in self.fields if field.is_primary)

    @property
    def vector(self) -> _Field:
        """The field of the vector. Raises ProviderRefused."""
        found = [field for field in self.fields if field.type == _FLOATS]
        found.sort(key=lambda field: field.name != _VECTOR)
        if not found:
            raise ProviderRefused("the collection has no field for vectors of floats")
        return found[0]

    @property
    def declared(self) -> set[str]:
        """Names of its own fields."""
        return {field.name for field in self.fields}

    @property
    def plain(self) -> list[str]:
        """Names of the fields that a search asks for."""
        names = [field.name for field in self.fields if field.type not in _VECTORS]
        return [*names, _DYNAMIC] if self.enable_dynamic_field else names

    def take(self, dimensions: int) -> None:
        """Raises ProviderRefused for a vector of other dimensions."""
        held = int(self.vector.params["dim"])
        if held != dimensions:
            raise ProviderRefused(f"the collection holds vectors of {held} dimensions")

    def take_ids(self) -> None:
        """Raises ProviderRefused for a collection that numbers its rows, as Flowise makes them.

        Ours could go into a field of its own, where the collection has such fields, but Milvus would not hold them
        to be different: an upsert that is interrupted, or comes twice at once, would store passages twice.
        """
        if self.auto_id or self.key.type != _VARCHAR:
            raise ProviderRefused(
                "the collection numbers its passages itself, so they could not be told from those that come again. "
                "It can be searched; to upsert, name a collection that does not exist yet"
            )


class MilvusStore(ServedStore):
    """A collection, or a partition of it; adding makes both, measured by the cosine."""

    def __init__(self, place: Place, collection: str, partition: str, text: str, expression: str, **how: Any) -> None:
        """`text` is the field of the text; `expression` holds for every search."""
        super().__init__(f"the Milvus collection {collection!r}", **how)
        self._place, self._collection, self._expression = place, collection, expression
        self._partition = None if partition in ("", _WHOLE) else partition
        self._text = text or _TEXT

    @property
    def _where(self) -> dict[str, Any]:
        """The arguments that all reading calls share."""
        return {"partition_names": [self._partition] if self._partition else None, "timeout": _PATIENCE}

    async def _known(self, ids: Sequence[str]) -> set[str]:
        try:
            async with connected(self._place) as client:
                there = await self._open(client)
                there.take_ids()
                key = there.key.name
                # Not what was there a few seconds ago, as the collection may say.
                how: dict[str, Any] = {**self._where, "consistency_level": "Strong"}
                found = await client.get(self._collection, list(ids), [key], **how)
        except ProviderNotFound:
            return set()
        return {row[key] for row in found}

    async def _open(self, client: AsyncMilvusClient) -> _Collection:
        """The collection, in memory: somebody may have put it away."""
        there = await self._described(client)
        state = await client.get_load_state(self._collection, timeout=_PATIENCE)
        if state["state"].name == "NotLoad":
            await client.load_collection(self._collection, timeout=_PATIENCE)
        return there

    async def _described(self, client: AsyncMilvusClient) -> _Collection:
        found = await client.describe_collection(self._collection, timeout=_PATIENCE)
        return msgspec.convert(found, _Collection, strict=False)

    async def _put(self, points: Sequence[Point]) -> None:
        dimensions = len(points[0].vector)
        async with connected(self._place) as client:
            await self._make(client, dimensions)
            there = await self._described(client)
            there.take(dimensions)
            rows = [
                {
                    **point.document.metadata,
                    there.key.name: point.id,
                    self._text: point.document.pageContent,
                    there.vector.name: list(point.vector),
                }
                for point in points
            ]
            await client.upsert(self._collection, rows, _PATIENCE, self._partition)

    async def _make(self, client: AsyncMilvusClient, dimensions: int) -> None:
        """Makes what is missing of collection, index and partition. Milvus lets two do that at once."""
        if not await client.has_collection(self._collection, _PATIENCE):
            await self._create(client, dimensions)
        if not await client.list_indexes(self._collection, timeout=_PATIENCE):
            index = client.prepare_index_params(_VECTOR, index_type="AUTOINDEX", metric_type="COSINE")
            await client.create_index(self._collection, index, _PATIENCE)
        if self._partition and not await client.has_partition(self._collection, self._partition, _PATIENCE):
            await client.create_partition(self._collection, self._partition, _PATIENCE)

    async def _create(self, client: AsyncMilvusClient, dimensions: int) -> None:
        from pymilvus import DataType

        schema = client.create_schema(enable_dynamic_field=True)
        schema.add_field(_KEY, DataType.VARCHAR, is_primary=True, max_length=64)
        schema.add_field(self._text, DataType.VARCHAR, max_length=_LONGEST)
        schema.add_field(_VECTOR, DataType.FLOAT_VECTOR, dim=dimensions)
        # Strong: the question after an upsert finds what that has stored.
        how: dict[str, Any] = {"consistency_level": "Strong", "timeout": _PATIENCE}
        await client.create_collection(self._collection, schema=schema, **how)

    async def _near(self, wanted: Near) -> list[Hit]:
        every = [one for one in (self._expression, *map(_expression, wanted.filters)) if one.strip()]
        expression = " and ".join(f"({one})" for one in every) if len(every) > 1 else "".join(every)
        async with connected(self._place) as client:
            there = await self._open(client)
            there.take(len(wanted.vector))
            vector = there.vector.name
            (found,) = await client.search(
                self._collection,
                [list(wanted.vector)],
                expression,
                wanted.k,
                [*there.plain, *([vector] if wanted.vectors else [])],
                anns_field=vector,
                **self._where,
            )
            metric = await self._metric(client, vector)
        return [self._hit(one, there, metric) for one in found]

    async def _metric(self, client: AsyncMilvusClient, field: str) -> str:
        """The collection's metric."""
        for name in await client.list_indexes(self._collection, field, timeout=_PATIENCE):
            about = await client.describe_index(self._collection, name, _PATIENCE)
            return about["metric_type"]
        return ""

    def _hit(self, found: Mapping[str, Any], there: _Collection, metric: str) -> Hit:
        row = dict(found["entity"])
        key = there.key.name
        vector, text = row.pop(there.vector.name, ()), row.pop(self._text, "")
        metadata = {name: _value(row[name], name in there.declared) for name in row if name != key}
        score = found["distance"]
        # Milvus gives the square of the distance: of vectors of length 1 it tells the cosine.
        return Hit(Document(str(text), metadata, str(found[key])), 1 - score / 2 if metric == "L2" else score, vector)

    async def _remove(self, ids: Sequence[str]) -> None:
        async with connected(self._place) as client:
            await client.delete(self._collection, list(ids), _PATIENCE, partition_name=self._partition)


def _expression(conditions: Mapping[str, Any]) -> str:
    """Conditions of a retriever, `{"source": "a.txt"}`, as Milvus writes them. Raises FlowError."""
    for name, value in conditions.items():
        if not name.isidentifier() or not isinstance(value, str | int | float):
            raise FlowError(
                f"Milvus cannot be asked for {name!r}: give it one value, or write the condition as Milvus does, "
                "into the filter of the Milvus node"
            )
    return " and ".join(f"{name} == {msgspec.json.encode(value).decode()}" for name, value in conditions.items())


def _value(value: Any, declared: bool) -> Any:
    """Metadata as it was: a field that is declared as text holds objects and lists as JSON."""
    if declared and isinstance(value, str) and value[:1] in ("{", "["):
        with suppress(msgspec.DecodeError):
            return msgspec.json.decode(value)
    return value
