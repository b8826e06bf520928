"""The docs as documents: sections with page and heading, the same from a wheel, read anew when they change."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

from headrace.gen import ROOT
from headrace.retrieval.loading import FileDocuments, Finish
from headrace.retrieval.manual import pages, sections

SHOWS = """
import json
from headrace.retrieval import manual
print(json.dumps([manual.__file__, [[page.name, len(page.content)] for page in manual.pages()]]))
"""


def cut(text: str) -> list[tuple[str, str, str]]:
    found = sections(io.BytesIO(text.encode()), "docs/mill.md")
    return [(one.pageContent, one.metadata["page"], one.metadata["heading"]) for one in found]


def test_a_section_stands_below_its_headings():
    assert cut("# Mill\n\nOld.\n\n## Wheel\n\n### Blades\n\nFour.\n\n## Gate\n\nOak.\n") == [
        ("# Mill\n\nOld.", "Mill", "Mill"),
        ("# Mill\n\n## Wheel\n\n### Blades\n\nFour.", "Mill", "Blades"),
        ("# Mill\n\n## Gate\n\nOak.", "Mill", "Gate"),
    ]


def test_every_part_of_a_long_section_stands_below_its_headings():
    rows = [f"| `SETTING_{number}` | {'x' * 80} |" for number in range(100)]
    parts = [text for text, _, _ in cut("# Mill\n\n## Settings\n\n" + "\n".join(rows))]
    above = "# Mill\n\n## Settings\n\n"
    assert len(parts) > 1
    assert all(part.startswith(above) and len(part) < 2_500 for part in parts)
    assert "\n".join(part.removeprefix(above) for part in parts) == "\n".join(rows)


def test_a_comment_in_code_is_no_heading():
    assert [heading for _, _, heading in cut("# Mill\n\n```bash\n# turn it\nturn\n```\n")] == ["Mill"]


def test_links_marks_and_the_table_of_all_nodes_are_left_out():
    text = (
        "# Mill\n\nSee [the gate](gate.md).\n<!-- generated: nodes -->\n### wheel\n<!-- end -->\n\n| [a](a.md) | b |\n"
    )
    assert cut(text) == [("# Mill\n\nSee the gate.", "Mill", "Mill")]


def test_every_page_has_sections():
    names = {page.name for page in pages()}
    assert {"README.md", "docs/streaming.md", "docs/nodes.md"} <= names
    for page in pages():
        with page.open() as file:
            found = list(sections(file, page.name))
        assert found
        assert all(one.metadata["source"] == page.name and one.metadata["heading"] for one in found)


def test_changed_docs_are_other_documents(tmp_path: Path):
    def fingerprint() -> str:
        pages.cache_clear()
        return FileDocuments([(page, sections) for page in pages(tmp_path)], Finish(), "docs").fingerprint

    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "mill.md").write_text("# Mill")
    (tmp_path / "README.md").write_text("# Read")
    before = fingerprint()
    assert fingerprint() == before
    (tmp_path / "docs" / "mill.md").write_text("# Mull")
    assert fingerprint() != before
    pages.cache_clear()


def test_a_wheel_carries_the_docs_without_pictures(tmp_path: Path):
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
        assert {Path(name).suffix for name in archive.namelist() if name.startswith("headrace/pages/")} == {".md"}
    show = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'installed')!r})\n{SHOWS}"]
    done = subprocess.run(show, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60)
    where, found = json.loads(done.stdout)
    assert Path(where).is_relative_to(tmp_path)
    assert dict(found) == {page.name: len(page.content) for page in pages() if isinstance(page.content, bytes)}
