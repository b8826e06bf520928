"""`headrace upsert` as people run it."""

from pathlib import Path

from servers import node
from test_cli import done, headrace, refused, wrote
from uploads import reading


def imported(tmp_path: Path, *names: str) -> Path:
    """A data folder with a flow named `birds` that reads these files."""
    folder = tmp_path / "data"
    loader = node("folderFiles", "Document Loaders", folderPath="birds")
    done(headrace(folder, "import", str(wrote(tmp_path / "birds.json", reading("http://127.0.0.1:9/v1", loader)))))
    for name in names:
        (folder / "files" / "birds").mkdir(parents=True, exist_ok=True)
        (folder / "files" / "birds" / name).write_bytes(b"\xff" if name.startswith("bad") else b"The Wren is small.")
    return folder


def test_a_flow_is_upserted_by_its_name_with_a_summary(tmp_path: Path) -> None:
    folder = imported(tmp_path, "a.txt", "b.txt")
    assert done(headrace(folder, "upsert", "birds")) == "2 added, 0 updated, 0 unchanged, 0 deleted\n"
    assert done(headrace(folder, "upsert", "birds")) == "0 added, 0 updated, 2 unchanged, 0 deleted\n"


def test_what_could_not_be_read_is_named_and_the_rest_is_stored(tmp_path: Path) -> None:
    result = headrace(imported(tmp_path, "a.txt", "bad.txt"), "upsert", "birds")
    assert result.returncode == 1
    assert result.stdout == "1 added, 0 updated, 0 unchanged, 0 deleted, 1 documents failed\n"
    assert result.stderr.startswith("not stored: 'bad.txt' could not be read: ")


def test_a_store_that_the_flow_has_not_is_named(tmp_path: Path) -> None:
    folder = imported(tmp_path, "a.txt")
    assert "'memoryVectorStore_0'" in refused(headrace(folder, "upsert", "birds", "--store", "other"))
