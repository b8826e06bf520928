"""Upserts over HTTP: into a flow's store, from its own documents and from uploaded ones."""

import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from servers import KEY, Server, node, serving
from uploads import allowing, counts, form, reading, sources, upsert
from upstream import Upstream
from waiting import eventually, within

from headrace.storage.database import Database
from headrace.storage.dialect import execute

LABEL = "Text"
COUNT = 6_000
LINES = "".join(f"Bird number {n} sings in the morning.\n\n" for n in range(COUNT)).encode()
FORM = "multipart/form-data; boundary=limit"


def texts(number: int = 0, **inputs: Any) -> dict[str, Any]:
    return node("plainText", "Document Loaders", number, label=LABEL, **inputs)


def files(**inputs: Any) -> dict[str, Any]:
    return node("textFile", "Document Loaders", label="Files", **inputs)


def uploading(server: Server, upstream: Upstream, **inputs: Any) -> str:
    """A flow whose text loader callers may give files."""
    api = json.dumps(allowing(("Files", "txtFile")))
    return server.create_flow(reading(upstream.url, files(txtFile="", **inputs)), apiConfig=api)


def cutting(server: Server, upstream: Upstream) -> str:
    """The same, with a splitter that cuts `LINES` into as many chunks."""
    key = "recursiveCharacterTextSplitter_0"
    drawn = reading(upstream.url, files(txtFile="", textSplitter="{{" + key + ".data.instance}}"))
    drawn["nodes"].append(node(key[:-2], "Text Splitters", chunkSize=50, chunkOverlap=0))
    return server.create_flow(drawn, apiConfig=json.dumps(allowing(("Files", "txtFile"))))


def stored(server: Server, flow_id: str) -> list[str]:
    """Everything that was upserted for the flow, by text."""
    database = Database(server.place)
    try:
        statement = (
            "SELECT text FROM chunk JOIN collection ON collection.id = chunk.collection "
            "WHERE collection.name LIKE ? ORDER BY text"
        )
        pattern = f"upserted/{flow_id}/%"
        return within(database.read(lambda c: [text for (text,) in execute(c, statement, (pattern,))]))
    finally:
        database.close()


def test_a_flows_own_documents_are_upserted_once(server: Server, upstream: Upstream) -> None:
    flow = server.create_flow(reading(upstream.url, texts(text="The Heron spears fish.")))
    first = upsert(server, flow)
    assert counts(first) == (1, 0, 0, 0)
    assert first.json["addedDocs"][0]["pageContent"] == "The Heron spears fish."
    assert counts(upsert(server, flow)) == (0, 0, 1, 0)
    assert stored(server, flow) == ["The Heron spears fish."]


def test_uploaded_files_reach_the_loader(server: Server, upstream: Upstream) -> None:
    flow = uploading(server, upstream)
    body = form(files=[("a.txt", b"The Wren is small.", "text/plain"), ("b.txt", b"The Owl sees.", "text/plain")])
    assert counts(upsert(server, flow, *body)) == (2, 0, 0, 0)
    assert counts(upsert(server, flow, *body)) == (0, 0, 2, 0)
    assert stored(server, flow) == ["The Owl sees.", "The Wren is small."]


def test_the_file_loader_reads_each_file_as_what_its_ending_says(server: Server, upstream: Upstream) -> None:
    loader = node("fileLoader", "Document Loaders", label="Any", file="")
    flow = server.create_flow(reading(upstream.url, loader), apiConfig=json.dumps(allowing(("Any", "file"))))
    body = form(files=[("a.csv", b"bird\nWren\nOwl\n", "text/csv"), ("a.md", b"# Swifts", "text/markdown")])
    assert counts(upsert(server, flow, *body)) == (3, 0, 0, 0)
    assert stored(server, flow) == ["# Swifts", "bird: Owl", "bird: Wren"]


def test_a_file_that_no_loader_takes_is_not_dropped_in_silence(server: Server, upstream: Upstream) -> None:
    closed = server.create_flow(reading(upstream.url, files(txtFile="")))
    reply = upsert(server, closed, *form(files=[("a.txt", b"x", "text/plain")]))
    assert (reply.status, reply.json["code"]) == (400, "invalid_request")
    assert "'a.txt'" in reply.json["message"]
    assert "apiConfig.overrideConfig" in reply.json["message"]
    reply = upsert(server, uploading(server, upstream), *form(files=[("a.csv", b"x", "text/csv")]))
    assert "'csvFile'" in reply.json["message"]


def test_a_document_that_fails_leaves_the_others(server: Server, upstream: Upstream) -> None:
    flow = uploading(server, upstream)
    body = form(files=[("bad.txt", b"caf\xe9 \xff", "text/plain"), ("good.txt", b"The Wren.", "text/plain")])
    reply = upsert(server, flow, *body)
    assert counts(reply) == (1, 0, 0, 0)
    (failure,) = reply.json["failures"]
    assert (failure["source"], failure["step"]) == ("bad.txt", "read")
    assert stored(server, flow) == ["The Wren."]


def test_predictions_answer_from_what_was_upserted(server: Server, upstream: Upstream) -> None:
    flow = server.create_flow(
        reading(upstream.url, texts(text="The Robin sings.")), apiConfig=json.dumps(allowing((LABEL, "text")))
    )
    assert sources(server, flow, "robin wren") == ["The Robin sings."]
    assert counts(upsert(server, flow, {"overrideConfig": {"text": "The Wren is small."}})) == (1, 0, 0, 0)
    assert sources(server, flow, "robin wren") == ["The Wren is small."]


@pytest.mark.parametrize(
    ("cleanup", "expected"),
    [
        ("none", ["The Owl.", "The Wren has moved.", "The Wren."]),
        ("incremental", ["The Owl.", "The Wren has moved."]),
        ("full", ["The Wren has moved."]),
    ],
)
def test_a_record_manager_says_what_becomes_of_the_old(
    server: Server, upstream: Upstream, cleanup: str, expected: list[str]
) -> None:
    records = node("SQLiteRecordManager", "Record Manager", cleanup=cleanup, sourceIdKey="source")
    drawn = reading(upstream.url, files(txtFile=""), recordManager="{{SQLiteRecordManager_0.data.instance}}")
    drawn["nodes"].append(records)
    flow = server.create_flow(drawn, apiConfig=json.dumps(allowing(("Files", "txtFile"))))
    wren, owl = ("wren.txt", b"The Wren.", "text/plain"), ("owl.txt", b"The Owl.", "text/plain")
    upsert(server, flow, *form(files=[wren, owl]))
    upsert(server, flow, *form(files=[("wren.txt", b"The Wren has moved.", "text/plain")]))
    assert stored(server, flow) == expected


def test_of_several_stores_the_request_names_one(server: Server, upstream: Upstream) -> None:
    flow = server.create_flow(reading(upstream.url, texts(text="x"), stores=2))
    reply = upsert(server, flow)
    assert reply.status == 400
    assert "'memoryVectorStore_0', 'memoryVectorStore_1'" in reply.json["message"]
    assert counts(upsert(server, flow, {"stopNodeId": "memoryVectorStore_1"})) == (1, 0, 0, 0)
    assert upsert(server, flow, {"stopNodeId": "chatOpenAI_0"}).status == 400


def test_an_upsert_needs_a_key_that_may_and_the_flows_own(server: Server, upstream: Upstream) -> None:
    def made(*permissions: str) -> dict[str, Any]:
        key = {"keyName": "k", "permissions": list(permissions)}
        return server.send("POST", "/api/v1/apikey", key, admin=True).json

    drawn = reading(upstream.url, texts(text="x"))
    flow = server.create_flow(drawn)
    path = f"/api/v1/vector/upsert/{flow}"
    assert server.send("POST", path, {}).status == 401
    viewer, writer = made("chatflows:view"), made("chatflows:update")
    assert server.send("POST", path, {}, {"Authorization": f"Bearer {viewer['apiKey']}"}).status == 403
    assert server.send("POST", path, {}, {"Authorization": f"Bearer {writer['apiKey']}"}).status == 200
    bound = server.create_flow(drawn, apikeyid=writer["id"])
    path = f"/api/v1/vector/upsert/{bound}"
    assert server.send("POST", path, {}, admin=True).status == 401
    assert server.send("POST", path, {}, {"Authorization": f"Bearer {writer['apiKey']}"}).status == 200


def test_the_history_tells_each_upsert_and_goes_with_its_flow(server: Server, upstream: Upstream) -> None:
    flow = server.create_flow(reading(upstream.url, texts(text="x")))
    upsert(server, flow)
    upsert(server, flow)
    path = f"/api/v1/upsert-history/{flow}"
    rows = server.send("GET", path, admin=True).json
    assert [row["result"]["numAdded"] for row in rows] == [1, 0]
    assert [part["name"] for part in rows[0]["flowData"]] == ["plainText", "memoryVectorStore"]
    assert [row["id"] for row in server.send("GET", f"{path}?order=DESC", admin=True).json] == [
        rows[1]["id"], rows[0]["id"]
    ]  # fmt: skip
    assert server.send("GET", f"{path}?startDate=2999-01-01", admin=True).json == []
    gone = server.send("PATCH", "/api/v1/upsert-history", {"ids": [rows[0]["id"]]}, admin=True)
    assert gone.json == {"raw": [], "affected": 1}
    assert stored(server, flow) == ["x"]
    server.send("DELETE", f"/api/v1/chatflows/{flow}", admin=True)
    assert server.send("GET", path, admin=True).status == 404
    assert stored(server, flow) == []


@pytest.mark.parametrize(
    ("name", "mime", "wanted"),
    [
        ("a.pdf", "text/plain", "make them agree"),
        ("a.txt", "application/pdf", "make them agree"),
        ("..", "text/plain", "not the name of a file"),
        ("a\tb.txt", "text/plain", "not the name of a file"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(
    server: Server, upstream: Upstream, name: str, mime: str, wanted: str
) -> None:
    reply = upsert(server, uploading(server, upstream), *form(files=[(name, b"x", mime)]))
    assert reply.status == 400
    assert wanted in reply.json["message"]


def test_a_name_with_folders_is_only_its_last_part(server: Server, upstream: Upstream) -> None:
    flow = uploading(server, upstream)
    reply = upsert(server, flow, *form(files=[("../../etc/passwd.txt", b"The Wren.", "text/plain")]))
    assert reply.json["addedDocs"][0]["metadata"]["source"] == "passwd.txt"


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"stopNodeId": 5}', "application/json", 400),
        (b"--x\r\n", "multipart/form-data; boundary=x", 400),
        (b"hello", "multipart/form-data", 400),
        (form({"overrideConfig": "{"})[0], FORM, 400),
        (form({"overrideConfig": "[1]"})[0], FORM, 400),
        (form({"vars": "no"})[0], FORM, 400),
        (form({"question": "x"})[0].replace(b"x", b"\xff"), FORM, 400),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(
    server: Server, upstream: Upstream, body: bytes, kind: str, status: int
) -> None:
    flow = server.create_flow(reading(upstream.url, texts(text="x")))
    reply = upsert(server, flow, body, {"Content-Type": kind})
    assert (reply.status, reply.json["success"]) == (status, False)
    assert stored(server, flow) == []


def test_a_body_over_the_limit_is_refused_and_nothing_is_stored(tmp_path: Path, upstream: Upstream) -> None:
    with serving(tmp_path / "data", HEADRACE_MAX_BODY_MB="1") as small:
        flow = uploading(small, upstream)
        reply = upsert(small, flow, *form(files=[("a.txt", b"x" * 2**20, "text/plain")]))
        assert (reply.status, reply.json["code"]) == (413, "body_too_large")
        assert stored(small, flow) == []


def test_an_unknown_node_is_named(server: Server, upstream: Upstream) -> None:
    drawn = reading(upstream.url, texts(text="x"))
    drawn["nodes"][1]["data"]["name"] = "someOtherStore"
    reply = upsert(server, server.create_flow(drawn))
    assert (reply.status, reply.json["code"]) == (422, "unknown_nodes")
    assert "'someOtherStore'" in reply.json["message"]


def test_a_killed_upsert_goes_on_where_it_was(tmp_path: Path, upstream: Upstream) -> None:
    folder = tmp_path / "data"
    with serving(folder) as first, ThreadPoolExecutor(1) as thread:
        flow = cutting(first, upstream)
        body = form(files=[("birds.txt", LINES, "text/plain")])
        reply = thread.submit(upsert, first, flow, *body)
        eventually(lambda: stored(first, flow))
        first.stop(signal.SIGKILL)
        with pytest.raises(OSError, match=r"Remote|reset|closed"):
            reply.result(20)
    with serving(folder) as second:
        there = len(stored(second, flow))
        assert 0 < there < COUNT
        assert counts(upsert(second, flow, *body)) == (COUNT - there, 0, there, 0)
        assert len(stored(second, flow)) == len(set(stored(second, flow))) == COUNT


def test_a_caller_who_leaves_stops_the_upsert(server: Server, upstream: Upstream) -> None:
    flow = cutting(server, upstream)
    body, headers = form(files=[("birds.txt", LINES, "text/plain")])
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as caller:
        head = {**headers, "Host": "x", "Authorization": f"Bearer {KEY}", "Content-Length": str(len(body))}
        written = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        caller.sendall(f"POST /api/v1/vector/upsert/{flow} HTTP/1.1\r\n{written}\r\n".encode() + body)
    assert server.send("GET", f"/api/v1/upsert-history/{flow}", admin=True).json == []
    again = upsert(server, flow, *form(files=[("birds.txt", LINES, "text/plain")]))
    assert again.status == 200, "the lock is free"
    (row,) = server.send("GET", f"/api/v1/upsert-history/{flow}", admin=True).json
    assert row["result"]["numAdded"] == again.json["numAdded"]
