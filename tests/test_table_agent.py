"""The agent for tables: a model's JavaScript runs over the rows in the sandbox, on a real server."""

import base64
import json
from typing import Any

import pytest
from provider import Provider
from servers import Server, chat_model, flow, node
from test_agent_templates import Turn, openai
from test_templates import TEMPLATES

SALES = "city,sold,note\nUlm,3,\nBonn,4.5,x\nUlm,5,\n"


def table(text: str = SALES) -> str:
    return f"data:text/csv;base64,{base64.b64encode(text.encode()).decode()},filename:sales.csv"


def agent(base: str, csv: str, **inputs: Any) -> dict[str, Any]:
    wires = {"model": "{{chatOpenAI_0.data.instance}}", "csvFile": csv}
    return flow(chat_model(base), node("csvAgent", "Agents", **{**wires, **inputs}))


def says(provider: Provider, *texts: str) -> list[Any]:
    """Scripts what the model says, in turn; gives the messages of every call."""
    left, seen = list(texts), list[Any]()

    def answer(request: Any) -> Any:
        seen.append(request.body["messages"])
        return openai(Turn(left.pop(0)))

    provider.answer = answer
    return seen


def test_the_models_code_runs_over_the_rows(server: Server, provider: Provider) -> None:
    code = "```js\nreturn $rows.filter(r => r.city === 'Ulm' && r.note === null).reduce((a, r) => a + r.sold, 0);\n```"
    asked = says(provider, code, "Eight were sold in Ulm.")
    key = server.create_flow(agent(provider.url, table(), systemMessagePrompt="Be brief."))
    assert server.ask(key, "How many in Ulm?").json["text"] == "Eight were sold in Ulm."
    write, say = asked
    assert '["city","sold","note"]' in write[0]["content"]
    assert '{"city":"Bonn","sold":4.5,"note":"x"}' in write[0]["content"]
    assert [say[0]["content"], "What it found: 8\n" in say[1]["content"]] == ["Be brief.", True]


def test_code_that_fails_is_written_again(server: Server, provider: Provider) -> None:
    asked = says(provider, "return nothing.here", "return $rows.length", "Three.")
    key = server.create_flow(agent(provider.url, table()))
    assert server.ask(key, "How many?").json["text"] == "Three."
    assert "That did not work: " in asked[1][-1]["content"]


@pytest.mark.parametrize(
    ("csv", "told"),
    [
        (table("city,sold\n"), "the CSV files have no rows below their headers"),
        (table("a\n" + "1\n" * 2_000_001), "the agent reads 4000000 at most"),
        ("data:text/csv;base64,YQr/Cg==,filename:x.csv", "save it as UTF-8"),
        ("FILE-STORAGE::../../etc/passwd", "outside of the folder"),
        ("FILE-STORAGE::gone.csv", "a CSV file cannot be read"),
    ],
    ids=["no rows", "too large", "no text", "outside", "not there"],
)
def test_a_file_that_cannot_be_used_is_said(server: Server, provider: Provider, csv: str, told: str) -> None:
    key = server.create_flow(agent(provider.url, csv))
    assert told in server.ask(key, "How many?").json["message"]


def test_the_import_report_says_that_pythons_way_to_read_is_not_used(server: Server, provider: Provider) -> None:
    drawn = agent(provider.url, table(), customReadCSV="read_csv(csv_data, sep=';')")
    created = server.send("POST", "/api/v1/chatflows", {"name": "t", "flowData": json.dumps(drawn)}, admin=True).json
    assert [one["input"] for one in created["coverage"]["findings"]] == ["customReadCSV"]


@pytest.mark.skipif(not TEMPLATES.exists(), reason="the templates of Flowise are not beside this project")
def test_the_builders_template_runs_with_a_file(server: Server, provider: Provider) -> None:
    drawn = json.loads((TEMPLATES / "chatflows" / "CSV Agent.json").read_text())
    inputs = {each["data"]["name"]: each["data"]["inputs"] for each in drawn["nodes"]}
    inputs["csvAgent"]["csvFile"] = table()
    inputs["chatOpenAI"]["basepath"] = provider.url
    says(provider, "return $rows.length", "Three.")
    assert server.ask(server.create_flow(drawn), "How many?").json["text"] == "Three."
