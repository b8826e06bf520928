"""Flows that other systems begin: methods, signatures, fields, and answers at once or later."""

import hmac
import json
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import pytest
from agentflows import SHOWN, Flow, flow, node, reply, said, start
from servers import Reply, Server, serving

SAYS = "{{ $webhook.body.id }} from {{ $webhook.query.src }} by {{ $webhook.headers.x-shop }}"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def hooked(server: Server, *between: Flow, arrows: str = "start_0 directReply_0", **inputs: Any) -> str:
    begins = start(startInputType="webhookTrigger", webhookDefaultInput="Order {{ $webhook.body.id }}", **inputs)
    return server.create_flow(flow(begins, *between, reply(SAYS), arrows=arrows), **SHOWN)


def call(server: Server, key: str, body: Any = None, query: str = "", method: str = "POST", **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.send(method, f"/api/v1/webhook/{key}{query}", body, named)


def test_a_call_reaches_the_flow_with_body_query_and_headers(server: Server) -> None:
    key = hooked(server)
    answer = call(server, key, {"id": 17, "chatId": "c"}, "?src=web", X_Shop="oslo", Authorization="Bearer s3cret").json
    assert (answer["text"], answer["question"], answer["chatId"]) == ("17 from web by oslo", "Order 17", "c")
    output = answer["agentFlowExecutedData"][0]["data"]["output"]
    assert output["webhook"]["body"] == {"id": 17, "chatId": "c"}
    assert "s3cret" not in json.dumps(answer)
    stored = server.send("GET", f"/api/v1/chatmessage/{key}?chatType=WEBHOOK", admin=True).json
    assert [message["content"] for message in stored] == ["Order 17", "17 from web by oslo"]


@pytest.mark.parametrize(
    ("body", "headers", "text"),
    [
        (b"id=5&more=x", FORM, "5 from web"),
        (b"payload=%7B%22id%22%3A+6%7D", FORM, "6 from web"),
        (b"a=1", {"Content-Type": "text/plain"}, "{{ $webhook.body.id }} from web"),
        (b"", {}, "{{ $webhook.body.id }} from web"),
    ],
)
def test_bodies_of_other_types(server: Server, body: bytes, headers: dict[str, str], text: str) -> None:
    answer = server.send("POST", f"/api/v1/webhook/{hooked(server)}?src=web", body, headers)
    assert answer.json["text"].startswith(text), answer.text


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_the_node_chooses_the_method(server: Server, method: str) -> None:
    key = hooked(server, webhookMethod=method)
    body = None if method == "GET" else {"id": 1}
    assert call(server, key, body, "?src=web", method).status == 200
    refused = call(server, key, {"id": 1})
    assert (refused.status, refused.json["message"]) == (405, f"Method POST not allowed. Expected {method}")


PARAMS: Flow = {
    "webhookEnableValidation": True,
    "webhookHeaderParams": [{"name": "X-Shop", "required": True}],
    "webhookQueryParams": [{"name": "src", "required": True}, {"name": "opt", "required": False}],
    "webhookBodyParams": [
        {"name": "id", "type": "number", "required": True},
        {"name": "tags", "type": "array[string]"},
        {"name": "paid", "type": "boolean"},
        {"name": "buyer", "type": "object"},
    ],
}


@pytest.mark.parametrize(
    ("body", "query", "headers", "status", "message"),
    [
        ({"id": "7", "paid": "true"}, "?src=web", {"X-Shop": "oslo"}, 200, ""),
        ({"id": 1}, "?src=web", {}, 400, "Missing required headers: X-Shop"),
        ({"id": 1}, "", {"X-Shop": "oslo"}, 400, "Missing required query parameters: src"),
        ({"tags": []}, "?src=web", {"X-Shop": "oslo"}, 400, "Missing required webhook body parameters: id"),
        (
            {"id": "x", "tags": [1], "paid": "yes", "buyer": []},
            "?src=web",
            {"X-Shop": "oslo"},
            400,
            "Invalid type for parameter(s): id, tags, paid, buyer",
        ),
        (
            b"id=5",
            "?src=web",
            {"X-Shop": "oslo", **FORM},
            415,
            "Content-Type application/x-www-form-urlencoded not allowed. Expected application/json",
        ),
    ],
)
def test_calls_are_checked_against_the_node(
    server: Server, body: Any, query: str, headers: dict[str, str], status: int, message: str
) -> None:
    answer = server.send("POST", f"/api/v1/webhook/{hooked(server, **PARAMS)}{query}", body, headers)
    assert (answer.status, answer.json.get("message", "")) == (status, message)


def signed(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, sha256).hexdigest()


def test_a_signed_webhook_takes_only_what_its_secret_signs(server: Server) -> None:
    key, body = hooked(server, webhookEnableAuth=True), b'{"id": 2}'
    path = f"/api/v1/chatflows/{key}/webhook-secret"
    assert call(server, key, body).status == 422
    assert server.send("POST", path).status == 401
    secret = server.send("POST", path, admin=True).json["webhookSecret"]
    for signature, status in [
        ("", 401),
        ("0" * 64, 401),
        (signed(secret, b'{"id": 3}'), 401),
        (signed(secret, body), 200),
        (f"sha256={signed(secret, body)}", 200),
    ]:
        headers = {"X_Webhook_Signature": signature} if signature else {}
        assert call(server, key, body, "", "POST", **headers).status == status, signature
    renewed = server.send("POST", path, admin=True).json["webhookSecret"]
    assert call(server, key, body, "", "POST", X_Webhook_Signature=signed(secret, body)).status == 401
    assert call(server, key, body, "", "POST", X_Webhook_Signature=signed(renewed, body)).status == 200
    assert server.send("DELETE", path, admin=True).status == 204
    assert call(server, key, body, "", "POST", X_Webhook_Signature=signed(renewed, body)).status == 422


def test_a_flow_that_is_bound_to_a_key_wants_it_or_a_signature(server: Server) -> None:
    made = server.send(
        "POST", "/api/v1/apikey", {"keyName": "hook", "permissions": ["chatflows:view"]}, admin=True
    ).json
    key = hooked(server)
    bound = server.send("PUT", f"/api/v1/chatflows/{key}", {"apikeyid": made["id"]}, admin=True)
    assert bound.status == 200, bound.text
    assert call(server, key, {"id": 1}).status == 401
    assert call(server, key, {"id": 1}, "", "POST", Authorization=f"Bearer {made['apiKey']}").status == 200


def test_a_plain_token_is_compared_and_not_shown(server: Server) -> None:
    plain = {"webhookSignatureHeader": "X-Acme-Token", "webhookSignatureType": "plain-token"}
    key = hooked(server, webhookEnableAuth=True, **plain)
    secret = server.send("POST", f"/api/v1/chatflows/{key}/webhook-secret", admin=True).json["webhookSecret"]
    assert call(server, key, {"id": 3}, "", "POST", X_Acme_Token="wrong").status == 401
    answer = call(server, key, {"id": 3}, "", "POST", X_Acme_Token=secret)
    assert (answer.status, secret in answer.text) == (200, False)


def test_a_call_streams_or_is_answered_at_once(server: Server) -> None:
    streamed = call(server, hooked(server, webhookResponseMode="stream"), {"id": 4}, "?src=web", X_Shop="s")
    assert (said(streamed), streamed.kinds[-1]) == ("4 from web by s", "end")
    key = hooked(server, webhookResponseMode="async")
    accepted = call(server, key, {"id": 5, "chatId": "later"}, "?src=web", X_Shop="s")
    assert (accepted.status, accepted.json["status"], accepted.json["chatId"]) == (202, "PROCESSING", "later")
    assert said(server.send("GET", accepted.json["links"]["events"], admin=True)) == "5 from web by s"
    refused = call(server, hooked(server, webhookResponseMode="async", callbackUrl="ftp://nowhere"), {"id": 6})
    assert refused.status == 400


class Receiver(BaseHTTPRequestHandler):
    """Keeps what is sent to it."""

    got: Queue[tuple[str | None, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.put((self.headers["X-Flowise-Signature"], body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the library's name
        pass


def test_a_result_is_sent_signed_to_the_callback(tmp_path: Path) -> None:
    Receiver.got = Queue()
    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    Thread(target=receiver.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{receiver.server_port}/"
    try:
        with serving(tmp_path, HEADRACE_ALLOWED_HOSTS="127.0.0.1") as server:
            key = hooked(server, webhookResponseMode="async", callbackUrl=address, callbackSecret="shared")
            assert call(server, key, {"id": 8, "chatId": "c"}, "?src=web", X_Shop="s").status == 202
            signature, body = Receiver.got.get(timeout=20)
    finally:
        receiver.shutdown()
        receiver.server_close()
    result = json.loads(body)
    assert (result["status"], result["chatId"], result["data"]["text"]) == ("SUCCESS", "c", "8 from web by s")
    assert signature == f"sha256={signed('shared', body)}"


def test_a_person_answers_through_the_webhook_or_the_execution(server: Server) -> None:
    human = node("humanInput", humanInputDescription="Ship {{ $webhook.body.id }}?")
    key = hooked(server, human, arrows="start_0 humanInput_0, humanInput_0:0 directReply_0")
    stopped = call(server, key, {"id": 41, "chatId": "c"}, "?src=web", X_Shop="s").json
    assert "Ship 41?" in stopped["text"]
    done = call(server, key, {"chatId": "c", "humanInput": {"type": "proceed"}}).json
    assert (done["text"], done["executionId"]) == ("41 from web by s", stopped["executionId"])
    waits = call(server, key, {"id": 42, "chatId": "d"}, "?src=web", X_Shop="s").json["executionId"]
    answered = server.send("POST", f"/api/v1/executions/{waits}/answer", {"type": "proceed"}, admin=True).json
    assert answered["text"] == "42 from web by s"


@pytest.mark.parametrize("streaming", [True, False])
def test_webhooks_and_predictions_are_not_each_other(server: Server, streaming: bool) -> None:
    refused = server.ask(hooked(server), "Hi", streaming=streaming)
    assert (refused.status, "/api/v1/webhook/" in refused.json["message"]) == (400, True)
    asks = server.create_flow(flow(start(), reply("Hi"), arrows="start_0 directReply_0"), **SHOWN)
    assert call(server, asks, {"id": 1}).status == 400
    assert call(server, "22222222-2222-4222-8222-222222222222", {}).status == 404
