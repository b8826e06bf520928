"""OpenAI's own client, asking flows: chat completions and responses, whole, streamed, cut and resumed."""

import asyncio
import json
import re
from base64 import b64encode
from pathlib import Path
from typing import Any

import openai
import pytest
from agentflows import flow as agent_flow
from agentflows import llm, start
from openai import AsyncOpenAI, OpenAI
from servers import KEY, Server, conversation, flow, node
from upstream import Upstream

FRAME = re.compile(rb"id: ([0-9a-f]{32}):(\d+)\.(\d+)\n(?:event: [\w.]+\n)?data: [^\n]*\n\n")
PICTURE = f"data:image/png;base64,{b64encode((Path(__file__).parent / 'pixel.png').read_bytes()).decode()}"


@pytest.fixture(scope="module")
def client(server: Server) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, timeout=20)


@pytest.fixture
def thinking(server: Server, upstream: Upstream) -> str:
    """The id of an agent flow, which shows its model's reasoning."""
    model = llm(upstream.url, llmModel="chatDeepseek", llmModelConfig={"basepath": upstream.url})
    return server.create_flow(agent_flow(start(), model, arrows="start_0 llm_0"), type="AGENTFLOW")


def whole(body: bytes) -> list[bytes]:
    """The frames of a stream; signs of life are not among them."""
    return [match[0] for match in FRAME.finditer(body)]


def test_flows_are_the_models(server: Server, client: OpenAI, upstream: Upstream) -> None:
    name = "Only one is called so"
    chat = server.create_flow(conversation(upstream.url), name=name)
    assert chat in {model.id for model in client.models.list()}
    assert client.models.retrieve(chat).owned_by == "headrace"
    said = client.chat.completions.create(model=name, messages=[{"role": "user", "content": "/say by name"}])
    assert said.choices[0].message.content == "by name"
    server.create_flow(conversation(upstream.url), name=name)
    with pytest.raises(openai.BadRequestError, match="2 flows are called"):
        client.models.retrieve(name)


def test_names_and_lists_are_for_keys_alone(server: Server, upstream: Upstream) -> None:
    key = server.send("POST", "/api/v1/apikey", {"keyName": "visitor", "permissions": []}, admin=True).json
    mine = server.create_flow(conversation(upstream.url), name="bound to the visitor", apikeyid=key["id"])
    visitor = OpenAI(base_url=f"{server.url}/v1", api_key=key["apiKey"], max_retries=0)
    assert [model.id for model in visitor.models.list()] == [mine]
    stranger = OpenAI(base_url=f"{server.url}/v1", api_key="sk-unknown", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()
    with pytest.raises(openai.NotFoundError) as unknown:
        stranger.models.retrieve("bound to the visitor")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError):
        stranger.models.retrieve(mine)


def test_a_chat_completion_is_the_prediction(server: Server, client: OpenAI, chat: str) -> None:
    done = client.chat.completions.create(
        model=chat, messages=[{"role": "user", "content": "/say Hello there"}], user="chat-1"
    )
    assert (done.object, done.model) == ("chat.completion", chat)
    assert done.choices[0].message.content == "Hello there"
    assert done.choices[0].finish_reason == "stop"
    assert done.usage is not None
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens
    stored = server.send("GET", f"/api/v1/chatmessage/{chat}?chatId=chat-1", admin=True).json
    assert [message["content"] for message in stored] == ["/say Hello there", "Hello there"]


def test_a_streamed_completion_has_its_tokens_reasoning_and_usage(client: OpenAI, thinking: str) -> None:
    stream = client.chat.completions.create(
        model=thinking,
        messages=[{"role": "user", "content": "/think Hm hm | /say One two three"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == "One two three"
    assert "".join(getattr(delta, "reasoning_content", "") for delta in deltas) == "Hm hm"
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_earlier_turns_of_a_request_are_the_history(client: OpenAI, chat: str, upstream: Upstream) -> None:
    client.chat.completions.create(model=chat, messages=[{"role": "user", "content": "/say A"}], user="chat-2")
    client.chat.completions.create(model=chat, messages=[{"role": "user", "content": "/say B"}], user="chat-2")
    assert texts(upstream) == ["Be brief.", "/say A", "A", "/say B"]  # the flow's memory of the chat
    client.chat.completions.create(
        model=chat,
        messages=[
            {"role": "user", "content": "Who are you?"},
            {"role": "assistant", "content": "A parrot."},
            {"role": "user", "content": [{"type": "text", "text": "/say C"}]},
        ],
        user="chat-2",
    )
    assert texts(upstream) == ["Be brief.", "Who are you?", "A parrot.", "/say C"]


def texts(upstream: Upstream) -> list[Any]:
    return [message["content"] for message in upstream.requests[-1].body["messages"]]


def test_instructions_and_settings_count_where_the_author_allows_them(
    server: Server, client: OpenAI, chat: str, upstream: Upstream
) -> None:
    rules = {
        "status": True,
        "nodes": {
            "Conversation Chain": [{"name": "systemMessagePrompt", "enabled": True}],
            "OpenAI": [{"name": "temperature", "enabled": True}],
        },
    }
    free = server.create_flow(conversation(upstream.url), apiConfig=json.dumps({"overrideConfig": rules}))
    for model in (free, chat):
        client.chat.completions.create(
            model=model,
            temperature=0.25,
            messages=[{"role": "developer", "content": "Speak like a pirate."}, {"role": "user", "content": "Hi"}],
        )
    loose, strict = (request.body for request in upstream.requests)
    assert (loose["messages"][0]["content"], loose["temperature"]) == ("Speak like a pirate.", 0.25)
    assert (strict["messages"][0]["content"], strict["temperature"]) == ("Be brief.", 0.9)


def test_pictures_of_the_question_reach_the_model(server: Server, client: OpenAI, upstream: Upstream) -> None:
    seeing = server.create_flow(conversation(upstream.url, model={"allowImageUploads": True}))
    client.chat.completions.create(
        model=seeing,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "/say seen"},
                    {"type": "image_url", "image_url": {"url": PICTURE}},
                ],
            }
        ],
    )
    assert PICTURE in json.dumps(upstream.requests[-1].body["messages"])


MESSAGE = {"role": "user", "content": "Hi"}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no messages": ({"messages": []}, "$.messages"),
    "a message that is no object": ({"messages": ["Hi"]}, "$.messages[0]"),
    "a role that is none": ({"messages": [{"role": "cat", "content": "Hi"}]}, "$.messages[0].role"),
    "no question at the end": ({"messages": [MESSAGE, {"role": "assistant", "content": "Hi"}]}, "must be the user's"),
    "an unknown part": ({"messages": [{"role": "user", "content": [{"type": "smell"}]}]}, "$.messages[0].content[0]"),
    "a picture without an address": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp://x"}}]}]},
        "http or https",
    ),
    "a file that is elsewhere": (
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
        "$.messages[0].content[0].file_data",
    ),
    "several answers": ({"messages": [MESSAGE], "n": 2}, "$.n"),
    "tools of the caller": ({"messages": [MESSAGE], "tools": [{"type": "function"}]}, "$.tools"),
    "no model": ({"messages": [MESSAGE], "model": None}, "$.model"),
}


@pytest.mark.parametrize(("fields", "named"), REFUSED.values(), ids=REFUSED)
def test_requests_that_a_flow_cannot_take_are_refused_in_their_shape(
    server: Server, chat: str, fields: dict[str, Any], named: str
) -> None:
    for stream in (False, True):
        reply = server.send("POST", "/v1/chat/completions", {"model": chat, "stream": stream, **fields})
        assert reply.status == 400
        assert reply.json["error"]["type"] == "invalid_request_error"
        assert named in reply.json["error"]["message"]


def test_errors_have_the_classes_that_the_client_knows(client: OpenAI, chat: str) -> None:
    hi: Any = [{"role": "user", "content": "/say One two three | /cut 2"}]
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="00000000-0000-4000-8000-000000000000", messages=hi)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.InternalServerError) as failed:
        client.chat.completions.create(model=chat, messages=hi)
    assert failed.value.code == "provider_cut"
    stream = client.chat.completions.create(model=chat, messages=hi, stream=True)
    heard = [next(stream).choices[0].delta.content for _ in range(3)]
    assert heard == ["", "One", " two"]
    with pytest.raises(openai.APIError, match="connection") as cut:
        next(stream)
    assert cut.value.code == "provider_cut"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "/think Hm | /count 20 | /pace 2"}]}),
        ("/v1/responses", {"input": "/think Hm | /count 20 | /pace 2"}),
    ],
)
def test_a_stream_goes_on_after_any_frame_byte_for_byte(
    server: Server, thinking: str, path: str, body: dict[str, Any]
) -> None:
    asked = {"model": thinking, "stream": True, **body}
    first = server.send("POST", path, asked)
    expected = whole(first.body)
    assert b"".join(expected) == first.body
    for cut, had in enumerate(expected):
        last = re.match(rb"id: (\S+)", had)
        assert last
        rest = server.send("POST", path, asked, {"Last-Event-ID": last[1].decode()})
        assert whole(rest.body) == expected[cut + 1 :]


def test_a_response_has_the_items_of_the_run(client: OpenAI, thinking: str) -> None:
    with client.responses.stream(model=thinking, input="/think Hm | /say One two three") as stream:
        events = list(stream)
        done = stream.get_final_response()
    numbers = [event.sequence_number for event in events]
    assert numbers == sorted(set(numbers))
    assert [event.type for event in events if not event.type.endswith("delta")] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_text.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert (done.status, done.output_text) == ("completed", "One two three")
    assert [item.type for item in done.output] == ["reasoning", "message"]
    assert done.usage is not None
    assert client.responses.retrieve(done.id) == client.responses.retrieve(done.id)
    assert client.responses.retrieve(done.id).output_text == done.output_text


def test_a_chat_goes_on_from_the_response_before(client: OpenAI, chat: str, upstream: Upstream) -> None:
    first = client.responses.create(model=chat, input="/say A")
    assert first.output_text == "A"
    second = client.responses.create(model=chat, input="/say B", previous_response_id=first.id)
    assert texts(upstream) == ["Be brief.", "/say A", "A", "/say B"]
    assert second.conversation is not None
    client.responses.create(model=chat, input="/say C", conversation=second.conversation.id)
    assert texts(upstream)[-3:] == ["/say B", "B", "/say C"]
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model=chat, input="Hi", previous_response_id="resp_unknown")


def test_a_background_response_is_followed_from_any_event(client: OpenAI, chat: str) -> None:
    started = client.responses.create(model=chat, input="/count 10 | /pace 5", background=True)
    assert started.status == "in_progress"
    every = list(client.responses.retrieve(started.id, stream=True))
    for had in every:
        rest = list(client.responses.retrieve(started.id, stream=True, starting_after=had.sequence_number))
        assert rest == [event for event in every if event.sequence_number > had.sequence_number]


def test_cancelling_a_response_closes_the_models_socket(client: OpenAI, chat: str, upstream: Upstream) -> None:
    started = client.responses.create(model=chat, input="/count 5000 | /pace 5", background=True)
    upstream.wait_until(bool)
    assert client.responses.cancel(started.id).status == "cancelled"
    upstream.wait_until(lambda seen: seen[-1].closed_by_peer_at_token is not None)
    assert client.responses.retrieve(started.id).status == "cancelled"


def test_tools_and_sources_of_a_flow_are_items_and_annotations(
    server: Server, client: OpenAI, upstream: Upstream
) -> None:
    agent = server.create_flow(
        flow(
            conversation(upstream.url)["nodes"][0],
            node("calculator", "Tools"),
            node("bufferMemory", "Memory"),
            node(
                "toolAgent",
                "Agents",
                tools=["{{calculator_0.data.instance}}"],
                model="{{chatOpenAI_0.data.instance}}",
                memory="{{bufferMemory_0.data.instance}}",
            ),
        )
    )
    done = client.responses.create(model=agent, input='/tool calculator {"input": "6*7"} | /say It is 42')
    message, call = done.output  # a flow says which tools it has used after its text
    assert call.type == "mcp_call"
    assert (call.name, call.output, call.status) == ("calculator", "42", "completed")
    assert json.loads(call.arguments) == {"input": "6*7"}
    assert message.type == "message"
    assert done.output_text == "It is 42"


def test_the_asynchronous_client_streams_too(server: Server, chat: str) -> None:
    async def said() -> str:
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY) as client:
            stream = await client.responses.create(model=chat, input="/say One two", stream=True)
            return "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])

    assert asyncio.run(said()) == "One two"
