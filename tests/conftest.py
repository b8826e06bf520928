"""What the tests share: one server, one scripted model endpoint, one scripted provider of any protocol, one browser."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from browser import browser, page
from milvus_engine import Milvus, milvus_server
from places import Cluster, kind
from provider import Provider, providing
from served import postgres_server
from servers import Server, conversation, serving
from sites import Site, site
from upstream import Upstream, serve_in_thread
from waiting import alone

from headrace.vectors.postgres_server import Place

__all__ = ["browser", "kind", "page"]  # fixtures that stand in a file of their own

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # servers that find their bytecode start a good deal sooner

FLOWISE_SDK = "flowise-sdk@1.0.9"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves out what only SQLite has, where a test's places are on PostgreSQL."""

    def held(item: pytest.Item) -> bool:
        spec = getattr(item, "callspec", None)
        return not (item.get_closest_marker("sqlite") and spec and spec.params.get("kind") == "postgres")

    items[:] = filter(held, items)


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """Visitors see the internals of agent flows here, since most tests ask without a key and look at them.

    With HEADRACE_TESTS_ON=postgres its database is one on PostgreSQL.
    """
    environ = {"HEADRACE_SHOW_INTERNALS": "true"}
    if os.environ.get("HEADRACE_TESTS_ON") == "postgres":
        environ["HEADRACE_DATABASE_URL"] = request.getfixturevalue("cluster").migrated()
    with serving(tmp_path_factory.mktemp("server") / "data", **environ) as server:
        yield server


@pytest.fixture(scope="session")
def endpoint() -> Generator[Upstream]:
    with serve_in_thread() as upstream:
        yield upstream


@pytest.fixture
def upstream(endpoint: Upstream) -> Upstream:
    """The scripted model endpoint, its memory empty."""
    endpoint.reset()
    return endpoint


@pytest.fixture
def chat(server: Server, upstream: Upstream) -> str:
    """The id of a conversation flow on the scripted model."""
    return server.create_flow(conversation(upstream.url))


@pytest.fixture(scope="session")
def provider() -> Generator[Provider]:
    with providing() as provider:
        yield provider


@pytest.fixture(scope="session")
def running_site() -> Generator[Site]:
    with site() as server:
        yield server


@pytest.fixture
def web(running_site: Site) -> Site:
    """A web site for tools, with nothing on it."""
    running_site.reset()
    return running_site


@pytest.fixture(scope="session")
def postgres() -> Generator[Place]:
    """A PostgreSQL with pgvector, in a folder that pytest does not close to PostgreSQL's own user with its next run."""
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder, postgres_server(Path(folder)) as place:
        yield place


@pytest.fixture(scope="session")
def database(postgres: Place) -> Place:
    """The same PostgreSQL as flows reach it."""
    return postgres


@pytest.fixture(scope="session")
def cluster(postgres: Place) -> Cluster:
    """The same PostgreSQL as a place for databases of servers."""
    return Cluster(postgres)


@pytest.fixture(scope="session")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Generator[Milvus]:
    with milvus_server(tmp_path_factory.mktemp("milvus")) as server:
        yield server


@pytest.fixture(scope="session")
def sdk(pytestconfig: pytest.Config) -> Path:
    """A folder with npm's flowise-sdk, installed once."""
    return installed(pytestconfig, FLOWISE_SDK)


def installed(pytestconfig: pytest.Config, *packages: str) -> Path:
    """A folder with these packages of npm, installed once."""
    names = ", ".join(packages)
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip(f"node and npm are not installed, so {names} are not tested")
    folder = pytestconfig.cache.mkdir(re.sub(r"[^\w.]+", "-", names))
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder), *packages]
    try:
        with alone(folder):
            if not (folder / "node_modules" / ".package-lock.json").exists():
                subprocess.run(command, check=True, capture_output=True, timeout=120)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip(f"npm cannot install {names} here, so they are not tested")
    return folder
