"""Steps of agent flows that do something outside of the flow, on a real server: requests, functions, other flows."""

import base64
from collections.abc import Generator
from typing import Any

import pytest
from agentflows import SHOWN, Flow, executed, flow, llm, node, reply, said, start, steps
from servers import Server, serving
from sites import Answer, Site
from sites import said as answering
from upstream import Upstream

FILE = "data:text/csv;base64," + base64.b64encode(b"a,b\n1,2\n").decode() + ",filename:sums.csv"
QUOTED = 'He said "no"\nand left'


@pytest.fixture(scope="module")
def reaching(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A server whose flows may reach this machine."""
    with serving(tmp_path_factory.mktemp("steps") / "data", HEADRACE_ALLOWED_HOSTS="127.0.0.1") as server:
        yield server


def requesting(server: Server, url: str, *after: Flow, credential: str = "", **inputs: Any) -> str:
    request = node("http", url=url, **inputs)
    if credential:
        request["data"]["credential"] = credential
    arrows = "start_0 http_0" + (", http_0 directReply_0" if after else "")
    return server.create_flow(flow(start(), request, *after, arrows=arrows), **SHOWN)


def pairs(**values: Any) -> list[Flow]:
    return [{"key": key, "value": value} for key, value in values.items()]


def test_a_request_carries_what_the_flow_says_and_its_answer_goes_on(reaching: Server, web: Site):
    web.default = lambda visit: answering({"seen": visit.json, "q": visit.query})
    key = requesting(
        reaching,
        f"{web.url}/items?a=1",
        reply("{{ httpAgentflow_0.output.http.data.seen.asked }} {{ httpAgentflow_0.output.http.status }}"),
        method="POST",
        headers=[{"key": "X-Test", "value": "{{ question }}"}, {"key": "X-Api-Key", "value": "s3cret"}],
        queryParams=pairs(q="{{ question }}"),
        bodyType="json",
        body='{"asked": "{{ question }}", "n": 1}',
    )
    answer = reaching.ask(key, "a & b")
    assert answer.json["text"] == "a & b 200"
    (visit,) = web.visits
    assert (visit.method, visit.query, visit.json) == ("POST", {"a": "1", "q": "a & b"}, {"asked": "a & b", "n": 1})
    assert (visit.headers["x-test"], visit.headers["x-api-key"]) == ("a & b", "s3cret")
    assert "s3cret" not in answer.text
    shown = executed(answer)[1]["data"]
    assert shown["input"]["http"]["headers"][0] == {"key": "X-Test", "value": "a & b"}
    assert (shown["output"]["http"]["status"], shown["output"]["http"]["statusText"]) == (200, "OK")


@pytest.mark.parametrize(
    ("kind", "body", "media", "parts"),
    [
        ("json", '{"text": "{{ question }}"}', "application/json", ['{"text":"He said \\"no\\"\\nand left"}']),
        ("json", '<p>{"n": {{ $flow.state.n }}}</p>', "application/json", ['{"n":3}']),
        ("raw", "{{ question }}", "text/plain", [QUOTED]),
        ("raw", FILE, "text/csv", ["a,b\n1,2\n"]),
        ("xWwwFormUrlencoded", pairs(a="{{ question }}"), "application/x-www-form", ["a=He+said+%22no%22"]),
        ("formData", pairs(a="{{ question }}", f=FILE), "multipart/form-data", [QUOTED, 'e="sums.csv"', "a,b\n1"]),
    ],
)  # fmt: skip
def test_bodies(reaching: Server, web: Site, kind: str, body: Any, media: str, parts: list[str]):
    web.default = answering({})
    request = node("http", url=web.url, method="PUT", bodyType=kind, body=body)
    drawn = flow(start(startState=pairs(n="3")), request, arrows="start_0 http_0")
    assert reaching.ask(reaching.create_flow(drawn, **SHOWN), QUOTED).status == 200
    (visit,) = web.visits
    assert visit.headers["content-type"].startswith(media)
    assert all(part in visit.body.decode() for part in parts), visit.body


def test_a_body_that_is_not_json_is_named(reaching: Server, web: Site):
    key = requesting(reaching, web.url, method="POST", bodyType="json", body='{"n": {{ question }}}')
    answer = reaching.ask(key, "three")
    assert (answer.status, "the body of 'httpAgentflow_0' is not JSON" in answer.text) == (422, True)
    assert web.visits == []


@pytest.mark.parametrize(
    ("kind", "fields", "header", "value"),
    [
        ("httpBasicAuth", {"basicAuthUsername": "ada", "basicAuthPassword": "pw"}, "authorization", "Basic YWRhOnB3"),
        ("httpBearerToken", {"token": "tok"}, "authorization", "Bearer tok"),
        ("httpApiKey", {"key": "X-Key", "value": "k"}, "x-key", "k"),
    ],
)
def test_credentials(reaching: Server, web: Site, kind: str, fields: Flow, header: str, value: str):
    web.default = answering({})
    made = {"name": kind, "credentialName": kind, "plainDataObj": fields}
    key = reaching.send("POST", "/api/v1/credentials", made, admin=True).json["id"]
    answer = reaching.ask(requesting(reaching, web.url, credential=key), "Hi")
    assert answer.status == 200
    assert web.visits[0].headers[header] == value
    assert value not in answer.text


def test_a_credential_that_is_gone_is_named(reaching: Server, web: Site):
    answer = reaching.ask(requesting(reaching, web.url, credential="11111111-1111-4111-8111-111111111111"), "Hi")
    assert answer.status >= 400
    assert "11111111-1111-4111-8111-111111111111" in answer.text
    assert web.visits == []


@pytest.mark.parametrize(
    ("wanted", "body", "data"),
    [
        ("", b'{"a": 1}', {"a": 1}),
        ("json", b"no json", "no json"),
        ("text", b'{"a": 1}', '{"a": 1}'),
        ("base64", b"\x00\xff", "AP8="),
        ("arraybuffer", b"\x00\xff", "AP8="),
    ],
)
def test_answers_come_as_the_node_wants_them(reaching: Server, web: Site, wanted: str, body: bytes, data: Any):
    web.default = Answer(body, "application/octet-stream", status=500)
    http = executed(reaching.ask(requesting(reaching, web.url, responseType=wanted), "Hi"))[1]["data"]["output"]["http"]
    assert (http["data"], http["status"], http["statusText"]) == (data, 500, "Internal Server Error")


def test_private_addresses_are_refused_and_named(server: Server):
    answer = server.ask(requesting(server, "http://127.0.0.9/"), "Hi", streaming=True)
    (error,) = [event["data"] for event in answer.events if event["event"] == "error"]
    assert error.startswith("'127.0.0.9' leads to a loopback address")
    assert steps(answer)[-1] == "http_0 ERROR"


# Functions


def computing(code: str, *after: Flow, **inputs: Any) -> Flow:
    function = node("customFunction", customFunctionJavascriptFunction=code, **inputs)
    state = start(startState=pairs(total="1"))
    arrows = "start_0 customFunction_0" + (", customFunction_0 directReply_0" if after else "")
    return flow(state, function, *after, arrows=arrows)


@pytest.mark.parametrize(
    ("code", "content"),
    [
        ("return $word + $flow.state.total + $flow.input", "Hi!1Hi"),
        ("return {a: [1]}", '{\n  "a": [\n    1\n  ]\n}'),
        ("return $given.n + 1", "4"),
        ("return", ""),
    ],
)
def test_a_function_computes_the_answer(server: Server, code: str, content: str):
    variables = [
        {"variableName": "word", "variableValue": "{{ question }}!"},
        {"variableName": "given", "variableValue": '{"n": 3}'},
    ]
    key = server.create_flow(computing(code, customFunctionInputVariables=variables), **SHOWN)
    answer = server.ask(key, "Hi", streaming=True)
    assert said(answer) == content
    data = executed(answer)[1]["data"]
    assert (data["output"]["content"], data["input"]["code"]) == (content, code)


def test_a_function_changes_the_state_with_what_it_returns(server: Server):
    updates = pairs(total="{{ output.sum }}")
    drawn = computing("return {sum: 42}", reply("{{ $flow.state.total }}"), customFunctionUpdateState=updates)
    assert server.ask(server.create_flow(drawn, **SHOWN), "Hi").json["text"] == "42"


@pytest.mark.parametrize(
    ("code", "complaint"),
    [("throw new Error('out of order')", "out of order"), ("require('typeorm')", "module 'typeorm' is not available")],
)
def test_a_function_that_fails_ends_the_run(server: Server, code: str, complaint: str):
    answer = server.ask(server.create_flow(computing(code), **SHOWN), "Hi", streaming=True)
    assert steps(answer)[-1] == "customFunction_0 ERROR"
    assert complaint in next(event["data"] for event in answer.events if event["event"] == "error")


# Other flows


def calling(key: str, *after: Flow, **inputs: Any) -> Flow:
    call = node("executeFlow", executeFlowSelectedFlow=key, executeFlowInput="Well: {{ question }}", **inputs)
    return flow(start(), call, *after, arrows="start_0 executeFlow_0" + (", executeFlow_0 llm_0" if after else ""))


def test_another_flow_answers_in_the_same_chat(server: Server, upstream: Upstream, chat: str):
    first = server.create_flow(calling(chat), **SHOWN)
    answer = server.ask(first, "/say Fine.", chatId="together", streaming=True)
    assert said(answer) == "Fine."
    kept = server.send("GET", f"/api/v1/chatmessage/{chat}?chatId=together", admin=True).json
    assert [one["content"] for one in kept] == ["Well: /say Fine.", "Fine."]


def test_another_flow_answers_in_the_session_that_the_node_names(server: Server, upstream: Upstream, chat: str):
    first = server.create_flow(calling(chat, executeFlowOverrideConfig='{"sessionId": "{{ question }}-own"}'), **SHOWN)
    assert server.ask(first, "/say Fine.", chatId="apart").json["text"] == "Fine."
    kept = server.send("GET", f"/api/v1/chatmessage/{chat}?sessionId=/say Fine.-own".replace(" ", "%20"), admin=True)
    assert [one["role"] for one in kept.json] == ["userMessage", "apiMessage"]


def test_what_another_flow_said_is_part_of_the_conversation(server: Server, upstream: Upstream, chat: str):
    drawn = calling(chat, llm(upstream.url), executeFlowReturnResponseAs="assistantMessage")
    assert server.ask(server.create_flow(drawn, **SHOWN), "/say Fine.").status == 200
    last = upstream.requests[-1].body["messages"]
    assert [(one["role"], one["content"]) for one in last] == [("user", "Well: /say Fine."), ("assistant", "Fine.")]


def test_a_flow_that_is_not_here_is_named(server: Server):
    answer = server.ask(server.create_flow(calling("11111111-1111-4111-8111-111111111111"), **SHOWN), "Hi")
    assert answer.status == 422
    assert "11111111-1111-4111-8111-111111111111" in answer.text


def test_the_end_node_of_older_exports_says_what_came_before(server: Server, upstream: Upstream):
    drawn = flow(start(), llm(upstream.url), node("end"), arrows="start_0 llm_0, llm_0 end_0")
    answer = server.ask(server.create_flow(drawn, **SHOWN), "/say Done.", streaming=True)
    assert (said(answer), steps(answer)[-1]) == ("Done.", "end_0")
