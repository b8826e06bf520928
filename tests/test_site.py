"""The site that `make docs` makes: every page is there, every link leads somewhere, nothing comes from elsewhere."""

import re
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page
from scripted import serving
from test_docs import PAGES, ROOT, named
from typescript import SDK, built, installed, run

REFERENCE = SDK / "typedoc"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "-c", "docs", "."]
    done = subprocess.run([*command, str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def test_every_page_is_on_the_site_and_in_its_navigation(site: Path) -> None:
    front = (site / "index.html").read_text()
    pages = [named(path).removesuffix(".md") + ".html" for path in PAGES]
    assert [page for page in pages if not (site / page).exists()] == []
    # The decisions have a list of their own, and Sphinx refuses a page that no list has.
    listed = [page for page in pages if page != "README.html" and not page.startswith("docs/decisions/0")]
    assert [page for page in listed if f'<a class="reference internal" href="{page}">' not in front] == []


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name in http.server
        pass


def test_reading_the_site_asks_no_other_host(site: Path, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))) as server:
        front = f"http://127.0.0.1:{server.server_port}/"
        for path in ("", "docs/streaming.html", "docs/reference.html", "search.html?q=resume"):
            page.goto(front + path)
        page.wait_for_selector("#search-results li")
        assert page.locator("#search-results li a", has_text="Resume a stream").count()
    assert {urlsplit(url).hostname for url in asked if not url.startswith("data:")} == {"127.0.0.1"}
    assert {urlsplit(url).path.rpartition(".")[2] for url in asked} >= {"html", "css", "js"}


def test_the_reference_has_every_public_name_of_the_python_client(site: Path) -> None:
    import headrace

    reference = (site / "docs/reference.html").read_text()
    names = {name for name in headrace.__all__ if name not in ("__version__", "Event", "HeadraceError", "Prediction")}
    assert [name for name in sorted(names) if f'id="headrace.{name}"' not in reference] == []
    for name in ("Headrace.stream", "Stream.cancel", "Stream.run_id", "events.Token", "events.Prediction"):
        assert f'id="headrace.{name}"' in reference
    assert 'id="headrace.errors.HeadraceError"' in reference


def test_the_reference_of_the_typescript_library_is_complete(tmp_path: Path) -> None:
    built()
    installed(REFERENCE, "the reference of the TypeScript library")
    run("npm", "run", "build", "--", "--out", str(tmp_path), cwd=REFERENCE)  # what is not described fails it
    assert "createPrediction" in (tmp_path / "classes" / "HeadraceClient.html").read_text()
    pages = "".join(path.read_text() for path in tmp_path.rglob("*.html"))
    assert re.findall(r"""<(?:script|link|img|iframe)[^>]+(?:src|href)="(?:https?:)?//[^"]+""", pages) == []
