"""Folders that Flowise's Faiss node wrote: read once, anew when they change, and never a pickle."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calls import context
from passages import BIRDS, Bags, opened
from waiting import within

from headrace.engine.inputs import read
from headrace.engine.ports import Search
from headrace.errors import FlowError
from headrace.nodes import built_in
from headrace.retrieval.library import Library

faiss: Any = pytest.importorskip("faiss", reason="faiss-cpu is not installed")


def written(folder: Path, texts: Sequence[str]) -> None:
    """What Flowise writes."""
    folder.mkdir(parents=True, exist_ok=True)
    index = faiss.IndexFlatL2(64)
    index.add(np.array([Bags().vector(text) for text in texts], np.float32))
    faiss.write_index(index, str(folder / "faiss.index"))
    passages = [[f"id-{n}", {"pageContent": text, "metadata": {"place": n}}] for n, text in enumerate(texts)]
    (folder / "docstore.json").write_text(json.dumps([passages, {str(n): f"id-{n}" for n in range(len(texts))}]))


def found(library: Library, base: str, model: Bags | None = None) -> list[tuple[str, Any]]:
    async def run() -> list[tuple[str, Any]]:
        values = {"basePath": base, "embeddings": model or Bags(), "output": "vectorStore"}
        store: Any = await read(built_in()["faiss"], values, "faiss").build(context(library=library))
        hits = await store.search(Search(text=BIRDS[1], k=2))
        return [(hit.document.pageContent, hit.document.metadata) for hit in hits]

    return within(run())


def test_an_index_of_flowise_is_read_without_embedding_anything_anew(tmp_path: Path):
    with opened(tmp_path) as library:
        written(library.files / "birds", BIRDS)
        model = Bags()
        assert found(library, "birds", model)[0] == (BIRDS[1], {"place": 1})
        assert model.asked == [BIRDS[1]]


def test_an_index_that_changes_is_read_anew(tmp_path: Path):
    with opened(tmp_path) as library:
        written(library.files / "birds", BIRDS[:1])
        assert found(library, "birds") == [(BIRDS[0], {"place": 0})]
        written(library.files / "birds", BIRDS)
        assert found(library, "birds")[0] == (BIRDS[1], {"place": 1})


def test_a_pickle_is_refused_and_not_read(tmp_path: Path):
    with opened(tmp_path) as library:
        folder = library.files / "birds"
        folder.mkdir(parents=True)
        (folder / "index.faiss").write_bytes(b"")
        (folder / "index.pkl").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
        with pytest.raises(FlowError, match=r"as a pickle, which may run code .*docstore\.json"):
            found(library, "birds")


def test_no_path_leads_out_of_the_data_folder(tmp_path: Path):
    with opened(tmp_path / "data") as library:
        written(tmp_path / "outside", BIRDS)
        library.files.mkdir()
        for base in (str(tmp_path / "outside"), "../../outside"):
            with pytest.raises(FlowError, match="nothing was upserted"):
                found(library, base)


def test_a_damaged_index_is_named(tmp_path: Path):
    with opened(tmp_path) as library:
        written(library.files / "birds", BIRDS)
        (library.files / "birds" / "faiss.index").write_bytes(b"IxF2 cut")
        with pytest.raises(FlowError, match="the Faiss folder 'birds' cannot be read"):
            found(library, "birds")
