"""Flows written in Python: alone in a test, on a server, changed while it runs, wrong, cancelled."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import KEY, Reply, Server, conversation, serving
from upstream import Upstream
from waiting import eventually

from headrace import HistoryMessage, Run, flow
from headrace.errors import InvalidRequest
from headrace.events import Document, Error, Event, SourceDocuments, Token
from headrace.gen import ROOT
from headrace.python_flow import PythonFlow


@flow
async def greet(question: str, run: Run) -> AsyncIterator[object]:
    """Greets people by name."""
    yield "Hello "
    yield SourceDocuments([Document("A passage.", {"source": "book"})])
    yield f"{question}, after {len(await run.history())} turns"


@flow
def count(question: str, last: int, words: list[str] | None = None) -> Iterator[str]:
    for number in range(1, last + 1):
        yield f"{number} "
    yield " ".join(words or [])


@flow(name="A value")
async def value(question: str) -> dict[str, str]:
    return {"echo": question}


def told(flow: PythonFlow, *args: Any, **fields: Any) -> list[Event]:
    async def events() -> list[Event]:
        return [event async for event in flow.stream(*args, **fields)]

    return asyncio.run(events())


def test_a_flow_is_tried_without_a_server() -> None:
    assert greet.ask("Ada").text == "Hello Ada, after 0 turns"
    assert (greet.ask("Ada").sourceDocuments or [])[0].pageContent == "A passage."
    assert greet.ask(run=Run("Ada", history=[HistoryMessage.user("Hi")])).text == "Hello Ada, after 1 turns"
    assert count.ask("Count", last="3", words=["go"]).text == "1 2 3 go"
    assert value.ask("Hi").json == {"echo": "Hi"}
    assert told(greet, "Ada")[0] == Token("Hello ")
    assert (greet.name, greet.description) == ("Greet", "Greets people by name.")
    assert flow(name="Greet")(lambda question: question).id == greet.id


@pytest.mark.parametrize(
    ("form", "named"), [({}, "'last'"), ({"last": "many"}, "'last'"), ({"last": 1, "words": 3}, "'words'")]
)
def test_a_form_that_does_not_fit_is_refused_by_its_field(form: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        count.ask("Hi", **form)


@pytest.mark.parametrize("item", [3, b"bytes", Error("failed"), object()])
def test_what_is_no_part_of_an_answer_is_refused(item: object) -> None:
    @flow
    async def wrong(question: str) -> AsyncIterator[object]:
        yield item

    with pytest.raises(TypeError, match="cannot yield"):
        wrong.ask("Hi")


def test_leaving_a_flow_cancels_it_in_a_task_and_in_a_thread() -> None:
    ended: list[str] = []

    @flow
    async def endless(question: str) -> AsyncIterator[str]:
        try:
            while True:
                yield "a"
                await asyncio.sleep(0)
        finally:
            ended.append("task")

    @flow
    def blocking(question: str) -> Iterator[str]:
        try:
            while True:
                yield "a"
        finally:
            ended.append("thread")

    async def leave(some: PythonFlow) -> None:
        events = some.stream("Hi")
        assert await anext(events) == Token("a")
        await events.aclose()

    asyncio.run(leave(endless))
    asyncio.run(leave(blocking))
    eventually(lambda: ended == ["task", "thread"])


def test_code_that_a_flow_calls_can_say_something() -> None:
    async def deeper(run: Run) -> None:
        run.emit("deep")

    @flow
    async def shallow(question: str, run: Run) -> str:
        await deeper(run)
        return " water"

    assert shallow.ask("Hi").text == "deep water"


APP = '''
"""Flows of a test."""
import asyncio, time
from dataclasses import dataclass
from headrace import Run, flow
import helper

@dataclass
class Person:
    name: str
    age: int

@flow
async def greet(question: str, run: Run, loud: bool = False):
    """Greets people."""
    text = f"{helper.WORD} {question}, {len(await run.history())}"
    yield text.upper() if loud else text

@flow
async def relay(question: str, run: Run):
    model = run.model("openai:test-model", basepath=run.variables["base"])
    async for text in model.stream(question, system="Be brief."):
        yield text

@flow
async def person(question: str, run: Run):
    found = await run.model("openai:test-model", basepath=run.variables["base"]).structured(question, Person)
    return {"older": found.age + 1}

def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b

@flow
async def agent(question: str, run: Run):
    async for event in run.model("openai:test-model", basepath=run.variables["base"]).events(question, tools=[add]):
        yield event

@flow
async def delegate(question: str, run: Run):
    return (await run.flow(run.variables["other"]).ask(question)).text

@flow
def blocks(question: str):
    time.sleep(0.2)
    return "slept"

@flow
async def fails(question: str):
    yield "so far"
    raise ValueError("a secret")

@flow
async def unknown(question: str, run: Run):
    return await run.model("nobody:x").ask(question)
'''


class App:
    """A server with a file of flows."""

    def __init__(self, server: Server, file: Path) -> None:
        self.server, self.file = server, file
        rows = server.send("GET", "/api/v1/chatflows", admin=True).json
        self.ids = {row["name"]: row["id"] for row in rows if row["type"] == "PYTHON"}

    def ask(self, name: str, question: str, **fields: Any) -> Reply:
        return self.server.ask(self.ids[name], question, **fields)

    def write(self, text: str, name: str = "app.py") -> None:
        (self.file.parent / name).write_text(text)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, endpoint: Upstream) -> Generator[App]:
    folder = tmp_path_factory.mktemp("flows")
    file = folder / "app.py"
    file.write_text(APP)
    (folder / "helper.py").write_text('WORD = "Hello"\n')
    with serving(tmp_path_factory.mktemp("python") / "data", str(file)) as server:
        for name, text in (("base", endpoint.url), ("other", server.create_flow(conversation(endpoint.url)))):
            server.send("POST", "/api/v1/variables", {"name": name, "value": text}, admin=True)
        yield App(server, file)


def test_flows_are_listed_asked_and_remembered_as_others_are(app: App) -> None:
    assert {"Greet", "Relay", "Agent"} <= set(app.ids)
    first = app.ask("Greet", "Ada", streaming=True, chatId="c")
    assert first.kinds == ["token", "metadata", "end"]
    assert app.ask("Greet", "Bob", chatId="c", form={"loud": True}).json["text"] == "HELLO BOB, 2"
    stored = app.server.send("GET", f"/api/v1/chatmessage/{app.ids['Greet']}?chatId=c", admin=True).json
    assert [message["content"] for message in stored] == ["Ada", "Hello Ada, 0", "Bob", "HELLO BOB, 2"]
    assert app.server.send("GET", f"/api/v1/chatflows-streaming/{app.ids['Greet']}").json == {"isStreaming": True}
    wrong = app.ask("Greet", "Ada", form={"loud": "perhaps"})
    assert (wrong.status, "'loud'" in wrong.json["message"]) == (400, True)


def test_models_stream_fill_types_and_use_functions(app: App, upstream: Upstream) -> None:
    assert app.ask("Relay", "/say One two").json["text"] == "One two"
    assert upstream.requests[-1].body["messages"][0] == {"role": "system", "content": "Be brief."}
    asked = app.ask("Person", '/json "{\\"name\\": \\"Ada\\", \\"age\\": 36}"')
    assert asked.json["json"] == {"older": 37}
    used = app.ask("Agent", '/tool add {"a": 2, "b": 3} | /say Five').json
    assert (used["text"], used["usedTools"][0]["toolOutput"]) == ("Five", "5")
    assert app.ask("Relay", "/say One").json["usage"]["total_tokens"] > 0
    assert app.ask("Delegate", "/say Passed on").json["text"] == "Passed on"


def test_failures_name_the_line_and_keep_their_text_to_the_log(app: App) -> None:
    failed = app.ask("Fails", "Hi", streaming=True)
    assert failed.kinds == ["token", "error", "end"]
    assert "ValueError (app.py, line" in failed.text
    assert "a secret" not in failed.text
    assert "a secret" in app.server.output.read_text()
    assert "write `provider:model`" in app.ask("Unknown", "Hi").json["message"]


def test_cancelling_a_run_closes_the_models_socket(app: App, upstream: Upstream) -> None:
    run = app.ask("Relay", "/count 5000 | /pace 5", background=True).json["id"]
    upstream.wait_until(bool)
    assert app.server.send("POST", f"/api/v1/runs/{run}/cancel").status == 200
    upstream.wait_until(lambda seen: seen[-1].closed_by_peer_at_token is not None)


def test_a_flow_is_a_model_and_a_tool(app: App) -> None:
    body = {"model": app.ids["Greet"], "messages": [{"role": "user", "content": "Ada"}]}
    assert (
        app.server.send("POST", "/v1/chat/completions", body).json["choices"][0]["message"]["content"] == "Hello Ada, 0"
    )
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    path, key = f"/mcp/{app.ids['Greet']}", {"Authorization": f"Bearer {KEY}"}
    [tool] = app.server.send("POST", path, call, key).json["result"]["tools"]
    assert (tool["description"], tool["inputSchema"]["properties"]["loud"]["type"]) == ("Greets people.", "boolean")
    call |= {"method": "tools/call", "params": {"name": "greet", "arguments": {"question": "Ada", "loud": True}}}
    assert app.server.send("POST", path, call, key).json["result"]["content"][0]["text"] == "HELLO ADA, 0"


def test_a_file_that_changes_counts_for_new_runs_and_one_with_an_error_does_not(app: App) -> None:
    def says(text: str) -> bool:
        return app.ask("Greet", "Ada").json.get("text") == text

    app.write('WORD = "Good morning"\n', "helper.py")
    eventually(lambda: says("Good morning Ada, 0"))
    app.write("def broken(:\n")
    eventually(lambda: "SyntaxError" in app.server.output.read_text())
    app.file.unlink()
    eventually(lambda: "there is no file" in app.server.output.read_text())
    assert says("Good morning Ada, 0")
    app.write(APP.replace("Greets people.", "Greets nobody.").replace("{helper.WORD} {question}", "Go away"))
    eventually(lambda: says("Go away, 0"))
    app.write('WORD = "Hello"\n', "helper.py")
    app.write(APP)
    eventually(lambda: says("Hello Ada, 0"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("import nothing_of_this_name\n", "ModuleNotFoundError"),
        ("from headrace import flow\n@flow\ndef a(q): ...\nb = flow(name='A')(print)\n", "two flows are called 'A'"),
        (None, "there is no file"),
    ],
)
def test_a_server_does_not_start_with_flows_that_cannot_be_read(tmp_path: Path, text: str | None, named: str) -> None:
    file = tmp_path / "app.py"
    if text is not None:
        file.write_text(text)
    command = [sys.executable, "-m", "headrace", "serve", str(file), "--data-dir", str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert named in done.stderr


def test_code_never_comes_over_http(app: App) -> None:
    row = {"name": "hostile", "type": "PYTHON", "flowData": json.dumps({"nodes": [], "edges": [], "code": "import os"})}
    made = app.server.send("POST", "/api/v1/chatflows", row, admin=True)
    assert made.status == 400, made.text


def test_a_new_project_passes_its_own_test_and_is_served(tmp_path: Path) -> None:
    folder = tmp_path / "my-flows"
    headrace = [sys.executable, "-m", "headrace"]
    subprocess.run([*headrace, "new", str(folder)], check=True, capture_output=True, timeout=60)
    tested = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    done = subprocess.run(tested, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    again = subprocess.run([*headrace, "new", str(folder)], capture_output=True, text=True, timeout=60)
    assert (again.returncode, "not empty" in again.stderr) == (1, True)
    with serving(tmp_path / "data", str(folder / "app.py")) as server:
        app = App(server, folder / "app.py")
        assert app.ask("Greet", "Ada").json["text"] == "Good day, Ada! We have not met."


class Scripted:
    """A model that says what it is told to."""

    async def structured(self, question: str, kind: Any, *, system: str = "") -> Any:
        return kind("A lamp is broken", True)

    async def events(self, question: str, *, tools: Any = (), system: str = "") -> AsyncIterator[Event]:
        yield Token(f"{tools[0]('Ada')}")


class ScriptedRun(Run):
    def model(self, name: str, **settings: Any) -> Any:
        return Scripted()


def test_the_flows_of_the_docs_answer() -> None:
    first, second = re.findall(r"(?ms)^```python app\n(.*?)^```$", (ROOT / "docs" / "python-flows.md").read_text())
    names: dict[str, Any] = {"__name__": "docs"}
    exec(first, names)
    assert names["greet"].ask("Ada").text == "Good day, Ada! We have spoken 0 times."
    exec(second, names)
    assert names["support"].ask(run=ScriptedRun("Help!")).text == "This is urgent. ['lamp', 'chair']"
