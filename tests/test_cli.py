"""The `headrace` command as people run it: a process, its output and its exit code."""

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import uuid
from collections.abc import Generator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from servers import conversation, free_port, with_database
from upstream import Upstream

from headrace.errors import InvalidRequest
from headrace.exports import read_export

EXAMPLES = sorted(Path(str(files("headrace") / "examples")).glob("*.json"))
needs_examples = pytest.mark.skipif(not EXAMPLES, reason="there are no example flows yet")
Done = subprocess.CompletedProcess[str]


def environment(**more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "OPENAI_"))}
    return {**clean, "COLUMNS": "250", "OPENAI_API_KEY": "sk-tests", **more}


def headrace(folder: Path, *arguments: str, **environ: str) -> Done:
    """Runs the command on a data folder."""
    command = [sys.executable, "-m", "headrace", "--data-dir", str(folder), *arguments]
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", timeout=30, check=False, env=environment(**environ)
    )


def done(result: Done) -> str:
    assert (result.returncode, result.stderr) == (0, ""), result.stdout + result.stderr
    return result.stdout


def refused(result: Done) -> str:
    """The one line that the command says when it cannot do what it is asked."""
    assert result.returncode == 1, result.stdout + result.stderr
    line, nothing = result.stderr.split("\n")
    assert (line.startswith("Error: "), nothing, "Traceback" in result.stdout) == (True, "", False)
    return line.removeprefix("Error: ")


def flow_ids(folder: Path) -> list[str]:
    """Ids of what is stored, read beside the command: starting it takes most of a second."""
    with contextlib.closing(sqlite3.connect(f"file:{folder}/headrace.sqlite?mode=ro", uri=True)) as database:
        return [key for (key,) in database.execute("SELECT id FROM flow ORDER BY id")]


def wrote(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A data folder that is not there yet."""
    return tmp_path / "data"


@pytest.fixture
def data(fresh: Path) -> Path:
    """A data folder with an empty database."""
    return with_database(fresh)


# import

FLOW = conversation("http://127.0.0.1:9/v1")
STRANGE = conversation("http://127.0.0.1:9/v1", memory="zepMemory")


def row(name: str, **more: Any) -> dict[str, Any]:
    return {"id": str(uuid.uuid4()), "name": name, "flowData": json.dumps(FLOW), **more}


def test_a_file_is_imported_with_a_coverage_report(tmp_path: Path, fresh: Path) -> None:
    paths = [wrote(tmp_path / "My flow.json", FLOW), wrote(tmp_path / "Strange.json", STRANGE)]
    report = done(headrace(fresh, "import", *map(str, paths)))
    line = next(line for line in report.split("\n") if "Strange" in line)  # the table comes first
    assert "chatOpenAI, conversationChain" in line
    assert "zepMemory" in line
    listed = done(headrace(fresh, "flows"))
    assert "My flow" in listed
    assert "CHATFLOW" in listed
    assert all(key in listed for key in flow_ids(fresh))


def test_a_folder_is_imported_whole(tmp_path: Path, data: Path) -> None:
    for name in ("one.json", "two.json", "deeper/three.json"):
        wrote(tmp_path / "flows" / name, FLOW)
    wrote(tmp_path / "flows" / "notes.txt", "no flow")
    report = done(headrace(data, "import", str(tmp_path / "flows")))
    assert all(name in report for name in ("one", "two", "three"))
    assert len(flow_ids(data)) == 3


def test_a_full_export_is_imported_and_says_what_is_not(tmp_path: Path, data: Path) -> None:
    first = row("First", apikeyid="gone", workspaceId="theirs", chatbotConfig=None, apiConfig='{"rateLimit": null}')
    export = {
        "FileDefaultName": "ExportData.json",
        "ChatFlow": [first, row("Twin", id=first["id"]), row("Numbered", id="7")],
        "AgentFlowV2": [row("Agents")],
        "AgentFlow": [],
        "Variable": [{"id": "v", "name": "town", "value": "Oslo", "type": "static"}] * 2,
        "Tool": [{"name": "Twice", "func": "return 2 * $n", "schema": "[]", "iconSrc": None}],
        "Execution": [{"id": "t"}, {"id": "u"}],
        "ChatMessage": [],
    }
    file = str(wrote(tmp_path / "ExportData.json", export))
    result = headrace(data, "import", file)
    assert result.returncode == 0, result.stderr
    locked, missing, rest = result.stderr.split("\n", 2)
    assert locked.startswith("the flow 'First' was bound to an API key and is locked")
    assert missing.startswith("the export has no settings of flows")
    assert rest == "not imported: 2 x Execution\n"
    assert "tool: Twice" in result.stdout
    listed = done(headrace(data, "flows"))
    assert [name in listed for name in ("First", "Twin", "Numbered", "Agents", "AGENTFLOW")] == [True] * 5
    ids = flow_ids(data)
    assert first["id"] in ids
    assert len(set(ids)) == 4
    headrace(data, "import", "--new", file)
    assert len(set(flow_ids(data))) == 8  # what is there already stays


BROKEN: dict[str, tuple[Any, str]] = {
    "no JSON": ('{"nodes": [', "is not valid JSON"),
    "not UTF-8": ("\udcff", "is not valid JSON"),
    "a list": ([], "a flow is a JSON object"),
    "something else": ({"hello": 1}, "neither a flow"),
    "a flow with a mistake": ({"nodes": [{"id": "a", "data": {"id": "a", "name": 5}}]}, "$.nodes[0].data.name"),
    "an export whose flow is no object": ({"ChatFlow": ["x"]}, "section 'ChatFlow' must be a list of objects"),
    "an export whose section is no list": ({"ChatFlow": {"a": 1}}, "section 'ChatFlow' must be a list of objects"),
    "an export whose flow data is broken": ({"ChatFlow": [row("x", flowData="{")]}, "the flow is not valid JSON"),
    "an export with a flow without a name": ({"ChatFlow": [{"flowData": json.dumps(FLOW)}]}, "`name`"),
    "an export with a store whose id is a path": ({"DocumentStore": [{"id": "../..", "name": "x"}]}, "has no id"),
    "an export with a broken variable": ({"Variable": [{"id": "v", "name": 5}]}, "$.name"),
}


@pytest.mark.parametrize(("content", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_named_with_the_place_of_its_mistake(tmp_path: Path, content: Any, reason: str) -> None:
    broken = tmp_path / "broken.json"
    broken.write_bytes((content if isinstance(content, str) else json.dumps(content)).encode(errors="surrogateescape"))
    with pytest.raises(InvalidRequest) as caught:
        read_export(broken)
    assert str(caught.value).startswith(str(broken))
    assert reason in str(caught.value)


def test_a_broken_file_among_good_ones_leaves_nothing_stored(tmp_path: Path, data: Path) -> None:
    wrote(tmp_path / "flows" / "a good one.json", FLOW)
    broken = wrote(tmp_path / "flows" / "broken.json", {"ChatFlow": [row("good"), row("x", flowData="{")]})
    other = wrote(tmp_path / "flows" / "package.json", {"name": "x", "version": "1"})
    result = headrace(data, "import", str(tmp_path / "flows"))
    assert (result.returncode, result.stdout) == (1, "")
    head, first, second, last, _ = result.stderr.split("\n")
    assert head == "Error: nothing was imported, for not every file can be read."
    assert first == f"{broken}: the flow 'x': the flow is not valid JSON: Input data was truncated"
    assert second.startswith(f"{other}: neither a flow")
    assert last.endswith(f": '{tmp_path}/flows/a good one.json'")
    assert flow_ids(data) == []


def test_a_file_that_does_not_exist_is_named(data: Path) -> None:
    result = headrace(data, "import", "/nowhere/flow.json")
    assert result.returncode == 2
    assert "'/nowhere/flow.json' does not exist" in result.stderr


# run


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, endpoint: Upstream) -> Path:
    """A data folder with the flow `chat` on the scripted model, and some that cannot run."""
    folder = tmp_path_factory.mktemp("asked")
    wrote(folder / "flows" / "chat.json", conversation(endpoint.url))
    for name in ("strange.json", "a/twin.json", "b/twin.json"):
        wrote(folder / "flows" / name, STRANGE)
    done(headrace(folder / "data", "import", str(folder / "flows")))
    return folder / "data"


def test_an_answer_streams_to_the_terminal(asked: Path, upstream: Upstream) -> None:
    command = [sys.executable, "-m", "headrace", "--data-dir", str(asked), "run", "chat", "/say first rest | /pace 400"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as process, killed_in_time(process):
        assert process.stdout
        assert os.read(process.stdout.fileno(), 100) == b"first"
        assert not upstream.requests[-1].finished
        assert process.stdout.read() == b" rest\n"
        assert process.wait(10) == 0


def test_an_answer_is_printed_as_it_is(asked: Path) -> None:
    odd = "[bold]x[/bold] :smile: é 👩‍👩‍👧 " + "long " * 80 + "\nend"
    assert done(headrace(asked, "run", "chat", f"/json {json.dumps(odd)}")) == odd + "\n"


def test_a_chat_goes_on_where_it_was_left(asked: Path, upstream: Upstream) -> None:
    done(headrace(asked, "run", "chat", "/say one", "--chat", "c"))
    done(headrace(asked, "run", "chat", "/say two", "--chat", "c"))
    assert [m["content"] for m in upstream.requests[-1].body["messages"]][1:] == ["/say one", "one", "/say two"]


@pytest.mark.parametrize(
    ("flow", "question", "reason"),
    [
        ("nothing", "Hi", "there is no flow 'nothing': `headrace flows` lists them"),
        ("chat", "/status 401", "answered 401: The script asks for status 401."),
        ("strange", "Hi", "this server has no node 'zepMemory'"),
        ("twin", "Hi", "several flows are named 'twin'"),
    ],
)
def test_a_failed_run_says_why_in_one_line(asked: Path, flow: str, question: str, reason: str) -> None:
    assert reason in refused(headrace(asked, "run", flow, question))


def test_what_came_before_a_failure_stays_on_the_terminal(asked: Path) -> None:
    result = headrace(asked, "run", "chat", "/count 9 | /cut 2")
    assert result.returncode == 1
    assert result.stdout.startswith("w1 w2")
    assert "broke inside the answer" in result.stderr


# keys

KEY_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")


def test_a_key_is_shown_when_it_is_made_and_never_again(data: Path) -> None:
    key = done(headrace(data, "keys", "add", "mine", "--permission", "chatflows:view")).strip()
    assert re.fullmatch(r"hr_[\w-]{43}", key)
    listed = done(headrace(data, "keys", "list"))
    assert "mine" in listed
    assert "chatflows:view" in listed
    assert key not in listed
    assert key.encode() not in b"".join(path.read_bytes() for path in data.rglob("*") if path.is_file())
    (key_id,) = KEY_ID.findall(listed)
    done(headrace(data, "keys", "remove", key_id))
    assert key_id in refused(headrace(data, "keys", "remove", key_id))


# serve


@contextlib.contextmanager
def killed_in_time(process: subprocess.Popen[Any], seconds: float = 30) -> Generator[None]:
    """Bounds every wait for the process."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        process.kill()


class Serving:
    """`headrace serve` on a free port, its output read as it comes."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port, self.said = process, port, ""

    def until(self, pattern: str) -> str:
        """What it has said once a line matches."""
        assert self.process.stdout
        while not re.search(pattern, self.said, re.MULTILINE):
            line = self.process.stdout.readline()
            assert line, f"it ended after {self.said!r}"
            self.said += line
        return self.said

    def stop(self) -> str:
        """Ends it and returns everything that it said."""
        self.until("answers at")
        self.process.send_signal(signal.SIGTERM)
        assert self.process.stdout
        self.said += self.process.stdout.read()
        assert self.process.wait() == 0
        return self.said


@contextlib.contextmanager
def serve(data: Path, *flags: str, **environ: str) -> Generator[Serving]:
    port = free_port()
    command = [sys.executable, "-m", "headrace", "serve", "--data-dir", str(data), "--port", str(port), *flags]
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", env=environment(**environ)
        ) as process,
        killed_in_time(process),
    ):
        yield Serving(process, port)


def test_the_first_start_shows_the_admin_key_once(fresh: Path) -> None:
    with serve(fresh) as first:
        said = first.stop()
    (key,) = re.findall(r"^Admin key, shown only now: (hr_[\w-]{43})$", said, re.MULTILINE)
    assert f"answers at http://localhost:{first.port}   (API: http://localhost:{first.port}/docs" in said
    assert str(fresh) in said
    assert "curl" not in said  # there is no flow to ask
    with serve(fresh) as second:
        said = second.stop()
    assert "Admin key" not in said
    assert key not in said
    (command,) = re.findall(r"^Lost the admin key\? `(.*)` makes it anew\.$", said, re.MULTILINE)
    made = subprocess.run(["bash", "-c", command], capture_output=True, encoding="utf-8", timeout=30, check=True)
    assert re.fullmatch(r"hr_[\w-]{43}\n", made.stdout)
    assert made.stdout.strip() != key
    assert len(KEY_ID.findall(done(headrace(fresh, "keys")))) == 1


def test_the_operators_key_takes_the_place_of_the_first_one(fresh: Path) -> None:
    with serve(fresh) as first:
        first.stop()
    with serve(fresh, HEADRACE_ADMIN_KEY="my-own-key-of-the-shell") as second:
        assert "The admin key of the first start works no more" in second.stop()
    listed = done(headrace(fresh, "keys"))
    assert "HEADRACE_ADMIN_KEY" in listed
    assert len(KEY_ID.findall(listed)) == 1


@pytest.mark.parametrize("weak", ["secret", "0123456", "aaaaaaaaaaaaaaaaaaaaaaaa", "abababababababababab"])
def test_a_key_that_could_be_guessed_is_refused(fresh: Path, weak: str) -> None:
    said = refused(headrace(fresh, "serve", HEADRACE_ADMIN_KEY=weak))
    assert said.startswith("HEADRACE_ADMIN_KEY could be guessed: use at least 16 characters")
    assert weak not in said


def test_a_key_is_rotated_by_its_name_or_id(data: Path) -> None:
    first = done(headrace(data, "keys", "add", "phone")).strip()
    listed = done(headrace(data, "keys"))
    assert "never" in listed
    (key_id,) = KEY_ID.findall(listed)
    second = done(headrace(data, "keys", "rotate", "phone")).strip()
    third = done(headrace(data, "keys", "rotate", key_id)).strip()
    assert len({first, second, third}) == 3
    assert refused(headrace(data, "keys", "rotate", "fax")) == "there is no API key 'fax': `headrace keys` lists them"
    done(headrace(data, "keys", "add", "phone"))
    assert refused(headrace(data, "keys", "rotate", "phone")).startswith("several keys are named 'phone'")


def test_a_key_from_the_environment_is_not_shown(data: Path) -> None:
    with serve(data, HEADRACE_ADMIN_KEY="my-own-key-of-the-shell") as server:
        said = server.stop()
    assert "Admin key" not in said
    assert "my-own-key" not in said


def test_the_printed_curl_line_streams_an_answer_as_it_stands(tmp_path: Path, data: Path, upstream: Upstream) -> None:
    done(headrace(data, "import", str(wrote(tmp_path / "chat.json", conversation(upstream.url)))))
    (flow,) = flow_ids(data)
    with serve(data) as server:
        said = server.until("^curl ")
        assert f"{flow}  chat" in said
        (line,) = [line for line in said.split("\n") if line.startswith("curl ")]
        answer = subprocess.run(["bash", "-c", line], capture_output=True, encoding="utf-8", timeout=30, check=True)
        server.stop()
    events = [json.loads(part[5:]) for part in answer.stdout.split("\n") if part.startswith("data:")]
    assert "".join(event["data"] for event in events if event["event"] == "token").startswith("You said: ")
    assert events[-1]["event"] == "end"


@needs_examples
def test_the_demo_answers_without_a_key_or_another_service_and_is_imported_once(fresh: Path) -> None:
    with serve(fresh, "--demo", OPENAI_API_KEY="") as server:
        said = server.until("^curl ")
        (line,) = [line for line in said.split("\n") if line.startswith("curl ")]
        answer = subprocess.run(["bash", "-c", line], capture_output=True, encoding="utf-8", timeout=30, check=True)
        server.stop()
    assert '"event":"token"' in answer.stdout
    assert '"event":"error"' not in answer.stdout
    assert answer.stdout.rstrip().endswith('data:{"event":"end","data":"[DONE]"}')
    ids = flow_ids(fresh)
    assert len(ids) == len(EXAMPLES)
    with serve(fresh, "--demo") as again:
        again.stop()
    assert flow_ids(fresh) == ids


def test_the_demo_leaves_a_database_alone_that_has_flows(asked: Path) -> None:
    ids = flow_ids(asked)
    with serve(asked, "--demo") as server:
        server.stop()
    assert flow_ids(asked) == ids


def test_a_port_in_use_is_said_in_one_line(data: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = refused(headrace(data, "serve", "--port", str(port)))
    assert message.startswith(f"cannot listen on 127.0.0.1:{port} (Address already in use)")
    assert "choose another --port" in message


@pytest.mark.parametrize(("name", "value"), [("HEADRACE_PORT", "many"), ("HEADRACE_MAX_BODY_MB", "1.5")])
def test_a_setting_that_cannot_be_read_is_named(data: Path, name: str, value: str) -> None:
    message = refused(headrace(data, "flows", **{name: value}))
    assert message.startswith("a setting cannot be read")
    assert f"$.{name.removeprefix('HEADRACE_').lower()}" in message


def test_the_data_folder_may_come_from_the_environment(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "headrace", "keys", "add", "mine"]
    environ = environment(HEADRACE_DATA_DIR=str(tmp_path / "mine"))
    subprocess.run(command, check=True, capture_output=True, timeout=30, env=environ)
    assert "mine" in done(headrace(tmp_path / "mine", "keys"))


def test_the_version_is_told(data: Path) -> None:
    assert re.fullmatch(r"headrace, version \d+\.\d+\.\d+\n", done(headrace(data, "--version")))
