"""Document stores over HTTP: stores, their loaders, and their chunks."""

import json
from typing import Any

import pytest
from documents import (
    BIRDS,
    SPLITTER,
    add_loader,
    done,
    file,
    filled_store,
    found,
    insert,
    new_store,
    numbered,
    process,
    send,
    store_of,
    texts,
)
from servers import Server
from uploads import counts

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
        ("POST", "loader/save", {"loaderId": "plainText", "storeId": ""}),
        ("POST", "upsert", {"createNewDocStore": True, "docStore": {"id": "../.."}}),
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


def test_no_id_leads_out_of_the_folder_of_files(server: Server):
    store = new_store(server)
    body = {"id": "../../outside", "loaderId": "textFile", "loaderConfig": {"txtFile": file("The Wren.")}}
    for target in (store, ""):
        reply = send(server, "POST", "loader/save", {**body, "storeId": target})
        assert (reply.status, reply.json["code"]) == (400, "invalid_request")
    assert not list(server.folder.rglob("outside"))


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
        ("GET", "components/loaders", "view"),
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
        ("GET", "store-configs/x/y", "view"),
        ("POST", "generate-tool-desc/x", "view"),
    ],
)
def test_every_endpoint_needs_its_permission(server: Server, method: str, path: str, permission: str):
    def status(*permissions: str) -> int:
        key = {"keyName": "k", "permissions": list(permissions)}
        made = server.send("POST", "/api/v1/apikey", key, admin=True).json["apiKey"]
        headers = {"Authorization": f"Bearer {made}"}
        return server.send(method, f"/api/v1/document-store/{path}", {}, headers).status

    assert server.send(method, f"/api/v1/document-store/{path}", {}).status == 401
    assert status("chatflows:view") == 403
    assert status(f"documentStores:{permission}") not in (401, 403, 500)


@pytest.mark.parametrize(
    ("part", "name", "field"),
    [
        ("loaders", "pdfFile", "pdfFile"),
        ("embeddings", "openAIEmbeddings", "modelName"),
        ("vectorstore", "milvus", "milvusCollection"),
        ("recordmanager", "SQLiteRecordManager", "cleanup"),
    ],
)
def test_what_a_store_may_be_made_of_is_listed(server: Server, part: str, name: str, field: str):
    found = {one["name"]: one for one in done(send(server, "GET", f"components/{part}"))}
    assert len({one["category"] for one in found.values()}) == 1
    assert found[name]["description"]
    assert field in {one["name"] for one in found[name]["inputs"]}
    assert not found.keys() & {"documentStore", "documentStoreVS", "retrieverTool"}


def test_there_is_no_list_of_other_parts(server: Server):
    assert send(server, "GET", "components/splitters").status == 400


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
    whole = done(send(server, "POST", "loader/save", {"storeId": store, "id": saved["id"], "splitterId": ""}))
    assert (whole["splitterId"], whole["loaderConfig"], whole["status"]) == ("", {"text": BIRDS}, "STALE")


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


def test_chunks_are_changed_and_deleted_and_the_next_upsert_follows(server: Server):
    store, loader = filled_store(server)
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
