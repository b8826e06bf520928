"""The TypeScript library as a package: its own checks, what it installs as, its types, and what only Node can show."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from clients import SyncDriver
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import Server
from test_events import SAMPLES
from typescript import SDK, NodeDriver, built, compiled, event, node, run

import headrace
from headrace.events import Unknown, decode, encode

CONSUMER = Path(__file__).parent / "node" / "consumer.ts"
PROGRAM = """
const client = new HeadraceClient({ baseUrl: process.argv[2] });
client.stream(process.argv[3], "Hi").final().then((answer) => console.log(answer.text));
"""
WRONG: list[Any] = [None, True, 5, 5.5, "x", [], {}, [1], [{}], [{"pageContent": 1}], {"chatId": 1}, {"usage": {}}]


@pytest.fixture
def client(server: Server) -> NodeDriver:
    return NodeDriver(server.url)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder into which the packed library was installed."""
    folder = tmp_path_factory.mktemp("consumer")
    built()
    packed = json.loads(run("npm", "pack", "--ignore-scripts", "--json", "--pack-destination", str(folder)))
    (folder / "package.json").write_text('{"private": true}')
    tarball = folder / (packed if isinstance(packed, list) else list(packed.values()))[0]["filename"]
    run("npm", "install", "--offline", "--no-audit", "--no-fund", str(tarball), cwd=folder)
    return folder


@pytest.mark.parametrize("script", ["check", "test"])
def test_the_librarys_own_checks_pass(script: str) -> None:
    built()
    assert run("npm", "run", script)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("program.mjs", 'import { HeadraceClient } from "headrace-sdk";'),
        ("program.cjs", 'const { HeadraceClient } = require("headrace-sdk");'),
        ("dynamic.cjs", 'import("headrace-sdk").then(({ HeadraceClient }) => {'),
    ],
)
def test_the_packed_library_runs_where_it_is_installed(
    installed: Path, server: Server, chat: str, name: str, head: str
) -> None:
    (installed / name).write_text(head + PROGRAM + ("});" if head.endswith("{") else ""))
    assert run("node", name, server.url, chat, cwd=installed) == "You said: Hi\n"


@pytest.mark.parametrize("kind", ["module", "commonjs"])
def test_the_compiler_takes_what_is_documented_and_refuses_wrong_fields(installed: Path, kind: str) -> None:
    source = installed / f"consumer.{'mts' if kind == 'module' else 'cts'}"
    source.write_text(CONSUMER.read_text())
    assert compiled(source).exists()


def test_the_package_holds_what_it_needs_and_nothing_else(installed: Path) -> None:
    package = installed / "node_modules" / "headrace-sdk"
    assert {path.name for path in package.iterdir()} == {"LICENSE", "README.md", "dist", "package.json", "src"}
    about = json.loads((package / "package.json").read_text())
    assert about["version"] == headrace.__version__
    assert "dependencies" not in about
    assert [path.name for path in (installed / "node_modules").iterdir() if path.is_dir()] == ["headrace-sdk"]
    source = "".join(path.read_text() for path in (package / "dist").rglob("*.js"))
    assert re.findall(r"""(?:from |require\()["'](?!\./)[^"']+""", source) == []


def test_every_public_name_is_described() -> None:
    declared = built() / "dist" / "esm"
    everything = "\n".join(path.read_text() for path in declared.glob("*.d.ts"))
    listed = re.findall(r"\{([^}]*)\}", (declared / "index.d.ts").read_text())
    names = [name.split()[-1] for group in listed for name in group.split(",") if name.strip()]
    assert len(names) > 50
    kinds = "(?:declare )?(?:interface|type|class|function)"
    assert [name for name in names if not re.search(rf"\*/\nexport {kinds} {name}\b", everything)] == []


def test_the_lock_file_names_no_place_to_download_from() -> None:
    packages = json.loads((SDK / "package-lock.json").read_text())["packages"]
    assert [name for name, about in packages.items() if "resolved" in about] == []


def classified(texts: list[str]) -> list[dict[str, Any]]:
    return node().does({"job": "classified", "texts": texts})


def test_both_libraries_know_the_same_events() -> None:
    found = classified([encode(sample).decode() for sample in SAMPLES])
    assert [event(value) for value in found] == SAMPLES


def changed(sample: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The event with something else in one place: at the top, or in its payload."""
    inside = sample.get("data")
    inside = inside[0] if isinstance(inside, list) and inside else inside
    (inside if isinstance(inside, dict) and key in inside else sample)[key] = value
    return sample


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_both_libraries_take_the_same_payloads_for_unknown(data: st.DataObject) -> None:
    sample = json.loads(encode(data.draw(st.sampled_from(SAMPLES))))
    inside = sample.get("data")
    inside = inside[0] if isinstance(inside, list) and inside else inside
    keys = [key for key in (*sample, *(inside if isinstance(inside, dict) else ())) if key != "event"]
    key = data.draw(st.sampled_from(keys))
    text = json.dumps(changed(sample, key, data.draw(st.sampled_from(WRONG))))
    (found,) = classified([text])
    assert event(found) == decode(text)


def test_a_kind_that_is_not_known_is_no_error(client: SyncDriver) -> None:
    (found,) = classified(['{"event":"weather","data":{"sky":null},"station":7}'])
    assert event(found) == Unknown("weather", {"data": {"sky": None}, "station": 7})
