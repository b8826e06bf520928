"""The docs are true: made parts are current, everything is listed, links lead somewhere, snippets run."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from servers import KEY, Server
from typescript import built, compiled

from headrace import errors, gen, settings
from headrace.cli import cli
from headrace.engine.description import inputs_of
from headrace.errors import HeadraceError
from headrace.events import Known, decode
from headrace.gen import EXAMPLE, ROOT, commands, page, stale
from headrace.nodes import built_in

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
FLOW = json.loads((ROOT / EXAMPLE).read_text())
LINK = re.compile(r"\[[^]]+\]\(([^)#\s]+)[^)]*\)")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def text(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def snippets(language: str) -> list[Any]:
    """Code blocks of a language, each named by its page and line; test_white_label.py runs those of brands."""
    found = (snippet for path in PAGES for snippet in snippets_of(path, language))
    return [snippet for snippet in found if "ciniterflow" not in snippet.values[0]]


def snippets_of(path: Path, language: str) -> Iterator[Any]:
    content = path.read_text()
    for found in re.finditer(rf"(?ms)^```{language}\n(.*?)^```$", content):
        line = content.count("\n", 0, found.start()) + 1
        yield pytest.param(found[1], id=f"{named(path)}:{line}")


@pytest.fixture(scope="module")
def ask_the_docs(server: Server) -> str:
    """The id of the example flow on the server."""
    return server.create_flow(FLOW["flowData"])


@pytest.fixture
def filled(server: Server, ask_the_docs: str) -> Any:
    """Puts the server's own values in place of a snippet's placeholders."""
    values = {"<flow-id>": ask_the_docs, FLOW["id"]: ask_the_docs, "<key>": KEY, "http://localhost:3000": server.url}
    pattern = re.compile("|".join(map(re.escape, values)))
    return lambda code: pattern.sub(lambda found: values[found[0]], code)


def test_made_parts_are_current():
    assert [named(path) for path in stale(ROOT)] == [], "run `make gen`"


def test_a_changed_part_is_noticed():
    current = text("settings.md")
    assert page(current.replace("HEADRACE_PORT", "HEADRACE_HARBOUR", 2)) != current.replace("HEADRACE_PORT", "x", 2)
    assert page(re.sub(r"\| `HEADRACE_PORT`.*\n", "", current)) == current


def test_gen_check_fails_with_a_line_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "README.md", tmp_path)
    shutil.copytree(ROOT / "sdk/typescript/src", tmp_path / "sdk/typescript/src")
    monkeypatch.setattr(gen, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match=r"stale: src/headrace/examples/ask-the-docs\.json, .*: run `make gen`"):
        gen.main(["--check"])
    gen.main([])
    with pytest.raises(SystemExit) as current:
        gen.main(["--check"])
    assert current.value.code is None


def test_every_setting_is_in_the_docs():
    assert [name for name, _, _ in settings.table() if f"`{name}`" not in text("settings.md")] == []


def test_every_event_is_in_the_docs():
    kinds = [str(kind.__struct_config__.tag) for kind in get_args(Known)]
    assert [kind for kind in kinds if f"| `{kind}` |" not in text("events.md")] == []


def test_every_error_code_is_in_the_docs():
    codes = {k.code for k in vars(errors).values() if isinstance(k, type) and issubclass(k, HeadraceError)}
    assert [code for code in sorted(codes) if f"| `{code}` |" not in text("errors.md")] == []


def test_every_node_with_its_inputs_is_in_the_docs():
    sections = dict(re.findall(r"(?ms)^### (\w+)\n(.*?)(?=^###|^<!-- end)", text("nodes.md")))
    assert sections.keys() == built_in().keys()
    for name, kind in built_in().items():
        assert [one.name for one in inputs_of(kind) if f"| `{one.name}` |" not in sections[name]] == []


def test_every_command_is_in_the_docs():
    content = text("cli.md")
    for path, command in commands(cli, "headrace"):
        assert f"### {path}\n" in content
        assert [option for p in command.params for option in p.opts if option[0] == "-" and option not in content] == []


def test_every_endpoint_is_in_the_docs(server: Server):
    paths: dict[str, dict[str, Any]] = server.send("GET", "/docs/openapi.json").json["paths"]
    served = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert served == set(re.findall(r"(?m)^\| `(\w+ /\S+)` \|", text("api.md")))


def test_endpoints_that_the_docs_call_public_need_no_key(server: Server, ask_the_docs: str):
    server.send("PUT", f"/api/v1/chatflows/{ask_the_docs}", {"isPublic": True}, admin=True)
    run = server.ask(ask_the_docs, "Hi", background=True).json
    values = {"run_id": run["id"], "chat_id": run["chatId"]}
    rows = re.findall(r"(?m)^\| `(\w+) (/\S+)` \| (\S+) \|", text("api.md"))
    for method, path, permission in rows:
        sent = None if method == "GET" else {"question": "Hi"} if permission == "public" else {}
        filled = re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], ask_the_docs), path)
        query = f"?flowId={ask_the_docs}&chatId={run['chatId']}" if path == "/api/v1/runs" else ""
        reply = server.send(method, filled + query, sent)
        assert (reply.status == 401) is (permission != "public"), f"{method} {path}: {reply.text}"


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_relative_links_lead_somewhere(path: Path):
    links = [link for link in LINK.findall(path.read_text()) if "://" not in link]
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", sorted((ROOT / "docs").rglob("*.md")), ids=named)
def test_every_page_is_reached_from_the_readme(path: Path):
    index = (ROOT / "docs/decisions/README.md") if path.parent.name == "decisions" else ROOT / "README.md"
    reached = {(index.parent / link).resolve() for link in LINK.findall(index.read_text())}
    assert path == index or path.resolve() in reached


@pytest.mark.parametrize("code", snippets("python"))
def test_python_snippets_run(server: Server, filled: Any, code: str):
    environ = {**os.environ, "HEADRACE_URL": server.url}
    # The public page's snippet, which ours follows, does not close its client.
    command = [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", filled(code)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    for expected in re.findall(r"(?m)^\s*print\(error.code.*# (.+)$", code):
        assert expected in done.stdout
    if "create_prediction" in code:
        assert "token" in done.stdout
        assert done.stdout.rstrip().endswith(('{"event":"end","data":"[DONE]"}', "end [DONE]"))


@pytest.mark.parametrize("code", snippets("typescript"))
def test_typescript_snippets_run(tmp_path: Path, filled: Any, code: str):
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "headrace-sdk").symlink_to(built())
    (tmp_path / "package.json").write_text('{"type": "module"}')
    program = tmp_path / "snippet.ts"
    program.write_text(filled(code))
    command = ["node", "--throw-deprecation", str(compiled(program))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    for expected in re.findall(r"(?m)console\.log\((?!chunk).*// (.+)$", code):
        assert expected in done.stdout
    if "createPrediction" in code:
        assert "{ event: 'token', data: " in done.stdout
        assert done.stdout.rstrip().endswith("{ event: 'end', data: '[DONE]' }")


@pytest.mark.parametrize("code", [p for p in snippets("bash") if "curl " in p.values[0]])
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_snippets_run(filled: Any, code: str):
    call = filled(code).replace("curl ", "curl --silent --show-error --fail --max-time 30 ")
    done = subprocess.run(["bash", "-euc", call], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    if "sed -n" in code:
        assert "listens on port 3000" in done.stdout
    elif "format=named" in code:
        assert done.stdout.rstrip().endswith("event: end\ndata: [DONE]")
    elif '"streaming": true' in code:
        assert done.stdout.rstrip().endswith('data:{"event":"end","data":"[DONE]"}')
    else:
        assert json.loads(done.stdout) is not None


@pytest.mark.parametrize("code", snippets("json"))
def test_json_snippets_are_json_and_their_events_exist(code: str):
    value = json.loads(code)
    if "event" in value:
        assert isinstance(decode(code), get_args(Known))


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_commands_that_the_docs_name_exist(path: Path):
    content = path.read_text()
    known = {name.split()[1] for name, _ in commands(cli, "headrace")}
    assert set(re.findall(r"(?:^|`| )headrace ([a-z]+)(?=[ `\n])", "\n".join(code_of(content)))) <= known
    targets = set(re.findall(r"(?m)^(\w+):", (ROOT / "Makefile").read_text()))
    assert set(re.findall(r"`make (\w+)`", content)) <= targets


def code_of(content: str) -> list[str]:
    return [*re.findall(r"(?ms)^```bash\n(.*?)^```$", content), *re.findall(r"`[^`\n]+`", content)]
