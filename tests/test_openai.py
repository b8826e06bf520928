"""The OpenAI protocol: a stream's bytes to deltas, a conversation to a request, and whose key goes where."""

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from calls import Recorder, body_of, call_of, called
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.chat import (
    ChatRequest,
    Delta,
    FinishDelta,
    ImagePart,
    ModelMessage,
    TextDelta,
    TextPart,
    UsageDelta,
)
from headrace.errors import (
    FlowError,
    ProviderCut,
    ProviderError,
    ProviderMalformed,
    ProviderRateLimited,
    ProviderRefused,
    ProviderUnauthorized,
    ProviderUnavailable,
)
from headrace.events import Usage
from headrace.nodes import built_in
from headrace.providers.endpoint import Endpoint
from headrace.providers.openai import ChunkParser, OpenAIChat, Quirks

ChatOpenAI = built_in()["chatOpenAI"]
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
DONE = "data: [DONE]"


def chunk(content: Any = ..., finish: str | None = None, **more: Any) -> str:
    delta = {} if content is ... else {"content": content}
    return "data: " + json.dumps(
        {"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}
    )


def stream(*lines: str, end: str = "\n\n") -> bytes:
    return "".join(line + end for line in lines).encode()


def parsed(*reads: bytes) -> list[Delta]:
    parser = ChunkParser()
    deltas = [delta for data in [*filter(None, reads), b""] for delta in parser.feed(data)]
    parser.close()
    return deltas


def text(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


# Bytes to deltas


WHOLE = [chunk(""), chunk("Hej ✨"), chunk(' "data: x"\n\n\u2028'), chunk(finish="stop"), chunk(usage=USAGE), DONE]


@given(st.sampled_from(["\n\n", "\r\n\r\n", "\n"]), st.lists(st.integers(0, 900)))
def test_any_split_of_a_streams_bytes_gives_the_same_deltas(end: str, cuts: list[int]) -> None:
    data = stream(*WHOLE, end=end)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:stop] for start, stop in pairwise(places)]
    expected = [
        TextDelta(""),
        TextDelta("Hej ✨"),
        TextDelta(' "data: x"\n\n\u2028'),
        FinishDelta("stop"),
        UsageDelta(Usage(3, 2, 5)),
    ]
    assert parsed(*pieces) == expected


@given(st.lists(st.text(), max_size=5), st.integers(1, 7))
def test_any_text_arrives_as_it_was_sent(texts: list[str], size: int) -> None:
    data = stream(*[chunk(piece) for piece in texts], DONE)
    assert text(parsed(*[data[at : at + size] for at in range(0, len(data), size)])) == "".join(texts)


IGNORED = {
    "comments": ": keep-alive",
    "other fields": "event: message",
    "an id": "id: 5",
    "empty data": "data:",
    "null content": chunk(None),
    "no content": chunk(),
    "no choices": 'data: {"choices": []}',
    "no delta": 'data: {"choices": [{"index": 0, "finish_reason": null}]}',
    "null error": 'data: {"error": null, "choices": []}',
    "null usage": 'data: {"usage": null, "choices": []}',
    "null choices": 'data: {"choices": null}',
    "Azure's first chunk": 'data: {"choices": [], "prompt_filter_results": [{"content_filter_results": {}}]}',
}


@pytest.mark.parametrize("line", IGNORED.values(), ids=IGNORED.keys())
def test_what_carries_no_text_gives_no_delta(line: str) -> None:
    assert parsed(stream(line, chunk("a"), line, DONE)) == [TextDelta("a")]


def test_data_may_follow_the_colon_at_once() -> None:
    assert text(parsed(stream(chunk("a").replace("data: ", "data:"), "data:[DONE]"))) == "a"


def test_usage_may_come_alone_with_the_last_chunk_or_in_detail() -> None:
    detailed = {**USAGE, "total_tokens": 0, "prompt_tokens_details": {"cached_tokens": 1, "audio_tokens": 0}}
    reasoned = {"completion_tokens_details": {"reasoning_tokens": 2}, **USAGE}
    for usage, counted in ((detailed, Usage(3, 2, 5, cached_tokens=1)), (reasoned, Usage(3, 2, 5, reasoning_tokens=2))):
        assert parsed(stream(chunk(finish="stop", usage=usage))) == [FinishDelta("stop"), UsageDelta(counted)]


def test_an_answer_has_ended_with_a_finish_reason_or_done() -> None:
    assert text(parsed(stream(chunk("a"), chunk(finish="length")))) == "a"
    assert text(parsed(stream(chunk("a"), DONE))) == "a"


@pytest.mark.parametrize("data", [b"", stream(chunk("a")), stream(chunk("a")) + b"data: [DON", b'{"choices": []}'])
def test_an_answer_without_an_end_was_cut(data: bytes) -> None:
    with pytest.raises(ProviderCut, match="broke off"):
        parsed(data)


@pytest.mark.parametrize("line", ["data: {", "data: <html>", 'data: {"choices": [', 'data: "half'])
def test_what_is_not_the_protocol_is_malformed(line: str) -> None:
    with pytest.raises(ProviderMalformed, match="cannot be read"):
        parsed(stream(chunk("a"), line, DONE))


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        ({"message": "Overloaded", "code": "500"}, ProviderUnavailable, "Overloaded"),
        ({"message": "Slow down", "code": 429}, ProviderRateLimited, "Slow down"),
        ({"message": "Bad key", "code": "401"}, ProviderUnauthorized, "Bad key"),
        ({"message": "Too long", "type": "invalid", "code": "400"}, ProviderRefused, "Too long"),
        ("it broke", ProviderUnavailable, "it broke"),
        ({"message": "odd", "code": "no_number"}, ProviderError, "odd"),
    ],
)
def test_an_error_inside_the_answer_is_raised_after_what_came_before(
    error: Any, kind: type[ProviderError], message: str
) -> None:
    parser = ChunkParser()
    assert parser.feed(stream(chunk("a"))) == [TextDelta("a")]
    with pytest.raises(kind, match=message):
        parser.feed(stream("data: " + json.dumps({"error": error})))


# A conversation to a request


def request(messages: list[ModelMessage], **quirks: Any) -> dict[str, Any]:
    http = Recorder()
    endpoint = Endpoint(http, "http://host/v1/chat/completions")
    return body_of(called(OpenAIChat(endpoint, {"model": "m"}, Quirks(**quirks)), http, ChatRequest(messages)))


def test_messages_are_sent_with_their_roles_and_parts() -> None:
    said = [
        ModelMessage("system", "Be brief."),
        ModelMessage("user", "Hi"),
        ModelMessage("assistant", ""),
        ModelMessage("user", [TextPart("look"), ImagePart("data:image/png;base64,x")]),
    ]
    assert request(said)["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": ""},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,x"}},
            ],
        },
    ]
    assert request(said, system_role="developer")["messages"][0]["role"] == "developer"


# The node


class Place(msgspec.Struct, frozen=True):
    """Where a node's calls go and with which key."""

    url: str
    key: str | None


def place(inputs: Mapping[str, Any], environ: Mapping[str, str] | None = None, credentials: Any = None) -> Place:
    call = call_of(ChatOpenAI, inputs, environ, credentials)
    authorization = call.headers.get("Authorization")
    return Place(call.url.removesuffix("/chat/completions"), authorization and authorization.removeprefix("Bearer "))


OPENAI, OWN, FOREIGN = "https://api.openai.com/v1", "https://models.example/v1", "https://other.example/v1"
SERVERS = {"OPENAI_API_KEY": "sk-servers"}
AT_OWN = {**SERVERS, "OPENAI_BASE_URL": OWN}
CREDENTIAL = {"c-1": {"openAIApiKey": "sk-credential"}, "c-2": {"openAIApiKey": "sk-pasted\n"}}
KEYS: dict[str, tuple[dict[str, Any], dict[str, str], Place]] = {
    "the server's key at OpenAI": ({}, SERVERS, Place(OPENAI, "sk-servers")),
    "the server's key at the server's address": ({}, AT_OWN, Place(OWN, "sk-servers")),
    "that address named by the flow": ({"basepath": OWN}, AT_OWN, Place(OWN, "sk-servers")),
    "no server's key at a foreign address": ({"basepath": FOREIGN}, SERVERS, Place(FOREIGN, None)),
    "nor where the address only begins like ours": ({"basepath": OWN + ".evil"}, AT_OWN, Place(OWN + ".evil", None)),
    "the server's key stays on the machine": (
        {"basepath": "http://127.0.0.1:11434/v1"},
        SERVERS,
        Place("http://127.0.0.1:11434/v1", "sk-servers"),
    ),
    "localhost is the machine": (
        {"basepath": "http://localhost:1/v1"},
        SERVERS,
        Place("http://localhost:1/v1", "sk-servers"),
    ),
    "IPv6 too": ({"basepath": "http://[::1]:1/v1"}, SERVERS, Place("http://[::1]:1/v1", "sk-servers")),
    "a name that begins like localhost is not": (
        {"basepath": "http://localhost.evil.example/v1"},
        SERVERS,
        Place("http://localhost.evil.example/v1", None),
    ),
    "nor is a user name": (
        {"basepath": "http://127.0.0.1@evil.example/v1"},
        SERVERS,
        Place("http://127.0.0.1@evil.example/v1", None),
    ),
    "the flow's credential goes where the flow says": (
        {"credential": "c-1", "basepath": FOREIGN},
        SERVERS,
        Place(FOREIGN, "sk-credential"),
    ),
    "the flow's credential before the server's key": ({"credential": "c-1"}, SERVERS, Place(OPENAI, "sk-credential")),
    "a key in the flow before both": (
        {"credential": "c-1", "openAIApiKey": "sk-input"},
        SERVERS,
        Place(OPENAI, "sk-input"),
    ),
    "an address that is none": ({"basepath": "http://[x/v1"}, SERVERS, Place("http://[x/v1", None)),
    "a key pasted with its line break": ({"credential": "c-2"}, SERVERS, Place(OPENAI, "sk-pasted")),
    "a slash at the end": ({"basepath": FOREIGN + "/"}, {}, Place(FOREIGN, None)),
}


@pytest.mark.parametrize(("inputs", "environ", "expected"), KEYS.values(), ids=KEYS.keys())
def test_whose_key_goes_where(inputs: dict[str, Any], environ: dict[str, str], expected: Place) -> None:
    assert place(inputs, environ, CREDENTIAL) == expected


@pytest.mark.parametrize("credentials", [{}, {"c-1": {"other": "x"}}])
def test_openai_without_a_key_says_what_to_do(credentials: Any) -> None:
    with pytest.raises(FlowError, match="connect a credential to the OpenAI node, set OPENAI_API_KEY, or"):
        place({"credential": "c-1"} if credentials else {}, {}, credentials)


def options(**inputs: Any) -> dict[str, Any]:
    body = body_of(call_of(ChatOpenAI, inputs, SERVERS))
    return {key: value for key, value in body.items() if key not in ("messages", "stream", "stream_options")}


def test_only_what_is_set_is_sent() -> None:
    assert options() == {"model": "gpt-4o-mini", "temperature": 0.9}
    assert options(modelName="m", temperature=None) == {"model": "m"}
    assert options(stopSequence=" a , ,b")["stop"] == ["a", "b"]
    assert "reasoning_effort" not in options(reasoningEffort="low")


@pytest.mark.parametrize("name", ["o1", "o3-mini", "o4-mini-2025", "gpt-5", "gpt-5-mini"])
def test_a_reasoning_model_gets_the_parameters_it_takes(name: str) -> None:
    found = options(modelName=name, temperature=0.5, maxTokens=9, stopSequence="x", reasoningEffort="low")
    assert found == {"model": name, "max_completion_tokens": 9, "reasoning_effort": "low"}


@pytest.mark.parametrize("name", ["gpt-4o", "gpt-5-chat-latest", "omni", "llama3"])
def test_other_models_get_the_usual_parameters(name: str) -> None:
    assert options(modelName=name, maxTokens=9) == {"model": name, "temperature": 0.9, "max_tokens": 9}
