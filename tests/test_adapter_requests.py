"""What each protocol sends for a whole conversation: turns, pictures, tools, a form, and what the flow sets."""

import base64
from typing import Any

import pytest
from calls import Recorder, body_of, call_of, called
from protocols import PROTOCOLS, SECRET

from headrace.engine.chat import (
    ChatRequest,
    ImagePart,
    ModelMessage,
    OutputSchema,
    TextPart,
    Thought,
    ToolCall,
    ToolSpec,
)
from headrace.errors import InvalidRequest
from headrace.nodes import built_in
from headrace.nodes.chat_models.ollama import ChatOllama
from headrace.providers.endpoint import Endpoint
from headrace.providers.openai import OpenAIChat, Quirks

ChatOpenAI, ChatXAI = built_in()["chatOpenAI"], built_in()["chatXAI"]
KEYS = {"OPENAI_API_KEY": SECRET, "XAI_API_KEY": SECRET}
PIXEL = base64.b64encode(b"\x89PNG\r\n").decode()
PICTURE = ImagePart(f"data:image/png;base64,{PIXEL}")
ADDRESS = ImagePart("https://pictures.example/a.png")
PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER, TIME = ToolSpec("weather", "The weather.", PLACE), ToolSpec("time", "", {"type": "object", "properties": {}})
SUNNY = ToolCall("call_1", "weather", '{"city": "Oslo"}', "sig")
NOON = ToolCall("call_2", "time", "")
TALK = [
    ModelMessage("system", "Be brief."),
    ModelMessage("user", "Hi"),
    ModelMessage("assistant", "Hello"),
    ModelMessage("user", "Weather and time?"),
    ModelMessage("assistant", "I look.", [SUNNY, NOON], [Thought("Both.", "s1"), Thought("", "s2", redacted=True)]),
    ModelMessage("tool", "sunny", answers=SUNNY),
    ModelMessage("tool", "noon", answers=NOON),
    ModelMessage("user", "Thanks"),
]
FORM = OutputSchema("answer", PLACE)


def sent(protocol: str, request: ChatRequest) -> dict[str, Any]:
    http = Recorder()
    endpoint = Endpoint(http, "https://models.example/x", {}, SECRET)
    return body_of(called(PROTOCOLS[protocol].model(endpoint), http, request))


def openai(request: ChatRequest, **quirks: Any) -> dict[str, Any]:
    http = Recorder()
    endpoint = Endpoint(http, "https://models.example/x")
    return body_of(called(OpenAIChat(endpoint, {"model": "m"}, Quirks(**quirks)), http, request))


# Turns

_FUNCTIONS = [
    {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}},
    {"id": "call_2", "type": "function", "function": {"name": "time", "arguments": "{}"}},
]
_OPENAI = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Weather and time?"},
    {"role": "assistant", "content": "I look.", "tool_calls": _FUNCTIONS},
    {"role": "tool", "content": "sunny", "tool_call_id": "call_1"},
    {"role": "tool", "content": "noon", "tool_call_id": "call_2"},
    {"role": "user", "content": "Thanks"},
]
CACHED = {"cache_control": {"type": "ephemeral"}}
CONVERSATIONS: dict[str, dict[str, Any]] = {
    "openai": {"messages": _OPENAI},
    "cohere": {"messages": _OPENAI},
    "anthropic": {
        "system": [{"type": "text", "text": "Be brief.", **CACHED}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Hello"}]},
            {"role": "user", "content": [{"type": "text", "text": "Weather and time?"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Both.", "signature": "s1"},
                    {"type": "redacted_thinking", "data": "s2"},
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Oslo"}},
                    {"type": "tool_use", "id": "call_2", "name": "time", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": "sunny"},
                    {"type": "tool_result", "tool_use_id": "call_2", "content": "noon"},
                    {"type": "text", "text": "Thanks"},
                ],
            },
        ],
    },
    "bedrock": {
        "system": [{"text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [{"text": "Hi"}]},
            {"role": "assistant", "content": [{"text": "Hello"}]},
            {"role": "user", "content": [{"text": "Weather and time?"}]},
            {
                "role": "assistant",
                "content": [
                    {"reasoningContent": {"reasoningText": {"text": "Both.", "signature": "s1"}}},
                    {"reasoningContent": {"redactedContent": "s2"}},
                    {"text": "I look."},
                    {"toolUse": {"toolUseId": "call_1", "name": "weather", "input": {"city": "Oslo"}}},
                    {"toolUse": {"toolUseId": "call_2", "name": "time", "input": {}}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"toolResult": {"toolUseId": "call_1", "content": [{"text": "sunny"}]}},
                    {"toolResult": {"toolUseId": "call_2", "content": [{"text": "noon"}]}},
                    {"text": "Thanks"},
                ],
            },
        ],
    },
    "google": {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}]},
            {"role": "model", "parts": [{"text": "Hello"}]},
            {"role": "user", "parts": [{"text": "Weather and time?"}]},
            {
                "role": "model",
                "parts": [
                    {"text": "I look."},
                    {
                        "functionCall": {"name": "weather", "args": {"city": "Oslo"}, "id": "call_1"},
                        "thoughtSignature": "sig",
                    },
                    {"functionCall": {"name": "time", "args": {}, "id": "call_2"}},
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"name": "weather", "response": {"result": "sunny"}, "id": "call_1"}},
                    {"functionResponse": {"name": "time", "response": {"result": "noon"}, "id": "call_2"}},
                    {"text": "Thanks"},
                ],
            },
        ],
    },
    "ollama": {
        "messages": [
            *_OPENAI[:4],
            {
                "role": "assistant",
                "content": "I look.",
                "tool_calls": [
                    {"function": {"name": "weather", "arguments": {"city": "Oslo"}}},
                    {"function": {"name": "time", "arguments": {}}},
                ],
            },
            {"role": "tool", "content": "sunny", "tool_name": "weather"},
            {"role": "tool", "content": "noon", "tool_name": "time"},
            {"role": "user", "content": "Thanks"},
        ]
    },
    "completions": {
        "prompt": "System: Be brief.\nHuman: Hi\nAI: Hello\nHuman: Weather and time?\nAI: I look.\nTool: sunny\n"
        "Tool: noon\nHuman: Thanks\nAI:"
    },
}


@pytest.mark.parametrize(("protocol", "expected"), CONVERSATIONS.items(), ids=CONVERSATIONS.keys())
def test_a_conversation_is_sent_turn_by_turn(protocol: str, expected: dict[str, Any]) -> None:
    body = sent(protocol, ChatRequest(TALK))
    assert {name: body.get(name) for name in expected} == expected


def test_a_call_that_the_provider_named_by_its_place_goes_back_without_that_name() -> None:
    own = ToolCall("call-0", "weather", "{}")
    talk = [ModelMessage("user", "?"), ModelMessage("assistant", "", [own]), ModelMessage("tool", "x", answers=own)]
    _, called_turn, answered_turn = sent("google", ChatRequest(talk))["contents"]
    assert called_turn["parts"] == [{"functionCall": {"name": "weather", "args": {}}}]
    assert answered_turn["parts"] == [{"functionResponse": {"name": "weather", "response": {"result": "x"}}}]


@pytest.mark.parametrize("arguments", ['{"city": ', "[1]", '"x"', "NaN"])
def test_arguments_that_are_no_object_still_make_a_request(arguments: str) -> None:
    broken = ToolCall("c", "weather", arguments)
    for protocol in ("anthropic", "google", "ollama", "bedrock"):
        talk = [ModelMessage("user", "?"), ModelMessage("assistant", "", [broken])]
        assert '"arguments"' in str(sent(protocol, ChatRequest(talk))).replace("'", '"')


@pytest.mark.parametrize("protocol", ["anthropic", "bedrock", "google"])
def test_empty_turns_are_left_out(protocol: str) -> None:
    talk = [
        ModelMessage("system", ""),
        ModelMessage("user", "a"),
        ModelMessage("assistant", ""),
        ModelMessage("user", "b"),
    ]
    body = sent(protocol, ChatRequest(talk))
    turns = body["contents" if protocol == "google" else "messages"]
    assert [turn["role"] for turn in turns] == ["user"]
    assert "system" not in body
    assert "systemInstruction" not in body


# Pictures

ASKED = [ModelMessage("user", [TextPart("What is it?"), PICTURE])]
SHOWN: dict[str, Any] = {
    "openai": {"type": "image_url", "image_url": {"url": PICTURE.url}},
    "cohere": {"type": "image_url", "image_url": {"url": PICTURE.url}},
    "anthropic": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
    "google": {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
    "bedrock": {"image": {"format": "png", "source": {"bytes": PIXEL}}},
    "ollama": PIXEL,
}
LINKED: dict[str, Any] = {
    "openai": {"type": "image_url", "image_url": {"url": ADDRESS.url}},
    "anthropic": {"type": "image", "source": {"type": "url", "url": ADDRESS.url}},
    "google": {"fileData": {"fileUri": ADDRESS.url}},
}
LIMITS = {"anthropic": 5 * 1024 * 1024, "bedrock": 3_750_000, "google": 20 * 1024 * 1024, "ollama": 20 * 1024 * 1024}


def picture_of(protocol: str, part: ImagePart) -> Any:
    """The picture as it is sent behind its question."""
    body = sent(protocol, ChatRequest([ModelMessage("user", [TextPart("What is it?"), part])]))
    turn = body["contents" if protocol == "google" else "messages"][0]
    return turn["images"][-1] if protocol == "ollama" else turn["parts" if protocol == "google" else "content"][-1]


@pytest.mark.parametrize("protocol", SHOWN)
def test_a_picture_goes_with_its_question(protocol: str) -> None:
    assert picture_of(protocol, PICTURE) == SHOWN[protocol]


@pytest.mark.parametrize("protocol", LINKED)
def test_a_pictures_address_is_left_to_the_provider_to_read(protocol: str) -> None:
    assert picture_of(protocol, ADDRESS) == LINKED[protocol]


@pytest.mark.parametrize("protocol", ["bedrock", "ollama"])
def test_a_provider_that_reads_no_addresses_says_so(protocol: str) -> None:
    with pytest.raises(InvalidRequest, match="reads no pictures from addresses: upload the picture itself"):
        picture_of(protocol, ADDRESS)


REFUSED = {
    "of a wrong type": (
        "data:image/svg+xml;base64,PHN2Zz4=",
        "takes no pictures of type 'image/svg\\+xml', only",
    ),
    "without a type": (f"data:;base64,{PIXEL}", "takes no pictures of type ''"),
    "not in base64": ("data:image/png,abc", "is not a data URI in base64"),
    "in broken base64": ("data:image/png;base64,abc", "is not valid base64"),
    "with a line break": ("data:image/png;base64,ab\ncd", "is not valid base64"),
    "of no data": ("data:", "is not a data URI in base64"),
}


@pytest.mark.parametrize("protocol", LIMITS)
@pytest.mark.parametrize(("url", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_picture_that_is_none_is_refused_before_it_is_sent(protocol: str, url: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        picture_of(protocol, ImagePart(url))


@pytest.mark.parametrize(("protocol", "limit"), LIMITS.items())
def test_a_picture_over_the_providers_limit_is_refused_and_one_at_it_is_not(protocol: str, limit: int) -> None:
    fits = base64.b64encode(bytes(limit)).decode()
    assert fits in str(picture_of(protocol, ImagePart(f"data:image/png;base64,{fits}")))
    large = base64.b64encode(bytes(limit + 3)).decode()
    with pytest.raises(InvalidRequest, match=f"this model takes {limit} at most"):
        picture_of(protocol, ImagePart(f"data:image/png;base64,{large}"))


# Words to stop at

STOPS: dict[str, Any] = {
    "openai": lambda body: body["stop"],
    "anthropic": lambda body: body["stop_sequences"],
    "google": lambda body: body["generationConfig"]["stopSequences"],
    "ollama": lambda body: body["options"]["stop"],
    "cohere": lambda body: body["stop_sequences"],
    "bedrock": lambda body: body["inferenceConfig"]["stopSequences"],
    "completions": lambda body: body["stop"],
}


@pytest.mark.parametrize("protocol", STOPS)
def test_words_to_stop_at_are_sent(protocol: str) -> None:
    request = ChatRequest([ModelMessage("user", "Hi")], stop=["\nObservation", "</tool>"])
    assert STOPS[protocol](sent(protocol, request)) == ["\nObservation", "</tool>"]
    with pytest.raises(KeyError):
        STOPS[protocol](sent(protocol, ChatRequest([ModelMessage("user", "Hi")])))


def test_a_flows_own_words_come_first_and_models_that_take_none_get_none() -> None:
    request = ChatRequest([ModelMessage("user", "Hi")], stop=["x", "y"])
    own = body_of(call_of(ChatOpenAI, {"modelName": "gpt-4o", "stopSequence": "a, b, c"}, KEYS, request=request))
    assert own["stop"] == ["a", "b", "c", "x"]
    for node, model in ((ChatOpenAI, "o3-mini"), (ChatOpenAI, "gpt-5"), (ChatXAI, "grok-4")):
        assert "stop" not in body_of(call_of(node, {"modelName": model}, KEYS, request=request))
    options = {"modelName": "llama", "stop": "a"}
    assert body_of(call_of(ChatOllama, options, request=request))["options"]["stop"] == ["a", "x", "y"]
