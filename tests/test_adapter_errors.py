"""What providers answer when something is wrong: each node turns it into the class that says what to do."""

import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from calls import context
from model_nodes import ALL, MODEL_NODES, SECRET, account_file, environ_to
from provider import Answer, Provider, as_json
from waiting import within

from headrace.engine.chat import ChatRequest, ModelMessage
from headrace.errors import (
    ProviderContextTooLong,
    ProviderError,
    ProviderFiltered,
    ProviderNotFound,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnauthorized,
    ProviderUnavailable,
)
from headrace.nodes import built_in
from headrace.providers.error_mapping import complaint, refusal_class
from headrace.providers.http import ProviderHttp, ProviderLimits

KINDS: dict[str, type[ProviderError]] = {
    "wrong key": ProviderUnauthorized,
    "unknown model": ProviderNotFound,
    "too long": ProviderContextTooLong,
    "filtered": ProviderFiltered,
    "rate limited": ProviderRateLimited,
    "overloaded": ProviderUnavailable,
}
Said = tuple[int, dict[str, Any]]


def openai(status: int, message: str, code: str | None = None, kind: str = "invalid_request_error") -> Said:
    return status, {"error": {"message": message, "type": kind, "param": None, "code": code}}


def anthropic(status: int, kind: str, message: str) -> Said:
    return status, {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def google(status: int, code: str, message: str, *details: dict[str, Any]) -> Said:
    return status, {"error": {"code": status, "message": message, "status": code, "details": list(details)}}


OPENAI: dict[str, Said] = {
    "wrong key": openai(401, f"Incorrect API key provided: {SECRET}.", "invalid_api_key"),
    "unknown model": openai(404, "The model `m` does not exist.", "model_not_found"),
    "too long": openai(400, "This model's maximum context length is 8192 tokens.", "context_length_exceeded"),
    "filtered": (
        400,
        {
            "error": {
                "message": "The response was filtered due to the prompt.",
                "code": "content_filter",
                "status": 400,
                "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}},
            }
        },
    ),
    "rate limited": openai(429, "Rate limit reached for m.", "rate_limit_exceeded", "tokens"),
    "overloaded": openai(503, "The engine is currently overloaded.", None, "server_error"),
}
SAID: dict[str, dict[str, Said]] = {
    "openai": OPENAI,
    "completions": OPENAI,
    "anthropic": {
        "wrong key": anthropic(401, "authentication_error", f"invalid x-api-key {SECRET}"),
        "unknown model": anthropic(404, "not_found_error", "model: m"),
        "too long": anthropic(400, "invalid_request_error", "prompt is too long: 250000 tokens > 200000 maximum"),
        "filtered": anthropic(400, "invalid_request_error", "Output blocked by content filtering policy"),
        "rate limited": anthropic(429, "rate_limit_error", "This would exceed your rate limit"),
        "overloaded": anthropic(529, "overloaded_error", "Overloaded"),
    },
    "google": {
        "wrong key": google(
            400,
            "INVALID_ARGUMENT",
            f"API key not valid: {SECRET}",
            {"@type": "x", "reason": "API_KEY_INVALID"},
        ),
        "unknown model": google(404, "NOT_FOUND", "models/m is not found for API version v1beta"),
        "too long": google(
            400, "INVALID_ARGUMENT", "The input token count exceeds the maximum number of tokens allowed"
        ),
        "rate limited": google(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota", {"retryDelay": "7s"}),
        "overloaded": google(503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    },
    "ollama": {
        "wrong key": (401, {"error": f"unauthorized: {SECRET}"}),
        "unknown model": (404, {"error": "model 'm' not found"}),
        "too long": (400, {"error": "the request exceeds the available context size"}),
        "overloaded": (503, {"error": "server busy, please try again. maximum pending requests exceeded"}),
    },
    "cohere": {
        "wrong key": (401, {"id": "1", "message": f"invalid api token {SECRET}"}),
        "unknown model": (404, {"id": "1", "message": "model 'm' not found, make sure the correct model ID was used"}),
        "too long": (400, {"message": "too many tokens: size limit exceeded by 9 tokens"}),
        "rate limited": (429, {"message": "You are using a Trial key, which is limited to 20 API calls / minute."}),
        "overloaded": (503, {"message": "service unavailable"}),
    },
    "bedrock": {
        "wrong key": (403, {"message": f"The security token included in the request is invalid. {SECRET}"}),
        "unknown model": (400, {"message": "The provided model identifier is invalid."}),
        "too long": (400, {"message": "Input is too long for requested model."}),
        "rate limited": (429, {"message": "Too many tokens, please wait before trying again."}),
        "overloaded": (503, {"message": "The service is temporarily unavailable."}),
    },
    "replicate": {
        "wrong key": (401, {"title": "Unauthenticated", "detail": f"Invalid token {SECRET}.", "status": 401}),
        "unknown model": (404, {"detail": "The requested resource could not be found.", "status": 404}),
        "rate limited": (429, {"detail": "Request was throttled. Expected available in 7 seconds.", "status": 429}),
        "overloaded": (500, {"detail": "Internal server error", "status": 500}),
    },
}
CASES = [(node, kind) for node, model in MODEL_NODES.items() for kind in SAID[model.protocol]]


def test_every_node_of_a_model_is_looked_at() -> None:
    assert {*MODEL_NODES} == ALL


@pytest.fixture(scope="module")
def account(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return account_file(tmp_path_factory.mktemp("account"), provider.url + "/token")


async def asked(provider: Provider, account: Path, node: str, limits: ProviderLimits) -> None:
    http = ProviderHttp(limits)
    try:
        record = msgspec.convert(MODEL_NODES[node].inputs, built_in()[node])
        model: Any = await record.build(context(http, environ_to(provider.url, account)))
        async with aclosing(model.stream(ChatRequest([ModelMessage("user", "Hi")]))) as batches:
            async for _ in batches:
                pass
    finally:
        await http.close()


@pytest.mark.parametrize(("node", "kind"), CASES)
def test_a_providers_refusal_becomes_its_class_with_the_message_and_without_the_key(
    provider: Provider, account: Path, node: str, kind: str
) -> None:
    status, body = SAID[MODEL_NODES[node].protocol][kind]
    headers = {"Retry-After": "7"} if kind == "rate limited" else {}
    refusal, token = as_json(body, status, **headers), as_json({"access_token": SECRET, "expires_in": 3599})
    provider.always(refusal)
    provider.answer = lambda seen: token if seen.path == "/token" else refusal
    with pytest.raises(ProviderError) as caught:
        within(asked(provider, account, node, ProviderLimits(attempts=1)))
    assert type(caught.value) is KINDS[kind]
    assert complaint(json.dumps(body).encode(), SECRET).message in str(caught.value)
    assert f"answered {status}" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert ("***" in str(caught.value)) == (SECRET in json.dumps(body))
    assert caught.value.retry_after == (7 if headers else None)


@pytest.mark.parametrize("node", MODEL_NODES)
def test_what_is_no_protocol_at_all_is_no_answer(provider: Provider, account: Path, node: str) -> None:
    provider.always(Answer([b"<html><body>Sign in to the hotel's network</body></html>"]))
    with pytest.raises(ProviderError):
        within(asked(provider, account, node, ProviderLimits(attempts=1)))


@pytest.mark.parametrize("node", ["chatOpenAI", "chatAnthropic", "chatGoogleGenerativeAI", "azureChatOpenAI"])
def test_a_key_does_not_follow_a_redirect(provider: Provider, account: Path, node: str) -> None:
    elsewhere = {"Location": provider.url.replace("127.0.0.1", "localhost") + "/elsewhere"}
    provider.always(Answer(status=307, headers=elsewhere))
    with pytest.raises(ProviderRefused, match="answered 307"):
        within(asked(provider, account, node, ProviderLimits(attempts=1)))
    assert len(provider.seen) == 1


# What single providers say in their own way

OWN: dict[str, tuple[int, Any, type[ProviderError], str]] = {
    "xAI's wrong key": (
        400,
        {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***."},
        ProviderUnauthorized,
        "Incorrect API key provided",
    ),
    "Mistral's": (
        422,
        {
            "object": "error",
            "message": {"detail": [{"msg": "Extra inputs are not permitted"}]},
            "type": "x",
            "code": None,
        },
        ProviderRefused,
        "Extra inputs are not permitted",
    ),
    "a server's on FastAPI": (
        422,
        {"detail": [{"loc": ["x"], "msg": "field required"}]},
        ProviderRefused,
        "field req",
    ),
    "Groq's too large a request": (
        413,
        {"error": {"message": "Request too large for model `m` on tokens per minute", "code": "rate_limit_exceeded"}},
        ProviderContextTooLong,
        "Request too large",
    ),
    "an empty account": (
        429,
        {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}},
        ProviderRefused,
        "quota",
    ),
    "DeepSeek's empty account": (402, {"error": {"message": "Insufficient Balance"}}, ProviderRefused, "Insufficient"),
    "Hugging Face's too long a prompt": (
        422,
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4",
            "error_type": "validation",
        },
        ProviderContextTooLong,
        "Input validation",
    ),
    "Cerebras's": (
        400,
        {"message": "Please reduce the length of the messages or completion.", "code": "context_length_exceeded"},
        ProviderContextTooLong,
        "Please reduce",
    ),
    "Cloudflare's": (
        400,
        {"errors": [{"message": "No such model @cf/x", "code": 5007}], "success": False, "result": {}},
        ProviderRefused,
        "No such model @cf/x",
    ),
    "Google's in a list": (
        400,
        [{"error": {"code": 400, "message": "bad", "status": "INVALID_ARGUMENT"}}],
        ProviderRefused,
        "bad",
    ),
    "a code that is a number": (500, {"error": {"message": "x", "code": 500, "type": None}}, ProviderUnavailable, "x"),
    "a timeout": (408, {"error": {"message": "Timed out"}}, ProviderTimeout, "Timed out"),
    "a text": (400, "no", ProviderRefused, "no"),
    "a null": (500, None, ProviderUnavailable, ""),
    "an error that is null": (400, {"error": None, "message": "odd"}, ProviderRefused, "odd"),
    "nothing in it": (400, {}, ProviderRefused, ""),
    "lists of nothing": (400, {"errors": [], "error": {"details": "x", "innererror": 5}}, ProviderRefused, ""),
}


@pytest.mark.parametrize(("status", "body", "kind", "message"), OWN.values(), ids=OWN.keys())
def test_a_refusal_is_understood_in_the_words_of_its_provider(
    status: int, body: Any, kind: type[ProviderError], message: str
) -> None:
    said = complaint(json.dumps(body).encode())
    assert refusal_class(status, said) is kind
    assert message in said.message


def test_a_key_is_masked_however_json_writes_it() -> None:
    for key in ("sk/with/slashes", 'sk"quoted"', "sk-ünlaut", "sk\\back"):
        for written in (
            json.dumps(f"Key {key} is wrong"),
            json.dumps(f"Key {key} is wrong", ensure_ascii=False).replace("/", "\\/"),
        ):
            said = complaint(b'{"error": {"message": ' + written.encode() + b"}}", key)
            assert said.message == "Key *** is wrong"


def test_a_long_message_is_cut() -> None:
    assert len(complaint(json.dumps({"error": {"message": "x" * 100_000}}).encode()).message) == 2000
