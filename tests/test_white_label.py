"""Branded packages, installed: every program of the public pages runs with them, to the letter, and types hold."""

import fcntl
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from branding import Installed, installed, shell
from click.testing import CliRunner
from pages import BESIDE, Page, pages, parameters
from servers import Server, conversation, free_port, serving
from typescript import built, compiled, run
from upstream import Upstream

from headrace import __version__
from headrace.brand.names import Names
from headrace.brand.npm import branded_tarball
from headrace.brand.python import branded_wheel
from headrace.cli import cli

ROOT = Path(__file__).parents[1]
URL = "http://localhost:3000"
BRANDS = {"aimicromind": "AiMicromind", "flowise": "Flowise", "Autonomous": "Autonomous", "ciniterflow": "CiniterFlow"}

PAGE = pytest.mark.parametrize("page", parameters())
FLOWISE = pytest.mark.parametrize("page", parameters("flowise"))
HTTP = pytest.mark.parametrize("site", ["http"], indirect=True)
HTTPS = pytest.mark.parametrize("site", ["https"], indirect=True)


@pytest.fixture(scope="module")
def port() -> Generator[int]:
    """The pages' own port, 3000, while nobody else has it; then their programs need no other address."""
    with (Path(tempfile.gettempdir()) / "headrace-tests-port-3000").open("w") as claim, socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            probe.bind(("127.0.0.1", 3000))
        except OSError:
            yield free_port()
        else:
            probe.close()
            yield 3000


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest, port: int, tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """A server on that port: pages say http in one place and https in the next, so one after the other."""
    folder = tmp_path_factory.mktemp(request.param) / "data"
    secure = request.param == "https"
    flags = ["--port", str(port), *(["--tls-self-signed"] if secure else [])]
    with serving(folder, *flags, ca=str(folder / "tls.crt") if secure else "") as server:
        yield server


@pytest.fixture(scope="module")
def brands(port: int, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """All four, whose default address is that of the server."""
    built()
    folder = tmp_path_factory.mktemp("brands")
    for name, cls in BRANDS.items():
        named = ["--name", name, "--class", cls, "--base-url", f"http://localhost:{port}"]
        done = CliRunner().invoke(cli, ["brand", *named, "--out", str(folder / "dist")])
        assert done.exit_code == 0, done.output
    return installed(folder, folder / "dist")


@pytest.fixture
def flow(site: Server, upstream: Upstream) -> str:
    return site.create_flow(conversation(upstream.url))


def filled(block: str, flow: str, port: int) -> str:
    """The block with the flow's id and, where port 3000 is taken, another port; nothing else is replaced."""
    return re.sub(r"<(?:chat)?flow-id>|\{(?:chat)?flow-id\}", flow, block).replace(
        "localhost:3000", f"localhost:{port}"
    )


def question(block: str) -> str:
    return re.findall(r"""(?m)["']?question["']?[:=] ?["'](.*)["'],""", block)[0]


def said(*command: str, **environ: str) -> str:
    done = subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, encoding="utf-8", timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def check(events: list[dict[str, Any]], question: str) -> None:
    """Start, all of the answer's tokens, metadata, end."""
    kinds = [event["event"] for event in events]
    tokens = [event["data"] for event in events if event["event"] == "token"]
    assert kinds == ["start", *["token"] * len(tokens), "metadata", "end"]
    assert (len(tokens) > 1, "".join(tokens)) == (True, f"You said: {question}")
    assert {"chatId", "chatMessageId"} <= set(events[-2]["data"])


# The public pages


def python_events(python: str, program: str) -> list[dict[str, Any]]:
    title, *chunks = said(python, "-c", program).splitlines()
    assert title == re.findall(r'print\("(.*)"\)', program)[0]
    return [json.loads(chunk) for chunk in chunks]


def node_events(folder: Path, program: str, kind: str = "mjs") -> list[dict[str, Any]]:
    """Node prints objects in a form of its own, which is JavaScript: it reads them back itself."""
    (folder / f"program.{kind}").write_text(program)
    printed = said("node", str(folder / f"program.{kind}"))
    (folder / "printed.json").write_text(json.dumps(printed))
    back = "const text = require(process.argv[1]); console.log(JSON.stringify(eval(`[${text.replaceAll(/^}$/gm, '},')"
    back += ".replaceAll(/^({.*})$/gm, '$1,')}]`)))"
    return json.loads(said("node", "-e", back, str(folder / "printed.json")))


@BESIDE
def test_the_pages_are_one_system_under_the_four_names() -> None:
    found = pages()
    assert {page.brand: page.cls for page in found} == BRANDS
    assert [sorted(page.blocks) for page in found] == [["bash", "html", "javascript", "python"]] * 5


@HTTP
@PAGE
def test_a_pages_python_program_runs_with_its_brands_package(
    page: Page, site: Server, flow: str, brands: Installed
) -> None:
    block = page.blocks["python"]
    check(python_events(brands.python, filled(block, flow, site.port)), question(block))


@HTTP
@PAGE
def test_a_pages_typescript_program_runs_with_its_brands_package(
    page: Page, site: Server, flow: str, brands: Installed
) -> None:
    block = page.blocks["javascript"]
    check(node_events(brands.node, filled(block, flow, site.port)), question(block))


@HTTP
@FLOWISE
def test_a_pages_programs_run_with_the_published_libraries(
    page: Page, site: Server, flow: str, sdk: Path, tmp_path: Path
) -> None:
    python, javascript = page.blocks["python"], page.blocks["javascript"]
    if site.port != 3000:  # the library's own default
        python = python.replace("Flowise()", f'Flowise("http://localhost:{site.port}")')
    check(python_events(sys.executable, filled(python, flow, site.port)), question(python))
    (tmp_path / "node_modules").symlink_to(sdk / "node_modules")
    # The package is CommonJS, whose names Node's own modules do not see: compiled to CommonJS, as its users do.
    source = tmp_path / "source.ts"
    source.write_text(filled(javascript, flow, site.port))
    compiler = str(built() / "node_modules" / ".bin" / "esbuild")
    check(node_events(tmp_path, run(compiler, str(source), "--format=cjs"), "cjs"), question(javascript))


@HTTPS
@PAGE
def test_a_pages_curl_command_runs_over_https(page: Page, site: Server, flow: str) -> None:
    block = page.blocks["bash"]
    quiet = (
        f"exec 2>/dev/null; {filled(block, flow, site.port)}"  # without the meter that curl shows where no one looks
    )
    printed = said("bash", "-c", quiet, CURL_CA_BUNDLE=site.ca)
    check([json.loads(line[5:]) for line in printed.split("\n") if line.startswith("data:")], question(block))


@HTTPS
@PAGE
def test_a_pages_frame_is_what_named_frames_look_like(page: Page, site: Server, flow: str) -> None:
    frame, text = page.blocks["html"], page.blocks["html"].splitlines()[1].removeprefix("data: ")
    reply = site.send(
        "POST", f"/api/v1/predictions/{flow}?format=named", {"question": f"/say {text}", "streaming": True}
    )
    frames = [re.sub(r"(?m)^id: .*\n", "", part) for part in reply.text.split("\n\n")]
    tokens = [part for part in frames if part.startswith("event: token\n")]
    assert len(tokens) > 1
    assert (
        "event: token\ndata: " + "".join(part.removeprefix("event: token\ndata: ") for part in tokens) == frame.strip()
    )


@BESIDE
def test_the_compiler_takes_the_pages_typescript_programs(brands: Installed) -> None:
    for page in pages():
        (brands.node / f"page{page.name[:3]}.mts").write_text(page.blocks["javascript"])
    every = brands.node / "pages.mts"
    every.write_text("".join(f'import "./page{page.name[:3]}.mjs";\n' for page in pages()))
    assert compiled(every).exists()


# The packages


@HTTP
def test_the_snippets_of_our_own_page_run(site: Server, flow: str, brands: Installed, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "white-label.md").read_text()
    blocks = {
        language: re.findall(rf"(?ms)^```{language}\n(.*?)^```$", text) for language in ("bash", "python", "typescript")
    }
    (command,), (python,), (typescript,) = blocks.values()
    place = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    printed = said("bash", "-euc", f"cd {tmp_path}; {filled(command, flow, site.port)}", PATH=place)
    for line, file in zip(printed.splitlines(), ("*.whl", "*.tgz"), strict=True):
        assert set(line.split()[2:]) <= {
            f"{at}dist/{path.name}" for path in (tmp_path / "dist").glob(file) for at in ("", "./")
        }
    asked = "Tell me a joke!"
    check([json.loads(line) for line in said(brands.python, "-c", filled(python, flow, site.port)).splitlines()], asked)
    check(node_events(brands.node, filled(typescript, flow, site.port)), asked)


def test_pip_installed_what_the_packages_say_of_themselves(brands: Installed) -> None:
    program = f"""
import json, headrace, importlib.metadata as m
from importlib import import_module
print(json.dumps([headrace.__file__, headrace.__version__]))
for name in {list(BRANDS)}:
    d = m.distribution(name)
    print(json.dumps([d.version, import_module(name).__version__, d.requires, [str(f) for f in d.files]]))
"""
    (place, version), *found = map(json.loads, said(brands.python, "-W", "error", "-c", program).splitlines())
    assert place.startswith(str(brands.node))
    major, minor, _ = version.split(".")
    for name, (held, stated, requires, files) in zip(BRANDS, found, strict=True):
        assert (held, stated) == (version, version)
        assert requires == [f"headrace<{major}.{int(minor) + 1},>={version}"]
        assert f"{name}/py.typed" in files


def test_npm_finds_nothing_amiss_with_the_packages(brands: Installed) -> None:
    listed = json.loads(shell("npm", "ls", "--all", "--json", cwd=brands.node))
    assert "problems" not in listed
    assert set(listed["dependencies"]) == {f"{name}-sdk" for name in BRANDS}
    for package in listed["dependencies"].values():
        assert list(package["dependencies"]) == ["headrace-sdk"]


@HTTP
def test_a_branded_client_goes_where_its_environment_says(site: Server, flow: str, brands: Installed) -> None:
    program = f"""
import asyncio, ciniterflow
with ciniterflow.CiniterFlow() as client:
    print(client.predict({flow!r}, "Hi").text)
async def ask():
    async with ciniterflow.AsyncCiniterFlow() as client:
        print((await client.predict({flow!r}, "Hi")).text)
asyncio.run(ask())
"""
    ours = {"HEADRACE_URL": "http://localhost:9", "HEADRACE_API_KEY": "of another server"}
    assert said(brands.python, "-c", program, **ours) == "You said: Hi\n" * 2
    refused = subprocess.run(
        [brands.python, "-c", program],
        env={**os.environ, "CINITERFLOW_URL": "nowhere"},
        capture_output=True,
        encoding="utf-8",
        timeout=30,
    )
    assert "base_url 'nowhere' must start with http:// or https://" in refused.stderr


@HTTP
@pytest.mark.parametrize("kind", ["mjs", "cjs"])
def test_a_branded_typescript_client_has_a_default_address_in_both_module_systems(
    site: Server, flow: str, brands: Installed, kind: str
) -> None:
    names = "{ CiniterFlowClient, RequestError }"
    head = f"import {names} from 'ciniterflow-sdk'" if kind == "mjs" else f"const {names} = require('ciniterflow-sdk')"
    body = f"""
new CiniterFlowClient().predict({flow!r}, "Hi").then((answer) => console.log(answer.text));
console.log(CiniterFlowClient.name, typeof RequestError);
"""
    (brands.node / f"program.{kind}").write_text(head + body)
    assert said("node", str(brands.node / f"program.{kind}")) == "CiniterFlowClient function\nYou said: Hi\n"


def test_type_checkers_take_the_branded_names_and_refuse_wrong_fields(brands: Installed, tmp_path: Path) -> None:
    right = """
from ciniterflow import AsyncCiniterFlow, CiniterFlow, PredictionData

with CiniterFlow("https://flows.example", timeout=3) as client:
    text: str | None = client.predict("flow", "Hi").text
    chunks = list(client.create_prediction(PredictionData(chatflowId="flow", question="Hi", streaming=True)))
also = AsyncCiniterFlow(api_key="key")
"""
    (tmp_path / "right.py").write_text(right)
    (tmp_path / "wrong.py").write_text(right.replace("question=", "query="))
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    checker = [str(Path(sys.executable).with_name("basedpyright")), "--pythonpath", brands.python, "--outputjson"]
    done = subprocess.run(
        [*checker, "right.py", "wrong.py"], cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=60
    )
    found = json.loads(done.stdout)["generalDiagnostics"]
    assert {Path(item["file"]).name for item in found if item["severity"] == "error"} == {"wrong.py"}
    assert any('No parameter named "query"' in item["message"] for item in found)
    typescript = brands.node / "typed.mts"
    typescript.write_text("""
import { CiniterFlowClient, type CiniterFlowClientOptions, type Prediction } from "ciniterflow-sdk";
const options: CiniterFlowClientOptions = { apiKey: "key" };
const answer: Prediction = await new CiniterFlowClient(options).predict("flow", "Hi");
// @ts-expect-error there is no such option
new CiniterFlowClient({ baseURL: "http://localhost" });
console.log(answer.text);
""")
    assert compiled(typescript).exists()


def test_the_command_works_where_headrace_was_installed_from_its_wheel(brands: Installed, tmp_path: Path) -> None:
    command = [
        brands.python,
        "-m",
        "headrace",
        "brand",
        "--name",
        "acme-flows",
        "--class",
        "AcmeFlows",
        "--out",
        "dist",
    ]
    printed = shell(*command, "--npm-name", "@acme/flows", cwd=tmp_path)
    assert f"pip install dist/headrace-{__version__}-py3-none-any.whl dist/acme_flows-{__version__}-" in printed
    assert f"npm install ./dist/acme-flows-{__version__}.tgz\n" in printed
    acme = "@acme/flows"
    names = Names(name="acme-flows", cls="AcmeFlows", npm=acme, version=__version__, base_url=URL, display="AcmeFlows")
    for file, content in (branded_wheel(names), branded_tarball(names)):
        assert (tmp_path / "dist" / file).read_bytes() == content
