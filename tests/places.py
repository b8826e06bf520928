"""Databases for tests that hold on both kinds: a file in a folder, or a database of its own on a PostgreSQL."""

import itertools
import os
from collections.abc import Generator
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from headrace.storage.database import Database
from headrace.storage.dialect import Place
from headrace.vectors.postgres_server import Place as Server

_TEMPLATE = "migrated"


class Cluster:
    """A running PostgreSQL."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._names = (f"t{os.getpid()}_{number}" for number in itertools.count())

    @property
    def folder(self) -> Path:
        """The folder of its socket, which is that of its settings too."""
        return Path(self._server.host)

    def url(self, name: str) -> str:
        server = self._server
        return f"postgresql://{server.user}:{quote(server.password)}@/{name}?host={quote(server.host, safe='')}"

    def execute(self, statement: str, *names: str, database: str = "postgres") -> None:
        """One statement, outside of any transaction; `{}` stand for names."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(SQL(statement).format(*map(Identifier, names)))  # pyright: ignore[reportArgumentType]

    def made(self, template: str = "template0") -> str:
        """The URL of a new database that is a copy of another one."""
        name = next(self._names)
        self.execute("CREATE DATABASE {} TEMPLATE {}", name, template)
        return self.url(name)

    def drop(self, url: str) -> None:
        """Removes a database, whoever is still connected."""
        self.execute("DROP DATABASE {} WITH (FORCE)", str(conninfo_to_dict(url)["dbname"]))

    def migrated(self) -> str:
        """The URL of a new database with all tables and nothing in them."""
        with psycopg.connect(self.url("postgres")) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (_TEMPLATE,)).fetchone()
        if found is None:
            self.execute("CREATE DATABASE {} TEMPLATE template0", _TEMPLATE)
            Database(self.url(_TEMPLATE)).close()
        return self.made(_TEMPLATE)


class _Places:
    """The databases of one test, by the folder that would hold the file."""

    cluster: Cluster | None = None
    urls: ClassVar[dict[Path, str]] = {}


def place_of(folder: Path, *, empty: bool = False) -> Place:
    """The database that belongs to a folder: always the same one in a test. An `empty` one has no tables yet."""
    if _Places.cluster is None:
        return folder / "headrace.sqlite"
    if folder not in _Places.urls:
        _Places.urls[folder] = _Places.cluster.made() if empty else _Places.cluster.migrated()
    return _Places.urls[folder]


def url_of(folder: Path) -> str:
    """The same as a setting: "" for a file."""
    place = place_of(folder)
    return "" if isinstance(place, Path) else place


@pytest.fixture(params=["sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> Generator[str]:
    """The kind of database that the test's places are on; modules whose tests hold on both use it."""
    _Places.cluster = request.getfixturevalue("cluster") if request.param == "postgres" else None
    yield request.param
    if _Places.cluster:
        for url in _Places.urls.values():
            _Places.cluster.drop(url)
    _Places.cluster, _Places.urls = None, {}
