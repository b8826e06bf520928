"""How `make docs` renders these pages: README and docs, as one site that loads nothing from other hosts.

The pages and their order are those of README's table, so a page is listed once.
"""

import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx

import headrace

ROOT = Path(__file__).parents[1]

project = "Headrace"
author = "the Headrace authors"
project_copyright = "the Headrace authors, Apache 2.0"
version = release = headrace.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "README"
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**"]
exclude_patterns = [".venv", "build", "dist", "**/node_modules", "sdk", "src", "tests", "benchmarks"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # the list of nodes has its headings one level down
default_role = "code"  # docstrings quote code with single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"

html_theme = "furo"
html_title = f"Headrace {version}"
html_show_sphinx = False
html_copy_source = False
TYPEDOC = ROOT / "build" / "typedoc"
html_extra_path = [str(TYPEDOC)] if TYPEDOC.exists() else []  # the TypeScript library's reference, where it was made
html_theme_options = {"navigation_with_keys": True}

LINK = re.compile(r"\]\(((?!\w+://)[^)#\s]+)\.md[^)]*\)")


def listed(text: str) -> list[str]:
    """The pages that a page links to, each once."""
    return list(dict.fromkeys(LINK.findall(text)))


def add_contents(app: Sphinx, name: str, source: list[str]) -> None:
    """Gives the pages that list others a table of contents, which only the site's navigation shows."""
    if name.endswith("README"):
        pages = listed(source[0].partition("\n## More\n")[2] or source[0])
        more = ["CHANGELOG", "docs/reference"] if name == root_doc else []
        source[0] += "\n```{toctree}\n:hidden:\n:maxdepth: 1\n\n" + "\n".join(["", *pages, *more]) + "\n```\n"


def add_index(app: Sphinx, failure: Exception | None) -> None:
    """The front page under the name that web servers look for."""
    if not failure and app.builder.format == "html":
        shutil.copyfile(Path(app.outdir) / f"{root_doc}.html", Path(app.outdir) / "index.html")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", add_contents)
    app.connect("build-finished", add_index)
