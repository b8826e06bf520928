"""Requests that no client should send: 400, and no traceback in the log."""

import socket

import pytest
from servers import Server, conversation
from uploads import form
from upstream import Upstream

HUGE = 10**21


@pytest.mark.parametrize("host", ["x: y", "x:port", "a b", "[::1", "x:99999999", "http://x"])
def test_a_host_that_is_none_is_refused(server: Server, host: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(f"GET /api/v1/ping HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
    assert "Traceback" not in server.output.read_text()


@pytest.mark.parametrize("query", [f"page={HUGE}", f"page={HUGE}&limit={HUGE}", f"page=1&limit={HUGE}"])
@pytest.mark.parametrize("path", ["executions", "chatflows", "chatmessage/{}", "document-store/store"])
def test_a_number_that_the_database_has_not_is_no_fault_of_ours(
    server: Server, chat: str, path: str, query: str
) -> None:
    reply = server.send("GET", f"/api/v1/{path.format(chat)}?{query}", admin=True)
    assert reply.status in (200, 400), reply.text
    assert "Traceback" not in server.output.read_text()


@pytest.mark.parametrize("kind", ["file", "url"])
@pytest.mark.parametrize("mime", ["application/octet-stream", "image/png", "text/plain"])
def test_a_file_that_nothing_in_the_flow_takes_is_refused_and_not_stored(
    server: Server, upstream: Upstream, kind: str, mime: str
) -> None:
    flow = server.create_flow(conversation(upstream.url))
    upload = {"type": kind, "name": "m.exe", "mime": mime, "data": f"data:{mime};base64,TVo="}
    reply = server.ask(flow, "x", chatId="c", uploads=[upload])
    assert (reply.status, reply.json["code"]) == (400, "invalid_request")
    assert "'m.exe'" in reply.json["message"]
    assert upstream.requests == []
    kept = server.send("GET", f"/api/v1/get-upload-file?chatflowId={flow}&chatId=c&fileName=m.exe")
    assert kept.status == 404


@pytest.mark.parametrize("name", ["a.txt", "a.pdf", "a.exe"])
def test_a_forms_file_that_no_loader_takes_is_refused(server: Server, upstream: Upstream, name: str) -> None:
    flow = server.create_flow(conversation(upstream.url))
    body, headers = form({"question": "x"}, [(name, b"words", "application/octet-stream")])
    reply = server.send("POST", f"/api/v1/prediction/{flow}", body, headers)
    assert (reply.status, repr(name) in reply.json["message"]) == (400, True)
    assert upstream.requests == []
