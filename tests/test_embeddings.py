"""Embeddings: what each provider is asked, what becomes of its answers, and where keys go."""

import base64
import json
import math
import struct
import sys
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from calls import context
from passages import opened
from waiting import within

from headrace.engine.inputs import read
from headrace.errors import (
    FlowError,
    HeadraceError,
    ProviderCut,
    ProviderMalformed,
    ProviderRateLimited,
    ProviderRefused,
    ProviderUnauthorized,
)
from headrace.nodes import built_in
from headrace.nodes.providers import JINA, TOGETHER, Provider
from headrace.providers.http import ProviderHttp, ProviderLimits
from headrace.retrieval.library import Library

Script = Callable[[Mapping[str, Any], int], tuple[int, Any]]


class Upstream(ThreadingHTTPServer):
    """Answers POSTs with what a script makes of their bodies and their number; keeps what came."""

    daemon_threads = True

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.script = script
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.seen: list[tuple[str, Mapping[str, str], Any]] = []
        self.open = self.most_open = 0
        self.lock = threading.Lock()

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that was cancelled has gone
            super().handle_error(request, client_address)  # pyright: ignore[reportArgumentType]


class Conversation(BaseHTTPRequestHandler):
    server: Upstream  # pyright: ignore[reportIncompatibleVariableOverride]  # only this server makes it
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        with self.server.lock:
            self.server.open += 1
            self.server.most_open = max(self.server.most_open, self.server.open)
            number = len(self.server.seen)
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.server.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        status, answer = self.server.script(body, number)
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        with self.server.lock:
            self.server.open -= 1
        self.send_response(abs(status))
        self.send_header("Content-Length", str(len(data) + (9 if status < 0 else 0)))  # a status below 0 is cut off
        self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = status < 0

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name in http.server
        pass


@contextmanager
def upstream(script: Script) -> Generator[Upstream]:
    with Upstream(script) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(10)


def vector(text: str) -> list[float]:
    return [float(len(text)), 0.5]


def packed(numbers: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def texts_in(body: Mapping[str, Any]) -> list[str]:
    return [body["input"]] if isinstance(body["input"], str) else list(body["input"])


def openai(body: Mapping[str, Any], _: int) -> tuple[int, Any]:
    """Items in another order than asked for, as the protocol allows."""
    items = [{"index": n, "embedding": vector(text)} for n, text in enumerate(texts_in(body))]
    if body.get("encoding_format") == "base64":
        items = [{**item, "embedding": packed(item["embedding"])} for item in items]  # pyright: ignore[reportArgumentType]
    return 200, {"data": items[::-1]}


@pytest.fixture
def library(tmp_path: Path) -> Generator[Library]:
    with opened(tmp_path / "data") as library:
        yield library


def embedded(
    library: Library,
    node: str,
    texts: Sequence[str],
    *,
    environ: Mapping[str, str] | None = None,
    secret: Mapping[str, str] | None = None,
    **inputs: Any,
) -> list[list[float]]:
    """Builds the node as a flow does, and embeds."""

    async def work() -> list[list[float]]:
        http = ProviderHttp(ProviderLimits(read=5, attempts=2, first_pause=0.001))
        ctx = context(http, environ, {"c": secret or {}}, library=library)
        values = {**inputs, **({"credential": "c"} if secret is not None else {})}
        try:
            embeddings: Any = await read(built_in()[node], values, node).build(ctx)
            return [list(one) for one in await embeddings.embed(texts)]
        finally:
            await http.close()

    return within(work())


SECRET = {"openAIApiKey": "sk-secret"}


def test_openai_is_asked_for_base64_with_one_text_as_a_text(library: Library):
    with upstream(openai) as server:
        inputs: dict[str, Any] = {"basepath": f"{server.url}/v1", "dimensions": "2", "baseOptions": '{"X-Team": "a"}'}
        assert embedded(library, "openAIEmbeddings", ["a", "bcd"], secret=SECRET, **inputs) == [
            vector("a"),
            vector("bcd"),
        ]
        assert embedded(library, "openAIEmbeddings", ["one"], secret=SECRET, **inputs) == [vector("one")]
    path, headers, body = server.seen[0]
    assert (path, headers["authorization"], headers["x-team"]) == ("/v1/embeddings", "Bearer sk-secret", "a")
    assert body == {
        "model": "text-embedding-ada-002",
        "dimensions": 2,
        "encoding_format": "base64",
        "input": ["a", "bcd"],
    }
    assert server.seen[1][2]["input"] == "one"


@pytest.mark.parametrize("node", ["openAIEmbeddings", "openAIEmbeddingsCustom"])
def test_floats_are_taken_too(library: Library, node: str):
    with upstream(openai) as server:
        inputs: dict[str, Any] = {"basepath": server.url, "encodingFormat": "float", "modelName": "own"}
        assert embedded(library, node, ["a"], **inputs) == [vector("a")]
    assert server.seen[0][2] == {"model": "own", "encoding_format": "float", "input": "a"}
    assert "authorization" not in server.seen[0][1]


def test_what_was_embedded_once_is_not_asked_for_again(library: Library):
    with upstream(openai) as server:
        embedded(library, "openAIEmbeddings", ["a", "b"], basepath=server.url)
        assert embedded(library, "openAIEmbeddings", ["b", "c", "a"], basepath=server.url) == [
            vector("b"),
            vector("c"),
            vector("a"),
        ]
        embedded(library, "openAIEmbeddings", ["a"], basepath=server.url, modelName="another")
        embedded(library, "openAIEmbeddings", ["a"], basepath=server.url, dimensions=2)
        embedded(library, "openAIEmbeddings", ["a"], basepath=server.url, stripNewLines=True)
    assert [body["input"] for _, _, body in server.seen] == [["a", "b"], "c", "a", "a", "a"]


def test_batches_go_out_together_but_not_all_at_once(library: Library):
    together = threading.Barrier(4)

    def script(body: Mapping[str, Any], number: int) -> tuple[int, Any]:
        if number < 4:
            together.wait(10)
        return openai(body, number)

    texts = [f"{n}" * (n + 1) for n in range(40)]
    with upstream(script) as server:
        found = embedded(library, "openAIEmbeddings", texts, basepath=server.url, batchSize=3)
    assert found == [vector(text) for text in texts]
    assert len(server.seen) == 14
    assert server.most_open == 4


def test_batches_are_cut_by_length_too(library: Library):
    with upstream(openai) as server:
        embedded(library, "openAIEmbeddings", [f"{n}" + "ä" * 60_000 for n in range(4)], basepath=server.url)
    assert [len(texts_in(body)) for _, _, body in server.seen] == [1, 1, 1, 1]


def test_line_breaks_are_taken_out_where_the_flow_says_so(library: Library):
    with upstream(openai) as server:
        embedded(library, "openAIEmbeddings", ["a\nb"], basepath=server.url, stripNewLines=True)
        embedded(library, "mistralAIEmbeddings", ["a\nb"], overrideEndpoint=server.url)
        embedded(library, "openAIEmbeddings", ["a\nb"], basepath=server.url)
    assert [body["input"] for _, _, body in server.seen] == ["a b", "a b", "a\nb"]


def test_azure_is_asked_at_its_deployment(library: Library):
    secret = {
        "azureOpenAIApiKey": "key",
        "azureOpenAIApiInstanceName": "instance",
        "azureOpenAIApiDeploymentName": "dep/../x",
        "azureOpenAIApiVersion": "2024-02-01",
    }
    with upstream(openai) as server:
        base = f"{server.url}/openai/deployments"
        assert embedded(library, "azureOpenAIEmbeddings", ["a"], secret=secret, basepath=base) == [vector("a")]
    path, headers, body = server.seen[0]
    assert path == "/openai/deployments/dep%2F..%2Fx/embeddings?api-version=2024-02-01"
    assert (headers["api-key"], body) == ("key", {"encoding_format": "base64", "input": "a"})
    with pytest.raises(FlowError, match="an instance, a deployment and a version"):
        embedded(library, "azureOpenAIEmbeddings", ["a"], secret={**secret, "azureOpenAIApiInstanceName": "evil.com/#"})


@pytest.mark.parametrize(
    ("name", "provider", "inputs", "path", "sent"),
    [
        ("togetherAIEmbedding", TOGETHER, {"modelName": "bert"}, "/embeddings", {"model": "bert"}),
        (
            "jinaEmbeddings",
            JINA,
            {"modelDimensions": "64", "allowLateChunking": True},
            "/v1/embeddings",
            {"model": "jina-embeddings-v3", "dimensions": 64, "late_chunking": True},
        ),
    ],
)
def test_together_and_jina_speak_openais_protocol(
    library: Library, name: str, provider: Provider, inputs: dict[str, Any], path: str, sent: dict[str, Any]
) -> None:
    with upstream(openai) as server:
        places = {provider.base_environ: server.url, provider.environ: "k"}
        assert embedded(library, name, ["a"], environ=places, **inputs) == [vector("a")]
    asked, headers, body = server.seen[0]
    assert (asked, headers["authorization"], body) == (path, "Bearer k", {**sent, "input": "a"})
    with pytest.raises(FlowError, match="needs a key"):
        embedded(library, name, ["a"], **inputs)


@pytest.mark.parametrize("name", ["inMemoryEmbeddingCache", "redisEmbeddingsCache"])
def test_a_cache_passes_on_embeddings_whose_vectors_are_kept_anyway(name: str) -> None:
    inner = within(built_in()["hashedEmbeddings"]().build(context()))
    record = read(built_in()[name], {"embeddings": inner, "ttl": "60"}, "the cache")
    assert within(record.build(context())) is inner


def test_mistral_localai_and_voyage_speak_openais_protocol(library: Library):
    with upstream(openai) as server:
        key = {"mistralAIAPIKey": "m"}
        assert embedded(library, "mistralAIEmbeddings", ["a"], secret=key, overrideEndpoint=server.url) == [vector("a")]
        local: dict[str, Any] = {"basePath": f"{server.url}/v1", "modelName": "bert"}
        assert embedded(library, "localAIEmbeddings", ["a"], secret={"localAIApiKey": "l"}, **local) == [vector("a")]
        voyage = {"endpoint": f"{server.url}/own/path", "apiKey": "v"}
        assert embedded(library, "voyageAIEmbeddings", ["a"], secret=voyage) == [vector("a")]
    assert [(path, headers["authorization"], body["model"]) for path, headers, body in server.seen] == [
        ("/v1/embeddings", "Bearer m", "mistral-embed"),
        ("/v1/embeddings", "Bearer l", "bert"),
        ("/own/path", "Bearer v", "voyage-2"),
    ]


def test_ollama_is_asked_in_its_own_protocol(library: Library):
    with upstream(lambda body, _: (200, {"embeddings": [vector(text) for text in body["input"]]})) as server:
        found = embedded(library, "ollamaEmbedding", ["a", "bc"], baseUrl=f"{server.url}/", modelName="nomic", numGpu=1)
    assert found == [vector("a"), vector("bc")]
    path, _, body = server.seen[0]
    assert path == "/api/embed"
    assert body == {"model": "nomic", "options": {"num_gpu": 1, "use_mmap": True}, "input": ["a", "bc"]}


def test_google_is_asked_in_its_own_protocol(library: Library):
    def script(body: Mapping[str, Any], _: int) -> tuple[int, Any]:
        found = [one["content"]["parts"][0]["text"] for one in body["requests"]]
        return 200, {"embeddings": [{"values": vector(text)} for text in found]}

    with upstream(script) as server:
        how: dict[str, Any] = {
            "environ": {"GOOGLE_BASE_URL": server.url},
            "secret": {"googleGenerativeAPIKey": "g"},
        }
        found = embedded(library, "googleGenerativeAiEmbeddings", ["a", "bc"], tasktype="RETRIEVAL_QUERY", **how)
    assert found == [vector("a"), vector("bc")]
    path, headers, body = server.seen[0]
    assert (path, headers["x-goog-api-key"]) == ("/v1beta/models/gemini-embedding-001:batchEmbedContents", "g")
    assert body["requests"][1] == {
        "model": "models/gemini-embedding-001",
        "taskType": "RETRIEVAL_QUERY",
        "content": {"parts": [{"text": "bc"}]},
    }


def test_cohere_is_asked_in_its_own_protocol(library: Library):
    with upstream(lambda body, _: (200, {"embeddings": {"float": [vector(t) for t in body["texts"]]}})) as server:
        how: dict[str, Any] = {"environ": {"COHERE_BASE_URL": server.url, "COHERE_API_KEY": "c"}}
        assert embedded(library, "cohereEmbeddings", ["a", "bc"], **how) == [vector("a"), vector("bc")]
    path, headers, body = server.seen[0]
    assert (path, headers["authorization"]) == ("/v2/embed", "Bearer c")
    assert body == {
        "model": "embed-english-v2.0",
        "input_type": "search_query",
        "embedding_types": ["float"],
        "texts": ["a", "bc"],
    }


# Keys


@pytest.mark.parametrize(
    ("node", "inputs", "variables"),
    [
        ("openAIEmbeddings", {}, "OPENAI_API_KEY"),
        ("mistralAIEmbeddings", {}, "MISTRAL_API_KEY"),
        ("googleGenerativeAiEmbeddings", {}, "GOOGLE_API_KEY"),
        ("cohereEmbeddings", {}, "COHERE_API_KEY"),
        ("voyageAIEmbeddings", {}, "VOYAGEAI_API_KEY"),
        ("azureOpenAIEmbeddings", {}, "AZURE_OPENAI_API_INSTANCE_NAME"),
    ],
)
def test_a_provider_without_a_key_says_what_to_set(library: Library, node: str, inputs: Any, variables: str):
    with pytest.raises(FlowError, match=f"connect a credential.*{variables}"):
        embedded(library, node, ["a"], **inputs)


def test_the_servers_own_key_never_goes_where_a_flow_says(library: Library):
    """It goes to this machine, and to the address that the operator chose."""
    with upstream(openai) as server:
        key = {"OPENAI_API_KEY": "sk-own", "MISTRAL_API_KEY": "m-own"}
        embedded(library, "openAIEmbeddings", ["a"], environ=key, basepath=server.url)
        embedded(library, "openAIEmbeddings", ["b"], environ={**key, "OPENAI_BASE_URL": server.url})
        elsewhere = server.url.replace("127.0.0.1", "0.0.0.0")  # the same machine under a name that is not loopback
        embedded(library, "openAIEmbeddings", ["c"], environ=key, basepath=elsewhere)
        embedded(library, "mistralAIEmbeddings", ["d"], environ=key, overrideEndpoint=elsewhere)
        embedded(library, "openAIEmbeddings", ["e"], environ=key, secret=SECRET, basepath=elsewhere)
    assert [headers.get("authorization") for _, headers, _ in server.seen] == [
        "Bearer sk-own",
        "Bearer sk-own",
        None,
        None,
        "Bearer sk-secret",
    ]


# What can go wrong


@pytest.mark.parametrize(
    ("status", "answer", "kind", "reason"),
    [
        (401, {"error": {"message": "bad key sk-secret"}}, ProviderUnauthorized, r"bad key \*\*\*"),
        (400, {"error": {"message": "too long"}}, ProviderRefused, "too long"),
        (
            200,
            {"error": {"message": "model not loaded"}},
            ProviderRefused,
            "failed inside its answer: model not loaded",
        ),
        (200, {"error": {"message": "slow down", "code": 429}}, ProviderRateLimited, "slow down"),
        (200, b"<html>", ProviderMalformed, "sent what is no list of vectors"),
        (200, b"\xff\xfe", ProviderMalformed, "no list of vectors"),
        (200, {"data": []}, ProviderMalformed, "gave 0 vectors for 2 texts"),
        (200, {"data": [{"embedding": [1.0]}, {"embedding": [1.0, 2.0]}]}, ProviderMalformed, r"\[1, 2\] dimensions"),
        (200, {"data": [{"embedding": []}, {"embedding": []}]}, ProviderMalformed, r"\[0\] dimensions"),
        (200, {"data": [{"embedding": "§"}, {"embedding": ""}]}, ProviderMalformed, "no list of vectors"),
        (200, {"data": [{"embedding": "AAA="}, {"embedding": "AAA="}]}, ProviderMalformed, "no list of vectors"),
        (200, {"data": [{"embedding": packed([float("nan")])}] * 2}, ProviderMalformed, "no finite numbers"),
        (-200, b'{"data": [', ProviderCut, "broke inside the answer"),
    ],
)
def test_a_bad_answer_is_an_error_that_says_so(
    library: Library, status: int, answer: Any, kind: type[HeadraceError], reason: str
):
    with upstream(lambda *_: (status, answer)) as server, pytest.raises(kind, match=reason) as error:
        embedded(library, "openAIEmbeddings", ["a", "b"], secret=SECRET, basepath=server.url)
    assert "sk-secret" not in str(error.value)


def test_a_call_is_tried_again_while_nothing_has_come(library: Library):
    def script(body: Mapping[str, Any], number: int) -> tuple[int, Any]:
        return openai(body, number) if number else (503, {})

    with upstream(script) as server:
        assert embedded(library, "openAIEmbeddings", ["a"], basepath=server.url) == [vector("a")]
        assert len(server.seen) == 2


def test_one_failing_batch_ends_the_others_and_nothing_is_kept(library: Library):
    together = threading.Barrier(3)

    def script(body: Mapping[str, Any], number: int) -> tuple[int, Any]:
        if number < 3:
            together.wait(10)
        return (400, {"error": "no"}) if "bad" in texts_in(body) else openai(body, number)

    with upstream(script) as server:
        with pytest.raises(ProviderRefused):
            embedded(library, "openAIEmbeddings", ["a", "bad", "c"], basepath=server.url, batchSize=1)
        assert embedded(library, "openAIEmbeddings", ["a"], basepath=server.url) == [vector("a")]
    assert sorted(body["input"] for _, _, body in server.seen) == ["a", "a", "bad", "c"]


def hashed(dimensions: int, *texts: str) -> Sequence[Sequence[float]]:
    async def run() -> Sequence[Sequence[float]]:
        node = read(built_in()["hashedEmbeddings"], {"dimensions": dimensions}, "hashedEmbeddings")
        made: Any = await node.build(context({}))
        return await made.embed(texts)

    return within(run())


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(one, other, strict=True))


def test_hashed_words_bring_related_texts_together():
    asked, related, other, nothing = hashed(
        512, "How do I cancel a run?", "A run is stopped by this.", "The Heron spears fish.", "How do I?"
    )
    assert [round(math.hypot(*vector), 4) for vector in (asked, related, other, nothing)] == [1, 1, 1, 0]
    assert cosine(asked, related) > 0.4 > abs(cosine(asked, other))


def test_hashed_words_are_as_long_as_the_node_says():
    assert [len(vector) for vector in hashed(8, "a mill")] == [8]
    with pytest.raises(FlowError, match="0 dimensions"):
        hashed(0, "a mill")
