"""Weaviate from version 1.24 on, over its REST and GraphQL API: https://docs.weaviate.io/weaviate/api

A passage is an object whose properties are its text and its metadata; a name of metadata that is no name there
(`loc.page`) is written with `_`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from headrace.errors import FlowError, ProviderNotFound, ProviderRefused
from headrace.events import Document
from headrace.vectors.served import Hit, Near, Point, ServedStore, Site, flat

_NAME: Final = re.compile(r"[A-Za-z]\w*", re.ASCII)
_OTHER: Final = re.compile(r"\W", re.ASCII)
_SIMPLE: Final = frozenset({"text", "string", "int", "number", "boolean", "date", "uuid"})
_RESERVED: Final = frozenset({"id", "vector", "_additional"})


class _Property(msgspec.Struct, rename="camel"):
    name: str
    data_type: list[str]


class _Class(msgspec.Struct):
    properties: list[_Property] | None = None


class _Told(msgspec.Struct):
    message: str = ""


class _Answer(msgspec.Struct):
    data: dict[str, Any] | None = None
    errors: list[_Told] | None = None


class _Errors(msgspec.Struct):
    error: list[_Told] = []


class _Result(msgspec.Struct):
    errors: _Errors | None = None


class _Stored(msgspec.Struct):
    result: _Result | None = None


class WeaviateStore(ServedStore):
    """A class of objects; adding makes it, measured by the cosine."""

    def __init__(self, site: Site, index: str, text: str, **how: Any) -> None:
        """`text` is the property that holds a passage's text. Raises FlowError for names that cannot be."""
        super().__init__(f"the Weaviate index {index!r}", **how)
        for name in (index, text):
            if not _NAME.fullmatch(name):
                raise FlowError(f"Weaviate knows no name {name!r}: use letters, digits and _, a letter first")
        self._site, self._text = site, text
        self._class = index[:1].upper() + index[1:]  # as Weaviate writes it

    async def _known(self, ids: Sequence[str]) -> set[str]:
        try:
            await self._properties()
        except ProviderNotFound:
            return set()
        found = await self._get({"limit": len(ids), "where": _among(ids)}, ["_additional { id }"])
        return {one["_additional"]["id"] for one in found}

    async def _properties(self) -> list[str]:
        """Names of the properties that are plain values, or lists of them. Raises ProviderNotFound."""
        found = await self._site.ask("GET", f"/v1/schema/{self._class}", None, _Class)
        return [one.name for one in found.properties or () if one.data_type[0].removesuffix("[]") in _SIMPLE]

    async def _get(self, arguments: Mapping[str, Any], fields: Sequence[str]) -> list[dict[str, Any]]:
        query = f"{{ Get {{ {self._class}({_inside(arguments)}) {{ {' '.join(fields)} }} }} }}"
        answer = await self._site.ask("POST", "/v1/graphql", {"query": query}, _Answer)
        if answer.errors:
            raise ProviderRefused(f"Weaviate did not take the query: {answer.errors[0].message}")
        return ((answer.data or {}).get("Get") or {}).get(self._class) or []

    async def _put(self, points: Sequence[Point]) -> None:
        await self._make()
        objects = [
            {"class": self._class, "id": one.id, "vector": list(one.vector), "properties": self._values(one.document)}
            for one in points
        ]
        stored = await self._site.ask("POST", "/v1/batch/objects", {"objects": objects}, list[_Stored])
        for one in stored:
            if one.result and one.result.errors:
                reason = "; ".join(told.message for told in one.result.errors.error)
                raise ProviderRefused(f"Weaviate did not take all of it: {reason}")

    async def _make(self) -> None:
        try:
            await self._site.ask("GET", f"/v1/schema/{self._class}")
        except ProviderNotFound:
            text = {"name": self._text, "dataType": ["text"]}
            shape = {"vectorizer": "none", "vectorIndexConfig": {"distance": "cosine"}, "properties": [text]}
            try:
                await self._site.ask("POST", "/v1/schema", {"class": self._class, **shape})
            except ProviderRefused as error:
                if "already exists" not in str(error):  # somebody else has just made it
                    raise

    def _values(self, document: Document) -> dict[str, Any]:
        metadata = {_property(name): value for name, value in flat(document.metadata)}
        return {**metadata, self._text: document.pageContent}

    async def _near(self, wanted: Near) -> list[Hit]:
        names = await self._properties()
        arguments: dict[str, Any] = {"limit": wanted.k, "nearVector": {"vector": list(wanted.vector)}}
        if conditions := [one.get("where", one) for one in wanted.filters]:
            first, *others = conditions
            arguments["where"] = {"operator": "And", "operands": [first, *others]} if others else first
        about = "_additional { id distance vector }" if wanted.vectors else "_additional { id distance }"
        return [self._hit(one) for one in await self._get(arguments, [*names, about])]

    def _hit(self, found: dict[str, Any]) -> Hit:
        about = found.pop("_additional")
        text = str(found.pop(self._text, None) or "")
        metadata = {name: value for name, value in found.items() if value is not None}
        return Hit(Document(text, metadata, about["id"]), 1 - about["distance"], about.get("vector") or ())

    async def _remove(self, ids: Sequence[str]) -> None:
        where = {"path": ["id"], "operator": "ContainsAny", "valueTextArray": list(ids)}
        await self._site.ask("DELETE", "/v1/batch/objects", {"match": {"class": self._class, "where": where}})


def _among(ids: Sequence[str]) -> dict[str, Any]:
    return {"path": ["id"], "operator": "ContainsAny", "valueText": list(ids)}


def _property(name: str) -> str:
    """A name of metadata as Weaviate takes it."""
    found = _OTHER.sub("_", name)
    return f"_{found}" if found in _RESERVED or not found[:1].isalpha() else found


def _inside(arguments: Mapping[str, Any]) -> str:
    """GraphQL's way to write an object, without its braces. Raises FlowError for a key that is no name."""
    for key in arguments:
        if not re.fullmatch(r"[A-Za-z_]\w*", key, re.ASCII):
            raise FlowError(f"the Weaviate filter has a key {key!r}, which is none of a filter's")
    return ", ".join(f"{key}: {_literal(value, plain=key == 'operator')}" for key, value in arguments.items())


def _literal(value: Any, *, plain: bool = False) -> str:
    """A value in GraphQL. An operator is a name without quotes."""
    match value:
        case dict():
            return f"{{{_inside(value)}}}"
        case list():
            return f"[{', '.join(_literal(item) for item in value)}]"
        case str() if plain and _NAME.fullmatch(value):
            return value
        case _:
            return msgspec.json.encode(value).decode()
