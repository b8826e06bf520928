"""What record managers do for vector stores on other servers: each on a real database, the vectors in PostgreSQL."""

import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from calls import context
from passages import Bags, document, given, opened
from served import SECRET
from waiting import within

from headrace.documents.library import DocumentLibrary
from headrace.documents.stores import StoreRow
from headrace.engine.inputs import read
from headrace.engine.node import Context
from headrace.engine.ports import LoadFailure, Search, Upserted
from headrace.errors import FlowError, ProviderError, ProviderUnavailable
from headrace.events import Document
from headrace.nodes import built_in
from headrace.retrieval.embedded.collection import Cleanup
from headrace.retrieval.records import Record, Records
from headrace.vectors.postgres import PostgresStore
from headrace.vectors.postgres_server import Place, connected
from headrace.vectors.records import PostgresRecords
from headrace.vectors.upsert import ServedUpsert

_numbers = count(1)
Open = Callable[[str], Records]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Generator[DocumentLibrary]:
    with opened(tmp_path_factory.mktemp("records") / "data") as library:
        yield library


@pytest.fixture(params=["sqlite", "postgres"])
def opening(request: pytest.FixtureRequest, library: DocumentLibrary, database: Place) -> Open:
    """The records of a namespace, of each kind in turn."""
    if request.param == "sqlite":
        return lambda name: library.records("upsertion_records", name)
    return lambda name: PostgresRecords(database, "upsertion_records", name)


class Ground:
    """A vector store and its records, both empty."""

    def __init__(self, opening: Open, database: Place) -> None:
        self.name, self.model = f"recorded_{next(_numbers)}", Bags(8)
        self.records, self.database = opening(self.name), database

    @property
    def store(self) -> PostgresStore:
        return PostgresStore(self.database, self.name, "pageContent", "cosine", embeddings=self.model)

    def upsert(self, *documents: Document | LoadFailure, cleanup: Cleanup = "none", **how: Any) -> Upserted:
        upsert = ServedUpsert(self.store, self.records, cleanup=cleanup, **how)
        return within(upsert.run(given(documents)), 30)

    def texts(self) -> list[str]:
        async def all_of_them() -> list[str]:
            async with connected(self.database) as connection:
                rows = await connection.fetch(f'SELECT "pageContent" FROM {self.name} ORDER BY 1')
                return [row[0] for row in rows]

        return within(all_of_them())

    def sources(self) -> list[str]:
        return sorted(within(self.records.sources()))


@pytest.fixture
def ground(opening: Open, database: Place) -> Ground:
    return Ground(opening, database)


def counts(done: Upserted) -> tuple[int, ...]:
    return done.numAdded, done.numUpdated, done.numSkipped, done.numDeleted


def test_the_same_again_is_skipped_and_embedded_once(ground: Ground):
    birds = [document("The Wren.", "wren.txt"), document("The Owl.", "owl.txt")]
    assert counts(ground.upsert(*birds)) == (2, 0, 0, 0)
    assert counts(ground.upsert(*birds, birds[0])) == (0, 0, 3, 0)
    assert ground.model.asked == ["The Wren.", "The Owl."]
    assert ground.sources() == ["owl.txt", "wren.txt"]


@pytest.mark.parametrize(
    ("cleanup", "kept", "deleted"),
    [
        ("none", ["The Owl.", "The Wren has moved.", "The Wren."], 0),
        ("incremental", ["The Owl.", "The Wren has moved."], 1),
        ("full", ["The Wren has moved."], 2),
    ],
)
def test_cleanup_deletes_what_its_mode_says(ground: Ground, cleanup: Cleanup, kept: list[str], deleted: int):
    ground.upsert(document("The Wren.", "wren.txt"), document("The Owl.", "owl.txt"))
    moved = document("The Wren has moved.", "wren.txt")
    assert counts(ground.upsert(moved, cleanup=cleanup)) == (1, 0, 0, deleted)
    assert ground.texts() == kept
    assert counts(ground.upsert(moved, cleanup=cleanup)) == (0, 0, 1, 0)


def test_the_source_key_can_be_chosen(ground: Ground):
    first = [document(f"The {name}.", f"{name}.txt", team=team) for name, team in (("Wren", "a"), ("Owl", "b"))]
    ground.upsert(*first, source_key="team")
    done = ground.upsert(document("The Robin.", "x", team="a"), cleanup="incremental", source_key="team")
    assert (counts(done), ground.texts()) == ((1, 0, 0, 1), ["The Owl.", "The Robin."])


def test_more_than_a_batch_is_recorded_and_deleted(ground: Ground):
    ground.upsert(*(document(f"{n}") for n in range(700)))
    assert counts(ground.upsert(document("The Wren."), cleanup="full")) == (1, 0, 0, 700)
    assert ground.texts() == ["The Wren."]


def test_what_could_not_be_read_is_told_and_its_passages_stay(ground: Ground):
    old = [document("a", "a.txt"), document("b", "b.txt"), document("c", "folder/c.txt")]
    ground.upsert(*old)
    failures = [LoadFailure("a.txt", "read", "it is no PDF"), LoadFailure("folder", "opened", "it is gone")]
    done = ground.upsert(*failures, document("new", "new.txt"), cleanup="full")
    assert (done.failures, ground.texts()) == (failures, ["a", "c", "new"])


def test_of_a_document_that_fails_halfway_nothing_is_stored(ground: Ground):
    ground.upsert(document("old", "bad.txt"))
    halves = [document(f"half {n}", "bad.txt") for n in range(600)]
    done = ground.upsert(
        document("good", "good.txt"), *halves, LoadFailure("bad.txt", "read", "x"), document("last", "last.txt"),
        cleanup="full",
    )  # fmt: skip
    assert (counts(done), ground.texts()) == ((2, 0, 0, 0), ["good", "last", "old"])
    assert sorted(one.pageContent for one in done.addedDocs) == ["good", "last"]
    assert len(within(ground.records.unseen(1e12, ["bad.txt"], 1000))) == 1


def test_namespaces_do_not_mix(opening: Open, database: Place):
    one, two = Ground(opening, database), Ground(opening, database)
    one.upsert(document("one"))
    two.upsert(document("two"), cleanup="full")
    assert (one.texts(), two.texts()) == (["one"], ["two"])
    shared = Ground(opening, database)
    shared.records, shared.name = one.records, one.name
    assert counts(shared.upsert(document("two"), cleanup="full")) == (1, 0, 0, 1)


def test_records_are_found_by_the_loader_that_brought_them(ground: Ground):
    ground.upsert(document("a", docId="one"), document("b", docId="two"))
    (key,) = within(ground.records.of_loaders(["one"], 10))
    (hit,) = within(ground.store.search(Search(text="a", k=1)))
    assert hit.document.id == key
    within(ground.records.forget([key]))
    assert within(ground.records.of_loaders(["one", "two"], 10)) != [key]


def test_moments_follow_each_other_and_the_latest_one_counts(opening: Open):
    records = opening(f"moments_{next(_numbers)}")

    async def work() -> None:
        first = await records.begin()
        await records.saw(first, [Record("a", "s"), Record("b", "s"), Record("quote '\"", "")])
        second = await records.begin()
        assert second > first
        await records.saw(second, [Record("a", "s")])
        await records.saw(first, [Record("a", "s")])  # an upsert that is still at work
        assert await records.unseen(second, ["s"], 10) == ["b"]
        assert await records.unseen(second, [""], 10) == ["quote '\""]
        await records.saw(second, [])
        await records.forget(["a", "nothing"])
        assert await records.unseen(1e12, ["s"], 10) == ["b"]

    within(work())


KILLED = """
import asyncio, sys
from pathlib import Path
from passages import Bags, document, opened
from headrace.vectors.postgres import PostgresStore
from headrace.vectors.postgres_server import Place
from headrace.vectors.records import PostgresRecords
from headrace.vectors.upsert import ServedUpsert

kind, folder, name, host, secret = sys.argv[1:]
place = Place(host, 5432, "postgres", "guarded", secret)

async def documents():
    for n in range(1500):
        yield document(f"passage {n}")

def told(done):
    print(done.numAdded, flush=True)
    if done.numAdded >= 500:
        sys.stdin.read()  # until the end: the parent kills this process

with opened(Path(folder)) as library:
    records = PostgresRecords(place, "killed", name) if kind == "postgres" else library.records("killed", name)
    store = PostgresStore(place, name, "pageContent", "cosine", embeddings=Bags(8))
    asyncio.run(ServedUpsert(store, records, cleanup="full", progress=told).run(documents()))
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_killed_upsert_continues_without_doubles_and_without_gaps(tmp_path: Path, database: Place, kind: str):
    name, folder = f"killed_{kind}", tmp_path / "data"
    command = [sys.executable, "-c", KILLED, kind, str(folder), name, database.host, SECRET]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parent, text=True
    )
    assert process.stdout
    with process:
        assert [process.stdout.readline() for _ in range(2)] == ["256\n", "512\n"]
        process.send_signal(signal.SIGKILL)
    with opened(folder) as library:
        table = "killed"
        records = PostgresRecords(database, table, name) if kind == "postgres" else library.records(table, name)
        ground = Ground(lambda _: records, database)
        ground.name = name
        wanted = [document(f"passage {n}") for n in range(1500)]
        assert counts(ground.upsert(*wanted, cleanup="full")) == (1500 - 512, 0, 512, 0)
        assert ground.texts() == sorted(one.pageContent for one in wanted)
        assert counts(ground.upsert(*wanted[:10], cleanup="full")) == (0, 0, 10, 1490)


# In a flow


def node(kind: str, database: Place, ctx: Context, **inputs: Any) -> Any:
    """A Postgres vector store node with a record manager of this kind."""
    there = {"host": database.host, "database": database.database, "credential": "c"}
    records = read(built_in()[kind], {"cleanup": "full", **(there if kind == "postgresRecordManager" else {})}, kind)
    values = {**there, "embeddings": Bags(8), "recordManager": records, "node": "postgres_0", **inputs}
    return read(built_in()["postgres"], values, "postgres")


class Given:
    """A loader's documents."""

    fingerprint = ""

    def __init__(self, *documents: Document) -> None:
        self.documents = documents

    def read(self) -> AsyncGenerator[Any]:
        return given(self.documents)


@pytest.mark.parametrize("kind", ["SQLiteRecordManager", "memoryRecordManager", "postgresRecordManager"])
def test_a_node_upserts_and_removes_by_its_records(library: DocumentLibrary, database: Place, kind: str):
    secrets = {"c": {"user": "guarded", "password": SECRET}}
    ctx = context(credentials=secrets, library=library, flow=f"flow of {kind}")

    async def upsert(*documents: Document) -> Upserted:
        vectors = node(kind, database, ctx, tableName=f"t_{kind}", document=[Given(*documents)])
        return await vectors.upsert(ctx, lambda _: None)

    assert counts(within(upsert(document("a", docId="one"), document("b", docId="two")))) == (2, 0, 0, 0)
    assert counts(within(upsert(document("b", docId="two"), document("c", docId="three")))) == (1, 0, 1, 1)
    vectors = node(kind, database, ctx, tableName=f"t_{kind}")
    assert within(vectors.remove(ctx, ["two", "nobody"])) == 1
    hits = within(within(vectors.build(ctx)).find("a b c"))
    assert [hit.pageContent for hit in hits] == ["c"]


def test_a_table_of_flowise_is_taken_over(database: Place):
    async def work() -> Sequence[str]:
        async with connected(database) as connection:
            await connection.execute(
                "CREATE TABLE theirs (uuid uuid PRIMARY KEY DEFAULT gen_random_uuid(), key text NOT NULL, "
                "namespace text NOT NULL, updated_at double precision NOT NULL, group_id text, "
                "UNIQUE (key, namespace)); "
                "INSERT INTO theirs (key, namespace, updated_at, group_id) VALUES ('old', 'n', 1, 'a.txt')"
            )
        records = PostgresRecords(database, "theirs", "n")
        moment = await records.begin()
        await records.saw(moment, [Record("new", "a.txt", "one")])
        return await records.unseen(moment, ["a.txt"], 10)

    assert within(work()) == ["old"]


def test_a_record_manager_that_cannot_be_reached_is_said_before_anything_is_stored(
    library: DocumentLibrary, database: Place
):
    ctx = context(credentials={"c": {"user": "guarded", "password": SECRET}}, library=library)
    records = read(
        built_in()["postgresRecordManager"], {"host": "127.0.0.1", "port": 9, "database": "x", "credential": "c"}, "r"
    )
    vectors = node(
        "SQLiteRecordManager", database, ctx, recordManager=records, tableName="never", document=[Given(document("a"))]
    )
    with pytest.raises(ProviderUnavailable, match=r"cannot reach PostgreSQL at 127\.0\.0\.1:9"):
        within(vectors.upsert(ctx, lambda _: None))
    with pytest.raises(ProviderError, match='"never" does not exist'):
        within(within(vectors.build(ctx)).find("a"))


def test_the_servers_own_password_goes_only_to_its_own_records():
    own = {f"POSTGRES_RECORDMANAGER_{name}": "x" for name in ("HOST", "USER", "PASSWORD", "DATABASE")}
    records: Any = read(built_in()["postgresRecordManager"], {"host": "elsewhere", "database": "x"}, "r")
    with pytest.raises(FlowError, match="Postgres Record Manager node needs a host, a database and a credential"):
        within(records.records(context(environ=own), "n"))
    ours: Any = read(built_in()["postgresRecordManager"], {}, "r")
    assert isinstance(within(ours.records(context(environ=own), "n")), PostgresRecords)


def test_a_deleted_flow_or_store_takes_its_records_along(library: DocumentLibrary):
    records = library.records("t", "gone/node")

    async def work() -> list[str]:
        await records.saw(await records.begin(), [Record("a", "s")])
        await library.stores.add(StoreRow(id="gone", name="x"))
        await library.stores.delete("gone")
        return await records.sources()

    assert within(work()) == []
