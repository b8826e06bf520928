"""Document stores and their loaders: rows, in Flowise's shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeVar
from uuid import uuid4

import msgspec
from sqlalchemy import Connection, and_, case, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from headrace.engine.ports import LoadFailure
from headrace.errors import InvalidRequest, NotFound
from headrace.storage.database import Database
from headrace.storage.dialect import among, contains
from headrace.storage.storage import timestamp
from headrace.storage.tables import document_loader, document_store, flow

_T = TypeVar("_T")
Status: TypeAlias = Literal["EMPTY", "NEW", "SYNC", "SYNCING", "STALE", "UPSERTING", "UPSERTED"]
_JSON = frozenset(
    "vectorStoreConfig embeddingConfig recordManagerConfig progress loaderConfig splitterConfig files failures".split()
)
_DEFINED = (
    "loaderId loaderName loaderConfig splitterId splitterName splitterConfig credential files folder fingerprint status"
).split()


class Component(msgspec.Struct, frozen=True):
    """A node that a store has, by the name of its type, and its inputs."""

    name: str
    config: dict[str, Any] = {}


class StoredFile(msgspec.Struct, frozen=True):
    """A file of a loader."""

    id: str
    name: str
    mimePrefix: str
    size: int
    status: Status = "NEW"
    uploaded: str = ""


class Loader(msgspec.Struct, kw_only=True):
    """A way that documents come into a store. `totalChunks` and `totalChars` are what it holds now.

    `failures` names the first of its `failed` documents.
    """

    id: str = ""
    storeId: str = ""
    loaderId: str
    loaderName: str = ""
    loaderConfig: dict[str, Any] = {}
    splitterId: str = ""
    splitterName: str = ""
    splitterConfig: dict[str, Any] = {}
    credential: str | None = None
    files: list[StoredFile] = []
    folder: str = ""
    fingerprint: str = ""
    status: Status = "NEW"
    totalChunks: int = 0
    totalChars: int = 0
    failures: list[LoadFailure] = []
    failed: int = 0
    attempt: int = 0
    generation: int = 0
    processed: int = 0
    owner: str | None = None
    stored: bool = False


class StoreRow(msgspec.Struct, kw_only=True):
    """A document store. `progress` is what its upsert has done so far, or did last."""

    id: str = ""
    name: str
    description: str | None = None
    status: Status = "EMPTY"
    vectorStoreConfig: Component | None = None
    embeddingConfig: Component | None = None
    recordManagerConfig: Component | None = None
    version: int = 0
    owner: str | None = None
    progress: dict[str, Any] | None = None
    createdDate: str = ""
    updatedDate: str = ""
    loaders: list[Loader] = []

    def loader(self, loader_id: str) -> Loader:
        """One of its loaders. Raises NotFound."""
        for loader in self.loaders:
            if loader.id == loader_id:
                return loader
        raise NotFound(f"the document store {self.name!r} has no loader {loader_id!r}")


class Use(msgspec.Struct, frozen=True):
    """A flow that names a store."""

    id: str
    name: str


class DocumentStores:
    """The tables `document_store` and `document_loader`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def all(self) -> list[StoreRow]:
        """All stores, newest change first."""
        order = (document_store.c.updatedDate.desc(), document_store.c.name)

        def work(c: Connection) -> list[StoreRow]:
            rows = {
                row["id"]: _read(row, StoreRow) for row in c.execute(select(document_store).order_by(*order)).mappings()
            }
            for loader in c.execute(select(document_loader).order_by(document_loader.c.position)).mappings():
                rows[loader["storeId"]].loaders.append(_read(loader, Loader))
            return list(rows.values())

        return await self.database.scan(work)

    async def get(self, store_id: str) -> StoreRow:
        """One store with its loaders. Raises NotFound."""
        loaders = select(document_loader).where(document_loader.c.storeId == store_id)

        def work(c: Connection) -> StoreRow | None:
            row = c.execute(select(document_store).where(document_store.c.id == store_id)).mappings().one_or_none()
            if row is None:
                return None
            store = _read(row, StoreRow)
            found = c.execute(loaders.order_by(document_loader.c.position)).mappings()
            store.loaders = [_read(loader, Loader) for loader in found]
            return store

        if store := await self.database.read(work):
            return store
        raise NotFound(f"there is no document store {store_id!r} on this server")

    async def add(self, row: StoreRow) -> StoreRow:
        """Stores a new one; an empty id gets one. Raises InvalidRequest when the id is taken."""
        now = timestamp()
        new = msgspec.structs.replace(row, id=row.id or str(uuid4()), createdDate=now, updatedDate=now)
        try:
            await self.database.write(lambda c: c.execute(insert(document_store), columns(new, "loaders")))
        except IntegrityError:
            raise InvalidRequest(f"there is a document store with the id {new.id!r} already") from None
        return new

    async def change(self, store_id: str, **changes: Any) -> None:
        """Stores changed columns. Raises NotFound."""
        values = {**changes, "updatedDate": timestamp()}
        statement = update(document_store).where(document_store.c.id == store_id).values(**_texts(values))
        if not await self.database.write(lambda c: c.execute(statement).rowcount):
            raise NotFound(f"there is no document store {store_id!r} on this server")

    async def take_nodes(self, store_id: str, nodes: Mapping[str, Component | None]) -> None:
        """Stores the nodes of these columns. With other ones nothing is in the vector store yet. Raises NotFound."""
        values = _texts(nodes)
        here = document_store.c.id == store_id
        known = select(*(document_store.c[name] for name in ("id", *values))).where(here)

        def work(c: Connection) -> bool:
            row = c.execute(known).mappings().one_or_none()
            if row and any(row[name] != value for name, value in values.items()):
                c.execute(update(document_store).where(here).values(**values))
                touch(c, store_id)
            return row is not None

        if not await self.database.write(work):
            raise NotFound(f"there is no document store {store_id!r} on this server")

    async def begin_upsert(
        self, row: StoreRow, loaders: Sequence[str], owner: str, progress: Mapping[str, Any]
    ) -> None:
        """Says that a process is at it, and that these loaders are not whole in the vector store. Raises NotFound."""
        values = {"status": "UPSERTING", "owner": owner, **_texts({"progress": progress})}

        def work(c: Connection) -> int:
            _mark(c, row.id, loaders, stored=False)
            return c.execute(update(document_store).where(document_store.c.id == row.id).values(**values)).rowcount

        if not await self.database.write(work):
            raise NotFound(f"there is no document store {row.id!r} on this server")

    async def end_upsert(
        self, row: StoreRow, loaders: Sequence[str], owner: str, progress: Mapping[str, Any], *, done: bool
    ) -> None:
        """Says how an upsert ended; chunks that have changed since `row` was read are not in it.

        Of two processes that were at it, the later one says how.
        """
        here = (document_store.c.id == row.id, document_store.c.owner == owner)
        ended = {"status": "STALE", "owner": None, **_texts({"progress": progress})}

        def work(c: Connection) -> None:
            same = c.execute(select(document_store.c.version).where(*here)).scalar_one_or_none() == row.version
            if c.execute(update(document_store).where(*here).values(**ended)).rowcount and done:
                if same:
                    _mark(c, row.id, loaders, stored=True)
                _settle(c, row.id)

        await self.database.write(work)

    async def unstored(self, store_id: str, loaders: Sequence[str]) -> None:
        """Says that the vector store no longer has the chunks of these loaders."""

        def work(c: Connection) -> None:
            _mark(c, store_id, loaders, stored=False)
            _settle(c, store_id)

        await self.database.write(work)

    async def delete(self, store_id: str) -> None:
        """Deletes a store with its loaders, chunks and passages. Raises NotFound."""
        statement = delete(document_store).where(document_store.c.id == store_id)
        if not await self.database.write(lambda c: c.execute(statement).rowcount):
            raise NotFound(f"there is no document store {store_id!r} on this server")

    async def uses(self, store_id: str | None = None) -> dict[str, list[Use]]:
        """The flows that name a store, by the store's id: of one store or of all."""
        statement = select(document_store.c.id, flow.c.id, flow.c.name).join(
            flow, contains(flow.c.flowData, document_store.c.id)
        )
        if store_id:
            statement = statement.where(document_store.c.id == store_id)
        found: dict[str, list[Use]] = {}
        for used, key, name in await self.database.scan(lambda c: c.execute(statement.order_by(flow.c.name)).all()):
            found.setdefault(used, []).append(Use(key, name))
        return found

    async def put_loader(self, loader: Loader) -> Loader:
        """Stores what defines a loader, in place of the one with its id. Raises NotFound when its store is gone."""
        new = msgspec.structs.replace(loader, id=loader.id or str(uuid4()))
        values = columns(new)
        same = document_loader.c.fingerprint == new.fingerprint
        attempt = document_loader.c.attempt + case((same, 0), else_=1)  # one at work reads what is no longer wanted
        defined = {**{name: values[name] for name in _DEFINED}, "attempt": attempt}

        def work(c: Connection) -> None:
            here = (document_loader.c.id == new.id, document_loader.c.storeId == new.storeId)
            if not c.execute(update(document_loader).where(*here).values(**defined)).rowcount:
                c.execute(insert(document_loader), values)
            _change(c, new.storeId)

        try:
            await self.database.write(work)
        except IntegrityError:
            raise NotFound(f"there is no document store {new.storeId!r} on this server") from None
        return new

    async def delete_loader(self, store_id: str, loader_id: str) -> None:
        """Deletes a loader with its chunks. Raises NotFound."""
        statement = delete(document_loader).where(
            document_loader.c.id == loader_id, document_loader.c.storeId == store_id
        )

        def work(c: Connection) -> int:
            found = c.execute(statement).rowcount
            if found:
                touch(c, store_id, loader_id)
            return found

        if not await self.database.write(work):
            raise NotFound(f"the document store {store_id!r} has no loader {loader_id!r}")


def _change(c: Connection, store_id: str, **values: Any) -> None:
    here = document_store.c.id == store_id
    c.execute(update(document_store).where(here).values(updatedDate=timestamp(), **values))


def _mark(c: Connection, store_id: str, loaders: Sequence[str] | None, *, stored: bool) -> None:
    here = document_loader.c.storeId == store_id
    here = here if loaders is None else and_(here, among(document_loader.c.id, loaders))
    c.execute(update(document_loader).where(here).values(stored=stored))


def _settle(c: Connection, store_id: str) -> None:
    """Writes down what the vector store has, unless an upsert is at work, which does so at its end."""
    loaders = c.execute(select(document_loader.c.stored).where(document_loader.c.storeId == store_id)).scalars().all()
    status = ("UPSERTED" if all(loaders) else "SYNC") if loaders else "EMPTY"
    at_work = document_store.c.status == "UPSERTING"
    _change(c, store_id, status=case((at_work, document_store.c.status), else_=status))


def touch(c: Connection, store_id: str, loader_id: str | None = None) -> None:
    """Says that chunks of a store are others now, of a loader or of all, which its vector store does not have yet."""
    _mark(c, store_id, None if loader_id is None else [loader_id], stored=False)
    _change(c, store_id, version=document_store.c.version + 1)
    _settle(c, store_id)


def columns(row: StoreRow | Loader, *without: str) -> dict[str, Any]:
    """The row as the database holds it."""
    return _texts({key: value for key, value in msgspec.structs.asdict(row).items() if key not in without})


def _texts(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: msgspec.json.encode(value).decode() if key in _JSON and value is not None else value
        for key, value in values.items()
    }


def _read(row: Mapping[Any, Any], kind: type[_T]) -> _T:
    values = {str(key): msgspec.json.decode(v) if key in _JSON and v else v for key, v in row.items()}
    values.pop("position", None)
    return msgspec.convert(values, kind)
