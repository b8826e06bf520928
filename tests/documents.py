"""What the tests of document stores share: requests, and a store with chunks of three birds."""

import base64
from typing import Any

from servers import Reply, Server
from uploads import counts

BIRDS = "The Kestrel hovers over grassland.\n\nThe Heron spears fish.\n\nThe Swift sleeps on the wing."
SPLITTER = {"splitterId": "recursiveCharacterTextSplitter", "splitterConfig": {"chunkSize": 40, "chunkOverlap": 0}}
SMALL = {"name": SPLITTER["splitterId"], "config": SPLITTER["splitterConfig"]}


def send(server: Server, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
    return server.send(method, f"/api/v1/document-store/{path}", body, headers, admin=True)


def done(reply: Reply) -> Any:
    assert reply.status == 200, reply.text
    return reply.json


def new_store(server: Server, **columns: Any) -> str:
    return done(send(server, "POST", "store", {"name": "birds", **columns}))["id"]


def store_of(server: Server, store: str) -> Any:
    return done(send(server, "GET", f"store/{store}"))


def file(text: bytes | str, name: str = "a.txt") -> str:
    data = base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()
    return f"data:text/plain;base64,{data},filename:{name}"


def add_loader(server: Server, store: str, text: str = BIRDS, kind: str = "plainText", **more: Any) -> str:
    """A loader that is not processed yet."""
    config = more.pop("config", {"text": text})
    body = {"storeId": store, "loaderId": kind, "loaderName": kind, "loaderConfig": config, **SPLITTER, **more}
    return done(send(server, "POST", "loader/save", body))["id"]


def process(server: Server, store: str, loader: str, **body: Any) -> Reply:
    return send(server, "POST", f"loader/process/{loader}", {"storeId": store, **body})


def numbered(count: int) -> list[str]:
    return [f"Bird number {n} sings in the morning.\n\n" for n in range(count)]


def texts(server: Server, store: str, loader: str = "all", page: int = 1) -> list[str]:
    return [chunk["pageContent"] for chunk in done(send(server, "GET", f"chunks/{store}/{loader}/{page}"))["chunks"]]


def insert(server: Server, store: str, **body: Any) -> Reply:
    return send(server, "POST", "vectorstore/insert", {"storeId": store, **body})


def found(server: Server, store: str, question: str, **inputs: Any) -> list[Any]:
    return done(send(server, "POST", "vectorstore/query", {"storeId": store, "query": question, "inputs": inputs}))[
        "docs"
    ]


def filled_store(server: Server) -> tuple[str, str]:
    """A store and its loader, whose three chunks are in the vector store."""
    store = new_store(server)
    loader = add_loader(server, store)
    done(process(server, store, loader))
    assert counts(insert(server, store)) == (3, 0, 0, 0)
    return store, loader
