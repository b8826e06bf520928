"""Document stores over HTTP: their loaders, chunks and vectors, and the flows that use them."""

import base64
import json
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from servers import Reply, Server, chat_model, flow, node, serving
from uploads import counts, form, sources
from upstream import Upstream

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


@pytest.fixture
def birds(server: Server) -> tuple[str, str]:
    """A store and its loader, whose three chunks are in the vector store."""
    store = new_store(server)
    loader = add_loader(server, store)
    done(process(server, store, loader))
    assert counts(insert(server, store)) == (3, 0, 0, 0)
    return store, loader


# Stores


def test_a_store_is_made_read_changed_and_deleted(server: Server):
    embedding = '{"name":"openAIEmbeddings","config":{"modelName":"small"}}'
    made = done(send(server, "POST", "store", {"name": "birds", "description": "notes", "embeddingConfig": embedding}))
    assert (made["status"], made["loaders"], made["whereUsed"], made["embeddingConfig"]) == (
        "EMPTY",
        "[]",
        "[]",
        embedding,
    )
    store = made["id"]
    changed = done(send(server, "PUT", f"store/{store}", {"name": "swifts", "embeddingConfig": None}))
    assert (changed["name"], changed["description"], changed["embeddingConfig"]) == ("swifts", "notes", None)
    assert store_of(server, store) == changed
    assert changed in done(send(server, "GET", "store"))
    assert done(send(server, "GET", "store?page=1&limit=1"))["total"] >= 1
    assert done(send(server, "DELETE", f"store/{store}")) == {"deleted": 1, "whereUsed": []}
    assert send(server, "GET", f"store/{store}").json["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "store", {}),
        ("POST", "store", {"name": " "}),
        ("POST", "store", {"name": "x", "id": "no-uuid"}),
        ("POST", "store", {"name": "x", "vectorStoreConfig": "{"}),
        ("POST", "store", {"name": "x", "vectorStoreConfig": "[1]"}),
        ("POST", "loader/save", {"storeId": "", "loaderConfig": {}}),
        ("POST", "loader/save", {"loaderId": "unheardOf"}),
        ("POST", "loader/preview", {"loaderId": "plainText", "splitterId": "unheardOf"}),
        ("POST", "upsert/x", []),
        ("POST", "upsert/x", {"loader": "{"}),
        ("POST", "upsert/x", {"loader": 5}),
        ("POST", "refresh/x", []),
        ("POST", "refresh/x", {"items": 5}),
        ("GET", "chunks/x/all/0", None),
        ("GET", "chunks/x/all/-1", None),
    ],
)
def test_a_request_that_cannot_be_read_is_refused(server: Server, method: str, path: str, body: Any):
    reply = send(server, method, path, body)
    assert (reply.status, reply.json["code"]) == (400, "invalid_request")


def test_a_chosen_id_is_taken_once(server: Server):
    chosen = "0c0ffee0-0000-4000-8000-00000000d0c5"
    assert new_store(server, id=chosen) == chosen
    assert send(server, "POST", "store", {"name": "birds", "id": chosen}).status == 400


@pytest.mark.parametrize(
    ("method", "path", "permission"),
    [
        ("GET", "store", "view"),
        ("POST", "store", "create"),
        ("GET", "store/x", "view"),
        ("PUT", "store/x", "update"),
        ("DELETE", "store/x", "delete"),
        ("POST", "loader/save", "preview-process"),
        ("POST", "loader/preview", "preview-process"),
        ("POST", "loader/process/x", "preview-process"),
        ("DELETE", "loader/x/y", "delete-loader"),
        ("GET", "chunks/x/y/1", "view"),
        ("PUT", "chunks/x/y/z", "update"),
        ("DELETE", "chunks/x/y/z", "delete"),
        ("POST", "vectorstore/save", "upsert-config"),
        ("POST", "vectorstore/update", "upsert-config"),
        ("POST", "vectorstore/insert", "upsert-config"),
        ("DELETE", "vectorstore/x", "upsert-config"),
        ("POST", "vectorstore/query", "view"),
        ("POST", "upsert/x", "upsert-config"),
        ("POST", "refresh/x", "upsert-config"),
    ],
)
def test_every_endpoint_needs_its_permission(server: Server, method: str, path: str, permission: str):
    def status(*permissions: str) -> int:
        key = {"keyName": "k", "permissions": list(permissions)}
        made = server.send("POST", "/api/v1/apikey", key, admin=True).json["apiKey"]
        headers = {"Authorization": f"Bearer {made}"}
        return server.send(method, f"/api/v1/document-store/{path}", {}, headers).status

    assert server.send(method, f"/api/v1/document-store/{path}", {}).status == 401
    assert status("documentStores:other") == 403
    assert status(f"documentStores:{permission}") not in (401, 403, 500)


# Loaders and chunks


def test_a_loader_is_previewed_saved_and_processed(server: Server):
    store = new_store(server)
    body = {"storeId": store, "loaderId": "plainText", "loaderConfig": {"text": BIRDS}, **SPLITTER}
    seen = done(send(server, "POST", "loader/preview", {**body, "previewChunkCount": 2}))
    assert (len(seen["chunks"]), seen["totalChunks"], seen["previewChunkCount"]) == (2, 3, 2)
    assert store_of(server, store)["loaders"] == []
    saved = done(send(server, "POST", "loader/save", body))
    assert (saved["status"], saved["totalChunks"]) == ("NEW", 0)
    assert store_of(server, store)["status"] == "STALE"
    page = done(process(server, store, saved["id"]))
    assert [chunk["pageContent"] for chunk in page["chunks"]] == BIRDS.split("\n\n")
    assert [chunk["chunkNo"] for chunk in page["chunks"]] == [1, 2, 3]
    assert json.loads(page["chunks"][0]["metadata"])["loc"] == {"lines": {"from": 1, "to": 1}}
    assert (page["count"], page["characters"], page["file"]["status"]) == (3, len(BIRDS) - 4, "SYNC")
    now = store_of(server, store)
    assert (now["status"], now["totalChunks"], now["totalChars"]) == ("SYNC", 3, len(BIRDS) - 4)


def test_processing_again_puts_the_new_chunks_in_the_place_of_the_old(server: Server):
    store = new_store(server)
    loader = add_loader(server, store)
    for _ in range(2):
        assert done(process(server, store, loader))["count"] == 3
    changed = {"loaderConfig": {"text": "The Wren is small."}}
    assert done(process(server, store, loader, **changed))["count"] == 1
    assert texts(server, store) == ["The Wren is small."]


def test_chunks_come_in_pages_of_fifty(server: Server):
    store = new_store(server)
    first = add_loader(server, store, "".join(numbered(120)))
    second = add_loader(server, store, "The Wren is small.")
    for loader in (first, second):
        done(process(server, store, loader))
    assert [len(texts(server, store, "all", page)) for page in (1, 2, 3, 4)] == [50, 50, 21, 0]
    assert texts(server, store, first, 3)[0] == "Bird number 100 sings in the morning."
    assert texts(server, store, second) == ["The Wren is small."]


def test_chunks_are_changed_and_deleted_and_the_next_upsert_follows(server: Server, birds: tuple[str, str]):
    store, loader = birds
    one, two, _ = done(send(server, "GET", f"chunks/{store}/{loader}/1"))["chunks"]
    edited = {"pageContent": "The Kestrel is rare.", "metadata": {"source": "me"}}
    page = done(send(server, "PUT", f"chunks/{store}/{loader}/{one['id']}", edited))
    assert (page["chunks"][0]["pageContent"], json.loads(page["chunks"][0]["metadata"])) == tuple(edited.values())
    assert done(send(server, "DELETE", f"chunks/{store}/{loader}/{two['id']}"))["count"] == 2
    now = store_of(server, store)
    assert (now["status"], now["totalChars"]) == ("SYNC", len("The Kestrel is rare.The Swift sleeps on the wing."))
    assert counts(insert(server, store)) == (1, 0, 1, 2)
    assert [doc["pageContent"] for doc in found(server, store, "kestrel heron")] == ["The Kestrel is rare."]
    assert send(server, "DELETE", f"chunks/{store}/{loader}/{two['id']}").status == 404


def test_files_are_kept_for_processing_again_and_go_with_their_loader(server: Server):
    store = new_store(server)
    loader = add_loader(server, store, kind="textFile", config={"txtFile": file("The Wren is small.")})
    (saved,) = store_of(server, store)["loaders"]
    assert saved["loaderConfig"] == {"txtFile": 'FILE-STORAGE::["a.txt"]'}
    assert [(one["name"], one["size"], one["mimePrefix"]) for one in saved["files"]] == [("a.txt", 18, "text/plain")]
    assert saved["source"] == "a.txt"
    (chunk,) = done(process(server, store, loader))["chunks"]
    assert json.loads(chunk["metadata"])["source"] == "a.txt"
    other = {"loaderConfig": {"txtFile": file("The Owl sees.")}}
    assert done(process(server, store, loader, **other))["chunks"][0]["pageContent"] == "The Owl sees."
    assert [path.read_text() for path in (server.folder / "files" / store).rglob("*.txt")] == ["The Owl sees."]
    left = done(send(server, "DELETE", f"loader/{store}/{loader}"))
    assert (left["loaders"], left["totalChunks"]) == ([], 0)
    assert list((server.folder / "files" / store).rglob("*.txt")) == []


@pytest.mark.parametrize("name", ["../../up.txt", "a/b.txt", "..", ""])
def test_a_file_of_a_loader_has_a_name_without_folders(server: Server, name: str):
    body = {"storeId": new_store(server), "loaderId": "textFile", "loaderConfig": {"txtFile": file("x", name)}}
    assert send(server, "POST", "loader/save", body).status == 400


def test_of_several_files_a_bad_one_is_named_and_the_others_stay(server: Server):
    store = new_store(server)
    good, bad = file("The Wren is small.", "good.txt"), file(b"caf\xe9 \xff", "bad.txt")
    loader = add_loader(server, store, kind="textFile", config={"txtFile": json.dumps([good, bad])})
    page = done(process(server, store, loader))
    assert [chunk["pageContent"] for chunk in page["chunks"]] == ["The Wren is small."]
    (failure,) = page["file"]["failures"]
    assert (failure["source"], failure["step"], page["file"]["status"]) == ("bad.txt", "read", "STALE")


def test_chunks_of_a_file_that_turned_bad_stay(server: Server):
    store = new_store(server)
    wren, owl = file("The Wren is small.", "wren.txt"), file("The Owl sees.", "owl.txt")
    loader = add_loader(server, store, kind="textFile", config={"txtFile": json.dumps([wren, owl])})
    done(process(server, store, loader))
    bad = {"txtFile": json.dumps([file(b"\xff", "wren.txt"), file("The Owl sees all.", "owl.txt")])}
    page = done(process(server, store, loader, loaderConfig=bad))
    assert [chunk["pageContent"] for chunk in page["chunks"]] == ["The Owl sees all.", "The Wren is small."]
    assert [chunk["chunkNo"] for chunk in page["chunks"]] == [1, 2]


def test_when_nothing_can_be_read_the_chunks_stay_and_the_loader_says_why(server: Server):
    store = new_store(server)
    loader = add_loader(server, store, kind="textFile", config={"txtFile": file("The Wren is small.")})
    done(process(server, store, loader))
    reply = process(server, store, loader, loaderConfig={"txtFile": file(b"\xff")})
    assert (reply.status, reply.json["code"]) == (422, "flow_error")
    assert "'a.txt' could not be read" in reply.json["message"]
    (told,) = store_of(server, store)["loaders"]
    assert (told["status"], told["totalChunks"]) == ("STALE", 1)
    assert "'a.txt' could not be read" in told["failures"][0]["reason"]
    assert texts(server, store) == ["The Wren is small."]


# Vectors


def test_a_store_is_searched_by_its_chunks(server: Server, birds: tuple[str, str]):
    store, loader = birds
    now = store_of(server, store)
    assert (now["status"], now["progress"]) == (
        "UPSERTED",
        {"numAdded": 3, "numUpdated": 0, "numSkipped": 0, "numDeleted": 0},
    )
    chunks = done(send(server, "GET", f"chunks/{store}/{loader}/1"))["chunks"]
    (heron,) = found(server, store, "who spears fish?", topK=1)
    assert (heron["pageContent"], heron["id"], heron["chunkNo"]) == ("The Heron spears fish.", chunks[1]["id"], 2)
    assert heron["metadata"]["docId"] == loader
    assert counts(insert(server, store)) == (0, 0, 3, 0)


def test_the_nodes_of_a_store_are_saved_and_taken_off(server: Server):
    store = new_store(server)
    faiss = {
        "vectorStoreName": "faiss",
        "vectorStoreConfig": {"basePath": "x"},
        "recordManagerName": "SQLiteRecordManager",
    }
    saved = done(send(server, "POST", "vectorstore/save", {"storeId": store, **faiss}))
    assert json.loads(saved["vectorStoreConfig"]) == {"name": "faiss", "config": {"basePath": "x"}}
    update = {"storeId": store, "vectorStoreName": "memoryVectorStore", "vectorStoreConfig": {"topK": 2}}
    done(send(server, "POST", "vectorstore/update", update))
    now = store_of(server, store)
    assert now["vectorStoreConfig"] == {"name": "memoryVectorStore", "config": {"topK": 2}}
    assert now["recordManagerConfig"] == {"name": "SQLiteRecordManager", "config": {}}
    done(send(server, "POST", "vectorstore/save", {"storeId": store}))
    assert store_of(server, store)["vectorStoreConfig"] is None
    assert send(server, "POST", "vectorstore/save", {"storeId": store, "vectorStoreName": "unheardOf"}).status == 400


def test_one_loader_is_upserted_emptied_and_deleted_without_the_others(server: Server, birds: tuple[str, str]):
    store, first = birds
    second = add_loader(server, store, "The Wren is small.")
    done(process(server, store, second))
    assert counts(insert(server, store, docId=second)) == (1, 0, 0, 0)
    done(process(server, store, second, loaderConfig={"text": "The Wren has moved."}))
    assert counts(insert(server, store, docId=second)) == (1, 0, 0, 1)
    assert done(send(server, "DELETE", f"vectorstore/{store}?docId={first}")) == {"deleted": 3}
    assert [doc["pageContent"] for doc in found(server, store, "the wing wren fish")] == ["The Wren has moved."]
    assert counts(insert(server, store)) == (3, 0, 1, 0)
    done(send(server, "DELETE", f"loader/{store}/{second}"))
    assert found(server, store, "wren") == []
    assert done(send(server, "DELETE", f"vectorstore/{store}")) == {"deleted": 3}


def test_a_loader_without_chunks_leaves_no_passages(server: Server, birds: tuple[str, str]):
    store, loader = birds
    for chunk in done(send(server, "GET", f"chunks/{store}/{loader}/1"))["chunks"]:
        done(send(server, "DELETE", f"chunks/{store}/{loader}/{chunk['id']}"))
    assert counts(insert(server, store, docId=loader)) == (0, 0, 0, 3)


def test_a_vector_store_that_cannot_be_reached_is_named_and_the_chunks_stay(server: Server, upstream: Upstream):
    store = new_store(server)
    done(process(server, store, add_loader(server, store)))
    nodes = {
        "embeddingName": "openAIEmbeddings",
        "embeddingConfig": {"basepath": upstream.url},
        "vectorStoreName": "chroma",
        "vectorStoreConfig": {"collectionName": "birds", "chromaURL": "http://127.0.0.1:9"},
    }
    reply = insert(server, store, **nodes)
    assert (reply.status, reply.json["code"]) == (503, "provider_unavailable")
    assert "Chroma" in reply.json["message"]
    now = store_of(server, store)
    assert (now["status"], now["totalChunks"]) == ("STALE", 3)


# Upsert and refresh


def test_an_upsert_makes_a_loader_once(server: Server):
    store = new_store(server)
    body = {"loader": {"name": "plainText", "config": {"text": BIRDS}}, "splitter": json.dumps(SMALL)}
    first = send(server, "POST", f"upsert/{store}", body)
    assert counts(first) == (3, 0, 0, 0)
    assert first.json["storeId"] == store
    again = send(server, "POST", f"upsert/{store}", body)
    assert (counts(again), again.json["docId"]) == ((0, 0, 3, 0), first.json["docId"])
    assert len(store_of(server, store)["loaders"]) == 1


def test_an_upsert_takes_files_and_says_which_failed(server: Server):
    store = new_store(server)
    files = [("a.csv", b"bird\nWren\nOwl\n", "text/csv"), ("bad.txt", b"\xff", "text/plain")]
    body = form({"metadata": json.dumps({"team": "birds"})}, files)
    reply = send(server, "POST", f"upsert/{store}", *body)
    assert counts(reply) == (2, 0, 0, 0)
    assert [(one["source"], one["step"]) for one in reply.json["failures"]] == [("bad.txt", "read")]
    assert reply.json["addedDocs"][0]["metadata"]["team"] == "birds"
    assert counts(send(server, "POST", f"upsert/{store}", *body)) == (0, 0, 2, 0)
    pdf = form({"loader": '{"name": "pdfFile"}'}, [("a.txt", b"x", "text/plain")])
    assert "'pdfFile' takes no file like 'a.txt'" in send(server, "POST", f"upsert/{store}", *pdf).json["message"]


def test_an_upsert_may_replace_a_loader_or_make_one_like_it(server: Server):
    store = new_store(server)
    body = {"loader": {"name": "plainText", "config": {"text": BIRDS}}, "splitter": SMALL}
    first = done(send(server, "POST", f"upsert/{store}", body))["docId"]
    other = {"docId": first, "loader": {"config": {"text": "The Wren is small."}}}
    second = done(send(server, "POST", f"upsert/{store}", other))["docId"]
    assert second != first
    assert len(store_of(server, store)["loaders"]) == 2
    replaced = send(
        server,
        "POST",
        f"upsert/{store}",
        {**other, "docId": second, "replaceExisting": "true", "loader": {"config": {"text": "The Owl."}}},
    )
    assert (counts(replaced), replaced.json["docId"]) == ((1, 0, 0, 1), second)
    assert texts(server, store, second) == ["The Owl."]


def test_an_upsert_may_make_the_store_too(server: Server):
    body = {
        "createNewDocStore": True,
        "docStore": {"name": "made"},
        "loader": {"name": "plainText", "config": {"text": "Owl."}},
    }
    made = done(send(server, "POST", "upsert", body))
    assert store_of(server, made["storeId"])["name"] == "made"
    before = len(done(send(server, "GET", "store")))
    bad = {**body, "loader": {"name": "textFile", "config": {"txtFile": file(b"\xff")}}}
    assert send(server, "POST", "upsert", bad).status == 422
    assert len(done(send(server, "GET", "store"))) == before


def test_a_new_loader_that_brings_nothing_leaves_nothing(server: Server):
    store = new_store(server)
    bad = {"loader": {"name": "textFile", "config": {"txtFile": file(b"\xff")}}}
    assert send(server, "POST", f"upsert/{store}", bad).status == 422
    assert store_of(server, store)["loaders"] == []
    assert list((server.folder / "files" / store).rglob("*.txt")) == []


def test_refreshing_reads_everything_again_and_goes_on_after_a_failure(server: Server):
    store = new_store(server)
    folder = server.folder / "files" / "refreshed"
    (folder / "gone").mkdir(parents=True)
    (folder / "kept").mkdir()
    for name in ("gone", "kept"):
        (folder / name / "a.txt").write_text(f"The {name} bird.")
        loader = {"loader": {"name": "folderFiles", "config": {"folderPath": f"refreshed/{name}"}}}
        assert counts(send(server, "POST", f"upsert/{store}", loader)) == (1, 0, 0, 0)
    (folder / "gone" / "a.txt").write_bytes(b"\xff")
    (folder / "kept" / "a.txt").write_text("The kept bird has moved.")
    gone, kept = done(send(server, "POST", f"refresh/{store}"))
    assert "'a.txt' could not be read" in gone["failures"][0]["reason"]
    assert (kept["numAdded"], kept["numDeleted"], kept["failures"]) == (1, 1, [])
    assert texts(server, store) == ["The gone bird.", "The kept bird has moved."]
    only = done(send(server, "POST", f"refresh/{store}", {"items": [{"docId": kept["docId"]}]}))
    assert [one["numSkipped"] for one in only] == [1]


# Interruptions


def until(condition: Callable[[], Any], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        pass


@pytest.mark.parametrize(("step", "lines"), [("SYNCING", 8_000), ("UPSERTING", 20_000)])
def test_a_killed_upsert_goes_on_without_doubles_and_without_gaps(tmp_path: Path, step: str, lines: int):
    folder = tmp_path / "data"
    body = form({"splitter": json.dumps(SMALL)}, [("birds.txt", "".join(numbered(lines)).encode(), "text/plain")])
    with serving(folder) as first, ThreadPoolExecutor(1) as thread:
        store = new_store(first)
        reply = thread.submit(send, first, "POST", f"upsert/{store}", *body)

        def at_work() -> bool:
            now = store_of(first, store)
            begun = any(loader["processed"] for loader in now["loaders"])
            return now["status"] == step and (begun if step == "SYNCING" else bool(now["progress"]["numAdded"]))

        until(at_work)
        assert at_work(), store_of(first, store)
        first.stop(signal.SIGKILL)
        with pytest.raises(OSError, match=r"Remote|reset|closed"):
            reply.result(20)
    with serving(folder) as second:
        now = store_of(second, store)
        assert (now["status"], [loader["totalChunks"] for loader in now["loaders"]]) == (
            "STALE", [0 if step == "SYNCING" else lines]
        )  # fmt: skip
        again = send(second, "POST", f"upsert/{store}", *body)
        added, _, skipped, deleted = counts(again)
        assert (added + skipped, deleted) == (lines, 0)
        assert bool(skipped) == (step == "UPSERTING")
        now = store_of(second, store)
        assert (now["status"], [loader["totalChunks"] for loader in now["loaders"]]) == ("UPSERTED", [lines])
        assert counts(send(second, "POST", f"upsert/{store}", *body)) == (0, 0, lines, 0)


# In flows


def answering(base: str, *before: dict[str, Any], store: str, **inputs: Any) -> dict[str, Any]:
    """A flow that answers from what is wired to it, and says from what."""
    chain: dict[str, Any] = {
        "model": "{{chatOpenAI_0.data.instance}}",
        "vectorStoreRetriever": "{{" + store + ".data.instance}}",
        "returnSourceDocuments": True,
    }
    return flow(*before, chat_model(base), node("conversationalRetrievalQAChain", "Chains", **chain, **inputs))


def test_flows_answer_from_a_store(server: Server, upstream: Upstream, birds: tuple[str, str]):
    store, _ = birds
    searched = node("documentStoreVS", "Vector Stores", selectedStore=store, output="retriever")
    asking = server.create_flow(answering(upstream.url, searched, store="documentStoreVS_0"), name="asking")
    assert "The Heron spears fish." in sources(server, asking, "heron")
    loaded = node("documentStore", "Document Loaders", selectedStore=store, output="document")
    kept = node(
        "memoryVectorStore", "Vector Stores", document=["{{documentStore_0.data.instance}}"], output="retriever", topK=1
    )
    loading = server.create_flow(answering(upstream.url, loaded, kept, store="memoryVectorStore_0"), name="loading")
    assert sources(server, loading, "swift") == ["The Swift sleeps on the wing."]
    uses = [{"id": asking, "name": "asking"}, {"id": loading, "name": "loading"}]
    assert store_of(server, store)["whereUsed"] == uses
    assert done(send(server, "DELETE", f"store/{store}")) == {"deleted": 1, "whereUsed": uses}
    for flow_id in (asking, loading):
        reply = server.ask(flow_id, "heron")
        assert (reply.status, reply.json["code"]) == (422, "flow_error")
        assert f"no document store '{store}'" in reply.json["message"]


def test_the_text_of_a_store_goes_into_a_prompt(server: Server, upstream: Upstream, birds: tuple[str, str]):
    store, _ = birds
    loaded = node("documentStore", "Document Loaders", selectedStore=store, output="text")
    values = '{"birds": "{{documentStore_0.data.instance}}"}'
    prompt = node("promptTemplate", "Prompts", template="{birds}", promptValues=values)
    chain = node(
        "llmChain",
        "Chains",
        output="llmChain",
        model="{{chatOpenAI_0.data.instance}}",
        prompt="{{promptTemplate_0.data.instance}}",
    )
    made = server.create_flow(flow(loaded, chat_model(upstream.url), prompt, chain))
    assert server.ask(made, "x").status == 200
    (request,) = upstream.requests
    assert request.body["messages"][-1]["content"] == BIRDS.replace("\n\n", "\n")


def test_documents_inside_a_stores_own_configuration_are_searched(server: Server, upstream: Upstream):
    documents = [{"pageContent": text, "metadata": {"n": n}} for n, text in enumerate(BIRDS.split("\n\n"))]
    config = {"name": "memoryVectorStore", "config": {"topK": "1", "document": documents}}
    store = new_store(server, vectorStoreConfig=json.dumps(config))
    (heron,) = found(server, store, "fish")
    assert (heron["pageContent"], heron["metadata"], heron["chunkNo"]) == ("The Heron spears fish.", {"n": 1}, -1)
