"""The database behind its two threads: groups of works, locks, and a schema that migrations make."""

import asyncio
import sqlite3
import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from places import Cluster, place_of
from sqlalchemy import Connection, Engine, event, insert, inspect, select, text
from sqlalchemy.exc import IntegrityError
from waiting import turns, within

from headrace.errors import StorageError
from headrace.retrieval.embedded.tables import metadata
from headrace.storage import migrate, tables
from headrace.storage.database import Database
from headrace.storage.dialect import connected, engine_for

pytestmark = pytest.mark.usefixtures("kind")


@pytest.fixture
def database(tmp_path: Path) -> Generator[Database]:
    with closing(Database(place_of(tmp_path))) as database:
        yield database


def variable(name: str) -> Any:
    values = {"id": name, "name": name, "type": "static", "createdDate": "", "updatedDate": ""}

    def work(connection: Connection) -> int:
        connection.execute(insert(tables.variable), values)
        return 1

    return work


def names(connection: Connection) -> Sequence[str]:
    return connection.execute(select(tables.variable.c.name).order_by(tables.variable.c.name)).scalars().all()


# Works and transactions


async def while_busy(database: Database, *works: Any) -> list[Any]:
    """The results of works that were handed in while the writer was busy."""
    begun, go_on = threading.Event(), threading.Event()

    def busy(_: Connection) -> None:
        begun.set()
        assert go_on.wait(10)

    first = asyncio.create_task(database.write(busy))
    assert await asyncio.to_thread(begun.wait, 10)
    tasks = [asyncio.create_task(database.write(work)) for work in works]
    await turns()
    go_on.set()
    await first
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_works_that_wait_together_share_a_transaction(database: Database) -> None:
    commits: list[int] = []
    event.listen(database._engine, "commit", lambda _: commits.append(1))
    wanted = [f"v{n:03}" for n in range(200)]

    async def scenario() -> None:
        assert await while_busy(database, *map(variable, wanted)) == [1] * 200
        assert await database.read(names) == wanted

    within(scenario())
    assert len(commits) <= 8  # with those that only tell others, on PostgreSQL


def test_one_work_that_fails_does_not_spoil_the_others_of_its_group(database: Database) -> None:
    def mistaken(connection: Connection) -> None:
        variable("half")(connection)
        raise ValueError("my own")

    async def scenario() -> None:
        results = await while_busy(
            database,
            variable("a"),
            mistaken,
            variable("b"),
            variable("a"),
            lambda c: c.execute(text("nonsense")),
            variable("c"),
        )
        assert [type(result) for result in results] == [int, ValueError, int, IntegrityError, StorageError, int]
        assert await database.read(names) == ["a", "b", "c"]

    within(scenario())


def test_a_database_error_says_why_without_its_statement(database: Database, kind: str) -> None:
    with pytest.raises(StorageError) as caught:
        within(database.read(lambda c: c.execute(text("SELECT secret FROM nowhere"))))
    missing = {"sqlite": "no such table: nowhere", "postgres": 'relation "nowhere" does not exist'}[kind]
    assert str(caught.value) == f"the database did not take or give this: {missing}"


def test_a_waiter_that_gives_up_leaves_the_work_done(database: Database) -> None:
    async def scenario() -> None:
        task = asyncio.create_task(database.write(variable("a")))
        await turns()
        task.cancel()
        await asyncio.wait([task])
        await database.write(variable("b"))
        assert await database.read(names) == ["a", "b"]

    within(scenario())


def test_closing_finishes_what_was_handed_in(tmp_path: Path) -> None:
    place = place_of(tmp_path)

    async def scenario() -> None:
        database = Database(place)
        tasks = [asyncio.create_task(database.write(variable(f"v{n}"))) for n in range(50)]
        await turns()
        await asyncio.to_thread(database.close)
        await asyncio.gather(*tasks)

    within(scenario())
    with closing(Database(place)) as database:
        assert len(within(database.read(names))) == 50


@pytest.mark.sqlite
def test_every_connection_has_foreign_keys_and_a_write_ahead_log(database: Database) -> None:
    def pragmas(connection: Connection) -> list[Any]:
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("foreign_keys", "journal_mode")]

    assert within(database.read(pragmas)) == [1, "wal"]
    assert within(database.write(pragmas)) == [1, "wal"]


def test_reading_goes_on_while_something_is_written(database: Database) -> None:
    async def scenario() -> None:
        await database.write(variable("a"))
        begun, go_on = threading.Event(), threading.Event()

        def busy(connection: Connection) -> None:
            variable("b")(connection)
            begun.set()
            assert go_on.wait(10)

        writing = asyncio.create_task(database.write(busy))
        assert await asyncio.to_thread(begun.wait, 10)
        assert await database.read(names) == ["a"]
        go_on.set()
        await writing
        assert await database.read(names) == ["a", "b"]

    within(scenario())


@pytest.mark.sqlite
def test_a_database_that_another_process_has_locked_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "headrace.sqlite"

    async def scenario() -> None:
        with closing(Database(path)) as database, closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            writing = asyncio.create_task(database.write(variable("a")))
            await asyncio.wait([writing], timeout=0.2)
            assert not writing.done()
            other.execute("COMMIT")
            assert await writing == 1

    within(scenario())


@pytest.mark.sqlite
def test_works_that_wait_for_a_lock_in_vain_fail_together(tmp_path: Path) -> None:
    path = tmp_path / "headrace.sqlite"

    def impatient(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA busy_timeout=300")

    async def scenario() -> None:
        with closing(Database(path)) as database, closing(sqlite3.connect(path, isolation_level=None)) as other:
            await database.write(impatient)
            await database.read(impatient)
            other.execute("BEGIN IMMEDIATE")
            works = [database.write(variable(f"v{n}")) for n in range(60)]
            results = await asyncio.gather(*works, return_exceptions=True)
            assert {str(result) for result in results} == {"the database did not take or give this: database is locked"}
            other.execute("ROLLBACK")
            assert await database.write(variable("a")) == 1

    within(scenario(), 8)  # one after the other they would take 18 seconds


# Schema


def shape(engine: Engine) -> dict[str, Any]:
    """Everything that reflection tells about a database."""
    found = inspect(engine)

    def of(name: str) -> dict[str, Any]:
        columns = [{**column, "type": str(column["type"])} for column in found.get_columns(name)]
        return {
            "columns": columns,
            "key": found.get_pk_constraint(name),
            "foreign": found.get_foreign_keys(name),
            "unique": found.get_unique_constraints(name),
            "indexes": sorted(found.get_indexes(name), key=lambda index: str(index["name"])),
        }

    names = set(found.get_table_names()) - {"alembic_version"}
    return {name: of(name) for name in names if engine.dialect.name == "sqlite" or named(name)}


def named(name: str | None, *_: object) -> bool:
    """True when a table is one of the code's, not one of the full text."""
    return not str(name).startswith("chunk_text")


def test_the_migrations_make_the_tables_of_the_code(tmp_path: Path, kind: str, cluster: Cluster) -> None:
    if kind == "sqlite":
        migrated, made = engine_for(tmp_path / "migrated.sqlite"), engine_for(tmp_path / "made.sqlite")
    else:
        migrated, made = engine_for(cluster.made()), engine_for(cluster.made())
    migrate.migrate(migrated)
    metadata.create_all(made)
    assert shape(migrated) == shape(made)
    with migrated.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": named})
        assert compare_metadata(context, metadata) == []
    for engine in (migrated, made):
        engine.dispose()


def test_every_earlier_revision_is_brought_to_the_newest_one(tmp_path: Path) -> None:
    place = place_of(tmp_path, empty=True)
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())[::-1]
    engine = engine_for(place)
    for number, script in enumerate(scripts):
        with connected(engine, writes=True) as connection, connection.begin():
            config.attributes["connection"] = connection
            command.upgrade(config, script.revision)
            variable(f"v{number:02}")(connection)
    engine.dispose()
    with closing(Database(place)) as database:
        assert len(within(database.read(names))) == len(scripts)
        count = within(database.read(lambda c: c.execute(select(tables.revision.c.number)).scalar_one()))
        assert count == len(scripts) + 1, "the triggers of the first revision still count"


def test_the_newest_revision_is_the_newest_script() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_heads() == [migrate.NEWEST]
