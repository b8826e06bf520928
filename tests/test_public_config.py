"""What everybody may see of a flow: the lists of what pages need, and never a secret, wherever it stands."""

import json
from typing import Any

import pytest
from servers import KEY, Server, flow, node

SECRET = "SECRET-value"
HIDDEN_INPUTS: dict[str, Any] = {
    "customMCP": {"mcpServerConfig": json.dumps({"headers": {"Authorization": SECRET}, "env": {"K": SECRET}})},
    "requestsGet": {"requestsGetUrl": f"https://x/?key={SECRET}", "requestsGetHeaders": {"x": SECRET}},
    "requestsPost": {"requestsPostHeaders": SECRET, "body": {"deep": [{"er": SECRET}]}},
    "chatPromptTemplate": {"systemMessagePrompt": SECRET, "humanMessagePrompt": SECRET},
    "customFunction": {"javascriptFunction": SECRET, "functionInputVariables": {"a": SECRET}},
    "chatOpenAI": {"basepath": f"https://{SECRET}@x", "proxyUrl": SECRET, "openAIApiKey": SECRET},
    "retrieverTool": {"name": f"a tool with {SECRET}", "description": SECRET},
    "httpAgentflow": {"url": SECRET, "headers": [{"key": "x", "value": SECRET}]},
    "startAgentflow": {"startState": [{"key": "a", "value": SECRET}], "startPersistState": SECRET},
    "stickyNote": {"note": SECRET},
    "nodeOfTomorrow": {"something": SECRET},
}
HIDDEN_CONFIG: dict[str, Any] = {
    "postProcessing": {"enabled": True, "customFunction": SECRET},
    "headers": {"x": SECRET},
    "followUpPrompts": {"status": True, "selectedProvider": SECRET, "prompt": SECRET},
    "starterPrompts": {"0": {"prompt": "Hi", "more": SECRET}},
    "leads": {"status": True, "webhook": SECRET},
    "overrideConfig": {"vars": {"a": SECRET}},
    "somethingNew": SECRET,
    "title": {"nested": SECRET},
    "allowedOrigins": ["https://SECRET-value.example"],
}


@pytest.mark.parametrize("name", HIDDEN_INPUTS)
def test_no_input_of_a_node_is_shown(server: Server, name: str) -> None:
    shown = node(name, "x", **HIDDEN_INPUTS[name])
    shown["data"] |= {"description": SECRET, "credential": SECRET, "inputParams": [{"name": "a", "default": SECRET}]}
    shown["more"] = shown["data"]["outputs"] = {"x": SECRET}
    drawing = {**flow(shown), "viewport": {"x": SECRET}, "edges": [{"source": "a", "data": {"edgeLabel": SECRET}}]}
    flow_id = server.create_flow(drawing, isPublic=True)
    for resource in ("public-chatbotConfig", "public-chatflows"):
        reply = server.send("GET", f"/api/v1/{resource}/{flow_id}")
        assert reply.status == 200
        assert SECRET not in reply.text
        [found] = json.loads(reply.json["flowData"])["nodes"]
        assert (found["id"], found["data"]["name"], found["position"]) == (f"{name}_0", name, {"x": 0, "y": 0})


@pytest.mark.parametrize("name", HIDDEN_CONFIG)
def test_only_what_the_widget_needs_of_the_configuration_is_shown(server: Server, name: str) -> None:
    config = {"welcomeMessage": "Hello", name: HIDDEN_CONFIG[name]}
    flow_id = server.create_flow(flow(node("x", "y")), isPublic=True, chatbotConfig=json.dumps(config))
    reply = server.send("GET", f"/api/v1/public-chatbotConfig/{flow_id}")
    assert SECRET not in reply.text
    assert reply.json["welcomeMessage"] == "Hello"
    assert SECRET not in server.send("GET", f"/api/v1/public-chatflows/{flow_id}").text


def test_what_the_widget_reads_is_shown(server: Server) -> None:
    form: dict[str, Any] = {
        "startInputType": "formInput",
        "formTitle": "Trip",
        "formDescription": "Where to",
        "formInputTypes": [{"type": "options", "label": "City", "name": "city", "addOptions": [{"option": "Rome"}]}],
    }
    config = {
        "starterPrompts": {"0": {"prompt": "Hi"}},
        "chatFeedback": {"status": True},
        "leads": {"status": True, "title": "You?", "name": True, "email": True, "successMessage": "Thanks"},
        "fullFileUpload": {"status": True, "allowedUploadFileTypes": "text/plain"},
    }
    start = node("startAgentflow", "Agent Flows", startState=[{"key": "a"}], **form)
    flow_id = server.create_flow(flow(start), type="AGENTFLOW", chatbotConfig=config)
    shown = server.send("GET", f"/api/v1/public-chatbotConfig/{flow_id}").json
    assert {name: shown[name] for name in config} == config
    assert json.loads(shown["flowData"])["nodes"][0]["data"]["inputs"] == form


def test_a_flow_bound_to_a_key_shows_itself_to_its_key_and_to_who_may_read_flows(server: Server) -> None:
    def made(*permissions: str) -> dict[str, Any]:
        return server.send("POST", "/api/v1/apikey", {"keyName": "k", "permissions": permissions}, admin=True).json

    own, reader, other = made(), made("chatflows:view"), made("tools:view")
    flow_id = server.create_flow(flow(node("x", "y")), isPublic=True, apikeyid=own["id"])
    for resource in ("public-chatbotConfig", "public-chatflows"):
        path = f"/api/v1/{resource}/{flow_id}"
        for key, status in ((own["apiKey"], 200), (reader["apiKey"], 200), (KEY, 200), (other["apiKey"], 401)):
            assert server.send("GET", path, headers={"Authorization": f"Bearer {key}"}).status == status
        assert server.send("GET", path).status == 401
