"""Upserts: what is added, updated, skipped and deleted, and what a killed one leaves."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
from passages import BIRDS, Bags, document, given, opened
from places import url_of
from waiting import within

from headrace.engine.ports import LoadFailure, Search, unread
from headrace.errors import FlowError, ProviderUnavailable, StorageError
from headrace.events import Document
from headrace.retrieval.embedded.collection import Collection, Upsert, Upserted
from headrace.retrieval.library import Library

pytestmark = pytest.mark.usefixtures("kind")


@pytest.fixture
def library(tmp_path: Path) -> Generator[Library]:
    with opened(tmp_path / "data") as library:
        yield library


def upserted(collection: Collection, documents: Sequence[Document | LoadFailure], **how: Any) -> tuple[int, ...]:
    """Numbers added, updated, skipped, deleted."""
    done = within(Upsert(collection, **how).run(given(documents)))
    return done.numAdded, done.numUpdated, done.numSkipped, done.numDeleted


def texts(collection: Collection) -> list[str]:
    """Everything that the collection holds, by text."""

    def work(c: Any) -> list[str]:
        return [text for (text,) in c.exec_driver_sql("SELECT text FROM chunk ORDER BY text")]

    return within(collection.database.read(work))


def test_the_same_again_is_skipped_and_embedded_once(library: Library):
    model = Bags()
    collection = library.collection("x", model)
    documents = [document(text) for text in BIRDS]
    assert upserted(collection, documents) == (3, 0, 0, 0)
    assert upserted(collection, documents) == (0, 0, 3, 0)
    assert model.asked == list(BIRDS)


def test_the_record_has_flowises_fields(library: Library):
    done = within(Upsert(library.collection("x")).run(given([document("a")])))
    assert done == Upserted(1, 0, 0, 0, [document("a")], [])
    assert Upserted.__struct_fields__[:5] == ("numAdded", "numDeleted", "numUpdated", "numSkipped", "addedDocs")


def test_doubles_in_one_upsert_are_stored_once(library: Library):
    assert upserted(library.collection("x"), [document("a"), document("a"), document("a", "other.txt")]) == (2, 0, 1, 0)


def test_a_document_with_an_id_is_updated_when_it_changes(library: Library):
    collection = library.collection("x", Bags())
    assert upserted(collection, [Document("old", {}, "1"), Document("same", {}, "2")]) == (2, 0, 0, 0)
    assert upserted(collection, [Document("new", {}, "1"), Document("same", {}, "2")]) == (0, 1, 1, 0)
    assert texts(collection) == ["new", "same"]
    (hit,) = within(collection.search(Search(text="new", k=1)))
    assert hit.document.pageContent == "new"


@pytest.mark.parametrize(
    ("cleanup", "kept", "deleted"),
    [
        ("none", ["a1", "a2", "b1", "b2"], 0),
        ("incremental", ["a2", "b1", "b2"], 1),
        ("full", ["a2"], 3),
    ],
)
def test_cleanup_deletes_what_its_mode_says(library: Library, cleanup: Any, kept: list[str], deleted: int):
    collection = library.collection("x")
    upserted(collection, [document(text, text[0]) for text in ("a1", "a2", "b1", "b2")])
    assert upserted(collection, [document("a2", "a")], cleanup=cleanup) == (0, 0, 1, deleted)
    assert texts(collection) == kept
    assert [hit.document.pageContent for hit in within(collection.search(Search(text="a1")))] == [
        text for text in kept if text == "a1"
    ]


def test_the_source_key_can_be_chosen(library: Library):
    collection = library.collection("x")
    upserted(collection, [document("1", page="p"), document("2", page="q")], source_key="page")
    assert upserted(collection, [document("3", page="p")], source_key="page", cleanup="incremental") == (1, 0, 0, 1)
    assert texts(collection) == ["2", "3"]


def test_what_could_not_be_read_is_told_and_its_passages_stay(library: Library):
    collection = library.collection("x")
    upserted(collection, [document("a", "folder/a"), document("b", "b"), document("c", "c")])
    failures = [LoadFailure("folder", "read", "it is gone"), LoadFailure("b", "parsed", "it is damaged")]
    done = within(Upsert(collection, cleanup="full").run(given([failures[0], document("d", "d"), failures[1]])))
    assert (done.numAdded, done.numDeleted, done.failures) == (1, 1, failures)
    assert texts(collection) == ["a", "b", "d"]
    assert str(failures[1]) == "'b' could not be parsed: it is damaged"


def test_a_failure_that_hides_documents_costs_none_of_them(library: Library):
    collection = library.collection("x")
    upserted(collection, [document("old", "a"), document("b", "b")])
    failure = LoadFailure("https://example.org", "listed", "no answer", hides=True)
    assert upserted(collection, [document("new", "a"), failure], cleanup="full") == (1, 0, 0, 1)
    assert texts(collection) == ["b", "new"]


def test_sources_and_failures_by_the_thousand_are_compared_at_once():
    known = [f"folder {n}/file" for n in range(10_000)]
    failures = [LoadFailure(f"folder {n}/", "read", "it is gone") for n in range(5_000, 15_000)]
    assert unread(known, set(), failures) == set(known[5_000:])


def test_a_new_model_that_cannot_be_asked_costs_no_passages(library: Library):
    class Gone(Bags):
        async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
            raise ProviderUnavailable("the model is down")

    upserted(library.collection("x", Bags()), [document("a")])
    with pytest.raises(ProviderUnavailable):
        upserted(library.collection("x", Gone(name="gone")), [document("a")], cleanup="full")
    assert upserted(library.collection("x", Bags()), [document("a")]) == (0, 0, 1, 0)


def test_a_model_that_fails_leaves_the_batches_before_it(library: Library):
    class Failing(Bags):
        async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
            if "passage 700" in texts:
                raise ProviderUnavailable("the model is down")
            return await super().embed(texts)

    documents = [document(f"passage {n}") for n in range(1000)]
    collection = library.collection("x", Failing())
    with pytest.raises(ProviderUnavailable):
        upserted(collection, documents)
    assert len(texts(collection)) == 512
    assert upserted(library.collection("x", Bags()), documents) == (488, 0, 512, 0)


@pytest.mark.sqlite
def test_a_full_disk_keeps_what_was_stored(library: Library):
    collection = library.collection("x", Bags())
    within(collection.add([document("a")]))
    within(collection.database.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count=1")))
    with pytest.raises(StorageError, match="full"):
        upserted(collection, [document(f"{n} " * 1000) for n in range(600)])
    within(collection.database.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count=1000000")))
    assert texts(collection) == ["a"]
    assert within(collection.search(Search(text="a", k=1)))[0].document.pageContent == "a"


def test_another_model_replaces_all_vectors_or_says_how(library: Library):
    upserted(library.collection("x"), [document("a"), document("b")])
    changed = library.collection("x", Bags())
    with pytest.raises(FlowError, match=r"embedded with 'no model', not with 'bags'.*cleanup 'full'"):
        upserted(changed, [document("a")])
    assert texts(changed) == ["a", "b"]
    assert upserted(changed, [document("a")], cleanup="full") == (1, 0, 0, 0)
    assert within(changed.search(Search(text="a")))[0].score == pytest.approx(1)
    wider = library.collection("x", Bags(128, "wide"))
    assert upserted(wider, [document("a")], cleanup="full") == (1, 0, 0, 0)
    assert within(wider.info()).dimensions == 128


def test_a_collection_that_is_deleted_or_taken_over_during_an_upsert_is_said(library: Library):
    async def work(disturb: Any) -> None:
        async def documents() -> AsyncGenerator[Document]:
            for number in range(600):
                yield document(f"passage {number}")
            await disturb()

        await Upsert(library.collection("x", Bags())).run(documents())

    async def take_over() -> None:
        other = Library(library._database, Path("unused")).collection("x", Bags(64, "other"))
        await Upsert(other, cleanup="full").run(given([document("theirs")]))

    for disturb in (library.collection("x").drop, take_over):
        with pytest.raises(FlowError, match="was deleted or given another model: upsert again"):
            within(work(disturb))
    assert texts(library.collection("x")) == ["theirs"]


def test_upserts_of_one_process_wait_for_each_other(library: Library):
    async def both() -> list[Upserted]:
        documents = [document(f"passage {n}") for n in range(600)]
        runs = [Upsert(library.collection("x", Bags()), cleanup="full").run(given(documents)) for _ in range(3)]
        return await asyncio.gather(*runs)

    assert [(done.numAdded, done.numSkipped) for done in within(both())] == [(600, 0), (0, 600), (0, 600)]


def test_upserts_of_two_processes_at_once_store_everything_once(tmp_path: Path):
    async def both(one: Library, two: Library) -> list[Upserted]:
        documents = [document(f"passage {n}") for n in range(1500)]
        libraries = (one, two)
        return await asyncio.gather(
            *(Upsert(each.collection("x", Bags()), cleanup="full").run(given(documents)) for each in libraries)
        )

    with opened(tmp_path / "data") as one, opened(tmp_path / "data") as two:
        done = within(both(one, two), 60)
        assert sum(each.numAdded for each in done) == 1500
        assert len(texts(one.collection("x"))) == 1500
        assert sum(each.numDeleted for each in done) == 0


def test_progress_is_told_after_each_batch(library: Library):
    told: list[int] = []
    documents = [document(f"passage {n}") for n in range(1100)]
    upserted(library.collection("x"), documents, progress=lambda done: told.append(done.numAdded))
    assert told == [512, 1024, 1100]


def test_a_whole_upsert_leaves_its_fingerprint_and_a_failed_one_none(library: Library):
    collection = library.collection("x")

    def fingerprint() -> Any:
        return within(collection.fingerprint())

    upserted(collection, [document("a")], fingerprint="one")
    assert fingerprint() == "one"
    upserted(collection, [LoadFailure("b", "read", "gone")], fingerprint="two")
    assert fingerprint() is None


KILLED = """
import asyncio, sys
from collections.abc import AsyncGenerator
from pathlib import Path
from passages import Bags, document, opened
from headrace.retrieval.embedded.collection import Upsert

async def documents():
    for n in range(3000):
        yield document(f"passage {n}")

def told(done):
    print(done.numAdded, flush=True)
    if done.numAdded >= 1000:
        sys.stdin.read()  # until the end: the parent kills this process

with opened(Path(sys.argv[1]), sys.argv[2]) as library:
    asyncio.run(Upsert(library.collection("x", Bags()), cleanup="full", progress=told).run(documents()))
"""


def test_a_killed_upsert_continues_without_doubles_and_without_gaps(tmp_path: Path):
    command = [sys.executable, "-c", KILLED, str(tmp_path / "data"), url_of(tmp_path / "data")]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parent, text=True
    )
    assert process.stdout
    with process:
        assert [process.stdout.readline() for _ in range(2)] == ["512\n", "1024\n"]
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    wanted = [document(f"passage {n}") for n in range(3000)]
    with opened(tmp_path / "data") as library:
        model = Bags()
        collection = library.collection("x", model)
        assert upserted(collection, wanted, cleanup="full") == (3000 - 1024, 0, 1024, 0)
        assert texts(collection) == sorted(one.pageContent for one in wanted)
        assert len(model.asked) == 3000 - 1024
        for number in (0, 1023, 1024, 2999):
            (hit,) = within(collection.search(Search(text=f"passage {number}", k=1)))
            assert hit.document.pageContent == f"passage {number}"
            assert within(collection.search(Search(text=f"{number}", mode="lexical")))[0].document == hit.document


def test_kept_vectors_are_not_paid_for_twice_and_the_oldest_go_first(library: Library):
    model = Bags(16)
    cached = library.cached(model)
    first = within(cached.embed(["a", "b", "a"]))
    assert list(first[0]) == list(first[2]) == list(model.vector("a"))
    assert within(cached.embed(["b", "a"])) == [first[1], first[0]]
    assert model.asked == ["a", "b"]

    from headrace.retrieval.embedded.cached import CachedEmbeddings

    small = CachedEmbeddings(model, library._database, kept=3 * 16 * 4)
    within(small.embed(["c", "d"]))
    within(small.embed(["b", "c", "d", "a"]))
    assert model.asked == ["a", "b", "c", "d", "a"]


def test_vectors_of_another_model_are_not_taken_for_ones_own(library: Library):
    one, two = Bags(8, "one"), Bags(8, "two")
    within(library.cached(one).embed(["a"]))
    within(library.cached(two).embed(["a"]))
    assert two.asked == ["a"]


async def nothing() -> AsyncGenerator[Document]:
    for none in ():
        yield none


def test_an_upsert_of_nothing_does_nothing(library: Library):
    assert within(Upsert(library.collection("x", Bags())).run(nothing())) == Upserted()


def test_kept_vectors_of_a_model_that_has_changed_are_made_anew(library: Library):
    before, after = Bags(8), Bags(16)
    within(library.cached(before).embed(["a", "b"]))
    found = within(library.cached(after).embed(["a", "new"]))
    assert [len(vector) for vector in found] == [16, 16]
    collection = library.collection("x", library.cached(after))
    upserted(collection, [document("a")])
    assert upserted(collection, [document("b")]) == (1, 0, 0, 0)
    within(library.cached(before).embed(["what?"]))
    assert within(collection.search(Search(text="what?", k=2)))
