"""The embedded store: words, vectors, both; filters; the matrix file; other processes."""

import math
import os
import struct
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as example
from hypothesis import settings
from hypothesis import strategies as st
from passages import BIRDS, Bags, document, given, opened
from places import url_of
from waiting import within

from headrace.engine.ports import Search
from headrace.errors import FlowError
from headrace.events import Document
from headrace.retrieval.embedded.collection import Collection, Upsert
from headrace.retrieval.embedded.query_words import quoted_words
from headrace.retrieval.embedded.searcher import fused
from headrace.retrieval.library import Library

pytestmark = pytest.mark.usefixtures("kind")


@pytest.fixture
def library(tmp_path: Path) -> Generator[Library]:
    with opened(tmp_path / "data") as library:
        yield library


def birds(library: Library, embeddings: Bags | None = None, name: str = "birds") -> Collection:
    collection = library.collection(name, embeddings)
    within(collection.add([document(text, place=place) for place, text in enumerate(BIRDS)]))
    return collection


def found(collection: Collection, text: str, **how: Any) -> list[str]:
    hits = within(collection.search(Search(text=text, **how)))
    return [hit.document.pageContent.split()[1] for hit in hits]


def found_texts(collection: Collection, text: str, **how: Any) -> list[str]:
    return [hit.document.pageContent for hit in within(collection.search(Search(text=text, **how)))]


def test_an_empty_collection_finds_nothing(library: Library):
    assert within(library.collection("none", Bags()).search(Search(text="bird"))) == []


def test_an_upsert_of_no_documents_leaves_a_collection_that_finds_nothing(library: Library):
    collection = library.collection("nothing", Bags())
    within(Upsert(collection).run(given([])))
    assert within(collection.exists())
    assert within(collection.search(Search(text="bird"))) == []


def test_without_embeddings_words_are_found_and_the_collection_says_so(library: Library):
    collection = birds(library)
    assert collection.lexical
    assert found(collection, "Do any spear FISHES?") == ["Heron"]
    info = within(collection.info())
    assert (info.mode, info.chunks, info.embedding, info.dimensions) == ("lexical", 3, None, None)


def test_words_are_found_in_their_other_forms_and_without_accents(library: Library):
    collection = library.collection("x")
    within(collection.add([document("The café retries"), document("nothing alike")]))
    assert len(within(collection.search(Search(text="retry")))) == 1
    assert len(within(collection.search(Search(text="CAFE")))) == 1


def test_with_embeddings_the_nearest_vectors_win(library: Library):
    collection = birds(library, Bags())
    info = within(collection.info())
    assert (info.mode, info.embedding, info.dimensions) == ("vectors", "bags", 64)
    hits = within(collection.search(Search(text=BIRDS[2], k=2)))
    assert hits[0].document.pageContent == BIRDS[2]
    assert hits[0].document.metadata == {"source": "birds.txt", "place": 2}
    assert math.isclose(hits[0].score, 1, abs_tol=1e-5)
    assert hits[0].score > hits[1].score


def test_a_vector_may_be_given_instead_of_a_text(library: Library):
    model = Bags()
    collection = birds(library, model)
    asked = list(model.asked)
    assert found(collection, "", vector=model.vector(BIRDS[1]), k=1) == ["Heron"]
    assert model.asked == asked


def test_hybrid_finds_what_only_words_find(library: Library):
    collection = library.collection("x", Bags(8))
    hidden = "quokka" + " and so on" * 40
    within(collection.add([document(f"tell me of {n}") for n in range(100)] + [document(hidden)]))
    assert hidden in found_texts(collection, "quokka", mode="hybrid", k=4)
    assert hidden not in found_texts(collection, "quokka", k=4)


def test_fusion_prefers_what_both_rankings_have():
    both = fused([(1, 0.9), (2, 0.8), (3, 0.1)], [(4, 9.0), (2, 8.0)])
    assert [number for number, _ in both] == [2, 1, 4, 3]


def test_hits_under_the_threshold_are_left_out(library: Library):
    collection = birds(library, Bags())
    assert found(collection, BIRDS[0], threshold=0.99) == ["Kestrel"]
    assert found(collection, BIRDS[0], threshold=1.01) == []
    assert found(birds(library, name="words"), "falcon bird water fish", threshold=1.0) == ["Heron"]


def test_mmr_prefers_different_passages(library: Library):
    collection = library.collection("x", Bags())
    within(collection.add([document(f"red apple pie {n}") for n in range(5)] + [document("red wine")]))
    near = within(collection.search(Search(text="red apple pie", k=2)))
    spread = within(collection.search(Search(text="red apple pie", k=2, mode="mmr", diversity=0.9)))
    assert "red wine" not in [hit.document.pageContent for hit in near]
    assert "red wine" in [hit.document.pageContent for hit in spread]


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        ({"place": 1}, {1}),
        ({"place": {"$in": [0, 2]}}, {0, 2}),
        ({"place": [0, 2]}, {0, 2}),
        ({"place": {"$nin": [0]}}, {1, 2}),
        ({"place": {"$gt": 0, "$lte": 2}}, {1, 2}),
        ({"place": {"$gt": "0"}}, set()),
        ({"source": {"$gte": "a"}}, {0, 1, 2}),
        ({"place": {"$ne": 1}}, {0, 2}),
        ({"missing": None}, {0, 1, 2}),
        ({"missing": {"$ne": "x"}}, {0, 1, 2}),
        ({"missing": {"$nin": ["x"]}}, {0, 1, 2}),
        ({"missing": {"$exists": True}}, set()),
        ({"loc.page": 7}, {0, 1, 2}),
        ({"$or": [{"place": 0}, {"place": 2, "source": "birds.txt"}]}, {0, 2}),
        ({"$and": [{"place": {"$gte": 1}}, {"$not": {"place": 2}}]}, {1}),
        ({"$not": {"missing": {"$gt": 1}}}, {0, 1, 2}),
        ({"place') OR 1 --": 1}, set()),
        ({"source": "' OR 1=1 --"}, set()),
        ({}, {0, 1, 2}),
    ],
)
@pytest.mark.parametrize("model", [None, Bags()], ids=["words", "vectors"])
def test_filters_hold_for_words_and_for_vectors(
    library: Library, model: Bags | None, wanted: dict[str, Any], kept: set[int]
):
    collection = library.collection("x", model)
    within(collection.add([document(t, place=n, loc={"page": 7}) for n, t in enumerate(BIRDS)]))
    hits = within(collection.search(Search(text="the", filter=wanted)))
    assert {hit.document.metadata["place"] for hit in hits} == kept


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"a": {"$near": 1}}, r"no operator '\$near': use one of"),
        ({"$nor": []}, r"no operator '\$nor'"),
        ({"a": {"$in": 3}}, "takes a list"),
        ({"$or": {"a": 1}}, "takes a list of conditions"),
        ({"$not": 1}, "takes a condition"),
        ({"a": {"b": 1}}, "compares 'a' with"),
        ({'a"b': 1}, "cannot look at the key"),
    ],
)
def test_a_filter_that_cannot_be_read_says_why(library: Library, wanted: dict[str, Any], reason: str):
    collection = birds(library)
    with pytest.raises(FlowError, match=reason):
        found(collection, "bird", filter=wanted)


def test_a_filter_nested_without_end_is_refused(library: Library):
    wanted: dict[str, Any] = {"a": 1}
    for _ in range(5000):
        wanted = {"$not": wanted}
    with pytest.raises(FlowError, match="nested more than"):
        found(birds(library), "bird", filter=wanted)


@pytest.fixture(scope="module")
def flock(tmp_path_factory: pytest.TempPathFactory) -> Generator[Collection]:
    """One for all texts: opening one for each would take minutes."""
    with opened(tmp_path_factory.mktemp("once")) as library:
        yield birds(library)


@settings(max_examples=100, deadline=None)
@example(st.text(max_size=60))
def test_no_text_is_a_syntax_error(flock: Collection, text: str):
    hits = within(flock.search(Search(text=text)))
    assert len(hits) <= 3


@pytest.mark.parametrize(
    "text",
    ['"', "bird AND (", "NEAR(a b", "text:bird", "-bird", "bird*", "^bird", "\0bird", "'); DROP TABLE chunk; --"],
)
def test_operators_of_the_query_language_are_only_words(library: Library, text: str):
    collection = birds(library)
    within(collection.search(Search(text=text)))
    assert len(found(collection, "bird")) == 1


def test_a_long_question_is_cut_to_its_first_words():
    assert len(quoted_words(" ".join(f"w{n}" for n in range(10_000)))) == 40


def test_words_that_everything_holds_still_find_something(library: Library):
    collection = library.collection("x")
    within(collection.add([document(f"the the the {n}") for n in range(50)]))
    assert len(within(collection.search(Search(text="the", k=3)))) == 3


# The matrix file


def many(library: Library, count: int = 2500) -> Collection:
    collection = library.collection("many", Bags(16))
    within(collection.add([document(f"passage {n}") for n in range(count)]), 60)
    return collection


def matrix(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "data" / "vectors").iterdir()
    return path


def top(collection: Collection, text: str) -> str:
    return within(collection.search(Search(text=text, k=1)))[0].document.pageContent


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"x" * 1000),
        lambda path: path.write_bytes(path.read_bytes()[:-4]),
        lambda path: path.write_bytes(path.read_bytes()[:-4] + struct.pack("<f", 9.0)),
        lambda path: path.write_bytes(path.read_bytes().replace(b"HRVEC001", b"HRVEC999")),
    ],
    ids=["missing", "empty", "garbage", "cut", "changed", "of another kind"],
)
def test_a_matrix_that_is_lost_or_damaged_is_made_anew(tmp_path: Path, damage: Any):
    with opened(tmp_path / "data") as library:
        collection = many(library)
        assert top(collection, "passage 77") == "passage 77"
    path = matrix(tmp_path)
    whole = path.read_bytes()
    damage(path)
    with opened(tmp_path / "data") as library:
        assert top(library.collection("many", Bags(16)), "passage 77") == "passage 77"
    assert path.read_bytes() == whole


def test_a_whole_matrix_is_used_as_it_is(tmp_path: Path):
    with opened(tmp_path / "data") as library:
        top(many(library), "passage 1")
    before = matrix(tmp_path).stat()
    with opened(tmp_path / "data") as library:
        assert top(library.collection("many", Bags(16)), "passage 77") == "passage 77"
    assert matrix(tmp_path).stat() == before
    assert before.st_mode & 0o077 == 0


@pytest.mark.sqlite
def test_a_database_from_a_backup_is_believed_not_the_matrix(tmp_path: Path):
    data = tmp_path / "data"
    with opened(data) as library:
        many(library, 1)
    backup = (data / "headrace.sqlite").read_bytes()
    with opened(data) as library:
        assert top(many(library), "passage 77") == "passage 77"
    (data / "headrace.sqlite").write_bytes(backup)
    with opened(data) as library:
        collection = library.collection("many", Bags(16))
        within(collection.add([document(f"other {n}") for n in range(2500)]), 60)
        assert top(collection, "other 77") == "other 77"


def test_a_matrix_that_cannot_be_written_costs_only_memory(tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "vectors").write_text("in the way")
    with opened(tmp_path / "data") as library:
        collection = many(library)
        assert top(collection, "passage 77") == "passage 77"
        hits = within(collection.search(Search(text="passage", k=2500)))
        assert within(collection.delete([hit.document.id or "" for hit in hits])) == 2500
        assert within(collection.search(Search(text="passage 77"))) == []


def test_changes_after_the_matrix_was_written_are_seen(tmp_path: Path):
    with opened(tmp_path / "data") as library:
        collection = many(library)
        (hit,) = within(collection.search(Search(text="passage 77", k=1)))
        assert within(collection.delete([hit.document.id or ""])) == 1
        assert top(collection, "passage 77") != "passage 77"
        within(collection.add([document("something else")]))
        assert top(collection, "something else") == "something else"
        near = within(collection.search(Search(text="something else", k=2, mode="mmr")))
        assert near[0].document.pageContent == "something else"


def test_another_process_sees_what_is_added_and_deleted(tmp_path: Path):
    with opened(tmp_path / "data") as one, opened(tmp_path / "data") as two:
        mine, other = many(one), two.collection("many", Bags(16))
        assert top(other, "passage 7") == "passage 7"
        within(mine.add([document("brand new")]))
        assert top(other, "brand new") == "brand new"
        (hit,) = within(mine.search(Search(text="brand new", k=1)))
        within(other.delete([hit.document.id or "", "no id", "99", "9" * 5000]))
        assert top(mine, "brand new") != "brand new"


# Collections beside each other


def test_collections_do_not_mix(library: Library):
    one, two = birds(library, Bags(), "one"), birds(library, None, "two")
    within(two.add([document("The Wren is small.")]))
    assert "Wren" not in found(one, "small Wren")
    assert "Wren" in found(two, "small Wren")
    (hit,) = within(two.search(Search(text="Wren", k=1)))
    assert within(one.delete([hit.document.id or ""])) == 0


def test_a_dropped_collection_leaves_nothing(tmp_path: Path):
    with opened(tmp_path / "data") as library:
        collection = many(library)
        top(collection, "passage 1")
        path = matrix(tmp_path)
        within(collection.drop())
        assert not path.exists()
        assert within(collection.search(Search(text="passage"))) == []
        words = "chunk_text" if url_of(tmp_path / "data") else "chunk_text_docsize"
        for table in ("chunk", "chunk_vector", words):
            counted = f"SELECT count(*) FROM {table}"
            assert within(library._database.read(lambda c, s=counted: c.exec_driver_sql(s).scalar())) == 0
        assert top(many(library), "passage 5") == "passage 5"


def test_what_is_left_of_collections_that_are_gone_is_swept(tmp_path: Path):
    with opened(tmp_path / "data") as library:
        top(many(library), "passage 1")
    folder = tmp_path / "data" / "vectors"
    (folder / "77.f32").write_bytes(b"of a collection that is gone")
    (folder / "1.abcd").write_bytes(b"half-written long ago")
    os.utime(folder / "1.abcd", (0, 0))
    (folder / "1.ef01").write_bytes(b"another process is writing it")
    with opened(tmp_path / "data") as library:
        top(library.collection("many", Bags(16)), "passage 1")
    assert sorted(path.name for path in folder.iterdir()) == ["1.ef01", "1.f32"]


@pytest.mark.parametrize("k", [0, -1])
@pytest.mark.parametrize("model", [None, Bags()], ids=["words", "vectors"])
def test_no_hits_are_no_hits(library: Library, k: int, model: Bags | None):
    assert found(birds(library, model), "bird", k=k) == []


def test_a_question_embedded_by_another_model_is_refused(library: Library):
    birds(library, Bags())
    with pytest.raises(FlowError, match=r"embedded with 'bags' and the question with 'other'.*upsert"):
        found(library.collection("birds", Bags(name="other")), "bird")


def test_a_model_that_gives_other_dimensions_is_noticed(library: Library):
    birds(library, Bags(64))
    with pytest.raises(FlowError, match="vectors of 64 dimensions and the question one of 32"):
        found(library.collection("birds", Bags(32)), "bird")
    changed = library.collection("birds", Bags(32))
    with pytest.raises(FlowError, match=r"'new\.txt' could not be embedded: 'bags' gave 32 dimensions.*has 64"):
        within(changed.add([document("new", "new.txt")]))
    assert within(changed.info()).chunks == 3


def test_a_passage_without_words_can_be_stored_and_found_by_its_vector(library: Library):
    collection = library.collection("x", Bags())
    within(collection.add([Document("!?"), Document("…")]))
    assert len(within(collection.search(Search(text="?", k=2)))) == 2
