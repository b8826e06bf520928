"""The vector store Milvus."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from headrace.engine.annotations import Additional, NodeInfo, Package
from headrace.engine.node import Context
from headrace.errors import FlowError
from headrace.nodes.accounts import secrets
from headrace.nodes.retrievers import Query
from headrace.nodes.vector_stores.served import ServedNode, server_address
from headrace.retrieval.files import within
from headrace.retrieval.library import library
from headrace.vectors import milvus, milvus_server
from headrace.vectors.served import ServedStore

_HOST_AND_PORT: Final = re.compile(r"[\w.-]+:\d+")


class Milvus(ServedNode, frozen=True, kw_only=True, tag="milvus"):
    """A collection of Milvus or Zilliz Cloud. Certificates are files in the folder `files` of the data folder."""

    info = NodeInfo(version=2.1, credentials=("milvusAuth",), packages=(Package("pymilvus", "milvus"),))

    way = "pymilvus, extra `milvus`"
    filters = '`source == "a.txt"`'

    milvusServerUrl: str
    milvusCollection: str
    milvusPartition: str = "_default"
    """Another one is made by an upsert, and searched alone; `_default` searches the whole collection."""
    milvusTextField: Additional[str] = "langchain_text"
    milvusFilter: Additional[Query] = ""
    secure: Additional[bool] = False
    serverName: Additional[str] = ""
    caPemPath: Additional[str] = ""
    clientPemPath: Additional[str] = ""
    clientKeyPath: Additional[str] = ""

    async def _store(self, ctx: Context) -> ServedStore:
        given = {name: value.strip() for name, value in (await secrets(ctx, self.credential)).items()}
        url = self.milvusServerUrl.strip()
        if _HOST_AND_PORT.fullmatch(url):
            url = f"http://{url}"
        place = milvus_server.Place(
            url=server_address(url, "Milvus"),
            user=given.get("milvusUser", ""),
            password=given.get("milvusPassword", ""),
            secure=self.secure or url.startswith("https://"),
            server_name=self.serverName,
            authority=await _file(ctx, self.caPemPath),
            certificate=await _file(ctx, self.clientPemPath),
            key=await _file(ctx, self.clientKeyPath),
        )
        return milvus.MilvusStore(
            place,
            self.milvusCollection,
            self.milvusPartition,
            self.milvusTextField,
            self.milvusFilter,
            **self._how({}),
        )


async def _file(ctx: Context, name: str) -> str:
    """The path of a file of this server that flows may read; "" for no name. Raises FlowError when there is none."""
    if not name:
        return ""
    path = within(library(ctx).files, name)
    if not await asyncio.to_thread(path.is_file):
        raise FlowError(f"there is no file {name!r} among the files of this server: put it into its folder 'files'")
    return str(path)


NODES = (Milvus,)
