"""What builders and installs that move ask for: exports, a flow's faults, templates, parts of assistants, links."""

import json
from collections.abc import Generator
from typing import Any

import pytest
from admin import call, ok
from refusals import refused
from servers import Server, conversation, serving
from sites import Site, html

from headrace.exports import export_of


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    with serving(tmp_path_factory.mktemp("own") / "data", HEADRACE_ALLOWED_HOSTS="127.0.0.1") as server:
        yield server


DRAWN = {**conversation("http://127.0.0.1:9/v1"), "viewport": {"zoom": 1}, "fieldOfTomorrow": [1]}
EVERYTHING = dict.fromkeys(("chatflow", "agentflow", "agentflowv2", "tool", "variable", "document_store"), True)


@pytest.fixture(scope="module")
def filled(own: Server) -> dict[str, Any]:
    """The ids of one of each that an export holds."""
    store = ok(call(own, "POST", "document-store/store", {"name": "s", "description": "d"}))["id"]
    loader = {"storeId": store, "loaderId": "plainText", "loaderConfig": {"text": "A text."}}
    loader_id = ok(call(own, "POST", "document-store/loader/save", loader))["id"]
    ok(call(own, "POST", f"document-store/loader/process/{loader_id}", {"storeId": store}))
    return {
        "chatflow": own.create_flow(DRAWN, category="a;b", chatbotConfig='{"title": "T"}'),
        "agentflowv2": own.create_flow({"nodes": [], "edges": []}, type="AGENTFLOW"),
        "agentflow": own.create_flow({"nodes": [], "edges": []}, type="MULTIAGENT"),
        "tool": ok(call(own, "POST", "tools", {"name": "t", "func": "return 1", "schema": "[]"}))["id"],
        "variable": ok(call(own, "POST", "variables", {"name": "v", "value": "secret"}))["id"],
        "store": store,
    }


def test_an_export_holds_whole_rows_in_the_sections_of_the_original(own: Server, filled: dict[str, Any]) -> None:
    file = ok(call(own, "POST", "export-import/export", EVERYTHING))
    assert file["FileDefaultName"] == "ExportData.json"
    ids = {section: [row["id"] for row in rows] for section, rows in file.items() if isinstance(rows, list) and rows}
    assert ids.pop("DocumentStoreFileChunk")
    assert ids == {
        "ChatFlow": [filled["chatflow"]],
        "AgentFlow": [filled["agentflow"]],
        "AgentFlowV2": [filled["agentflowv2"]],
        "Tool": [filled["tool"]],
        "Variable": [filled["variable"]],
        "DocumentStore": [filled["store"]],
    }
    (row,) = file["ChatFlow"]
    assert row["flowData"] == json.dumps(DRAWN), "to the last letter, with fields that nobody knows"
    assert (row["category"], row["chatbotConfig"]) == ("a;b", '{"title": "T"}')
    assert file["Variable"][0]["value"] == ""
    assert [one["pageContent"] for one in file["DocumentStoreFileChunk"]] == ["A text."]
    assert json.loads(file["DocumentStore"][0]["loaders"])[0]["loaderId"] == "plainText"


def test_an_export_is_read_again_with_nothing_left_out(own: Server, filled: dict[str, Any]) -> None:
    export = export_of(ok(call(own, "POST", "export-import/export", EVERYTHING)), "x")
    assert {row.id for row in export.flows} == {filled["chatflow"], filled["agentflow"], filled["agentflowv2"]}
    assert ([tool.name for tool in export.tools], [one.name for one in export.variables]) == (["t"], ["v"])
    assert ([store.id for store in export.stores], export.skipped) == ([filled["store"]], {})
    assert [chunk.pageContent for chunk in export.chunks] == ["A text."]


def test_an_export_holds_what_is_asked_for_and_what_its_key_may_see(own: Server, filled: dict[str, Any]) -> None:
    assert [name for name, rows in ok(call(own, "POST", "export-import/export", {"tool": True})).items() if rows] == [
        *("FileDefaultName", "Tool")
    ]
    key = ok(call(own, "POST", "apikey", {"keyName": "w", "permissions": ["tools:view"]}))["apiKey"]
    for part, status in (("tool", 200), ("chatflow", 403), ("variable", 403), ("document_store", 403)):
        headers = {"Authorization": f"Bearer {key}"}
        assert own.send("POST", "/api/v1/export-import/export", {part: True}, headers).status == status, filled


def test_a_flows_faults_are_told_node_by_node(own: Server) -> None:
    drawn = conversation("http://127.0.0.1:9/v1", memory="zepMemory")
    faults = ok(call(own, "GET", f"validation/{own.create_flow(drawn)}"))
    assert faults[0]["id"] == "zepMemory_0"
    assert faults[0]["name"] == "zepMemory"
    assert "zepMemory" in faults[0]["issues"][0]
    assert ok(call(own, "GET", f"validation/{own.create_flow(DRAWN)}")) == []
    refused(call(own, "GET", "validation/11111111-1111-4111-8111-111111111111"), 404, "flow_not_found")


ASKED = {
    "Ask the docs": ("How do I resume a stream?", "Last-Event-ID"),
    "Calculator agent": ("12*(3+4)", "84"),
    "Support with documents": ("When does a parcel arrive?", "two working days"),
    "Sort questions": ("I want a refund", "Accounts will look into this: I want a refund"),
    "Agent with a check": ("12*(3+4)", "Shall this go out?"),
    "One by one": ("Ada, Grace", "Dear Ada, you are invited.\nDear Grace, you are invited."),
    "Try again until it is right": ("Begin", "Done after 3 rounds."),
}
"""Templates that need no key: a question, and what is in the answer."""


def test_templates_are_flows_that_answer_here_or_say_what_they_need(own: Server) -> None:
    templates = {one["templateName"]: one for one in ok(call(own, "GET", "marketplaces/templates"))}
    assert len(templates) >= 14
    assert templates.keys() > ASKED.keys()
    types = {"Chatflow": "CHATFLOW", "AgentflowV2": "AGENTFLOW"}
    for name, one in templates.items():
        assert one["categories"]
        row = {"name": name, "flowData": one["flowData"], "type": types[one["type"]]}
        made = ok(call(own, "POST", "chatflows", row))
        stops = [finding["message"] for finding in made["coverage"]["findings"] if finding["stops"]]
        assert stops == [] or "Needs" in one["description"], (name, stops)
        if name in ASKED:
            question, said = ASKED[name]
            assert said in own.ask(made["id"], question).json["text"]


def test_a_template_with_a_form_asks_a_person(own: Server) -> None:
    (one,) = [one for one in ok(call(own, "GET", "marketplaces/templates")) if one["id"] == "approval-form"]
    flow = own.create_flow(json.loads(one["flowData"]), type="AGENTFLOW")
    form = {"name": "Ada", "from": "Monday", "to": "Friday"}
    asked = own.send("POST", f"/api/v1/prediction/{flow}", {"form": form}).json
    assert "May Ada be away from Monday to Friday?" in asked["text"]
    answer = {"type": "proceed", "startNodeId": "humanInputAgentflow_0"}
    granted = own.send("POST", f"/api/v1/prediction/{flow}", {"chatId": asked["chatId"], "humanInput": answer}).json
    assert granted["text"] == "Enjoy your holiday, Ada: Monday to Friday is granted."


@pytest.mark.parametrize(("part", "name"), [("chatmodels", "chatOpenAI"), ("tools", "calculator")])
def test_assistants_are_made_of_nodes_of_this_server(own: Server, part: str, name: str) -> None:
    found = ok(call(own, "GET", f"assistants/components/{part}"))
    assert name in [one["name"] for one in found]
    assert all(one["inputs"] is not None for one in found)
    assert ok(call(own, "GET", "assistants/components/docstores")) == []
    refused(call(own, "GET", "assistants/components/memories"), 400, "invalid_request")


def test_the_pages_of_a_site_are_listed(own: Server, web: Site) -> None:
    links = "".join(f"<a href='/{name}'>x</a>" for name in ("one", "two", "three"))
    web.paths["/"] = html(f"<p>Home</p>{links}")
    web.paths |= {f"/{name}": html(f"<p>{name}</p>") for name in ("one", "two")}
    path = f"fetch-links?url={web.url}/&relativeLinksMethod=webCrawl"
    found = ok(call(own, "GET", f"{path}&limit=10"))
    assert found == {"status": "OK", "links": [f"{web.url}/", f"{web.url}/one", f"{web.url}/two"]}
    assert len(ok(call(own, "GET", f"{path}&limit=2"))["links"]) == 2
    refused(call(own, "GET", f"fetch-links?url={web.url}/nothing"), 422, "fetch_failed")
    refused(call(own, "GET", "fetch-links?url=http://169.254.169.254/"), 422, "fetch_failed")
    refused(call(own, "GET", f"{path}&limit=-1"), 400, "invalid_request")
