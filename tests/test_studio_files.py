"""The studio's page and files as they are sent, and that the package has what its sources make."""

import gzip
import re
import subprocess
from pathlib import Path

import pytest
from servers import Server
from typescript import installed, run

from headrace.gen import ROOT
from headrace.javascript import STUDIO, studio

SOURCES = Path(__file__).parents[1] / "studio"
FIRST_LOAD = 300_000  # bytes, packed


def tools() -> Path:
    """The sources, with their tools installed."""
    node = re.match(r"v(\d+)\.(\d+)", run("node", "--version", cwd=ROOT)) if installed_node() else None
    if node is None or (int(node[1]), int(node[2])) < (20, 19):
        pytest.skip("Node 20.19 or newer is not installed, so the studio is not built")
    return installed(SOURCES, "the studio")


def installed_node() -> bool:
    try:
        return subprocess.run(["node", "--version"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def test_the_studio_in_the_package_is_what_its_sources_make() -> None:
    tools()
    made = studio(ROOT)
    assert {path.name for path in made} == {path.name for path in (ROOT / STUDIO).iterdir()}
    assert [path.name for path, text in made.items() if path.read_text() != text] == [], "run `make gen`"


def test_the_studio_passes_the_checks_of_its_own_tools() -> None:
    run("npm", "run", "--silent", "check", cwd=tools())


def test_the_page_allows_nothing_but_this_server(server: Server) -> None:
    page = server.send("GET", "/studio")
    assert (page.status, page.headers["Cache-Control"]) == (200, "no-cache")
    assert page.headers["Content-Security-Policy"] == server.send("GET", "/").headers["Content-Security-Policy"]
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|https?://", page.text)


def test_the_first_load_is_small(server: Server) -> None:
    """Counts every file of both pages, of which the studio's needs not even all."""
    page = server.send("GET", "/studio").text
    folder = re.search(r"static/[0-9a-f]+", page)
    assert folder
    names = {name for text in (page, server.send("GET", "/").text) for name in re.findall(r'"(static/[^"]+)"', text)}
    sizes = {name: len(gzip.compress(server.send("GET", f"/{name}").body)) for name in names}
    assert f"{folder[0]}/studio/studio.js" in sizes
    assert sum(sizes.values()) < FIRST_LOAD
