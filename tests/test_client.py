import asyncio
import gc
import json
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from clients import KEY, SyncDriver
from golden import ANSWER, END, TOKEN, frames, golden, odd_pieces, payloads
from scripted import BOUND, JSON, SSE, Reply, ScriptedServer, scripted_server
from typescript import CLIENTS

import headrace
from headrace import AsyncHeadrace, Headrace, HeadraceError, Prediction, PredictionData, errors
from headrace.events import (
    Document,
    End,
    Error,
    Event,
    Metadata,
    RunMetadata,
    SourceDocuments,
    Start,
    Token,
    decode,
    fold,
)
from headrace.schema import FileUpload, HistoryMessage

GOLDEN = ["plain", "sources_and_tools", "unknown_event"]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEADRACE_URL", "HEADRACE_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, server: ScriptedServer) -> SyncDriver:
    return request.param(server.url)


FAILED = '{"event":"error","data":"too many","code":"provider_rate_limited","retryable":true,"retryAfter":7}'


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("cut", [lambda data: [data], odd_pieces], ids=["whole", "odd pieces"])
def test_a_stream_gives_its_events(
    client: SyncDriver, server: ScriptedServer, name: str, cut: Callable[[bytes], list[bytes]]
):
    flow = server.answers(*cut(golden(name)))
    expected = [decode(text) for text in payloads(golden(name))]
    assert client.events(flow) == expected
    assert client.final(flow) == fold(expected)
    assert client.text(flow) == [event.data for event in expected if isinstance(event, Token)]


def test_a_single_long_event_arrives_whole(client: SyncDriver, server: ScriptedServer):
    text = "ü\u2028🙂" * 2**17
    data = frames(json.dumps({"event": "token", "data": text}, ensure_ascii=False), END)
    assert len(data) > 2**20
    pieces = [data[at : at + 4999] for at in range(0, len(data), 4999)]
    assert client.text(server.answers(*pieces)) == [text]


def test_a_prediction_is_one_request_with_the_key_and_the_quoted_flow(client: SyncDriver, server: ScriptedServer):
    client.chunks(PredictionData(server.answers(golden("plain")), "Hi", streaming=True))
    assert [seen.path for seen in server.seen] == ["/api/v1/prediction/flow%200%2F%C3%A4"]
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert server.seen[0].headers["content-type"] == "application/json"
    assert server.seen[0].body == {"question": "Hi", "streaming": True}


def test_what_comes_with_a_question_is_sent(client: SyncDriver, server: ScriptedServer):
    flow = server.answers(json.dumps(ANSWER).encode(), headers=JSON)
    client.predict(
        flow,
        chat_id="c",
        session_id="s",
        override_config={"temperature": 0.5, "sessionId": "other"},
        history=[HistoryMessage("userMessage", "before")],
        uploads=[FileUpload("file", "a.txt", "text/plain", "data:text/plain;base64,YQ==")],
    )
    data = PredictionData(flow, "Hi", {"temperature": 0.5}, "c", False)
    data.history = [headrace.IMessage("before", "userMessage"), headrace.IMessage("", "", "apiMessage", "x")]
    data.uploads = [headrace.IFileUpload("https://example.org/a.png", "url", "a.png", "image/png")]
    client.chunks(data)
    assert [seen.body for seen in server.seen] == [
        {
            "question": "Hi",
            "chatId": "c",
            "overrideConfig": {"temperature": 0.5, "sessionId": "s"},
            "history": [{"role": "userMessage", "content": "before"}],
            "uploads": [{"type": "file", "name": "a.txt", "mime": "text/plain", "data": "data:text/plain;base64,YQ=="}],
        },
        {
            "question": "Hi",
            "chatId": "c",
            "overrideConfig": {"temperature": 0.5},
            "history": [
                {"message": "before", "type": "userMessage"},
                {"role": "apiMessage", "content": "x", "type": "", "message": ""},
            ],
            "uploads": [{"type": "url", "name": "a.png", "mime": "image/png", "data": "https://example.org/a.png"}],
        },
    ]


def test_predict_decodes_the_json_answer(client: SyncDriver, server: ScriptedServer):
    flow = server.answers(json.dumps({**ANSWER, "newField": 1}).encode(), headers=JSON)
    assert client.predict(flow) == msgspec.convert(ANSWER, Prediction)


def test_a_flow_that_does_not_stream_gives_its_answer_in_one_token(client: SyncDriver, server: ScriptedServer):
    flow = server.answers(json.dumps(ANSWER).encode(), headers=JSON)
    assert client.events(flow) == [
        Token("Hello"),
        SourceDocuments([Document("a", {"page": 1})]),
        Metadata(RunMetadata(question="Hi", chatId="c", chatMessageId="m")),
        End(),
    ]
    assert client.text(flow) == ["Hello"]
    assert client.final(flow) == client.predict(flow)


def test_a_structured_answer_is_text_only_for_those_who_read_text(client: SyncDriver, server: ScriptedServer):
    flow = server.answers(b'{"json": {"name": "Pelton", "blades": [1, 2]}, "chatId": "c"}', headers=JSON)
    assert client.text(flow) == ['{"name":"Pelton","blades":[1,2]}']
    assert client.final(flow) == Prediction(json={"name": "Pelton", "blades": [1, 2]}, chatId="c")


def test_the_final_answer_holds_what_was_read_before(client: SyncDriver, server: ScriptedServer):
    assert client.first_then_final(server.answers(golden("plain"))) == fold(map(decode, payloads(golden("plain"))))


def test_a_stream_knows_its_run_and_how_far_it_was_read(client: SyncDriver, server: ScriptedServer):
    flow = server.answers(golden("plain"), headers={**SSE, "X-Run-Id": "plain"})
    assert client.place(flow, 2) == [("plain", None), ("plain", "plain:1"), ("plain", "plain:2")]
    assert client.place(server.answers(golden("plain")), 1) == [(None, None), ("plain", "plain:1")]
    without_ids = re.sub(rb"id:.*\n", b"", golden("plain"))
    assert client.place(server.answers(without_ids), 1) == [(None, None), (None, None)]


REFUSALS: list[tuple[int, dict[str, str], bytes, type[HeadraceError], str, float | None]] = [
    (
        401,
        JSON,
        b'{"statusCode":401,"success":false,"message":"no key","code":"unauthorized","stack":{}}',
        errors.Unauthorized,
        "no key",
        None,
    ),
    (401, JSON, b'{"error":"Unauthorized Access"}', errors.Unauthorized, "Unauthorized Access", None),
    (
        404,
        JSON,
        b'{"statusCode":404,"success":false,"message":"Flow \'x\'","code":"flow_not_found","stack":{}}',
        errors.FlowNotFound,
        "Flow 'x'",
        None,
    ),
    (404, JSON, b'{"statusCode":404,"success":false,"message":"gone","stack":{}}', errors.NotFound, "gone", None),
    (422, JSON, b'{"message":"node \'a\'","code":"unknown_nodes"}', errors.UnknownNodes, "node 'a'", None),
    (
        429,
        {"Content-Type": "text/plain", "Retry-After": "7"},
        b"Slow down please",
        errors.RateLimited,
        "Slow down please",
        7.0,
    ),
    (429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, b"later", errors.RateLimited, "later", 0.0),
    (429, {"Retry-After": "soon"}, b"later", errors.RateLimited, "later", None),
    (500, {"Content-Type": "text/plain"}, b"it broke \xff", errors.Internal, "it broke \ufffd", None),
    (
        502,
        {"Content-Type": "text/html"},
        b"<html>Bad Gateway</html>",
        errors.ConnectionFailed,
        "URL answered with HTTP status 502",
        None,
    ),
    (503, {}, b"", errors.ConnectionFailed, "URL answered with HTTP status 503", None),
    (301, {}, b"", errors.HeadraceError, "URL answered with HTTP status 301", None),
]


@pytest.mark.parametrize("way", ["events", "predict", "chunks"])
@pytest.mark.parametrize(("status", "headers", "body", "kind", "message", "retry_after"), REFUSALS)
def test_an_http_error_raises_its_class(
    client: SyncDriver,
    server: ScriptedServer,
    way: str,
    status: int,
    headers: dict[str, str],
    body: bytes,
    kind: type[HeadraceError],
    message: str,
    retry_after: float | None,
):
    client.limits["attempts"] = 1
    flow = server.answers(body, headers=headers, status=status)
    with pytest.raises(HeadraceError) as caught:
        client.chunks(PredictionData(flow, "Hi")) if way == "chunks" else getattr(client, way)(flow)
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.retry_after) == (status, retry_after)
    assert str(caught.value) == message.replace("URL", server.url)


def test_the_code_of_a_newer_server_is_kept(client: SyncDriver, server: ScriptedServer):
    with pytest.raises(errors.FlowError, match=r"^odd$") as caught:
        client.predict(server.answers(b'{"message":"odd","code":"newer"}', headers=JSON, status=422))
    assert caught.value.code == "newer"


def test_the_key_is_in_no_error_even_when_the_server_repeats_it(client: SyncDriver, server: ScriptedServer):
    refused = server.answers(f"wrong key {KEY}!".encode(), headers={}, status=401)
    with pytest.raises(errors.Unauthorized, match=r"^wrong key \*\*\*!$"):
        client.predict(refused)
    failed = server.answers(frames(f'{{"event":"error","data":"{KEY}?"}}', END))
    with pytest.raises(errors.Internal, match=r"^\*\*\*\?$"):
        client.final(failed)


def test_a_refused_connection_names_the_address(client: SyncDriver):
    with socket.socket() as taken:  # bound, not listening: nobody else can take the port
        taken.bind(("127.0.0.1", 0))
        client.url = f"http://user:secret@127.0.0.1:{taken.getsockname()[1]}/"
        for use in (client.events, client.predict, lambda flow: client.chunks(PredictionData(flow, "Hi"))):
            with pytest.raises(errors.ConnectionFailed) as caught:
                use("flow")
            assert f"127.0.0.1:{taken.getsockname()[1]}" in str(caught.value)
            assert "secret" not in str(caught.value)
            assert (caught.value.status, caught.value.retryable) == (0, True)


@pytest.mark.parametrize("ending", ["whole", "cut"])
def test_a_stream_without_its_end_raises_after_its_last_event(client: SyncDriver, server: ScriptedServer, ending: Any):
    flow = server.answers(frames(TOKEN, TOKEN), b"id:r:3\ndata:", ending=ending)
    read: list[Event] = []
    with Headrace(server.url) as sync, pytest.raises(errors.ConnectionFailed, match=f"{server.url}: "):
        read.extend(sync.stream(flow, "Hi"))
    assert read == [Token("Hi"), Token("Hi")]
    for use in (client.events, client.text, client.final, lambda flow: client.chunks(PredictionData(flow, "Hi"))):
        with pytest.raises(errors.ConnectionFailed, match=server.url):
            use(flow)


def test_after_the_end_a_broken_connection_does_not_matter(client: SyncDriver, server: ScriptedServer):
    flow = server.answers(frames(TOKEN, END), ending="cut")
    assert client.events(flow) == [Token("Hi"), End()]
    assert client.final(flow).text == "Hi"


def test_an_error_event_is_read_like_others_and_raised_with_the_answer(client: SyncDriver, server: ScriptedServer):
    flow = server.answers(frames('{"event":"start","data":""}', TOKEN, FAILED, END))
    assert client.events(flow) == [Start(""), Token("Hi"), Error("too many", "provider_rate_limited", True, 7), End()]
    for use in (client.text, client.final):
        with pytest.raises(errors.ProviderRateLimited, match=r"^too many$") as caught:
            use(flow)
        assert (caught.value.retryable, caught.value.retry_after) == (True, 7)


@pytest.mark.parametrize(
    ("event", "kind", "code", "retryable"),
    [
        ('{"event":"error","data":"x"}', errors.Internal, "internal", False),
        ('{"event":"error","data":"x","code":"newer","retryable":true}', errors.Internal, "newer", True),
        ('{"event":"error","data":"x","code":"interrupted"}', errors.Interrupted, "interrupted", True),
        ('{"event":"error","data":{"why":"x"}}', errors.Internal, "internal", False),
    ],
)
def test_an_error_event_decides_class_code_and_retry(
    client: SyncDriver, server: ScriptedServer, event: str, kind: type[HeadraceError], code: str, retryable: bool
):
    with pytest.raises(HeadraceError, match="x") as caught:
        client.final(server.answers(frames(event, END)))
    assert (type(caught.value), caught.value.code, caught.value.retryable) == (kind, code, retryable)


def test_leaving_early_closes_the_connection(client: SyncDriver, server: ScriptedServer):
    client.leave(server.answers(frames(TOKEN), ending="open"))
    assert server.left.wait(BOUND)


def test_breaking_out_of_the_loop_closes_the_connection(client: SyncDriver, server: ScriptedServer):
    gc.disable()  # it must not take a garbage collection
    try:
        assert client.drop(server.answers(frames(TOKEN), ending="open"), server.left)
    finally:
        gc.enable()


def test_cancelling_a_reader_closes_the_connection(server: ScriptedServer):
    async def run() -> bool:
        async with AsyncHeadrace(server.url) as client, asyncio.timeout(BOUND):
            stream = client.stream(server.answers(frames(TOKEN), ending="open"), "Hi")
            await anext(stream)
            reader = asyncio.ensure_future(stream.final())
            await asyncio.wait([reader], timeout=0)
            reader.cancel()
            await asyncio.wait([reader])
            return await asyncio.to_thread(server.left.wait, BOUND)

    assert asyncio.run(run())


def test_a_stream_that_was_closed_early_has_no_final_answer(client: SyncDriver, server: ScriptedServer):
    with pytest.raises(errors.ConnectionFailed, match="left before its end"):
        client.final_after_close(server.answers(golden("plain")))


def test_predictions_share_a_connection(client: SyncDriver, server: ScriptedServer):
    server.replies["same"] = Reply([golden("plain")])
    client.twice("same")
    assert len(server.seen) == 2
    assert len(server.connections) == 1


@pytest.mark.parametrize(
    ("headers", "body", "complaint"),
    [
        (SSE, b"data:no event\n\n", "not an event"),
        (SSE, b'data:{"event":5}\n\n', "not an event"),
        ({"Content-Type": "text/html"}, b"<html>welcome</html>", "neither a stream nor the expected JSON"),
        (JSON, b'["a"]', "neither a stream nor the expected JSON"),
        (JSON, b'{"text": {"a": 1}}', r"nor the expected JSON: .*\$\.text"),
    ],
)
def test_an_answer_that_cannot_be_read_is_refused(
    client: SyncDriver, server: ScriptedServer, headers: dict[str, str], body: bytes, complaint: str
):
    with pytest.raises(errors.ConnectionFailed, match=complaint):
        client.final(server.answers(body, headers=headers))


def test_a_silent_server_is_left_after_the_read_timeout(server: ScriptedServer):
    flow = server.answers(frames(TOKEN), ending="open")
    with (
        Headrace(server.url, read_timeout=0.05, attempts=1) as client,
        pytest.raises(errors.ConnectionFailed, match="read_timeout"),
    ):
        client.stream(flow, "Hi").final()
    assert server.left.wait(BOUND)


def test_address_and_key_come_from_the_environment(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEADRACE_URL", server.url + "/")
    monkeypatch.setenv("HEADRACE_API_KEY", "from-env\n")
    flow = server.answers(golden("plain"))
    for key in (None, "given", ""):
        with Headrace(api_key=key) as client:
            client.stream(flow, "Hi").final()
    assert [seen.headers.get("authorization") for seen in server.seen] == ["Bearer from-env", "Bearer given", None]


@pytest.mark.parametrize("make", [Headrace, AsyncHeadrace])
@pytest.mark.parametrize(
    ("url", "key", "complaint"),
    [
        ("localhost:3000", None, "must start with http"),
        ("me:secret@host", None, r"^base_url 'host' must start"),
        (None, "sk-\nsecret", "API key has characters"),
        (None, "sk-secrét", "API key has characters"),
    ],
)
def test_an_unusable_address_or_key_is_refused_at_once(make: Any, url: str | None, key: str | None, complaint: str):
    with pytest.raises(errors.InvalidRequest, match=complaint) as caught:
        make(url, key)
    assert "secr" not in str(caught.value)


def test_an_address_that_no_url_can_have_is_refused():
    with pytest.raises(errors.InvalidRequest, match="is no address"), Headrace("http://host:port") as client:
        client.predict("flow", "Hi")
