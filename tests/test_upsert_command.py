"""`headrace upsert` as people run it."""

from pathlib import Path

import pytest
from servers import node
from test_cli import done, headrace, refused, wrote
from uploads import reading


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a flow named `birds` that reads the files of a folder."""
    place = tmp_path_factory.mktemp("upserted")
    loader = node("folderFiles", "Document Loaders", folderPath="birds")
    flow = wrote(place / "birds.json", reading("http://127.0.0.1:9/v1", loader))
    done(headrace(place / "data", "import", str(flow)))
    birds = place / "data" / "files" / "birds"
    birds.mkdir(parents=True)
    for name in ("a.txt", "b.txt"):
        (birds / name).write_text("The Wren is small.")
    return place / "data"


def test_a_flow_is_upserted_by_its_name_with_a_summary(folder: Path) -> None:
    assert done(headrace(folder, "upsert", "birds")) == "2 added, 0 updated, 0 unchanged, 0 deleted\n"
    for name in ("bad.txt", "bad.pdf"):
        (folder / "files" / "birds" / name).write_bytes(b"\xff" * 100)
    result = headrace(folder, "upsert", "birds")
    assert result.returncode == 1
    assert result.stdout == "0 added, 0 updated, 2 unchanged, 0 deleted, 2 documents failed\n"
    for line, name in zip(result.stderr.splitlines(), ("bad.pdf", "bad.txt"), strict=True):
        assert line.startswith(f"not stored: '{name}' could not be read: ")


def test_a_store_that_the_flow_has_not_is_named(folder: Path) -> None:
    assert "'memoryVectorStore_0'" in refused(headrace(folder, "upsert", "birds", "--store", "other"))
