"""What each protocol sends for tools, for an answer in a form, and for the settings of its nodes."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import pytest
from botocore.session import get_session
from botocore.validate import ParamValidator
from calls import Recorder, body_of, call_of, called
from test_adapter_requests import CACHED, FORM, PICTURE, PLACE, TALK, TIME, WEATHER, openai, sent
from waiting import within

from headrace.engine.chat import ChatRequest, Delta, FinishDelta, ModelMessage, TextDelta, TextPart, ToolCallDelta
from headrace.nodes import built_in
from headrace.providers.endpoint import Endpoint
from headrace.providers.openai import OpenAIChat, Quirks
from headrace.providers.structured_output import tool_as_text

HI = [ModelMessage("user", "Hi")]
EMPTY = {"type": "object", "properties": {}}
_WRAPPED = [
    {"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": PLACE}},
    {"type": "function", "function": {"name": "time", "description": "", "parameters": EMPTY}},
]
TOOLS: dict[str, dict[str, Any]] = {
    "openai": {"tools": _WRAPPED},
    "cohere": {"tools": _WRAPPED},
    "ollama": {"tools": _WRAPPED},
    "anthropic": {
        "tools": [
            {"name": "weather", "description": "The weather.", "input_schema": PLACE},
            {"name": "time", "description": "", "input_schema": EMPTY, **CACHED},
        ]
    },
    "google": {
        "tools": [
            {
                "functionDeclarations": [
                    {"name": "weather", "description": "The weather.", "parametersJsonSchema": PLACE},
                    {"name": "time", "description": "", "parametersJsonSchema": EMPTY},
                ]
            }
        ]
    },
    "bedrock": {
        "toolConfig": {
            "tools": [
                {"toolSpec": {"name": "weather", "description": "The weather.", "inputSchema": {"json": PLACE}}},
                {"toolSpec": {"name": "time", "inputSchema": {"json": EMPTY}}},
            ]
        }
    },
}


@pytest.mark.parametrize(("protocol", "expected"), TOOLS.items(), ids=TOOLS.keys())
def test_tools_are_offered(protocol: str, expected: dict[str, Any]) -> None:
    body = sent(protocol, ChatRequest(HI, [WEATHER, TIME]))
    assert {name: body.get(name) for name in expected} == expected
    assert not {"tool_choice", "toolConfig"} & {*body} - {*expected}


NAMED = {"type": "function", "function": {"name": "time"}}
CHOICES: dict[tuple[str, str], Mapping[str, Any]] = {
    ("openai", "none"): {"tool_choice": "none"},
    ("openai", "required"): {"tool_choice": "required"},
    ("openai", "time"): {"tool_choice": NAMED},
    ("anthropic", "none"): {"tool_choice": {"type": "none"}},
    ("anthropic", "required"): {"tool_choice": {"type": "any"}},
    ("anthropic", "time"): {"tool_choice": {"type": "tool", "name": "time"}},
    ("google", "none"): {"toolConfig": {"functionCallingConfig": {"mode": "NONE"}}},
    ("google", "required"): {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}},
    ("google", "time"): {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["time"]}}},
    ("cohere", "none"): {"tool_choice": "NONE", "tools": _WRAPPED},
    ("cohere", "required"): {"tool_choice": "REQUIRED", "tools": _WRAPPED},
    ("cohere", "time"): {"tool_choice": "REQUIRED", "tools": _WRAPPED[1:]},
    ("ollama", "none"): {"tools": None},
    ("ollama", "required"): {"tools": _WRAPPED},
    ("ollama", "time"): {"tools": _WRAPPED[1:]},
    ("bedrock", "none"): {"toolConfig": None},
    ("bedrock", "required"): {"toolConfig": {**TOOLS["bedrock"]["toolConfig"], "toolChoice": {"any": {}}}},
    ("bedrock", "time"): {"toolConfig": {**TOOLS["bedrock"]["toolConfig"], "toolChoice": {"tool": {"name": "time"}}}},
}


@pytest.mark.parametrize(("asked", "expected"), CHOICES.items(), ids=["-".join(key) for key in CHOICES])
def test_the_choice_of_a_tool_is_sent_as_far_as_the_protocol_has_one(
    asked: tuple[str, str], expected: Mapping[str, Any]
) -> None:
    protocol, choice = asked
    body = sent(protocol, ChatRequest(HI, [WEATHER, TIME], choice))
    assert {name: body.get(name) for name in expected} == expected


def test_tools_may_be_strict() -> None:
    tools = openai(ChatRequest(HI, [WEATHER]), strict_tools=True)["tools"]
    assert tools[0]["function"]["strict"] is True


# A form


def test_an_answer_in_a_form_is_asked_for_in_the_way_that_the_provider_has() -> None:
    request = ChatRequest(HI, schema=FORM)
    assert openai(request, schemas="schema")["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": PLACE},
    }
    assert sent("cohere", request)["response_format"] == {"type": "json_object", "json_schema": PLACE}
    assert sent("ollama", request)["format"] == PLACE
    asked = sent("google", request)["generationConfig"]
    assert asked == {"responseMimeType": "application/json", "responseJsonSchema": PLACE}


def test_a_provider_with_only_a_mode_for_json_is_told_the_form_in_words() -> None:
    body = openai(ChatRequest(HI, schema=FORM), schemas="json")
    assert body["response_format"] == {"type": "json_object"}
    assert body["messages"][0]["role"] == "system"
    assert '"city"' in body["messages"][0]["content"]
    assert body["messages"][1:] == [{"role": "user", "content": "Hi"}]


def test_a_provider_with_neither_must_call_a_tool_of_that_form() -> None:
    request = ChatRequest(HI, schema=FORM)
    for body, choice in (
        (openai(request), {"type": "function", "function": {"name": "answer"}}),
        (sent("anthropic", request), {"type": "tool", "name": "answer"}),
    ):
        assert body["tool_choice"] == choice
        assert "response_format" not in body
        assert PLACE in (body["tools"][0].get("input_schema"), body["tools"][0].get("function", {}).get("parameters"))
    assert sent("bedrock", request)["toolConfig"]["toolChoice"] == {"tool": {"name": "answer"}}


@pytest.mark.parametrize(
    ("deltas", "told"),
    [
        ([ToolCallDelta(0, "c", "answer", '{"a"'), ToolCallDelta(0, arguments=":1}")], '{"a":1}'),
        ([TextDelta("Sure. "), ToolCallDelta(1, "c", "answer", "{}")], "{}"),
        ([ToolCallDelta(0, "c", "answer", "{}"), ToolCallDelta(1, "d", "answer", '{"b":1}')], "{}"),
        ([TextDelta('{"a":'), TextDelta("2}")], '{"a":2}'),
    ],
    ids=["arguments", "text beside the call", "a second call", "no call at all"],
)
def test_what_came_through_the_tool_is_the_answer(deltas: list[Any], told: str) -> None:
    async def batches() -> AsyncGenerator[Sequence[Delta]]:
        for delta in deltas:
            yield [delta]
        yield [FinishDelta("tool_calls")]

    async def run() -> list[Any]:
        return [delta async for each in tool_as_text(batches()) for delta in each]

    *said, finish = within(run())
    assert "".join(delta.text for delta in said) == told
    assert finish == FinishDelta("stop")


# Nodes' settings

_PROVIDERS = "OPENAI ANTHROPIC GOOGLE COHERE MISTRAL GROQ DEEPSEEK PERPLEXITY QIANFAN HUGGINGFACE REPLICATE XAI"
KEYS = {
    "AWS_ACCESS_KEY_ID": "k",
    "AWS_SECRET_ACCESS_KEY": "k",
    **{f"{name}_API_KEY": "k" for name in _PROVIDERS.split()},
}
BASE = {"modelName": "m"}
SETTINGS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("chatOpenAI", {**BASE, "stopSequence": "a, b", "topP": 0.5, "maxTokens": 7},
     {"temperature": 0.9, "stop": ["a", "b"], "top_p": 0.5, "max_tokens": 7,
      "stream_options": {"include_usage": True}}),
    ("groqChat", {**BASE, "seed": 7}, {"seed": 7}),
    ("chatGoogleGenerativeAI", {"seed": 7}, {"generationConfig": {"temperature": 0.9, "seed": 7}}),
    ("chatOllama", {**BASE, "seed": 7}, {"options": {"temperature": 0.9, "seed": 7}}),
    ("chatCohere", {"seed": 7}, {"seed": 7}),
    ("chatMistralAI", {**BASE, "randomSeed": 5, "safeMode": True, "maxOutputTokens": 9},
     {"random_seed": 5, "safe_prompt": True, "max_tokens": 9, "stream_options": None}),
    ("chatPerplexity", {"model": "sonar", "topK": 3}, {"top_k": 3, "model": "sonar", "stream_options": None}),
    ("chatBaiduWenxin", {"modelName": "a", "customModelName": "b"}, {"model": "b"}),
    ("chatDeepseek", {"thinking": True}, {"thinking": {"type": "enabled"}, "model": "deepseek-chat"}),
    ("chatDeepseek", {}, {"thinking": None}),
    ("chatBaiduWenxin", {"penaltyScore": 1.5, "userId": "u"}, {"penalty_score": 1.5, "user": "u"}),
    ("chatXAI", {**BASE, "frequencyPenalty": 0.1, "presencePenalty": 0.2},
     {"frequency_penalty": 0.1, "presence_penalty": 0.2}),
    ("chatAnthropic", {"modelName": "c", "topK": 4, "temperature": 0.2},
     {"max_tokens": 4096, "top_k": 4, "temperature": 0.2, "thinking": None, "stream": True}),
    ("chatAnthropic", {"topP": 0.5}, {"top_p": 0.5, "temperature": None}),
    ("chatAnthropic", {"extendedThinking": True, "budgetTokens": 9000, "temperature": 0.2},
     {"thinking": {"type": "enabled", "budget_tokens": 9000}, "max_tokens": 10024, "temperature": None}),
    ("chatAnthropic", {"adaptiveThinking": True, "thinkingEffort": "high", "maxTokensToSample": 50},
     {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}, "max_tokens": 50}),
    ("chatGoogleGenerativeAI", {"maxOutputTokens": 5, "topK": 2, "thinkingBudget": 0},
     {"generationConfig": {"temperature": 0.9, "maxOutputTokens": 5, "topK": 2,
                           "thinkingConfig": {"thinkingBudget": 0, "includeThoughts": True}}}),
    ("chatGoogleGenerativeAI", {"safetySettings": [{"harmCategory": "H", "harmBlockThreshold": "B"}]},
     {"safetySettings": [{"category": "H", "threshold": "B"}]}),
    ("chatOllama", {**BASE, "think": True, "numCtx": 8192, "stop": "x", "jsonMode": True, "keepAlive": "-1"},
     {"think": True, "options": {"temperature": 0.9, "num_ctx": 8192, "stop": ["x"]}, "format": "json",
      "keep_alive": "-1"}),
    ("chatCohere", {"temperature": 0.1}, {"temperature": 0.1, "model": "command-r7b-12-2024", "stream": True}),
    ("awsChatBedrock", {"latencyOptimized": True, "max_tokens_to_sample": 9},
     {"inferenceConfig": {"maxTokens": 9, "temperature": 0.7}, "performanceConfig": {"latency": "optimized"}}),
    ("openAI", {"bestOf": 2, "maxTokens": 5}, {"prompt": "Hi", "best_of": 2, "max_tokens": 5, "stream": True}),
    ("huggingFaceInference_LLMs", {"endpoint": "https://e.example", "hfTopK": 3, "maxTokens": 8},
     {"inputs": "Hi", "parameters": {"top_k": 3, "max_new_tokens": 8, "return_full_text": False}, "stream": True}),
    ("replicate", {"model": "a/b:v1", "maxTokens": 8, "additionalInputs": {"seed": 4}},
     {"version": "v1", "input": {"prompt": "Hi", "temperature": 0.7, "max_length": 8, "seed": 4}, "stream": True}),
]  # fmt: skip


@pytest.mark.parametrize(("node", "inputs", "expected"), SETTINGS)
def test_a_nodes_settings_are_sent_in_its_providers_words(
    node: str, inputs: dict[str, Any], expected: dict[str, Any]
) -> None:
    body = body_of(call_of(built_in()[node], inputs, KEYS))
    assert {name: body.get(name) for name in expected} == expected


def test_anthropic_does_not_think_where_it_must_call_a_tool() -> None:
    thinking = {"extendedThinking": True}
    forced = ChatRequest(HI, [WEATHER], "weather")
    assert "thinking" not in body_of(call_of(built_in()["chatAnthropic"], thinking, KEYS, request=forced))
    free = ChatRequest(HI, [WEATHER])
    assert "thinking" in body_of(call_of(built_in()["chatAnthropic"], thinking, KEYS, request=free))


@pytest.mark.parametrize("choice", ["auto", "required", "weather"])
def test_awss_own_description_of_the_protocol_takes_the_requests(choice: str) -> None:
    operation = get_session().get_service_model("bedrock-runtime").operation_model("ConverseStream")
    talk = [*TALK, ModelMessage("user", [TextPart("And this?"), PICTURE])]
    for request in (ChatRequest(talk, [WEATHER, TIME], choice), ChatRequest(talk, schema=FORM)):
        body = sent("bedrock", request)
        report = ParamValidator().validate({"modelId": "m", **body}, operation.input_shape)
        assert report.generate_report() == ""


def test_a_conversation_does_not_change_the_settings_that_later_ones_share() -> None:
    http, options = Recorder(), {"model": "m", "generationConfig": {"topK": 1}}
    chat = OpenAIChat(Endpoint(http, "https://x.example"), options, Quirks())
    first = body_of(called(chat, http, ChatRequest(HI, [WEATHER], "none", FORM)))
    assert "tools" in first
    assert set(body_of(called(chat, http, ChatRequest(HI)))) == {*options, "messages", "stream", "stream_options"}
