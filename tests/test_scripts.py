"""JavaScript that flows carry: custom tools, functions, post-processing, and what they may do."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from scripted import JSON, Reply, ScriptedServer, scripted_server
from servers import Server, chat_model, conversation, flow, node, serving
from test_tools import agent
from upstream import Upstream

ORDER = {
    "name": "order_status",
    "description": "Looks an order up.",
    "color": "#000",
    "schema": json.dumps([{"property": "id", "type": "string", "required": True}, {"property": "n", "type": "number"}]),
    "func": "return `order ${$id} in ${$flow.chatId}, ${typeof $n}, ${$vars.nobodys ?? 'nowhere'}`;",
}


def saved(server: Server, **columns: Any) -> str:
    reply = server.send("POST", "/api/v1/tools", {**ORDER, **columns}, admin=True)
    assert reply.status == 200, reply.text
    return reply.json["id"]


def tool_agent(server: Server, base: str, **inputs: Any) -> str:
    return server.create_flow(agent(base, node("customTool", "Tools", **inputs)))


def test_a_saved_tool_is_kept_changed_listed_and_deleted(server: Server) -> None:
    tool = saved(server)
    path = f"/api/v1/tools/{tool}"
    assert server.send("GET", path, admin=True).json["func"] == ORDER["func"]
    assert server.send("PUT", path, {"name": "other", "iconSrc": None}, admin=True).json["name"] == "other"
    assert server.send("GET", path, admin=True).json["description"] == ORDER["description"]
    assert tool in [row["id"] for row in server.send("GET", "/api/v1/tools", admin=True).json]
    assert server.send("GET", path).status == 401
    assert server.send("DELETE", path, admin=True).json == {"raw": [], "affected": 1}
    for method, body in (("GET", None), ("PUT", {"name": "x"}), ("DELETE", None)):
        assert server.send(method, path, body, admin=True).status == 404


def test_a_model_uses_a_saved_tool(server: Server, upstream: Upstream) -> None:
    flow_id = tool_agent(server, upstream.url, selectedTool=saved(server))
    answer = server.ask(flow_id, '/tool order_status {"id": "D-1"} && order_status {"n": 1}', chatId="c-9").json
    first, second = answer["usedTools"]
    assert first["toolOutput"] == "order D-1 in c-9, undefined, nowhere"
    assert second["error"].startswith("Received tool input did not match expected schema: 'id' is a required property")
    (offered,) = upstream.requests[0].body["tools"]
    assert offered["function"]["parameters"] == {
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": ""},
            "n": {"type": "number", "description": ""},
        },
        "required": ["id"],
        "additionalProperties": False,
    }


def test_a_flow_may_bring_its_tool_along(server: Server, upstream: Upstream) -> None:
    flow_id = tool_agent(
        server, upstream.url, customToolName="double it", customToolDesc="Doubles.", returnDirect=True,
        customToolSchema="z.object({ n: z.number() /* how many */ })", customToolFunc="return {twice: 2 * $n}",
    )  # fmt: skip
    answer = server.ask(flow_id, '/tool double_it {"n": 21}').json
    assert answer["text"] == '{"twice":42}'


FAILS = {
    "it throws": ("throw new Error('broken')", "NodeVM Execution Error: Error: broken"),
    "it throws something odd": ("throw 'just a text'", "NodeVM Execution Error: Error: just a text"),
    "a name that is not there": (
        "return $missing",
        "NodeVM Execution Error: ReferenceError: $missing",
    ),
    "a file": ("return require('fs').readFileSync('/etc/passwd')", "NodeVM Execution Error: "),
    "the environment": ("return process.env.OPENAI_API_KEY", "NodeVM Execution Error: ReferenceError"),
    "this machine": ("return await (await fetch('http://127.0.0.1:1/')).text()", "HEADRACE_ALLOWED_HOSTS"),
}


@pytest.mark.parametrize(("code", "error"), FAILS.values(), ids=FAILS.keys())
def test_a_tool_that_fails_is_told_to_the_model(server: Server, upstream: Upstream, code: str, error: str) -> None:
    tool = saved(server, func=code, schema="[]")
    answer = server.ask(tool_agent(server, upstream.url, selectedTool=tool), "/tool order_status {}").json
    (used,) = answer["usedTools"]
    assert error in used["error"]
    assert answer["text"] == f"Tool said: {used['error']}"


def test_a_tool_that_is_not_there_is_named(server: Server, upstream: Upstream) -> None:
    reply = server.ask(tool_agent(server, upstream.url, selectedTool="gone"), "Hi")
    assert (reply.status, reply.json["code"]) == (422, "flow_error")
    assert "'gone'" in reply.json["message"]
    reply = server.ask(tool_agent(server, upstream.url), "Hi")
    assert (reply.status, reply.json["message"][:31]) == (422, "the custom tool has no function")


@pytest.fixture(scope="module")
def web() -> Generator[ScriptedServer]:
    with scripted_server() as web:
        yield web


def test_a_script_reaches_a_service_that_its_operator_allows(
    web: ScriptedServer, upstream: Upstream, tmp_path: Path
) -> None:
    web.scripts["/orders"] = lambda seen: Reply([json.dumps({"got": seen.body, "by": seen.method}).encode()], JSON)
    code = f"""
        const axios = require('axios');
        const {{ data }} = await axios.post('{web.url}/orders', {{ id: $id }});
        return data;
    """
    with serving(tmp_path / "data", HEADRACE_ALLOWED_HOSTS=f"127.0.0.1:{web.server_port}") as server:
        tool = saved(server, func=code)
        answer = server.ask(tool_agent(server, upstream.url, selectedTool=tool), '/tool order_status {"id": "7"}').json
    assert json.loads(answer["usedTools"][0]["toolOutput"]) == {"got": {"id": "7"}, "by": "POST"}


def test_a_function_ends_a_flow_with_a_text_or_with_an_object(server: Server) -> None:
    def asked(code: str) -> dict[str, Any]:
        inputs = {"functionInputVariables": '{"q": "{{question}}"}', "javascriptFunction": code}
        ending = node("customFunction", "Utilities", output="EndingNode", **inputs)
        ending["data"]["inputParams"] = [{"name": "functionInputVariables", "acceptVariable": True}]
        reply = server.ask(server.create_flow(flow(ending)), 'say "hi"\n', streaming=True, chatId="c")
        assert reply.headers["content-type"] == "application/json"
        return reply.json

    assert asked("return $q.trim()")["text"] == 'say "hi"'
    answer = asked("return {text: 'hi', more: [1, {a: 2}], question: 'forged', chatId: 'forged'}")
    assert (answer["text"], answer["more"]) == ("hi", [1, {"a": 2}])
    assert (answer["question"], answer["chatId"]) == ('say "hi"\n', "c")
    assert asked("return {more: 1}")["text"] == ""
    assert asked("return 42")["text"] == "42"


def test_a_functions_result_goes_into_a_prompt_and_variables_are_shown(server: Server, upstream: Upstream) -> None:
    shout = node("customFunction", "Utilities", output="output", javascriptFunction="return {loud: 'HEY'}")
    keep = node("setVariable", "Utilities", output="output", variableName="mood", showOutput=True,
                input="{{customFunction_0.data.instance.loud}}")  # fmt: skip
    read = node("getVariable", "Utilities", output="output", variableName="mood")
    prompt = node("promptTemplate", "Prompts", template="/say {a} and {b}",
                  promptValues=json.dumps({"a": "{{customFunction_0.data.instance.loud}}",
                                           "b": "{{getVariable_0.data.instance}}"}))  # fmt: skip
    prompt["data"]["inputParams"] = [{"name": "promptValues", "acceptVariable": True}]
    chain = conversation(upstream.url)["nodes"][0]
    ending = node("llmChain", "Chains", output="llmChain", model="{{chatOpenAI_0.data.instance}}",
                  prompt="{{promptTemplate_0.data.instance}}")  # fmt: skip
    parts = flow(shout, keep, read, prompt, chain, ending)
    parts["edges"].append({"source": "setVariable_0", "target": "getVariable_0"})
    answer = server.ask(server.create_flow(parts), "Hi").json
    assert (answer["text"], answer["flowVariables"]) == ("HEY and HEY", {"mood": "HEY"})


def choosing(base: str, **functions: str) -> dict[str, Any]:
    """A flow that asks one of two chains, whose prompts hold what was chosen and the question."""
    inputs = {"functionInputVariables": '{"q": "{{question}}"}', **functions}
    choose = node("ifElseFunction", "Utilities", **inputs)
    choose["data"]["inputParams"] = [{"name": "functionInputVariables", "acceptVariable": True}]
    parts, edges = [chat_model(base), choose], list[dict[str, str]]()
    for number, output in enumerate(("returnTrue", "returnFalse")):
        values = json.dumps({"chosen": "{{ifElseFunction_0.data.instance}}"})
        prompt = node("promptTemplate", "Prompts", number, promptValues=values,
                      template=f"/say {output} {{chosen}}: {{text}}")  # fmt: skip
        prompt["data"]["inputParams"] = [{"name": "promptValues", "acceptVariable": True}]
        ends = node("llmChain", "Chains", number, output="llmChain", model="{{chatOpenAI_0.data.instance}}",
                    prompt=f"{{{{promptTemplate_{number}.data.instance}}}}")  # fmt: skip
        parts += [prompt, ends]
        handle = f"ifElseFunction_0-output-{output}-string|number|boolean|json|array"
        edges.append({"source": "ifElseFunction_0", "target": prompt["id"], "sourceHandle": handle})
    drawn = flow(*parts)
    drawn["edges"] = [edge for edge in drawn["edges"] if edge["source"] != "ifElseFunction_0"] + edges
    return drawn


BRANCHES = {"ifFunction": "if ($q.includes('!')) return {loud: true}", "elseFunction": "return $q.length"}


def test_a_flow_goes_on_at_the_branch_that_its_function_takes(server: Server, upstream: Upstream) -> None:
    flow_id = server.create_flow(choosing(upstream.url, **BRANCHES))
    assert server.ask(flow_id, "Help!").json["text"] == 'returnTrue {"loud":true}: Help!'
    assert server.ask(flow_id, "Hm").json["text"] == "returnFalse 2: Hm"
    stream = server.ask(flow_id, "Help!", streaming=True)
    assert stream.kinds == ["start", "token", "metadata", "end"]
    assert len(upstream.requests) == 3, "the other branch asks nobody"


@pytest.mark.parametrize("falsy", ["return", "return 0", "return ''", "return null", "return NaN", "return false"])
def test_what_javascript_takes_for_false_is_the_other_branch(server: Server, upstream: Upstream, falsy: str) -> None:
    flow_id = server.create_flow(choosing(upstream.url, ifFunction=falsy, elseFunction="return []"))
    assert server.ask(flow_id, "Hm").json["text"] == "returnFalse []: Hm"


def test_a_branch_without_an_ending_is_said(server: Server, upstream: Upstream) -> None:
    drawn = choosing(upstream.url, **BRANCHES)
    gone = ("llmChain_1", "promptTemplate_1")
    drawn["nodes"] = [each for each in drawn["nodes"] if each["id"] not in gone]
    drawn["edges"] = [edge for edge in drawn["edges"] if edge["target"] not in gone]
    flow_id = server.create_flow(drawn)
    assert server.ask(flow_id, "Help!").json["text"].startswith("returnTrue")
    reply = server.ask(flow_id, "Hm")
    assert (reply.status, reply.json["code"]) == (422, "flow_error")
    assert "connect one to each output" in reply.json["message"]


def rewriting(server: Server, base: str, code: str) -> str:
    config = {"postProcessing": {"enabled": True, "customFunction": json.dumps(code)}}
    return server.create_flow(conversation(base), chatbotConfig=json.dumps(config))


def test_post_processing_rewrites_what_is_shown_and_stored(server: Server, upstream: Upstream) -> None:
    code = "return $flow.rawOutput.toUpperCase() + $flow.chatHistory.map(turn => ` ${turn.type}`).join('')"
    flow_id = rewriting(server, upstream.url, code)
    assert server.send("GET", f"/api/v1/chatflows-streaming/{flow_id}").json == {"isStreaming": False}
    first = server.ask(flow_id, "/say hello", streaming=True, chatId="p").json
    assert first["text"] == "HELLO"
    run = server.ask(flow_id, "/say again", chatId="p")
    assert run.json["text"] == "AGAIN userMessage apiMessage"
    stored = server.send("GET", f"/api/v1/chatmessage/{flow_id}?chatId=p", admin=True).json
    assert [message["content"] for message in stored][1::2] == [first["text"], run.json["text"]]
    log = server.send("GET", f"/api/v1/runs/{run.headers['x-run-id']}/events")
    assert "again" not in "".join(str(event["data"]) for event in log.events if event["event"] in ("token", "start"))


@pytest.mark.parametrize("code", ["throw new Error('x')", "return nothing", "(("])
def test_post_processing_that_fails_leaves_the_answer(server: Server, upstream: Upstream, code: str) -> None:
    assert server.ask(rewriting(server, upstream.url, code), "/say hello").json["text"] == "hello"
