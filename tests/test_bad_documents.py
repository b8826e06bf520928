"""Bad documents through the API: each is named with its step, the good ones are stored, and nothing by halves."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from files import docx, pdf
from provider import Answer, Provider, Seen, as_json
from served import closed_port
from servers import Reply, Server, node, serving
from sites import Site, html
from uploads import allowing, counts, form, reading, upsert

BAD = {
    "broken.pdf": pdf("The Wren.")[:-150],
    "no.pdf": b"hello",
    "latin.txt": b"The Wren is a r\xe9gulus.",
    "halfway.txt": b"The Wren is small.\n\n" * 200_000 + b"\xff",
    "empty.txt": b"",
    "binary.txt": b"\0\1\2",
    "cut.docx": docx("The Wren.")[:-40],
    "bomb.docx": docx(inner="<w:p>" + " " * (200 << 20) + "</w:p>"),
    "no.json": b'{"a": ',
}
GOOD = {"good.txt": b"The Owl sees.", "good.pdf": pdf("The Heron spears fish."), "good.docx": docx("The Swift sleeps.")}
MIMES = {
    ".pdf": "application/pdf",
    ".txt": "text/plain",
    ".json": "application/json",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
}
FILES = [(name, content, MIMES[Path(name).suffix]) for name, content in {**BAD, **GOOD}.items()]
TEXTS = ["The Heron spears fish.", "The Owl sees.", "The Swift sleeps."]


@pytest.fixture(scope="module")
def reaching(tmp_path_factory: pytest.TempPathFactory, running_site: Site, provider: Provider) -> Generator[Server]:
    """A server whose flows may reach one web site of this machine and one provider, and nothing else of it."""
    hosts = f"127.0.0.1:{running_site.server_port},127.0.0.1:{provider.port}"
    with serving(tmp_path_factory.mktemp("reaching") / "data", HEADRACE_ALLOWED_HOSTS=hosts) as server:
        yield server


def store_call(server: Server, path: str, body: Any, headers: dict[str, str] | None = None) -> Reply:
    return server.send("POST", f"/api/v1/document-store/{path}", body, headers, admin=True)


def named(reply: Reply) -> dict[str, str]:
    """The failures, by document: in which step, and why."""
    assert reply.status == 200, reply.text
    return {one["source"]: f"{one['step']}: {one['reason']}" for one in reply.json["failures"]}


def test_bad_files_are_named_and_the_good_ones_are_stored(reaching: Server, provider: Provider):
    loader = node("fileLoader", "Document Loaders", label="Any", file="")
    drawn = reading(provider.url, loader)
    flow_id = reaching.create_flow(drawn, apiConfig=json.dumps(allowing(("Any", "file"))))
    reply = upsert(reaching, flow_id, *form(files=FILES))
    assert (counts(reply), set(named(reply))) == ((3, 0, 0, 0), set(BAD))
    assert sorted(one["pageContent"] for one in reply.json["addedDocs"]) == TEXTS
    assert "may be made to fill memory" in named(reply)["bomb.docx"]
    assert counts(upsert(reaching, flow_id, *form(files=FILES))) == (0, 0, 3, 0)


def test_a_document_store_keeps_the_good_ones_too(reaching: Server):
    store = store_call(reaching, "store", {"name": "mixed"}).json["id"]
    reply = store_call(reaching, f"upsert/{store}", *form(files=FILES))
    assert (counts(reply), set(named(reply))) == ((3, 0, 0, 0), set(BAD))
    page = reaching.send("GET", f"/api/v1/document-store/chunks/{store}/all/1", admin=True).json
    assert sorted(chunk["pageContent"] for chunk in page["chunks"]) == TEXTS


def test_a_crawl_follows_no_page_to_where_it_must_not_go(reaching: Server, web: Site, provider: Provider):
    places = {
        "/meta": "http://169.254.169.254/latest/meta-data/",
        "/local": f"http://127.0.0.1:{closed_port()}/",
        "/name": f"http://localhost:{closed_port()}/",
        "/six": "http://[::ffff:169.254.169.254]/",
    }
    web.paths = {path: html("", status=302, headers={"Location": place}) for path, place in places.items()}
    web.paths["/"] = html("<p>The Wren is small.</p>" + "".join(f"<a href='{path}'>x</a>" for path in places))
    loader = node("cheerioWebScraper", "Document Loaders", url=f"{web.url}/", relativeLinksMethod="webCrawl", limit="9")
    reply = upsert(reaching, reaching.create_flow(reading(provider.url, loader)))
    assert counts(reply) == (1, 0, 0, 0)
    told = named(reply)
    assert set(told) == {f"{web.url}{path}" for path in places}
    assert all(text.startswith("fetched: ") and "HEADRACE_ALLOWED_HOSTS" in text for text in told.values()), told


def embedded(dimensions: int) -> Any:
    def answer(seen: Seen) -> Answer:
        texts = seen.body["input"] if isinstance(seen.body["input"], list) else [seen.body["input"]]
        return as_json({"data": [{"index": n, "embedding": [1.0] * dimensions} for n, _ in enumerate(texts)]})

    return answer


def test_an_embedding_model_that_has_changed_is_named_and_nothing_is_lost(reaching: Server, provider: Provider):
    nodes = {"embedding": {"name": "openAIEmbeddings", "config": {"basepath": provider.url}}}
    store = store_call(reaching, "store", {"name": "changing"}).json["id"]
    provider.answer = embedded(8)
    first = {"loader": {"name": "plainText", "config": {"text": "The Wren."}}, **nodes}
    assert counts(store_call(reaching, f"upsert/{store}", first)) == (1, 0, 0, 0)
    provider.answer = embedded(16)
    second = {"loader": {"name": "plainText", "config": {"text": "The Owl."}}}
    reply = store_call(reaching, f"upsert/{store}", second)
    assert (reply.status, reply.json["code"]) == (422, "flow_error")
    assert "gave 16 dimensions" in reply.json["message"]
    provider.answer = embedded(8)
    found = store_call(reaching, "vectorstore/query", {"storeId": store, "query": "wren"}).json["docs"]
    assert [one["pageContent"] for one in found] == ["The Wren."]
    assert counts(store_call(reaching, f"upsert/{store}", second)) == (1, 0, 0, 0)


def test_another_embedding_model_takes_the_whole_store_over(reaching: Server, provider: Provider):
    provider.answer = embedded(8)
    body = {
        "loader": {"name": "plainText", "config": {"text": "The Wren."}},
        "embedding": {"name": "openAIEmbeddings", "config": {"basepath": provider.url, "modelName": "small"}},
    }
    store = store_call(reaching, "store", {"name": "moving"}).json["id"]
    assert counts(store_call(reaching, f"upsert/{store}", body)) == (1, 0, 0, 0)
    provider.answer = embedded(16)
    large = {"embeddingName": "openAIEmbeddings", "embeddingConfig": {"basepath": provider.url, "modelName": "large"}}
    assert counts(store_call(reaching, "vectorstore/insert", {"storeId": store, **large})) == (1, 0, 0, 0)
    found = store_call(reaching, "vectorstore/query", {"storeId": store, "query": "wren"}).json["docs"]
    assert [one["pageContent"] for one in found] == ["The Wren."]


def test_a_store_or_a_model_that_cannot_be_reached_is_named(reaching: Server, provider: Provider):
    provider.answer = embedded(8)
    loader = node("plainText", "Document Loaders", text="The Wren.")
    drawn = reading(provider.url, loader)
    vectors = node(
        "chroma",
        "Vector Stores",
        document=["{{plainText_0.data.instance}}"],
        embeddings="{{openAIEmbeddings_0.data.instance}}",
        collectionName="birds",
        chromaURL=f"http://127.0.0.1:{closed_port()}",
    )
    drawn["nodes"] += [vectors, node("openAIEmbeddings", "Embeddings", basepath=provider.url)]
    reply = upsert(reaching, reaching.create_flow(drawn), {"stopNodeId": "chroma_0"})
    assert (reply.status, reply.json["code"]) == (503, "provider_unavailable")
    assert "the Chroma collection 'birds' could not be read: cannot reach" in reply.json["message"]
    provider.always(Answer(status=401))
    nodes = {"embedding": {"name": "openAIEmbeddings", "config": {"basepath": provider.url}}}
    store = store_call(reaching, "store", {"name": "refused"}).json["id"]
    body = {"loader": {"name": "plainText", "config": {"text": "The Robin."}}, **nodes}
    reply = store_call(reaching, f"upsert/{store}", body)
    assert (reply.status, reply.json["code"]) == (502, "provider_unauthorized")
    now = reaching.send("GET", f"/api/v1/document-store/store/{store}", admin=True).json
    assert (now["status"], now["totalChunks"]) == ("STALE", 1)
