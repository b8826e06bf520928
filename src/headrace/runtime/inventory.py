"""The things of this server that flows name, for the coverage report."""

from __future__ import annotations

import os

from headrace.documents.stores import DocumentStores, StoreRow
from headrace.engine.findings import Inventory
from headrace.retrieval.embedded import passages
from headrace.storage.storage import Storage


async def inventory(storage: Storage) -> Inventory:
    """The names and ids that are stored now, and this process's environment."""
    variables = [one.name for one in await storage.variables() if one.type == "static" or os.environ.get(one.name)]
    collections = await storage.database.read(lambda c: passages.collection_names(c, "upserted/"))
    return Inventory(
        environ=os.environ,
        credentials={one.id for one in await storage.credentials()},
        tools={one.id for one in await storage.tools()},
        flows={one.id for one in await storage.flows()},
        variables=variables,
        stores={one.id: _types(one) for one in await DocumentStores(storage.database).all()},
        upserted={name.split("/")[1] for name in collections},
        files=storage.folder / "files",
    )


def _types(store: StoreRow) -> list[str]:
    """The names of the node types that a document store is made of."""
    components = (store.vectorStoreConfig, store.embeddingConfig, store.recordManagerConfig)
    return [component.name for component in components if component and component.name]
