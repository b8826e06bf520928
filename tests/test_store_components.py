"""What document stores may be made of, what an upsert may set of them, and a sentence that says what one is for."""

import pytest
from documents import add_loader, done, filled_store, new_store, process, send
from servers import Server
from upstream import Upstream

from headrace.engine.description import label


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("plainText", "Plain Text"),
        ("openAIEmbeddings", "OpenAI Embeddings"),
        ("SQLiteRecordManager", "SQLite Record Manager"),
        ("chromaURL", "Chroma URL"),
        ("topK", "Top K"),
        ("usage", "Usage"),
    ],
)
def test_names_are_told_in_words(name: str, words: str) -> None:
    assert label(name) == words


def test_components_and_their_inputs_have_labels(server: Server) -> None:
    found = {one["name"]: one for one in done(send(server, "GET", "components/vectorstore"))}
    assert found["memoryVectorStore"]["label"] == "In-Memory Vector Store"
    inputs = {one["name"]: one["label"] for one in found["chroma"]["inputs"]}
    assert inputs["collectionName"] == "Collection Name"


def test_what_an_upsert_may_set_is_listed_for_all_nodes_of_a_store(server: Server) -> None:
    nodes = {"vectorStoreConfig": '{"name": "pinecone"}', "embeddingConfig": '{"name": "openAIEmbeddings"}'}
    store = new_store(server, **nodes)
    loader = add_loader(server, store, kind="pdfFile", config={})
    settings = done(send(server, "GET", f"store-configs/{store}/{loader}"))
    assert [one["nodeId"] for one in settings[:3]] == ["pdfFile_0"] * 3
    assert {one["node"] for one in settings} == {
        "Pdf File", "Recursive Character Text Splitter", "Pinecone", "OpenAI Embedding"
    }  # fmt: skip
    types = {(one["nodeId"], one["name"]): one["type"] for one in settings}
    assert types["pdfFile_0", "files"] == ".pdf"
    assert types["pdfFile_0", "usage"] == "perPage, perFile"
    assert types["recursiveCharacterTextSplitter_0", "chunkSize"] == "number"
    assert types["pinecone_0", "pineconeMetadataFilter"] == "json"
    assert types["openAIEmbeddings_0", "stripNewLines"] == "boolean"
    assert not {name for _, name in types} & {"document", "embeddings", "recordManager", "textSplitter", "output"}
    assert send(server, "GET", f"store-configs/{store}/gone").status == 404


def test_a_model_says_when_to_search_a_store(server: Server, upstream: Upstream) -> None:
    store, _ = filled_store(server)
    model = {"name": "chatOpenAI", "inputs": {"basepath": upstream.url, "modelName": "small", "llmModel": "chatOpenAI"}}
    path = f"generate-tool-desc/{store}"
    done(send(server, "POST", path, {"selectedChatModel": model}))
    (request,) = upstream.requests
    assert request.body["model"] == "small"
    asked = request.body["messages"][-1]["content"]
    assert "The Heron spears fish." in asked
    assert "1024 characters" in asked
    for body, status in (
        ({}, 400),
        ({"selectedChatModel": {"name": "plainText", "inputs": {"text": "x"}}}, 400),
        ({"selectedChatModel": {"name": "unheardOf"}}, 400),
    ):
        assert send(server, "POST", path, body).status == status
    empty = send(server, "POST", f"generate-tool-desc/{new_store(server)}", {"selectedChatModel": model})
    assert (empty.status, empty.json["code"]) == (404, "not_found")


def test_what_the_model_says_is_the_answer(server: Server, upstream: Upstream) -> None:
    store = new_store(server)
    done(process(server, store, add_loader(server, store, "/say Ask it about birds.")))
    model = {"name": "chatOpenAI", "inputs": {"basepath": upstream.url}}
    told = done(send(server, "POST", f"generate-tool-desc/{store}", {"selectedChatModel": model}))
    assert told == {"content": "Ask it about birds."}
