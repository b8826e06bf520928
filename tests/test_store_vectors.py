"""Document stores and vectors over HTTP: what is upserted, searched and read again, and the flows that use it."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

from documents import (
    BIRDS,
    SMALL,
    add_loader,
    done,
    file,
    filled_store,
    found,
    insert,
    new_store,
    process,
    send,
    store_of,
    texts,
)
from provider import Answer, Provider, Seen, as_json
from served import Chroma, closed_port
from servers import Server, chat_model, flow, node, serving
from test_cli import done as imported
from test_cli import headrace, wrote
from uploads import counts, form, sources
from upstream import Upstream
from waiting import within

from headrace.storage.database import Database
from headrace.storage.dialect import execute

# Vectors


def test_a_store_is_searched_by_its_chunks(server: Server):
    store, loader = filled_store(server)
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


def test_one_loader_is_upserted_emptied_and_deleted_without_the_others(server: Server):
    store, first = filled_store(server)
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


def test_a_store_counts_as_upserted_once_its_nodes_have_all_of_its_loaders(server: Server):
    store, _ = filled_store(server)
    second = add_loader(server, store, "The Wren is small.")
    done(process(server, store, second))
    third = add_loader(server, store, "The Owl sees.")
    done(process(server, store, third))
    steps = [
        lambda: insert(server, store, docId=second),
        lambda: insert(server, store, docId=third),
        lambda: send(server, "DELETE", f"vectorstore/{store}?docId={third}"),
        lambda: send(server, "DELETE", f"loader/{store}/{third}"),
        lambda: send(server, "POST", "vectorstore/save", {"storeId": store}),
        lambda: send(server, "POST", "vectorstore/save", {"storeId": store, "embeddingName": "hashedEmbeddings"}),
        lambda: insert(server, store),
        lambda: insert(
            server, store, embeddingName="openAIEmbeddings", embeddingConfig={"basepath": "http://x.invalid"}
        ),
        lambda: insert(server, store, embeddingName="hashedEmbeddings"),
    ]
    statuses = [(step().status, store_of(server, store)["status"]) for step in steps]
    assert [status for _, status in statuses] == [
        "SYNC", "UPSERTED", "SYNC", "UPSERTED", "UPSERTED", "SYNC", "UPSERTED", "STALE", "UPSERTED",
    ]  # fmt: skip
    assert [code for code, _ in statuses] == [200] * 7 + [503, 200]
    assert len(found(server, store, "wren")) == 4


def test_a_deleted_store_leaves_no_passages_and_no_matrix(server: Server):
    store, _ = filled_store(server)
    assert counts(insert(server, store, embeddingName="hashedEmbeddings")) == (3, 0, 0, 0)
    found(server, store, "wren")
    with closing(Database(server.place)) as database:

        def rows(statement: str, *values: Any) -> list[Any]:
            return within(database.read(lambda c: execute(c, statement, values).all()))

        held = "SELECT id FROM collection WHERE name LIKE ? OR name LIKE 'deleted/%'"
        ((collection,),) = rows(held, f"upserted/{store}/%")
        assert send(server, "DELETE", f"store/{store}").status == 200
        assert rows(held, f"upserted/{store}/%") == []
        assert rows("SELECT 1 FROM chunk WHERE collection = ?", collection) == []
    assert not (server.folder / "vectors" / f"{collection}.f32").exists()


def test_a_loader_without_chunks_leaves_no_passages(server: Server):
    store, loader = filled_store(server)
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


def in_chroma(server: Server, provider: Provider, *birds: str) -> tuple[str, list[str]]:
    """A store whose loaders, one for each text, are in Chroma; and their ids."""
    store = new_store(server)
    loaders = [add_loader(server, store, text) for text in birds]
    for loader in loaders:
        done(process(server, store, loader))
    done(insert(server, store, embeddingName="hashedEmbeddings", **chroma_at(provider.url)))
    return store, loaders


def chroma_at(url: str) -> dict[str, Any]:
    return {"vectorStoreName": "chroma", "vectorStoreConfig": {"collectionName": "birds", "chromaURL": url}}


def test_a_loader_is_deleted_while_its_vector_store_is_down(server: Server, provider: Provider):
    chroma = Chroma(provider)
    store, (wren, owl) = in_chroma(server, provider, "The Wren is small.", "The Owl sees.")
    change = {"storeId": store, **chroma_at(f"http://127.0.0.1:{closed_port()}")}
    done(send(server, "POST", "vectorstore/update", change))
    left = done(send(server, "DELETE", f"loader/{store}/{wren}"))
    assert [one["id"] for one in left["loaders"]] == [owl]
    assert texts(server, store) == ["The Owl sees."]
    assert len(chroma.rows["birds"]) == 2
    later = f"vectorstore/{store}?docId={wren}"
    assert "the Chroma collection 'birds' could not be read" in left["warning"]
    assert f"DELETE /api/v1/document-store/{later}" in left["warning"]
    done(send(server, "POST", "vectorstore/update", {"storeId": store, **chroma_at(provider.url)}))
    assert done(send(server, "DELETE", later)) == {"deleted": 1}
    assert [row[1] for row in chroma.rows["birds"].values()] == ["The Owl sees."]
    assert "warning" not in done(send(server, "DELETE", f"loader/{store}/{owl}"))
    assert chroma.rows["birds"] == {}


def test_a_deleted_store_says_where_its_passages_stay(server: Server, provider: Provider):
    chroma = Chroma(provider)
    store, _ = in_chroma(server, provider, "The Wren is small.")
    told = done(send(server, "DELETE", f"store/{store}"))
    assert "its passages stay in the vector store 'chroma'" in told["warning"]
    assert len(chroma.rows["birds"]) == 1


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
    broken = {"loader": {"name": "folderFiles", "config": {"folderPath": "refreshed"}}}
    assert send(server, "POST", f"refresh/{store}", {"items": [{"docId": kept["docId"]}, broken]}).status == 404


def test_refreshing_goes_on_after_a_loader_that_the_vector_store_refuses(server: Server, provider: Provider):
    chroma = Chroma(provider)
    store, loaders = in_chroma(server, provider, "The Wren is small.", "The Owl sees.", "The Rook steals.")
    chroma.rows.clear()

    def refusing(seen: Seen) -> Answer:
        bad = seen.path.endswith("/upsert") and b"Owl" in seen.raw
        return as_json({"error": "InvalidArgumentError", "message": "no owls"}, 400) if bad else chroma.answer(seen)

    provider.answer = refusing
    told = done(send(server, "POST", f"refresh/{store}"))
    assert [(one["docId"], one["numAdded"], one["numFailed"]) for one in told] == list(
        zip(loaders, (1, 0, 1), (0, 1, 0), strict=True)
    )
    (failure,) = told[1]["failures"]
    assert failure["step"] == "upserted"
    assert "no owls" in failure["reason"]
    assert store_of(server, store)["status"] == "SYNC"
    assert [row[1] for row in chroma.rows["birds"].values()] == ["The Wren is small.", "The Rook steals."]


# In flows


def answering(base: str, *before: dict[str, Any], store: str, **inputs: Any) -> dict[str, Any]:
    """A flow that answers from what is wired to it, and says from what."""
    chain: dict[str, Any] = {
        "model": "{{chatOpenAI_0.data.instance}}",
        "vectorStoreRetriever": "{{" + store + ".data.instance}}",
        "returnSourceDocuments": True,
    }
    return flow(*before, chat_model(base), node("conversationalRetrievalQAChain", "Chains", **chain, **inputs))


def test_flows_answer_from_a_store(server: Server, upstream: Upstream):
    store, _ = filled_store(server)
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


def test_the_text_of_a_store_goes_into_a_prompt(server: Server, upstream: Upstream):
    store, _ = filled_store(server)
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


def test_an_export_brings_its_document_stores_along(tmp_path: Path, upstream: Upstream):
    store, loader = "0c0ffee0-0000-4000-8000-0000000000aa", "0c0ffee0-0000-4000-8000-0000000000bb"
    held = {"id": loader, "loaderId": "plainText", "loaderName": "Plain Text", "loaderConfig": {"text": "The Wren."}}
    row = {
        "id": store, "name": "birds", "status": "UPSERTED", "whereUsed": "[]", "embeddingConfig": None,
        "loaders": json.dumps([{**held, "splitterId": "", "splitterConfig": "", "totalChunks": 2, "files": []}]),
        "vectorStoreConfig": '{"name": "memoryVectorStore", "config": {"topK": 1}}', "workspaceId": "theirs",
    }  # fmt: skip
    chunks = [
        {"id": str(n), "docId": loader, "storeId": store, "chunkNo": 3 - n, "pageContent": text, "metadata": '{"n": 1}'}
        for n, text in enumerate(("The Owl sees.", "The Heron spears fish."), 1)
    ]
    loaded = node("documentStore", "Document Loaders", selectedStore=store, output="document")
    kept = node("memoryVectorStore", "Vector Stores", document=["{{documentStore_0.data.instance}}"], topK=1)
    drawn = answering(upstream.url, loaded, kept, store="memoryVectorStore_0")
    chatflow = {
        "id": "0c0ffee0-0000-4000-8000-0000000000cc",
        "name": "asking",
        "flowData": json.dumps(drawn),
        "apikeyid": "",
    }
    export = {"ChatFlow": [chatflow], "DocumentStore": [row], "DocumentStoreFileChunk": chunks}
    folder = tmp_path / "data"
    file = str(wrote(tmp_path / "all.json", export))
    assert "document store: birds" in imported(headrace(folder, "import", file))
    again = headrace(folder, "import", "--replace", file)
    assert (again.returncode, "document store: birds" in again.stdout) == (0, True), again.stderr
    with serving(folder) as server:
        now = store_of(server, store)
        assert (now["status"], now["totalChunks"], now["loaders"][0]["status"]) == ("SYNC", 2, "SYNC")
        assert texts(server, store, loader) == ["The Heron spears fish.", "The Owl sees."]
        assert sources(server, chatflow["id"], "heron") == ["The Heron spears fish."]
        assert counts(insert(server, store)) == (2, 0, 0, 0)
        assert done(process(server, store, loader))["count"] == 1
        assert counts(insert(server, store)) == (1, 0, 0, 2)
