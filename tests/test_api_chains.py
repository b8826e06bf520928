"""Chains that ask a web API: what they send, to whom, and what the model is told of the answer."""

import base64
import json
from collections.abc import Generator
from typing import Any

import pytest
from provider import Provider, as_json, providing
from servers import Server, chat_model, flow, node, serving
from upstream import Upstream


@pytest.fixture
def api() -> Generator[Provider]:
    """A web API that answers every request with the same."""
    with providing() as found:
        found.answer = lambda seen: as_json({"note": "x", "told": "\n/say It is sunny."})
        yield found


@pytest.fixture(scope="module")
def allowing(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    with serving(tmp_path_factory.mktemp("api") / "data", HEADRACE_ALLOWED_HOSTS="127.0.0.1") as server:
        yield server


def chain(base: str, name: str, docs: str, **inputs: Any) -> dict[str, Any]:
    wired = {"model": "{{chatOpenAI_0.data.instance}}", "apiDocs": docs, "headers": '{"X-Api-Key": "sesame"}'}
    return flow(chat_model(base), node(name, "Chains", **{**wired, **inputs}))


def told(upstream: Upstream) -> list[str]:
    return [request.body["messages"][-1]["content"] for request in upstream.requests]


def test_an_api_is_asked_and_its_answer_told_in_streamed_words(
    allowing: Server, upstream: Upstream, api: Provider
) -> None:
    docs = f"BASE URL: {api.url}/v1\nGET /weather?city=NAME"
    flow_id = allowing.create_flow(chain(upstream.url, "getApiChain", docs))
    stream = allowing.ask(flow_id, f"/say {api.url}/v1/weather?city=Rome", streaming=True)
    assert stream.kinds == ["start", "token", "metadata", "end"]
    (seen,) = api.seen
    assert (seen.method, seen.path, seen.headers["x-api-key"]) == ("GET", "/v1/weather?city=Rome", "sesame")
    write, say = told(upstream)
    assert docs in write
    assert f"{api.url}/v1/weather?city=Rome and answered:" in say
    assert "It is sunny." in say


def test_a_post_sends_what_the_model_wrote(allowing: Server, upstream: Upstream, api: Provider) -> None:
    flow_id = allowing.create_flow(chain(upstream.url, "postApiChain", f"POST {api.url}/notes"))
    written = json.dumps({"url": f"{api.url}/notes", "data": {"text": "milk"}})
    assert allowing.ask(flow_id, f"/say Here: {written}").status == 200
    (seen,) = api.seen
    assert (seen.method, seen.path, seen.body) == ("POST", "/notes", {"text": "milk"})


def test_prompts_of_the_flow_take_the_place_of_ours(allowing: Server, upstream: Upstream, api: Provider) -> None:
    prompts = {
        "urlPrompt": "{api_docs}|{question}\n/say " + api.url + "/x",
        "ansPrompt": "{api_url}|{api_response}|end",
    }
    flow_id = allowing.create_flow(chain(upstream.url, "getApiChain", api.url, **prompts))
    allowing.ask(flow_id, "Well?")
    write, say = told(upstream)
    assert write.startswith(f"{api.url}|Well?")
    assert say.startswith(f"{api.url}/x|")


@pytest.mark.parametrize(
    ("question", "code"),
    [
        ("/say http://10.0.0.1/x", "fetch_refused"),
        ("/say http://evil.example/x", "fetch_refused"),
        ("/say http://api.example@evil.example/x", "fetch_refused"),
        ("/say http://[::1", "provider_malformed"),
        ("/say I cannot", "provider_malformed"),
    ],
)
def test_an_address_that_the_documentation_does_not_name_is_refused(
    allowing: Server, upstream: Upstream, api: Provider, question: str, code: str
) -> None:
    flow_id = allowing.create_flow(chain(upstream.url, "getApiChain", f"Ask {api.url} or https://api.example."))
    reply = allowing.ask(flow_id, question)
    assert reply.json["code"] == code
    assert not api.seen


def test_headers_stay_home_when_the_documentation_names_no_host(
    allowing: Server, upstream: Upstream, api: Provider
) -> None:
    flow_id = allowing.create_flow(chain(upstream.url, "getApiChain", "GET /weather"))
    allowing.ask(flow_id, f"/say {api.url}/weather")
    assert "x-api-key" not in api.seen[0].headers


def test_the_guard_holds_for_api_chains_too(server: Server, upstream: Upstream, api: Provider) -> None:
    flow_id = server.create_flow(chain(upstream.url, "getApiChain", api.url))
    assert server.ask(flow_id, f"/say {api.url}/x").json["code"] == "fetch_refused"
    assert not api.seen


def test_the_operations_of_a_document_answer_a_question(allowing: Server, upstream: Upstream, api: Provider) -> None:
    document = {
        "openapi": "3.0.0",
        "info": {"title": "Weather", "version": "1"},
        "servers": [{"url": api.url}],
        "paths": {"/weather": {"get": {"operationId": "weather", "summary": "Tells the weather.", "parameters": [
            {"name": "city", "in": "query", "schema": {"type": "string"}}
        ]}}},
    }  # fmt: skip
    encoded = base64.b64encode(json.dumps(document).encode()).decode()
    file = f"data:application/x-yaml;base64,{encoded},filename:weather.yaml"
    wired = {"model": "{{chatOpenAI_0.data.instance}}", "yamlFile": file, "headers": '{"X-Api-Key": "sesame"}'}
    flow_id = allowing.create_flow(flow(chat_model(upstream.url), node("openApiChain", "Chains", **wired)))
    question = '/tool weather {"QueryParameters": {"city": "Rome"}} | /say Sunny.'
    answer = allowing.ask(flow_id, question).json
    assert answer["text"] == "Sunny."
    assert [tool["tool"] for tool in answer["usedTools"]] == ["weather"]
    assert (api.seen[0].path, api.seen[0].headers["x-api-key"]) == ("/weather?city=Rome", "sesame")
    assert allowing.send("GET", f"/api/v1/chatflows-streaming/{flow_id}").json == {"isStreaming": False}
