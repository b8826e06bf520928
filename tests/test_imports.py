"""Who may import whom: design section 3, and what `import headrace` loads."""

import ast
import json
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.metadata import files, packages_distributions, requires
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "headrace"

CONTRACT = {"events", "sse", "errors", "schema", "surrogates", "installation"}
CLIENT = {"client"}
ANYTHING = {"*"}
MAY_IMPORT: dict[str, set[str]] = {
    **dict.fromkeys(CONTRACT, CONTRACT),
    **dict.fromkeys(CLIENT, CONTRACT | CLIENT),
    "python_flow": CONTRACT | {"python_flow"},
    "embedding": CONTRACT | {"python_flow", "server"},  # the server only when it is called
    "__init__": CONTRACT | CLIENT | {"python_flow", "embedding"},
    "engine": CONTRACT | {"engine", "python_flow"},
    "formats": CONTRACT | {"engine", "formats"},
    "providers": CONTRACT | {"engine", "providers"},
    "sandbox": CONTRACT | {"engine", "sandbox"},
    "retrieval": CONTRACT | {"engine", "sandbox", "storage", "retrieval"},
    "vectors": CONTRACT | {"engine", "providers", "retrieval", "vectors"},
    "documents": CONTRACT | {"engine", "storage", "retrieval", "documents"},
    "nodes": CONTRACT | {"engine", "formats", "providers", "retrieval", "documents", "sandbox", "vectors", "nodes"},
    "storage": CONTRACT | {"engine", "storage"},
    "runtime": CONTRACT | {"engine", "retrieval", "documents", "storage", "runtime", "python_flow"},
    "server": ANYTHING,
    "apps": CONTRACT | CLIENT | {"apps"},
    "brand": CONTRACT | {"__init__", "brand"},
    "exports": CONTRACT | {"engine", "documents"},
    "imports": CONTRACT | {"storage", "documents", "exports"},
    "migration": CONTRACT
    | {"engine", "storage", "retrieval", "documents", "runtime", "exports", "imports", "migration"},
    "examples": CONTRACT | {"engine"},
    "__main__": ANYTHING,
    "cli": ANYTHING,
    "settings": ANYTHING,
    "gen": ANYTHING,
    "typescript": CONTRACT,
    "javascript": set(),
    "assembly": ANYTHING,
}
MAY_IMPORT_SERVER = {"embedding", "server", "__main__", "cli", "gen"}


def part(path: Path) -> str:
    """The table's name for a file: its folder or, at the top, its module."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """The parts of headrace that a file imports; the bare package counts as `__init__`."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            package, *rest = name.split(".")
            if package == "headrace":
                known = rest and (rest[0] in MAY_IMPORT or (SOURCE / rest[0]).exists())
                yield rest[0] if known else "__init__"


def test_every_part_of_the_package_is_in_the_table():
    assert {part(path) for path in SOURCE.rglob("*.py")} <= set(MAY_IMPORT)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_imports_only_what_its_layer_may(path: Path):
    allowed = MAY_IMPORT[part(path)]
    if allowed != ANYTHING:
        assert set(imported(path)) <= allowed
    if part(path) not in MAY_IMPORT_SERVER:
        assert "server" not in imported(path)


def module(path: Path) -> str:
    """A file's name in imports; a package's is that of its `__init__.py`."""
    return ".".join(("headrace", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")


def imported_files(path: Path, known: set[str]) -> set[str]:
    """The modules of this package that a file imports when it is loaded, not those inside its functions."""
    found: set[str] = set()
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found.update(name if name in known else str(node.module) for name in names)
    return (found & known) - {module(path)}


def test_no_file_imports_itself_by_way_of_others():
    files_by_module = {module(path): path for path in SOURCE.rglob("*.py")}
    graph = {name: imported_files(path, set(files_by_module)) for name, path in files_by_module.items()}
    assert graph["headrace.runtime.local"], "the graph has no arrows"
    assert (
        set(TopologicalSorter(graph).static_order()) >= graph.keys()
    )  # raises CycleError  # raises CycleError, which names the files of the circle


OWN_WORDS = re.compile(
    r"sqlite3|sqlalchemy\.dialects|sqlite_errorname|data_version|PRAGMA|json_each|json_extract\b|json_insert|instr\("
    r"|OR REPLACE|OR IGNORE|on_conflict|FOREIGN KEY|MATCH \?|bm25"
    r"|psycopg|sqlstate|advisory|NOTIFY|tsvector|::\w+\[\]"
)
SEAM = ("storage/dialect.py", "storage/postgres.py", "storage/migrations/", "retrieval/embedded/")
OTHER_DATABASES = ("migration/", "providers/", "apps/", "vectors/")  # what they keep is never the server's own


def test_only_the_seam_speaks_the_databases_own_words():
    spoken: list[str] = []
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        if not name.startswith((*SEAM, *OTHER_DATABASES)):
            lines = enumerate(path.read_text().splitlines(), 1)
            spoken += [f"{name}:{number}: {line.strip()}" for number, line in lines if OWN_WORDS.search(line)]
    assert spoken == []
    assert OWN_WORDS.search((SOURCE / "storage" / "dialect.py").read_text())


def test_no_layer_imports_itself_by_way_of_others():
    graph = {name: may - {name} for name, may in MAY_IMPORT.items() if may != ANYTHING and name not in CONTRACT}
    assert set(TopologicalSorter(graph).static_order()) >= graph.keys()  # raises CycleError


def distributions(name: str) -> set[str]:
    """A distribution and all that it needs, extras left out."""
    needed = [text for text in requires(name) or [] if "extra ==" not in text and "emscripten' and" not in text]
    names = {text.split(";")[0].strip().split("==")[0].split(">")[0].split("<")[0].strip() for text in needed}
    return {name}.union(*(distributions(needed) for needed in names if needed in INSTALLED))


INSTALLED = {name for names in packages_distributions().values() for name in names}


def loaded_by(statement: str) -> set[str]:
    code = f"import json, sys; before = set(sys.modules); {statement}; print(json.dumps([*set(sys.modules) - before]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    return set(json.loads(done.stdout))


def test_importing_headrace_loads_only_the_client():
    loaded = loaded_by("import headrace")
    ours = {name.split(".")[1] for name in loaded if name.startswith("headrace.")}
    assert ours == CONTRACT - {"installation"} | CLIENT | {"python_flow", "embedding"}

    owners = packages_distributions()
    foreign = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names - {"headrace"}
    allowed = distributions("msgspec") | distributions("httpx2")
    assert {name for name in foreign if not allowed.intersection(owners.get(name, []))} == set()
    assert not foreign & {"aiohttp", "litestar", "sqlalchemy", "granian", "alembic", "click", "rich", "requests"}


def test_the_client_and_what_it_needs_take_less_than_6_and_a_half_mb():
    docs = (SOURCE.parents[1] / "docs").glob("*.md")
    # The bytecode that installing makes is not counted.
    ours = [*docs, *(path for path in SOURCE.rglob("*") if path.suffix != ".pyc" and path.is_file())]
    sizes = {"headrace": sum(path.stat().st_size for path in ours)}
    for name in distributions("headrace") - {"headrace"}:
        found = [file for file in (files(name) or []) if file.suffix != ".pyc"]
        sizes[name] = sum(Path(str(file.locate())).stat().st_size for file in found)
    assert {"msgspec", "httpx2", "httpcore2", "h11", "anyio", "idna"} <= sizes.keys()
    assert all(sizes.values())
    assert sum(sizes.values()) < 6_500_000, sizes


def processor_seconds(statement: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", statement], timeout=30, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_importing_headrace_takes_less_than_200_ms():
    bare = min(processor_seconds("pass") for _ in range(3))
    tries = (processor_seconds("import headrace") - bare for _ in range(10))
    assert any(seconds < 0.2 for seconds in tries)


def test_using_the_client_loads_nothing_of_the_server():
    loaded = loaded_by("import headrace; headrace.Headrace().close()")
    assert not {name.partition(".")[0] for name in loaded} & {"aiohttp", "litestar", "sqlalchemy", "alembic", "granian"}


def test_a_server_loads_no_client_of_a_vector_store():
    loaded = loaded_by("import headrace.server.app, headrace.assembly, headrace.nodes as n; n.built_in()")
    assert not {name.partition(".")[0] for name in loaded} & {"asyncpg", "qdrant_client", "grpc", "pydantic", "redis"}


def test_a_server_loads_what_reads_certificates_only_for_tls():
    loaded = loaded_by("import headrace.cli.serve, headrace.server.serve")
    assert "granian" in loaded
    assert "cryptography.x509" not in loaded


def test_the_public_names_are_a_list_that_somebody_edits_on_purpose():
    import headrace

    public = {name for name, value in vars(headrace).items() if name[0] != "_" and not hasattr(value, "__path__")}
    modules = {name for name in public if type(getattr(headrace, name)) is type(sys)}
    assert public - modules == set(headrace.__all__) - {"__version__"}
    assert headrace.__all__ == sorted(headrace.__all__)
