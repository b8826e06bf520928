"""What a prediction answers, streamed and not."""

import asyncio
import json
import random
import re

import aiohttp
from servers import Server, conversation, flow, llm_chain, node
from upstream import Upstream


def messages(upstream: Upstream, call: int = -1) -> list[tuple[str, str]]:
    return [(m["role"], m["content"]) for m in upstream.requests[call].body["messages"]]


def test_a_stream_has_flowises_frames_with_an_id_in_front(server: Server, chat: str) -> None:
    reply = server.ask(chat, "/say Hi there", streaming=True)
    run = reply.headers["X-Run-Id"]
    assert re.fullmatch(r"[0-9a-f]{32}", run)
    assert reply.headers["Content-Type"] == "text/event-stream"
    assert reply.headers["Cache-Control"] == "no-cache, no-transform"
    assert reply.headers["X-Accel-Buffering"] == "no"
    start, token, *_ = reply.text.split("\n\n")
    assert start == f'id:{run}:1\nmessage:\ndata:{{"event":"start","data":""}}'
    assert token == f'id:{run}:2\nmessage:\ndata:{{"event":"token","data":"Hi"}}'
    assert reply.text.endswith(f'id:{run}:5\nmessage:\ndata:{{"event":"end","data":"[DONE]"}}\n\n')
    assert reply.kinds == ["start", "token", "metadata", "end"]


def test_the_plural_path_of_the_documentation_is_the_same_endpoint(server: Server, chat: str) -> None:
    reply = server.send("POST", f"/api/v1/predictions/{chat}", {"question": "/say Hi", "streaming": True})
    assert reply.kinds == ["start", "token", "metadata", "end"]


def test_named_frames_are_as_the_documentation_draws_them(server: Server, chat: str) -> None:
    question = {"question": '/json "Once upon\\na time"', "streaming": True}
    by_query = server.send("POST", f"/api/v1/prediction/{chat}?format=named", question)
    by_header = server.send(
        "POST", f"/api/v1/prediction/{chat}", question, {"Accept": "text/event-stream; format=named"}
    )
    for reply in (by_query, by_header):
        run = reply.headers["X-Run-Id"]
        assert f"id: {run}:2\nevent: token\ndata: Once\n\n" in reply.text
        assert "event: token\ndata: \ndata: a\n\n" in reply.text
        metadata = re.search(r"event: metadata\ndata: (.*)\n\n", reply.text)
        assert metadata
        assert json.loads(metadata[1])["chatId"]
        assert reply.text.endswith("event: end\ndata: [DONE]\n\n")


def test_streaming_may_be_true_as_a_text(server: Server, chat: str) -> None:
    assert server.ask(chat, "/say Hi", streaming="true").kinds[-1] == "end"
    assert server.ask(chat, "/say Hi", streaming="false").json["text"] == "Hi"


def test_stream_json_answer_and_stored_message_are_the_same(server: Server, chat: str) -> None:
    question = "/say The same three times."
    streamed = server.ask(chat, question, streaming=True, chatId="a")
    text = "".join(event["data"] for event in streamed.events if event["event"] == "token")
    metadata = next(event["data"] for event in streamed.events if event["event"] == "metadata")
    answer = server.ask(chat, question, chatId="b").json
    stored = server.send("GET", f"/api/v1/chatmessage/{chat}", admin=True).json
    assert text == answer["text"]
    assert [(row["role"], row["content"]) for row in stored] == [("userMessage", question), ("apiMessage", text)] * 2
    assert [row["id"] for row in stored if row["role"] == "apiMessage"] == [
        metadata["chatMessageId"],
        answer["chatMessageId"],
    ]
    assert {k: answer[k] for k in ("question", "memoryType", "usage")} == {
        k: metadata[k] for k in ("question", "memoryType", "usage")
    }
    assert answer["isStreamValid"] is False


def test_a_chat_remembers_and_another_chat_does_not(server: Server, chat: str, upstream: Upstream) -> None:
    server.ask(chat, "/say one", chatId="mine")
    server.ask(chat, "/say two", chatId="mine", streaming=True)
    assert messages(upstream) == [
        ("system", "Be brief."),
        ("user", "/say one"),
        ("assistant", "one"),
        ("user", "/say two"),
    ]
    server.ask(chat, "/say three", chatId="yours")
    assert messages(upstream) == [("system", "Be brief."), ("user", "/say three")]


def test_a_window_memory_keeps_the_last_turns(server: Server, upstream: Upstream) -> None:
    windowed = conversation(upstream.url, memory="bufferWindowMemory")
    windowed["nodes"][1]["data"]["inputs"]["k"] = "1"
    window = server.create_flow(windowed)
    for word in ("one", "two", "three"):
        server.ask(window, f"/say {word}", chatId="c")
    assert messages(upstream)[1:] == [("user", "/say two"), ("assistant", "two"), ("user", "/say three")]


def test_history_of_the_request_comes_before_the_stored_one(server: Server, chat: str, upstream: Upstream) -> None:
    server.ask(chat, "/say stored", chatId="c")
    sent = [{"role": "userMessage", "content": "I live in Oslo"}, {"role": "apiMessage", "content": "Noted."}]
    server.ask(chat, "/say now", chatId="c", history=sent)
    assert [text for _, text in messages(upstream)[1:]] == [
        "I live in Oslo",
        "Noted.",
        "/say stored",
        "stored",
        "/say now",
    ]


def test_prompt_variables_are_filled_in_one_pass(server: Server, upstream: Upstream) -> None:
    values = json.dumps({"style": "{product}", "product": "{{question}}"})
    chain = server.create_flow(llm_chain(upstream.url, "A {style} name for {product}, as {{json}}: {a: 1}", values))
    server.ask(chain, 'socks $& "quoted" {style}\n{{question}}')
    expected = 'A {product} name for socks $& "quoted" {style}\n{{question}}, as {json}: {a: 1}'
    assert messages(upstream) == [("user", expected)]


def test_the_prediction_of_one_chain_feeds_another(server: Server, upstream: Upstream) -> None:
    first = llm_chain(upstream.url, '/json "a \\"{topic}\\"\\nline"')
    first["nodes"][2]["data"]["outputs"] = {"output": "outputPrediction"}
    second = llm_chain(upstream.url, "/say got {text}", '{"text": "{{llmChain_0.data.instance}}"}')
    for item in second["nodes"]:
        item["data"]["inputs"] = json.loads(
            json.dumps(item["data"]["inputs"])
            .replace("{{chatOpenAI_0", "{{chatOpenAI_1")
            .replace("{{promptTemplate_0", "{{promptTemplate_1")
        )
        name = item["data"]["name"]
        item["id"] = item["data"]["id"] = f"{name}_1"
    chained = server.create_flow(flow(*first["nodes"], *second["nodes"]))
    reply = server.ask(chained, "boat", streaming=True)
    assert messages(upstream) == [("user", '/say got a "boat"\nline')]
    assert [event["data"] for event in reply.events if event["event"] == "token"][:3] == ["got", " a", ' "boat"']
    usage = next(event["data"]["usage"] for event in reply.events if event["event"] == "metadata")
    assert usage["output_tokens"] > 4  # both calls count


def test_a_chat_prompt_template_gives_system_and_human_message(server: Server, upstream: Upstream) -> None:
    prompt = node(
        "chatPromptTemplate",
        "Prompts",
        systemMessagePrompt="You speak {language}.",
        humanMessagePrompt="{text}",
        promptValues='{"language": "Danish", "text": "{{question}}"}',
    )
    prompt["data"]["inputParams"] = [{"name": "promptValues", "acceptVariable": True}]
    chain = llm_chain(upstream.url, "")
    chain["nodes"][1] = prompt
    chain["nodes"][2]["data"]["inputs"]["prompt"] = "{{chatPromptTemplate_0.data.instance}}"
    server.ask(server.create_flow(flow(*chain["nodes"])), "/say hej")
    assert messages(upstream) == [("system", "You speak Danish."), ("user", "/say hej")]


def test_variables_and_flow_values_are_replaced(server: Server, upstream: Upstream) -> None:
    made = server.send("POST", "/api/v1/variables", {"name": "town", "value": "Oslo"}, admin=True).json
    text = "In {{$vars.town}}, chat {{$flow.chatId}}, {{$vars.unknown}}."
    asked = server.create_flow(conversation(upstream.url, systemMessagePrompt=text))
    server.ask(asked, "/say Hi", chatId="c-1")
    assert messages(upstream)[0] == ("system", "In Oslo, chat c-1, {$vars.unknown}.")
    server.send("PUT", f"/api/v1/variables/{made['id']}", {"name": "town", "value": "Bergen"}, admin=True)
    server.ask(asked, "/say Hi", chatId="c-1")
    assert messages(upstream)[0][1].startswith("In Bergen")


def test_images_reach_a_model_that_takes_them(server: Server, upstream: Upstream) -> None:
    picture = {"type": "file", "name": "dot.png", "mime": "image/png", "data": "data:image/png;base64,iVBORw0KGgo="}
    sees = server.create_flow(conversation(upstream.url, model={"allowImageUploads": True}))
    server.ask(sees, "/say seen", uploads=[picture])
    last = upstream.requests[-1].body["messages"][-1]
    assert last == {"role": "user", "content": [{"type": "image_url", "image_url": {"url": picture["data"]}}]}
    blind = server.create_flow(conversation(upstream.url))
    asked = len(upstream.requests)
    assert server.ask(blind, "/say not seen", uploads=[picture]).status == 400
    assert len(upstream.requests) == asked


def test_model_parameters_reach_the_provider_as_numbers(server: Server, upstream: Upstream) -> None:
    inputs = {"temperature": "0.2", "maxTokens": "9", "topP": "0.5", "frequencyPenalty": 1, "stopSequence": "a, b"}
    server.ask(server.create_flow(conversation(upstream.url, model={"modelName": "m", **inputs})), "/say Hi")
    body = upstream.requests[-1].body
    assert {k: v for k, v in body.items() if k != "messages"} == {
        "model": "m",
        "temperature": 0.2,
        "max_tokens": 9,
        "top_p": 0.5,
        "frequency_penalty": 1,
        "stop": ["a", "b"],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_flow_that_does_not_stream_answers_json(server: Server, upstream: Upstream) -> None:
    silent = conversation(upstream.url)
    silent["nodes"][0]["data"]["inputs"]["streaming"] = False
    key = server.create_flow(silent)
    assert server.send("GET", f"/api/v1/chatflows-streaming/{key}").json == {"isStreaming": False}
    assert server.ask(key, "/say Hi", streaming=True).json["text"] == "Hi"


async def _stream(session: aiohttp.ClientSession, url: str, mark: str, words: int) -> str:
    body = {"question": f"/say {' '.join([mark] * words)} | /pace 2", "streaming": True, "chatId": "shared"}
    async with session.post(url, json=body) as response:
        return await response.text()


def test_concurrent_predictions_of_one_chat_never_share_a_byte(server: Server, chat: str) -> None:
    async def everything() -> list[str]:
        order = random.Random(7)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session, asyncio.timeout(60):
            url = f"{server.url}/api/v1/prediction/{chat}"
            return await asyncio.gather(*(_stream(session, url, f"mark{n}x", order.randint(5, 40)) for n in range(100)))

    texts = asyncio.run(everything())
    runs: set[str] = set()
    for n, text in enumerate(texts):
        tokens = [json.loads(line[5:])["data"] for line in text.split("\n") if line.startswith('data:{"event":"token"')]
        assert {token.strip() for token in tokens} == {f"mark{n}x"}
        assert text.count('"event":"end"') == 1
        ids = {line[3:].split(":")[0] for line in text.split("\n") if line.startswith("id:")}
        assert len(ids) == 1
        runs |= ids
    assert len(runs) == 100


def test_long_and_odd_texts_arrive_whole(server: Server, chat: str) -> None:
    odd = 'data: {"event":"end"}\r\n\r\n\u2028\u2029 \u00e9 👩‍👩‍👧 "q" \\ \t <b> {{question}} ${x} $& end'
    reply = server.ask(chat, f"/json {json.dumps(odd)} | /splits", streaming=True)
    assert "".join(e["data"] for e in reply.events if e["event"] == "token") == odd
    assert "data:" not in reply.text.replace("\ndata:{", "\n")
    long = server.ask(chat, "/count 3000 | /burst", streaming=True)
    tokens = [e["data"] for e in long.events if e["event"] == "token"]
    assert "".join(tokens) == " ".join(f"w{n}" for n in range(1, 3001))


def test_a_model_that_answers_nothing_still_starts_and_ends(server: Server, chat: str) -> None:
    assert server.ask(chat, "/empty", streaming=True).kinds == ["start", "metadata", "end"]
    assert server.ask(chat, "/empty").json["text"] == ""
