"""Qdrant through its own client (the extra `qdrant`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec

from headrace.errors import FlowError, ProviderError, ProviderNotFound, ProviderRefused, ProviderUnavailable
from headrace.events import Document
from headrace.installation import remedy
from headrace.providers.error_mapping import complaint, refusal_class
from headrace.vectors.served import Hit, Near, Point, ServedStore

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient

Distance: TypeAlias = Literal["Cosine", "Euclid", "Dot"]
Open: TypeAlias = Callable[[], "AsyncQdrantClient"]

_PATIENCE: Final = 60  # seconds
_CONFLICT: Final = 409


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The layout of a collection: how passages are held, and how a missing collection is made."""

    content: str = "content"
    metadata: str = "metadata"
    distance: Distance = "Cosine"
    configuration: dict[str, Any] = {}


class QdrantStore(ServedStore):
    """A collection; adding makes it."""

    def __init__(self, connect: Open, collection: str, shape: Shape, secret: str = "", **how: Any) -> None:
        super().__init__(f"the Qdrant collection {collection!r}", **how)
        self._connect, self._collection, self._shape, self._secret = connect, collection, shape, secret

    async def _known(self, ids: Sequence[str]) -> set[str]:
        async with self._connected() as client:
            if not await client.collection_exists(self._collection):
                return set()
            found = await client.retrieve(self._collection, list(ids), with_payload=False, with_vectors=False)
        return {str(point.id) for point in found}

    async def _put(self, points: Sequence[Point]) -> None:
        from qdrant_client import models

        rows = [
            models.PointStruct(
                id=point.id,
                vector=list(point.vector),
                payload={
                    self._shape.content: point.document.pageContent,
                    self._shape.metadata: point.document.metadata,
                },
            )
            for point in points
        ]
        async with self._connected() as client:
            await self._make(client, len(points[0].vector))
            await client.upsert(self._collection, rows, wait=True)

    async def _make(self, client: AsyncQdrantClient, dimensions: int) -> None:
        from qdrant_client import models
        from qdrant_client.http.exceptions import UnexpectedResponse

        if await client.collection_exists(self._collection):
            return
        given = self._shape.configuration
        vectors = {"size": dimensions, "distance": self._shape.distance, **given.get("vectors", {})}
        try:
            made = models.CreateCollection.model_validate({**given, "vectors": vectors})
        except ValueError:
            raise FlowError(f"Qdrant knows no such collection configuration: {given!r}") from None
        more = {name: getattr(made, name) for name in made.model_fields_set - {"vectors"}}
        try:
            await client.create_collection(self._collection, made.vectors, **more)
        except UnexpectedResponse as error:
            if error.status_code != _CONFLICT:  # somebody else has just made it
                raise

    async def _near(self, wanted: Near) -> list[Hit]:
        async with self._connected() as client:
            found = await client.query_points(
                self._collection,
                query=list(wanted.vector),
                query_filter=_filter(wanted.filters),
                limit=wanted.k,
                with_payload=True,
                with_vectors=wanted.vectors,
            )
        return [self._hit(point) for point in found.points]

    def _hit(self, point: Any) -> Hit:
        payload = point.payload or {}
        document = Document(
            str(payload.get(self._shape.content) or ""), payload.get(self._shape.metadata) or {}, str(point.id)
        )
        return Hit(document, point.score, point.vector if isinstance(point.vector, list) else ())

    async def _remove(self, ids: Sequence[str]) -> None:
        async with self._connected() as client:
            await client.delete(self._collection, list(ids), wait=True)

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[AsyncQdrantClient]:
        """The client, loaded in a thread the first time: that takes a second."""
        exceptions = await asyncio.to_thread(_loaded)
        client = self._connect()
        try:
            yield client
        except exceptions.UnexpectedResponse as error:
            raise self._refusal(error.status_code or 500, error.content) from None
        except exceptions.ResponseHandlingException as error:
            raise ProviderUnavailable(f"cannot reach Qdrant: {error.source}") from None
        except ValueError as error:  # what the client finds out by itself
            missing = "not found" in str(error)
            raise (ProviderNotFound if missing else ProviderRefused)(f"Qdrant's client says: {error}") from None
        finally:
            await client.close()

    def _refusal(self, status: int, body: bytes) -> ProviderError:
        said = complaint(_reason(body), self._secret)
        return refusal_class(status, said)(f"Qdrant answered {status}: {said.message}")


def _reason(body: bytes) -> bytes:
    """The words of Qdrant's `{"status": {"error": …}}`."""
    try:
        return msgspec.json.decode(body)["status"]["error"].encode()
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return body


def _loaded() -> Any:
    try:
        from qdrant_client import AsyncQdrantClient as AsyncQdrantClient
        from qdrant_client.http import exceptions
    except ImportError:
        raise FlowError(f"the Qdrant node needs qdrant-client: {remedy('qdrant')}") from None
    return exceptions


def _filter(conditions: Sequence[Any]) -> Any:
    """Filters as Qdrant's documentation writes them, all of which must hold. Raises FlowError."""
    from qdrant_client import models

    if not conditions:
        return None
    try:
        first, *others = [models.Filter.model_validate(dict(condition)) for condition in conditions]
        return models.Filter(must=[first, *others]) if others else first
    except ValueError:
        raise FlowError(
            "the Qdrant filter cannot be read: write it as Qdrant does, "
            'such as {"must": [{"key": "metadata.source", "match": {"value": "a.txt"}}]}'
        ) from None


def server(url: str, key: str) -> Open:
    """Opens the server's client. It asks nothing by itself."""

    def connect() -> AsyncQdrantClient:
        from qdrant_client import AsyncQdrantClient

        # As `api_key` it would warn, on a server's own machine too, that HTTP is not secret.
        headers = {"api-key": key} if key else {}
        return AsyncQdrantClient(url=url, metadata=headers, timeout=_PATIENCE, check_compatibility=False)

    return connect
