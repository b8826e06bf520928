"""Every node of a model in a flow as the builder exports it, on a real server, at scripted providers."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from model_nodes import ALL, MODEL_NODES, SECRET, account_file, environ_to, private_key, protocol_of
from protocols import expected, transcript
from provider import Answer, Provider, Seen, as_json
from servers import Server, flow, node, serving

from headrace.engine.inputs import fields_of
from headrace.nodes import built_in

RECORDS = Path(__file__).parents[2] / "shared" / "flowise" / "nodes.json"
# The builder does not stream these, and clients ask whether a flow streams.
NEVER_LIVE = {"huggingFaceInference_LLMs", "replicate"}
PLAIN = {
    "openai": "openai/plain.sse",
    "completions": "completions/plain.sse",
    "anthropic": "anthropic/stop_missing.sse",
    "google": "google/parts.sse",
    "ollama": "ollama/plain.ndjson",
    "cohere": "cohere/plain.sse",
    "bedrock": "bedrock/plain.frames",
    "generation": "generation/plain.sse",
    "replicate": "replicate/plain.sse",
}


@pytest.fixture(scope="module")
def server(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A server whose every provider is the scripted one."""
    folder = tmp_path_factory.mktemp("models")
    account = account_file(folder, provider.url + "/token", private_key())
    with serving(folder / "data", **environ_to(provider.url, account)) as server:
        yield server


@pytest.fixture(autouse=True)
def _plain_answers(provider: Provider) -> None:
    """Each protocol's plain answer at each protocol's place."""
    provider.seen = []
    provider.answer = lambda seen: plain(provider, seen)


def plain(provider: Provider, seen: Seen) -> Answer:
    if seen.path == "/token":
        return as_json({"access_token": SECRET, "expires_in": 3599})
    if seen.path == "/stream":
        return Answer([transcript(PLAIN["replicate"])])
    protocol = protocol_of(seen.path)
    if protocol == "replicate":
        return as_json({"id": "p", "status": "starting", "urls": {"stream": provider.url + "/stream"}}, 201)
    return Answer([transcript(PLAIN[protocol])]) if protocol else Answer(status=404)


def said_by(protocol: str) -> str:
    return "".join(delta.get("text", "") for delta in expected(PLAIN[protocol])["deltas"])


def exported(tag: str, **inputs: Any) -> dict[str, Any]:
    """A model's node with every input that its record declares, those not set as the builder writes them."""
    declared = fields_of(built_in()[tag])
    streaming = {"streaming": True} if "streaming" in declared else {}
    values: dict[str, Any] = {**dict.fromkeys(declared, ""), **streaming, **MODEL_NODES[tag].inputs}
    values |= {"temperature": "0.5", **inputs}
    return node(tag, "Chat Models", **values)


def conversation(model: dict[str, Any], **inputs: Any) -> dict[str, Any]:
    reference = "{{" + model["id"] + ".data.instance}}"
    memory = node("bufferMemory", "Memory", memoryKey="chat_history")
    chain = node("conversationChain", "Chains", model=reference, memory="{{bufferMemory_0.data.instance}}", **inputs)
    return flow(model, memory, chain)


@pytest.mark.parametrize("tag", [tag for tag in MODEL_NODES if tag not in NEVER_LIVE])
def test_a_flow_with_the_node_streams(server: Server, tag: str) -> None:
    text = said_by(MODEL_NODES[tag].protocol)
    reply = server.ask(server.create_flow(conversation(exported(tag))), "Hi", streaming=True)
    tokens = [event["data"] for event in reply.events if event["event"] == "token"]
    assert [kind for kind in reply.kinds if kind != "thinking"] == ["start", "token", "metadata", "end"], reply.text
    assert "".join(tokens) == text
    assert len(tokens) == sum(bool(delta.get("text")) for delta in expected(PLAIN[MODEL_NODES[tag].protocol])["deltas"])


@pytest.mark.parametrize("tag", MODEL_NODES)
def test_a_flow_with_the_node_answers(server: Server, provider: Provider, tag: str) -> None:
    reply = server.ask(server.create_flow(conversation(exported(tag))), "Hi")
    assert (reply.status, reply.json.get("text")) == (200, said_by(MODEL_NODES[tag].protocol)), reply.text
    (seen,) = (seen for seen in provider.seen if protocol_of(seen.path))
    assert SECRET in str(seen.headers) or "Credential=AKIATESTS/" in seen.headers["authorization"]
    assert '"temperature":0.5' in seen.raw.decode()
    assert "Hi" in seen.raw.decode()


def test_what_bedrock_is_sent_is_what_was_signed(server: Server, provider: Provider) -> None:
    server.ask(server.create_flow(conversation(exported("awsChatBedrock"))), "Hi")
    (seen,) = provider.seen
    assert seen.path == "/model/anthropic.claude-haiku-4-5-20251001-v1:0/converse-stream"
    signed = {name.title(): seen.headers[name] for name in ("accept", "content-type", "host")}
    request = AWSRequest("POST", provider.url + seen.path, signed, seen.raw)
    request.context["timestamp"] = seen.headers["x-amz-date"]
    request.headers["X-Amz-Date"] = seen.headers["x-amz-date"]
    signer = SigV4Auth(Credentials("AKIATESTS", SECRET), "bedrock", "us-east-1")
    to_sign = signer.string_to_sign(request, signer.canonical_request(request))
    assert seen.headers["authorization"].endswith(f"Signature={signer.signature(to_sign, request)}")


def test_a_model_that_thinks_shows_it_and_its_tokens_are_counted(server: Server) -> None:
    flow_id = server.create_flow(conversation(exported("chatGoogleGenerativeAI", thinkingBudget="100")))
    reply = server.ask(flow_id, "Hi", streaming=True)
    assert [event["data"] for event in reply.events if event["event"] == "thinking"] == ["**Plan**", ""]
    assert server.ask(flow_id, "Hi").json["usage"]["output_tokens"] == 24


def test_an_inference_endpoint_of_hugging_face_is_asked_for_text(server: Server, provider: Provider) -> None:
    inputs = {"endpoint": provider.url + "/generate", "model": ""}
    reply = server.ask(server.create_flow(conversation(exported("huggingFaceInference_LLMs", **inputs))), "Hi")
    assert reply.json["text"] == said_by("generation")
    assert provider.seen[0].body["inputs"].endswith("Human: Hi\nAI:")


@pytest.mark.parametrize("tag", ["chatAnthropic", "awsChatBedrock", "chatOpenAI"])
def test_a_refusal_reaches_the_client_with_its_code_and_without_the_key(
    server: Server, provider: Provider, tag: str
) -> None:
    provider.always(as_json({"error": {"message": f"The key {SECRET} is revoked", "type": "x"}}, 401))
    reply = server.ask(server.create_flow(conversation(exported(tag))), "Hi")
    assert (reply.status, reply.json["code"]) == (502, "provider_unauthorized")
    assert "The key *** is revoked" in reply.json["message"]
    assert SECRET not in reply.text


def test_a_node_without_its_model_says_so(server: Server) -> None:
    for tag, key in (("chatOllama", "modelName"), ("chatLocalAI", "modelName"), ("replicate", "model")):
        reply = server.ask(server.create_flow(conversation(exported(tag, **{key: ""}))), "Hi")
        assert (reply.status, reply.json["code"]) == (422, "flow_error"), reply.text
        assert "model" in reply.json["message"]


# Against the original's records

KNOWN_GAPS = {  # inputs of the original that no record here has, and why
    ("openAI", "batchSize"): "how many texts go into one call: a chain here asks for one",
    ("chatOpenAI", "reasoning"): "only shows the inputs beside it in the builder",
    ("azureChatOpenAI", "reasoning"): "only shows the inputs beside it in the builder",
    ("chatOpenAI", "reasoningSummary"): "belongs to the Responses API, which is not spoken here",
    ("azureChatOpenAI", "reasoningSummary"): "belongs to the Responses API, which is not spoken here",
}


@pytest.mark.skipif(not RECORDS.exists(), reason="the records of Flowise are not beside this project")
def test_every_input_of_the_original_is_known_here() -> None:
    rows = [json.loads(line.strip().rstrip(",")) for line in RECORDS.read_text().splitlines() if line.startswith("{")]
    originals: dict[str, list[str]] = {row["name"]: [field["name"] for field in row["inputs"]] for row in rows}
    assert originals.keys() >= ALL
    missing = {(tag, name) for tag in ALL for name in originals[tag] if name not in fields_of(built_in()[tag])}
    assert missing == KNOWN_GAPS.keys()
