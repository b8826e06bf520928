"""Requests of an administrator."""

from typing import Any

from servers import Reply, Server


def call(server: Server, method: str, path: str, body: Any = None) -> Reply:
    return server.send(method, f"/api/v1/{path}", body, admin=True)


def ok(reply: Reply) -> Any:
    assert reply.status == 200, reply.text
    return reply.json
