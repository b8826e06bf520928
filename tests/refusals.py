"""What a refused request must look like, and that nothing is left of it."""

from servers import Reply, Server


def refused(reply: Reply, status: int, code: str) -> str:
    """Checks Flowise's error shape with a stable code, and returns the message."""
    assert reply.status == status, reply.text
    assert reply.headers["Content-Type"].startswith("application/json")
    assert set(reply.json) == {"statusCode", "success", "message", "code", "stack"}
    assert (reply.json["statusCode"], reply.json["success"], reply.json["code"]) == (status, False, code)
    assert reply.json["stack"] == {}
    assert "Traceback" not in reply.text
    return reply.json["message"]


def nothing_stored(server: Server, flow: str) -> bool:
    """True when no message of the flow was stored."""
    return server.send("GET", f"/api/v1/chatmessage/{flow}", admin=True).json == []
