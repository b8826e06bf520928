"""The playground's page and files as they are sent, and that the package has them whole."""

import gzip
import re
from pathlib import Path

from servers import Reply, Server, serving
from typescript import built
from waiting import eventually

from headrace.brand.look import Brand
from headrace.gen import ROOT
from headrace.javascript import LIBRARY, library
from headrace.server.pages import theme


def files(page: Reply) -> list[str]:
    return re.findall(r'(?:src|href)="(static/[^"]+)"', page.text)


def test_the_page_allows_nothing_but_this_server(server: Server) -> None:
    page = server.send("GET", "/")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["form-action"] == policy["base-uri"] == "'none'"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|https?://", page.text)


def test_every_file_of_the_page_is_there_and_may_be_kept(server: Server) -> None:
    names = files(server.send("GET", "/"))
    assert len(names) > 20
    for name in names:
        file = server.send("GET", f"/{name}")
        assert file.status == 200, name
        assert file.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert file.headers["Content-Type"].startswith(("text/javascript", "text/css", "image/svg+xml"))
        packed = server.send("GET", f"/{name}", headers={"Accept-Encoding": "gzip"})
        assert gzip.decompress(packed.body) == file.body
        again = server.send("GET", f"/{name}", headers={"If-None-Match": file.headers["ETag"]})
        assert (again.status, again.body) == (304, b"")


def test_files_of_another_version_and_outside_of_the_folder_are_not_there(server: Server) -> None:
    digest = files(server.send("GET", "/"))[0].split("/")[1]
    for path in (f"/static/{'0' * 16}/app.js", f"/static/{digest}/nothing.js", f"/static/{digest}/../playground.py"):
        assert server.send("GET", path).status == 404
    assert server.send("GET", f"/static/{digest}/%2e%2e/playground.py").status == 404


def test_the_page_is_asked_for_again_each_time_but_sent_only_when_it_changed(server: Server) -> None:
    page = server.send("GET", "/")
    assert page.headers["Cache-Control"] == "no-cache"
    assert server.send("GET", "/", headers={"If-None-Match": page.headers["ETag"]}).status == 304


def test_what_stands_on_an_accent_can_be_read() -> None:
    assert "--on-accent-light: #fff" in theme(Brand(color="#0b6e99"))
    assert "--on-accent-dark: #000" in theme(Brand(darkColor="#6cc4ea"))


def test_the_first_start_prints_a_link_that_works(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--demo", HEADRACE_ADMIN_KEY="") as server:
        found = eventually(lambda: re.search(r"Playground: (\S+)#key=(\S+)", server.output.read_text()))
        assert found[1] == f"http://localhost:{server.port}/"
        headers = {"Authorization": f"Bearer {found[2]}"}
        assert len(server.send("GET", "/api/v1/chatflows", headers=headers).json) == 2
        server.stop()
    with serving(tmp_path / "data", HEADRACE_ADMIN_KEY="") as server:
        found = eventually(lambda: re.search(r"Playground: \S+/\?flow=(\S+)\n", server.output.read_text()))
        assert server.send("GET", f"/api/v1/public-chatbotConfig/{found[1]}").status == 200


def test_the_client_in_the_package_is_what_its_sources_make() -> None:
    built()
    made = library(ROOT)
    assert set(made) == {path for path in (ROOT / LIBRARY).rglob("*") if path.is_file()}
    assert [path.name for path, text in made.items() if path.read_text() != text] == [], "run `make gen`"
