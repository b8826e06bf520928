"""`mypy --strict` and pyright take what the docs show and what users write, and refuse wrong fields."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_docs import PAGES, named, snippets_of

FILES = Path(__file__).parent / "types"
ROOT = FILES.parents[1]
CLIENTS_PAGES = [path for path in PAGES if re.search(r"(?m)^from headrace import .*Headrace", path.read_text())]


def complaints_of_mypy(*paths: Path) -> dict[str, set[int]]:
    """The lines of each file that the checker refuses."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir=/dev/null", "--output=json"]
    environ = {"MYPYPATH": str(ROOT / "src"), "PATH": ""}
    done = subprocess.run([*command, *map(str, paths)], capture_output=True, text=True, timeout=300, env=environ)
    assert done.stderr == ""
    found: dict[str, set[int]] = {}
    for line in done.stdout.splitlines():
        complaint = json.loads(line)
        if complaint["severity"] == "error":
            found.setdefault(Path(complaint["file"]).name, set()).add(complaint["line"])
    return found


def complaints_of_pyright(*paths: Path) -> dict[str, set[int]]:
    checker = Path(sys.executable).with_name("basedpyright")
    settings = paths[0].parent / "pyrightconfig.json"
    command = [str(checker), "--outputjson", "--pythonpath", sys.executable, "--project", str(settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    found: dict[str, set[int]] = {}
    for complaint in json.loads(done.stdout)["generalDiagnostics"]:
        if complaint["severity"] == "error":
            line = complaint["range"]["start"]["line"] + 1
            found.setdefault(Path(complaint["file"]).name, set()).add(line)
    return found


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files to check: the two of users' code, and each program of the docs under a name that says where it is."""
    folder = tmp_path_factory.mktemp("programs")
    texts = {path.name: path.read_text() for path in FILES.glob("*.py")}
    for page in CLIENTS_PAGES:
        for snippet in snippets_of(page, "python"):
            if "import headrace" in (code := snippet.values[0]) or "from headrace import" in code:
                texts[re.sub(r"\W", "_", f"{named(page)}_{snippet.id.rpartition(':')[2]}") + ".py"] = code
    for name, text in texts.items():
        (folder / name).write_text(text)
    settings = {
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "include": ["."],
        "extraPaths": [str(ROOT / "src")],
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    return {name: folder / name for name in texts}


@pytest.mark.parametrize("complaints_of", [complaints_of_mypy, complaints_of_pyright], ids=["mypy", "pyright"])
def test_the_checkers_refuse_exactly_what_is_wrong(
    programs: dict[str, Path], complaints_of: Callable[..., dict[str, set[int]]]
) -> None:
    assert len(programs) > 12
    lines = programs["wrong.py"].read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if "# wrong: " in line}
    found = complaints_of(*programs.values())
    assert found.pop("wrong.py") == marked
    assert found == {}
