"""Lines of the log, whoever writes them, hold no secret."""

import json
import logging
from collections.abc import Generator
from typing import Any

import agentflows
import pytest
from servers import KEY, Server, conversation, serving
from upstream import Upstream
from waiting import eventually

from headrace.server.logs import FORMATS, Lines, redacted

SECRET = "SECRETvalue0123456789"


@pytest.mark.parametrize(
    "line",
    [
        f"HTTP Request: POST http://127.0.0.1:1/mcp?api_key={SECRET} 'HTTP/1.1 401 Unauthorized'",
        f"connecting to postgresql://me:{SECRET}@db/x failed",
        f"redis://:{SECRET}@host:6379/0",
        f"headers {{'Authorization': 'Bearer {SECRET}', 'x-api-key': '{SECRET}'}}",
        f"[(b'authorization', b'Bearer {SECRET}')]",
        f"Authorization: Bearer {SECRET}",
        f"token={SECRET} given",
        f"OPENAI_API_KEY='{SECRET}'",
        f"Cookie: {SECRET}",
        f"GET /api/v1/x?key={SECRET} failed",
        f"https://x.example/a#access={SECRET}",
        f"Incorrect API key provided: sk-{SECRET}",
    ],
)
def test_a_line_has_no_queries_users_headers_and_keys(line: str) -> None:
    assert SECRET not in redacted(line)


def test_a_traceback_is_cleaned_too() -> None:
    try:
        raise ValueError(f"cannot reach https://u:{SECRET}@x/?k={SECRET}")
    except ValueError as error:
        record = logging.LogRecord("x", 40, "f", 1, "failed", None, (ValueError, error, error.__traceback__))
    text = Lines("%(message)s").format(record)
    assert "Traceback" in text
    assert "cannot reach https://x/?…" in text
    assert SECRET not in text


def test_what_is_no_secret_stays() -> None:
    line = "run 1f2e failed: https://x.example/v1/chat took 3.5 s, tokens 12"
    assert redacted(line) == line


def test_both_forms_say_the_same_of_a_line() -> None:
    record = logging.LogRecord("headrace.runs", 30, "f", 1, "run %s failed: %s", ("r", f"sk-{SECRET}\n\u2028"), None)
    record.fields = {"run": "r", "code": "provider_error"}
    line = json.loads(FORMATS["json"].format(record))
    assert FORMATS["text"].format(record).endswith("WARNING headrace.runs: run r failed: …\n\u2028")
    assert "\n" not in FORMATS["json"].format(record)
    assert line.pop("time").endswith("+00:00")
    message = "run r failed: …\n\u2028"
    expected = {"level": "WARNING", "logger": "headrace.runs", "message": message}
    assert line == {**expected, "run": "r", "code": "provider_error"}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    with serving(tmp_path_factory.mktemp("log") / "data", HEADRACE_LOG="json") as server:
        yield server


def _lines(server: Server, **fields: Any) -> list[dict[str, Any]]:
    """The lines that have these fields, once there is one."""

    def found() -> list[dict[str, Any]]:
        texts = [text for text in server.output.read_text().splitlines() if text.startswith("{") and text.endswith("}")]
        return [line for line in map(json.loads, texts) if fields.items() <= line.items()]

    return eventually(found, every=0.02)


def test_every_request_has_one_line_with_its_run(own: Server, upstream: Upstream) -> None:
    flow = own.create_flow(conversation(upstream.url))
    path = f"/api/v1/prediction/{flow}"
    for streaming in (False, True):
        reply = own.ask(flow, "/say my secret wish", streaming=streaming)
        (line,) = _lines(own, run=reply.headers["X-Run-Id"])
        assert (line["method"], line["path"], line["status"]) == ("POST", path, 200)
        assert line["bytes"] >= len(reply.body)  # a stream's line with its position is counted or not, as it comes
        assert line["ms"] > 0
        assert line["logger"] == "headrace.access"
    assert own.send("HEAD", "/api/v1/ping").status == 200
    assert own.send("GET", "/none/here").status == 404
    assert own.send("GET", "/api/v1/ping", headers={"Host": "a b"}).status == 400
    assert len(_lines(own, method="HEAD", path="/api/v1/ping", status=200)) == 1
    assert len(_lines(own, path="/none/here", status=404)) == 1
    assert len(_lines(own, path="/api/v1/ping", status=400)) == 1
    assert "my secret wish" not in own.output.read_text()


def test_a_line_has_neither_keys_nor_queries_nor_line_breaks(own: Server) -> None:
    own.send("GET", f"/api/v1/verify/apikey/{KEY}", admin=True)
    own.send("GET", f"/api/v1/chatflows/apikey/{KEY}?email={SECRET}", admin=True)
    own.send("GET", "/a%0Ab%1b%E2%80%A8c")
    _lines(own, path="/api/v1/verify/apikey/…", status=200)
    _lines(own, path="/api/v1/chatflows/apikey/…")
    _lines(own, path="/a%0Ab%1B%E2%80%A8c", status=404)
    printed = own.output.read_text()
    assert KEY not in printed
    assert SECRET not in printed


def test_a_failed_run_has_one_line_with_flow_node_code_and_the_providers_words(own: Server, upstream: Upstream) -> None:
    flow = own.create_flow(conversation(upstream.url))
    refused = own.ask(flow, "/status 400")
    (line,) = _lines(own, flow=flow, code=refused.json["code"])
    assert (line["logger"], line["level"]) == ("headrace.runs", "WARNING")
    assert refused.json["message"] in line["message"]
    (request,) = _lines(own, run=line["run"], logger="headrace.access")
    assert request["status"] == refused.status

    drawn = agentflows.flow(agentflows.start(), agentflows.llm(upstream.url), arrows="start_0 llm_0")
    flow = own.create_flow(drawn, type="AGENTFLOW")
    own.ask(flow, "/status 400")
    (line,) = _lines(own, flow=flow, logger="headrace.runs")
    assert line["node"] == "llmAgentflow_0"
    assert "in node llmAgentflow_0" in line["message"]
