"""What the tests of uploads share: multipart bodies, and flows that read documents into a store."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from servers import Reply, Server, chat_model, flow, node


def form(
    fields: dict[str, str] | None = None, files: Sequence[tuple[str, bytes, str]] = ()
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a multipart form."""
    parts = [
        f'--limit\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in (fields or {}).items()
    ]
    for name, content, mime in files:
        head = f'Content-Disposition: form-data; name="files"; filename="{name}"\r\nContent-Type: {mime}'
        parts.append(f"--limit\r\n{head}\r\n\r\n".encode() + content + b"\r\n")
    return b"".join([*parts, b"--limit--\r\n"]), {"Content-Type": "multipart/form-data; boundary=limit"}


def allowing(*inputs: tuple[str, str]) -> dict[str, Any]:
    """The flow's configuration that lets callers set these inputs, each by node label and input."""
    nodes: dict[str, list[dict[str, Any]]] = {}
    for label, name in inputs:
        nodes.setdefault(label, []).append({"name": name, "enabled": True})
    return {"overrideConfig": {"status": True, "nodes": nodes}}


def reading(base: str, *loaders: dict[str, Any], stores: int = 1, **store: Any) -> dict[str, Any]:
    """Loaders, memory stores for them, and a chain that answers from the first one."""
    documents = ["{{" + loader["id"] + ".data.instance}}" for loader in loaders]
    inputs = {"document": documents, "topK": "3", "output": "retriever", **store}
    kept = [node("memoryVectorStore", "Vector Stores", n, label="Store", **inputs) for n in range(stores)]
    found: dict[str, Any] = {
        "vectorStoreRetriever": "{{memoryVectorStore_0.data.instance}}",
        "returnSourceDocuments": True,
    }
    chain = node("conversationalRetrievalQAChain", "Chains", model="{{chatOpenAI_0.data.instance}}", **found)
    drawn = flow(*loaders, *kept, chat_model(base), chain)
    drawn["edges"] += [{"source": one["id"], "target": chain["id"]} for one in kept]
    return drawn


def upsert(server: Server, flow_id: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
    return server.send("POST", f"/api/v1/vector/upsert/{flow_id}", {} if body is None else body, headers, admin=True)


def sources(server: Server, flow_id: str, question: str, chat: str = "somebody") -> list[str]:
    """The passages that an answer rests on, by text."""
    session = {"sessionId": str(uuid4())}  # so that what was said before does not change what is looked for
    reply = server.ask(flow_id, question, chatId=chat, overrideConfig=session)
    assert reply.status == 200, reply.text
    return sorted(document["pageContent"] for document in reply.json.get("sourceDocuments") or [])


def counts(reply: Reply) -> tuple[int, ...]:
    """Numbers added, updated, skipped, deleted."""
    assert reply.status == 200, reply.text
    return tuple(reply.json[name] for name in ("numAdded", "numUpdated", "numSkipped", "numDeleted"))
