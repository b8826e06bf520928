"""What goes back to a provider with its own tool calls, in which form tools are offered, and JSON as models say it."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import pytest
from odd import data, lines
from odd.openai import DONE, call, says
from provider import Answer, Provider, as_json
from test_adapter_requests import sent
from waiting import within

from headrace.engine.chat import (
    ChatRequest,
    Delta,
    ModelMessage,
    TextDelta,
    ThinkingDelta,
    Thought,
    ToolCall,
    ToolCallDelta,
    ToolSpec,
)
from headrace.engine.json_extraction import extract_json
from headrace.engine.model_answer import ModelAnswer
from headrace.engine.ports import Images
from headrace.errors import ProviderError, ProviderUnavailable
from headrace.providers import anthropic, cohere, google, ollama, openai
from headrace.providers.endpoint import Endpoint
from headrace.providers.fallback import FallbackChat
from headrace.providers.http import ProviderHttp, ProviderLimits
from headrace.providers.stream_parser import ResponseParser
from headrace.providers.tool_schemas import for_gemini, portable

CALL = {"choices": [{"delta": {"tool_calls": [call("{}", index=0, id="a")]}, "finish_reason": "tool_calls"}]}
SIGNED = {"google": {"thought_signature": "SIG"}}
SIGNED_CALL = {"choices": [{"delta": {"tool_calls": [call("{}", index=0, id="a", extra_content=SIGNED)]}}]}
TEXT, SECRET = {"type": "reasoning.text", "index": 0}, {"type": "reasoning.encrypted", "data": "x"}
DETAILS = [{**TEXT, "text": "H"}], [{**TEXT, "text": "m", "signature": "S"}], [SECRET], [SECRET]


def turn(parser: ResponseParser, stream: bytes) -> ModelMessage:
    answer = ModelAnswer()
    answer.add([*parser.feed(stream), *([] if parser.done else parser.feed(b""))])
    return answer.message


@pytest.mark.parametrize(
    ("chunks", "right"),
    [
        ([says(None, reasoning_content="H"), says(None, reasoning_content="m")], {"reasoning_content": "Hm"}),
        ([says(None, reasoning="Hm")], {"reasoning": "Hm"}),
        (
            [says(None, reasoning="H", reasoning_details=each) for each in DETAILS],
            {"reasoning_details": [{**TEXT, "text": "Hm", "signature": "S"}, SECRET, SECRET]},
        ),
        ([says("no thought")], {}),
    ],
    ids=["DeepSeek", "vLLM", "OpenRouter", "none"],
)
def test_reasoning_goes_back_under_its_own_name_whether_shown_or_not(
    chunks: Sequence[Any], right: Mapping[str, Any]
) -> None:
    for thinking in (True, False):
        message = turn(openai.ChunkParser(thinking=thinking), data(*chunks, CALL, DONE))
        (back,) = sent("openai", ChatRequest([message]))["messages"]
        assert {name: value for name, value in back.items() if name.startswith("reasoning")} == right


def test_signatures_go_back_to_the_protocol_that_has_made_them_and_to_no_other() -> None:
    by_openai = turn(openai.ChunkParser(), data(says(None, reasoning_content="Hm"), SIGNED_CALL, DONE))
    (back,) = sent("openai", ChatRequest([by_openai]))["messages"]
    assert back["tool_calls"][0]["extra_content"] == SIGNED
    part = {"text": "", "thoughtSignature": "T"}, {"functionCall": {"name": "add"}, "thoughtSignature": "S"}
    by_google = turn(google.ChunkParser(), data({"candidates": [{"content": {"parts": part}, "finishReason": "STOP"}]}))
    parts = sent("google", ChatRequest([by_google]))["contents"][0]["parts"]
    assert [each.get("thoughtSignature") for each in parts] == ["T", "S"]
    for message in (by_openai, by_google):
        for protocol in {"anthropic", "bedrock", "cohere"}:
            assert not {"signature", "thinking", "SIG"} & {*str(sent(protocol, ChatRequest([message]))).split("'")}
    assert "SIG" not in str(sent("google", ChatRequest([by_openai])))
    assert "thoughtSignature" not in str(sent("openai", ChatRequest([by_google])))


def test_ollamas_thoughts_go_back() -> None:
    asked = {"message": {"thinking": "Hm", "tool_calls": [{"function": {"name": "add", "arguments": {}}}]}}
    message = turn(ollama.ChunkParser(), lines(asked, {"done": True}))
    assert sent("ollama", ChatRequest([message]))["messages"][0]["thinking"] == "Hm"


def test_arguments_go_back_as_an_object_however_they_were_written() -> None:
    for arguments, right in (('"{\\"a\\": 1}"', {"a": 1}), ("", {}), ('{"a": "\\ud83d"}', {"a": "\ufffd"})):
        message = ModelMessage("assistant", "", [ToolCall("c", "add", arguments)])
        assert sent("anthropic", ChatRequest([message]))["messages"][0]["content"][0]["input"] == right


@pytest.mark.parametrize(
    ("schema", "right"),
    [
        ({"type": "object"}, {"properties": {}}),
        ({}, {"properties": {}}),
        ({"properties": {"a": {"type": "array"}}}, {"properties": {"a": {"type": "array", "items": {}}}}),
        ({"properties": {"a": {"type": ["array", "null"]}}},
         {"properties": {"a": {"type": ["array", "null"], "items": {}}}}),
        ({"properties": {"a": {"type": "object"}}}, {"properties": {"a": {"type": "object", "properties": {}}}}),
        ({"properties": {"a": {"type": "number", "minimum": 0, "exclusiveMinimum": True}}},
         {"properties": {"a": {"type": "number", "exclusiveMinimum": 0}}}),
        ({"properties": {"a": {"type": "string", "required": True}}},
         {"properties": {"a": {"type": "string"}}, "required": ["a"]}),
        ({"properties": {"a": {"type": "string", "nullable": True}}},
         {"properties": {"a": {"type": ["string", "null"]}}}),
        ({"properties": {"a": {"type": "array", "items": [{"type": "string"}]}}},
         {"properties": {"a": {"type": "array", "items": {"anyOf": [{"type": "string"}]},
                               "prefixItems": [{"type": "string"}]}}}),
        ({"anyOf": [{"properties": {"a": {}}, "required": ["a"]}, {"properties": {"b": {}}, "required": ["b"]}]},
         {"properties": {"a": {}, "b": {}}}),
        ({"allOf": [{"properties": {"a": {}}, "required": ["a"]}]}, {"properties": {"a": {}}, "required": ["a"]}),
        ({"$ref": "#/definitions/F", "definitions": {"F": {"properties": {"a": {}}}}},
         {"$defs": {"F": {"type": "object", "properties": {"a": {}}}}, "properties": {"a": {}}}),
        ({"properties": {"id": {"type": "string"}, "required": {"type": "string"}}},
         {"properties": {"id": {"type": "string"}, "required": {"type": "string"}}}),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "properties": None}, {"properties": {}}),
    ],
)  # fmt: skip
def test_a_schema_is_offered_in_a_form_that_every_provider_takes(
    schema: Mapping[str, Any], right: Mapping[str, Any]
) -> None:
    assert portable(schema) == {"type": "object", **right}


def test_gemini_is_offered_what_it_knows_of_json_schema() -> None:
    field = {"type": "string", "format": "uri", "const": "x", "pattern": "x", "default": "x"}
    schema = {"properties": {"a": field, "b": {"oneOf": [{"type": "integer", "exclusiveMinimum": 1}]}}}
    assert for_gemini(schema)["properties"] == {
        "a": {"type": "string", "enum": ["x"]},
        "b": {"anyOf": [{"type": "integer", "minimum": 1}]},
    }


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ('{"a": "```b\\nc```"}', {"a": "```b\nc```"}),
        ('```json\n{"a": "```b\\nc```"}\n```', {"a": "```b\nc```"}),
        ('Here:\n```json\n{"a": 1}\n```\nDone.', {"a": 1}),
        ('```\n[1, 2]\n```', [1, 2]),
        ('~~~json\n{"a": 1}\n~~~', {"a": 1}),
        ('```json\n{"a": 1}', {"a": 1}),
        ('As [1] says: {"a": 1}. Enough?', {"a": 1}),
        ('Sure! [{"a": 1}]', [{"a": 1}]),
        ('\ufeff{"a": 1}', {"a": 1}),
        ('{"a": "\\ud83d"}', {"a": "\ufffd"}),
    ],
)  # fmt: skip
def test_json_is_read_as_models_say_it(text: str, right: Any) -> None:
    assert extract_json(text) == right


def test_what_is_no_json_is_not_read() -> None:
    for text in ("", "I do not know", "{a: 1}"):
        with pytest.raises(ValueError, match="JSON is malformed"):
            extract_json(text)


FAILURES = [data({"error": {"message": "x", "code": 503}}), data(says(""), {"error": "x"}), b"", data(says(""))]


async def said(http: ProviderHttp, *urls: str) -> str:
    models = [openai.OpenAIChat(Endpoint(http, url), {"model": "m"}, openai.Quirks()) for url in urls]
    deltas: list[Delta] = []
    try:
        async for batch in FallbackChat(models).stream(ChatRequest([ModelMessage("user", "Hi")])):
            deltas += batch
    finally:
        await http.close()
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


@pytest.mark.parametrize("failure", FAILURES)
def test_an_answer_that_fails_before_its_first_word_is_asked_for_again(provider: Provider, failure: bytes) -> None:
    fine, seen = data(says(), DONE), list[str]()

    def answer(_: Any) -> Answer:
        seen.append("asked")
        return Answer([failure] if len(seen) == 1 else [fine])

    provider.answer = answer
    assert within(said(ProviderHttp(ProviderLimits(first_pause=0.001)), provider.url)) == "Hi"
    assert len(seen) == 2


@pytest.mark.parametrize("failure", FAILURES)
def test_the_next_model_is_asked_when_one_fails_before_its_first_word(provider: Provider, failure: bytes) -> None:
    provider.answer = lambda seen: Answer([failure if seen.path == "/one" else data(says(), DONE)])
    urls = provider.url + "/one", provider.url + "/two"
    assert within(said(ProviderHttp(ProviderLimits(attempts=1)), *urls)) == "Hi"


def test_nothing_is_asked_again_after_a_word_or_when_it_will_not_pass(provider: Provider) -> None:
    for failure in (data(says("A"), {"error": "x"}), data({"error": {"message": "x", "code": 401}})):
        provider.always(Answer([failure]))
        with pytest.raises(ProviderError):
            within(said(ProviderHttp(ProviderLimits(first_pause=0.001)), provider.url))
        assert len(provider.seen) == 1


def test_a_json_error_with_status_200_is_an_error(provider: Provider) -> None:
    provider.always(as_json({"error": {"message": "no such model", "code": 404}}))
    with pytest.raises(ProviderError, match="no such model"):
        within(said(ProviderHttp(ProviderLimits(attempts=1)), provider.url))


# After a fallback in the middle of a run


class Scripted:
    """A model that says the same each time, and notes what it was told."""

    images: Images = "refused"

    def __init__(self, *deltas: Delta) -> None:
        self.deltas, self.told = deltas, list[ChatRequest]()

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[Delta]]:
        self.told.append(request)
        if not self.deltas:
            raise ProviderUnavailable("down")
        yield self.deltas


class OtherProtocol(Scripted):
    """The same of another provider."""


CALLS = ToolCallDelta(0, "a", "add", "{", "S"), ToolCallDelta(0, "", "", "}", "T")
THINKS = ThinkingDelta("Hm"), ThinkingDelta("", "SIG"), *CALLS


@pytest.mark.parametrize(("kind", "kept"), [(Scripted, True), (OtherProtocol, False)], ids=["its own", "another"])
def test_after_a_fallback_reasoning_goes_only_to_the_protocol_that_made_it(kind: type[Scripted], kept: bool) -> None:
    async def run() -> None:
        first, second = Scripted(*THINKS), kind(TextDelta("Hi"))
        model, answer = FallbackChat([first, second]), ModelAnswer()
        async for deltas in model.stream(ChatRequest([ModelMessage("user", "Hi")])):
            answer.add(deltas)
        told = ChatRequest([answer.message, ModelMessage("tool", "3", answers=answer.message.calls[0])])
        first.deltas = ()
        async for _ in model.stream(told):
            pass
        for asked, sees in ((first.told[1], True), (second.told[0], kept)):
            message = asked.messages[0]
            assert [(thought.text, thought.signature) for thought in message.thoughts] == [("Hm", "SIG")] * sees
            assert [(call.arguments, call.signature) for call in message.calls] == [("{}", "S" if sees else "")]

    within(run())


A, B = ToolCall("a", "add", "{}"), ToolCall("b", "add", "{}")
ASKED, ADDED, AGAIN = ModelMessage("user", "3?"), ModelMessage("tool", "3", answers=A), ModelMessage("user", "4?")
UNSIGNED, OWN = ModelMessage("assistant", "", [A]), ModelMessage("assistant", "", [A], [Thought("Hm", "SIG")])
HIDDEN = ModelMessage("assistant", "", [A], [Thought("", "SIG", redacted=True)])
FIELDS = ModelMessage("assistant", "", [A], [Thought("Hm", '{"thinking":"Hm"}')])
SECOND = [ModelMessage("assistant", "", [B]), ModelMessage("tool", "4", answers=B)]
THOUGHT = [ModelMessage("assistant", "", [B], [Thought("Ah", "S")]), ModelMessage("tool", "4", answers=B)]
BUDGET, ADAPTIVE = {"type": "enabled", "budget_tokens": 1024}, {"type": "adaptive"}
THINKING: dict[str, tuple[list[ModelMessage], dict[str, Any], str, bool]] = {
    "before any call": ([ASKED], BUDGET, "auto", True),
    "after its own call": ([ASKED, OWN, ADDED], BUDGET, "auto", True),
    "after its own call, with thoughts that are not shown": ([ASKED, HIDDEN, ADDED], BUDGET, "auto", True),
    "after its own two calls, the first of which was thought about": (
        [ASKED, OWN, ADDED, *SECOND],
        BUDGET,
        "auto",
        True,
    ),
    "after another's call": ([ASKED, UNSIGNED, ADDED], BUDGET, "auto", False),
    "after another's call, with thoughts of another": ([ASKED, FIELDS, ADDED], BUDGET, "auto", False),
    "after another's call and its own": ([ASKED, UNSIGNED, ADDED, *THOUGHT], BUDGET, "auto", False),
    "in the turn after another's call": ([ASKED, UNSIGNED, ADDED, AGAIN], BUDGET, "auto", True),
    "after another's call, as it likes": ([ASKED, UNSIGNED, ADDED], ADAPTIVE, "auto", True),
    "after another's answer in words": ([ASKED, ModelMessage("assistant", "3"), AGAIN], BUDGET, "auto", True),
    "about a tool that it must call": ([ASKED, OWN, ADDED], ADAPTIVE, "required", False),
    "about a tool that is named": ([ASKED], BUDGET, "add", False),
    "when its node says nothing of it": ([ASKED, UNSIGNED, ADDED], {}, "auto", True),
    "when it may call none": ([ASKED, OWN, ADDED], BUDGET, "none", True),
}


@pytest.mark.parametrize(("messages", "thinking", "choice", "kept"), THINKING.values(), ids=THINKING.keys())
def test_anthropic_thinks_only_where_it_does_not_refuse_to(
    messages: list[ModelMessage], thinking: dict[str, Any], choice: str, kept: bool
) -> None:
    request = ChatRequest(messages, tools=[ToolSpec("add", "", {"type": "object", "properties": {}})], choice=choice)
    body = anthropic.body_of(request, {"max_tokens": 2048, "thinking": thinking or None})
    blocks = [block for message in body["messages"] for block in message["content"]]
    own = [message for message in messages if any(thought.signature in ("SIG", "S") for thought in message.thoughts)]
    assert body.get("thinking") == ((thinking or None) if kept else None)
    assert sum("thinking" in block["type"] for block in blocks) == len(own) * kept
    assert sum(block["type"] == "tool_use" for block in blocks) == sum(len(message.calls) for message in messages)


def test_servers_of_openais_protocol_are_not_told_the_reasoning_of_each_other(provider: Provider) -> None:
    thought = [says(None, reasoning_content="Hm"), CALL, DONE]
    provider.answer = lambda seen: Answer([data(*thought) if seen.path == "/one" else data(says(), DONE)])

    async def run() -> None:
        http = ProviderHttp(ProviderLimits(attempts=1))
        urls = provider.url + "/one", provider.url + "/two"
        models = [openai.OpenAIChat(Endpoint(http, url), {"model": "m"}, openai.Quirks()) for url in urls]
        model, answer = FallbackChat(models), ModelAnswer()
        try:
            async for deltas in model.stream(ChatRequest([ModelMessage("user", "Hi")])):
                answer.add(deltas)
            provider.answer = lambda seen: Answer(
                [data({"error": {"code": 503}}) if seen.path == "/one" else data(says(), DONE)]
            )
            async for _ in model.stream(ChatRequest([answer.message])):
                pass
        finally:
            await http.close()

    within(run())
    one, two = (seen.body["messages"][0] for seen in provider.seen[-2:])
    assert (one["reasoning_content"], "reasoning_content" in two) == ("Hm", False)


def test_coheres_plan_goes_back_with_its_calls_and_to_no_other_protocol() -> None:
    plan = [{"type": "tool-plan-delta", "delta": {"message": {"tool_plan": text}}} for text in ("I ", "add.")]
    start = {"id": "a", "function": {"name": "add", "arguments": "{}"}}
    asks = {"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": start}}}
    end = {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL"}}
    message = turn(cohere.EventParser(), data(*plan, asks, end))
    assert sent("cohere", ChatRequest([message]))["messages"][0]["tool_plan"] == "I add."
    for other in ("openai", "anthropic", "google", "ollama"):
        assert "I add." not in str(sent(other, ChatRequest([message])))
