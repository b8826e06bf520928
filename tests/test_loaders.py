"""Loaders: what they make of files, pages and repositories, good and bad."""

import base64
import io
import json
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import AsyncGenerator, Generator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
from calls import context
from files import docx, pdf
from passages import document, opened
from waiting import within

from headrace.engine.inputs import read
from headrace.engine.ports import LoadFailure
from headrace.errors import FlowError, ProviderUnavailable
from headrace.events import Document
from headrace.nodes import built_in
from headrace.retrieval.embedded.collection import Upsert
from headrace.retrieval.files import files_of
from headrace.retrieval.html_tree import selected
from headrace.retrieval.library import Library
from headrace.retrieval.office import pdf_documents
from headrace.retrieval.splitters import ChunkSplitter, recursively

FLOW = "the flow"


async def fetch(url: str, headers: Mapping[str, str]) -> AsyncGenerator[bytes]:
    """Reads the test's own server only; a real guard is stricter, and not this module's."""
    if urllib.parse.urlsplit(url).hostname != "127.0.0.1":
        raise ProviderUnavailable(f"{url} may not be reached")
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=dict(headers)), timeout=10) as reply:
            while block := reply.read(1 << 16):
                yield block
    except urllib.error.HTTPError as error:
        with error:
            raise ProviderUnavailable(f"{url} answered {error.code}") from None


@pytest.fixture
def library(tmp_path: Path) -> Generator[Library]:
    with opened(tmp_path / "data") as library:
        library._fetch = fetch
        (library.files / FLOW).mkdir(parents=True)
        yield library


def stored(library: Library, name: str, data: bytes | str) -> str:
    """Puts a file where a flow's files are, and returns what the flow says of it."""
    path = library.files / FLOW / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return f"FILE-STORAGE::{json.dumps([name])}"


def inline(data: bytes, name: str) -> str:
    return f"data:application/octet-stream;base64,{base64.b64encode(data).decode()},filename:{name}"


async def loaded_by(library: Library, name: str, **inputs: Any) -> Any:
    ctx = context(credentials={inputs.get("credential", ""): {"accessToken": "ghp_secret"}}, library=library, flow=FLOW)
    return await read(built_in()[name], inputs, name).build(ctx)


def loaded(library: Library, name: str, **inputs: Any) -> list[Document | LoadFailure]:
    async def work() -> list[Document | LoadFailure]:
        documents = await loaded_by(library, name, **inputs)
        return [one async for one in documents.read()]

    return within(work(), 60)


def failure(library: Library, name: str, **inputs: Any) -> str:
    (found,) = loaded(library, name, **inputs)
    assert isinstance(found, LoadFailure), found
    return str(found)


def texts(found: list[Document | LoadFailure]) -> list[str]:
    return [one.pageContent if isinstance(one, Document) else f"! {one}" for one in found]


# Kinds of files


def test_plain_text_has_the_metadata_of_flowise(library: Library):
    splitter = ChunkSplitter("x", recursively(["\n\n", ""], 10, 0))
    assert loaded(library, "plainText", text="one\n\nsecond one", metadata='{"source":"s"}', textSplitter=splitter) == [
        Document("one", {"loc": {"lines": {"from": 1, "to": 1}}, "source": "s"}),
        Document("second o", {"loc": {"lines": {"from": 3, "to": 3}}, "source": "s"}),
        Document("ne", {"loc": {"lines": {"from": 3, "to": 3}}, "source": "s"}),
    ]


def test_text_comes_as_one_text_for_the_output_text(library: Library):
    value = stored(library, "a.txt", "one\n\ntwo")
    assert within(loaded_by(library, "textFile", txtFile=value, output="text")) == "one\n\ntwo"
    with pytest.raises(FlowError, match=r"'b\.txt' could not be opened: No such file"):
        within(loaded_by(library, "textFile", txtFile="FILE-STORAGE::b.txt", output="text"))


@pytest.mark.parametrize("data", ["größe", "\ufeffgröße", "größe".encode("utf-16")], ids=["utf-8", "bom", "utf-16"])
def test_text_files_of_usual_encodings_are_read(library: Library, data: Any):
    assert loaded(library, "textFile", txtFile=stored(library, "a.txt", data)) == [document("größe", "a.txt")]


def test_files_inside_the_flow_are_read(library: Library):
    one, two = inline(b"one", "a.txt"), "data:text/plain,two%20words,filename:b.txt"
    assert loaded(library, "textFile", txtFile=one) == [document("one", "a.txt")]
    assert loaded(library, "textFile", txtFile=json.dumps([one, two])) == [
        document("one", "a.txt"),
        document("two words", "b.txt"),
    ]


def test_pdf_files_are_read_by_page_or_as_one(library: Library):
    value = inline(pdf("Herons spear fish", "Swifts sleep"), "birds.pdf")
    known = {"source": "birds.pdf", "pdf": {"totalPages": 2}}
    assert loaded(library, "pdfFile", pdfFile=value) == [
        Document("Herons spear fish", {**known, "loc": {"pageNumber": 1}}),
        Document("Swifts sleep", {**known, "loc": {"pageNumber": 2}}),
    ]
    assert loaded(library, "pdfFile", pdfFile=value, usage="perFile") == [
        Document("Herons spear fish\n\nSwifts sleep", known)
    ]


def test_word_documents_are_read(library: Library):
    inner = (
        "<w:p><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t></w:r></w:p><w:tbl><w:tr><w:tc><w:p><w:r><w:t>cell</w:t></w:r></w:p>"
    )
    value = stored(library, "a.docx", docx(inner=f"{inner}</w:tc></w:tr></w:tbl>"))
    for name in ("docxFile", "microsoftWord"):
        assert texts(loaded(library, name, docxFile=value)) == ["a\tb\n\ncell"]


@pytest.mark.parametrize("encoding", ["shift_jis", "utf-32", "unheard-of"])
def test_a_document_in_an_encoding_that_xml_cannot_have_is_named(library: Library, encoding: str):
    stranger = io.BytesIO()
    with zipfile.ZipFile(stranger, "w") as archive:
        archive.writestr("word/document.xml", f'<?xml version="1.0" encoding="{encoding}"?><d/>')
    value = stored(library, "a.docx", stranger.getvalue())
    assert "no Word document" in failure(library, "docxFile", docxFile=value)


def test_csv_files_give_a_document_a_row(library: Library):
    value = stored(library, "a.csv", 'name,about\nHeron,"tall, grey"\n\nSwift,fast\n')
    assert loaded(library, "csvFile", csvFile=value) == [
        document("name: Heron\nabout: tall, grey", "a.csv", line=1),
        document("name: Swift\nabout: fast", "a.csv", line=2),
    ]
    assert texts(loaded(library, "csvFile", csvFile=value, columnName="about")) == ["tall, grey", "fast"]
    assert failure(library, "csvFile", csvFile=value, columnName="size") == (
        "'a.csv' could not be read: it has no column 'size', only 'name', 'about'"
    )


def test_json_files_give_their_texts(library: Library):
    value = stored(library, "a.json", json.dumps([{"a": "one", "b": {"c": "two"}, "n": 1}, {"a": "three"}]))
    assert loaded(library, "jsonFile", jsonFile=value)[1] == document("two", "a.json", line=2)
    assert texts(loaded(library, "jsonFile", jsonFile=value, pointersName="a, b/c")) == ["one", "three", "two"]
    assert texts(loaded(library, "jsonFile", jsonFile=value, separateByObject=True)) == [
        'a: one\nb: {"c":"two"}\nn: 1',
        "a: three",
    ]


def test_json_lines_give_what_the_pointer_finds(library: Library):
    value = stored(library, "a.jsonl", '{"t":{"x":"one"}}\n\n{"no":1}\n{"t":{"x":[2]}}\n')
    assert loaded(library, "jsonlinesFile", jsonlinesFile=value, pointerName="t/x") == [
        document("one", "a.jsonl", line=1),
        document("[2]", "a.jsonl", line=4),
    ]


def test_metadata_can_be_added_and_left_out(library: Library):
    value = inline(pdf("text"), "a.pdf")
    (found,) = loaded(
        library, "pdfFile", pdfFile=value, metadata={"team": "x"}, omitMetadataKeys="source, loc.pageNumber"
    )
    assert isinstance(found, Document)
    assert found.metadata == {"pdf": {"totalPages": 1}, "loc": {}, "team": "x"}
    (found,) = loaded(library, "pdfFile", pdfFile=value, metadata={"team": "x"}, omitMetadataKeys="*")
    assert isinstance(found, Document)
    assert found.metadata == {"team": "x"}


def test_a_folder_is_read_file_by_file_and_one_bad_file_stops_no_other(library: Library, tmp_path: Path):
    for name, data in {
        "in/a.txt": b"text",
        "in/b.pdf": b"%PDF-1.4 damaged",
        "in/c.md": "# caf\xe9".encode("latin-1"),
        "in/d.json": b'["value"]',
        "in/e.bin": b"unknown",
        "in/.hidden.txt": b"hidden",
        "in/deep/f.csv": b"k\nv\n",
    }.items():
        stored(library, f"../{name}", data)
    outside = tmp_path / "secret.txt"
    outside.write_text("secret")
    (library.files / "in" / "link.txt").symlink_to(outside)
    (library.files / "in" / "loop.txt").symlink_to("loop.txt")
    found = texts(loaded(library, "folderFiles", folderPath="in", recursive=True))
    assert [text for text in found if text[0] != "!"] == ["text", "value", "k: v"]
    assert [text.split(":")[0] for text in found if text[0] == "!"] == [
        "! 'b.pdf' could not be read",
        "! 'c.md' could not be read",
    ]
    assert len(loaded(library, "folderFiles", folderPath="in", recursive=False)) == 4


# Bad files


@pytest.mark.parametrize(
    ("node", "field", "name", "data", "reason"),
    [
        ("pdfFile", "pdfFile", "a.pdf", b"", "it is damaged or no PDF"),
        ("pdfFile", "pdfFile", "a.pdf", b"hello", "it is damaged or no PDF"),
        ("pdfFile", "pdfFile", "a.pdf", pdf("x")[:-120], "it is damaged or no PDF|it holds no text"),
        ("docxFile", "docxFile", "a.docx", b"PK\x03\x04 cut", "it is damaged or no Word document"),
        ("docxFile", "docxFile", "a.docx", docx("text")[:-30], "it is damaged or no Word document"),
        ("docxFile", "docxFile", "a.docx", docx(inner="<w:p>"), "it is damaged or no Word document"),
        ("textFile", "txtFile", "a.txt", b"", "it holds no text"),
        ("textFile", "txtFile", "a.txt", b" \n\n", "it holds no text"),
        ("textFile", "txtFile", "a.txt", b"caf\xe9 au lait", r"not utf-8 text \(byte 0xe9\): save it as UTF-8"),
        ("textFile", "txtFile", "a.txt", b"a\0b", "it is not text: it holds NUL bytes"),
        ("csvFile", "csvFile", "a.csv", b"", "it holds no text"),
        ("csvFile", "csvFile", "a.csv", b"a,b\n\xff,1\n", "save it as UTF-8"),
        ("csvFile", "csvFile", "a.csv", b'a\n"' + b"x" * 200_000, "it is no CSV after line 1"),
        ("jsonFile", "jsonFile", "a.json", b'{"a": ', "it is no JSON"),
        ("jsonFile", "jsonFile", "a.json", b"[" * 100_000, "it is no JSON"),
        ("jsonFile", "jsonFile", "a.json", b"", "it holds no text"),
    ],
)
def test_a_bad_file_is_named_with_the_step_and_the_reason(
    library: Library, node: str, field: str, name: str, data: bytes, reason: str
):
    text = failure(library, node, **{field: stored(library, name, data)})
    assert text.startswith(f"{name!r} could not be read: ")
    assert re.search(reason, text), text


PEAK = """
def peak():
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024  # MiB; what getrusage says begins with the parent's
"""

BOMB = (
    PEAK
    + """
import sys
from headrace.errors import FlowError
from headrace.retrieval.office import docx_documents
try:
    with open(sys.argv[1], "rb") as file:
        list(docx_documents(file, "a.docx"))
except FlowError as error:
    print(peak(), error)
"""
)


@pytest.mark.skipif(sys.platform != "linux", reason="measured from /proc")
def test_a_zip_bomb_is_not_unpacked(tmp_path: Path):
    bomb = docx(inner="<w:p>" + " " * (200 << 20) + "</w:p>")
    assert len(bomb) < 1 << 20
    (tmp_path / "a.docx").write_bytes(bomb)
    command = [sys.executable, "-c", BOMB, str(tmp_path / "a.docx")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    megabytes, _, reason = done.stdout.partition(" ")
    assert "may be made to fill memory" in reason
    assert int(megabytes) < 100


def test_growing_entities_do_not_grow(library: Library):
    names = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(12))
    inner = docx(inner="<w:p><w:r><w:t>&e12;</w:t></w:r></w:p>", method=0)
    head = f'<!DOCTYPE d [<!ENTITY e0 "x">{names}]>'
    with zipfile.ZipFile(io.BytesIO(inner)) as archive:
        text = archive.read("word/document.xml").decode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("word/document.xml", head + text)
    assert "damaged" in failure(library, "docxFile", docxFile=stored(library, "a.docx", file.getvalue()))


BIG = (
    PEAK
    + """
import asyncio, sys
from pathlib import Path
from headrace.retrieval.files import File
from headrace.retrieval.loading import FileDocuments, Finish
from headrace.retrieval.splitters import ChunkSplitter, recursively
from headrace.retrieval.text_decoding import text_documents

async def main():
    splitter = ChunkSplitter("x", recursively(["\\n\\n", "\\n", " ", ""], 1000, 0))
    count = size = 0
    async for one in FileDocuments([(File("big.txt", Path(sys.argv[1])), text_documents)], Finish(splitter), "").read():
        count += 1
        size += len(one.pageContent)
    print(count, size, peak())

asyncio.run(main())
"""
)


@pytest.mark.skipif(sys.platform != "linux", reason="measured from /proc")
def test_a_file_of_200_mb_is_streamed(tmp_path: Path):
    line = "A line of text that says nothing much, but is as long as lines of text are.\n"
    with (tmp_path / "big.txt").open("w") as file:
        for _ in range(200 * 1024 * 1024 // (len(line) * 1000)):
            file.write(line * 1000)
    done = subprocess.run(
        [sys.executable, "-c", BIG, str(tmp_path / "big.txt")], capture_output=True, text=True, check=True, timeout=120
    )
    count, size, megabytes = map(int, done.stdout.split())
    assert count > 200_000
    assert size > 198 * 1024 * 1024
    assert megabytes < 150


def test_of_a_file_that_fails_halfway_nothing_is_stored(library: Library):
    good, bad = "paragraph one\n\n" * 10, ("good line\n" * 400_000).encode() + b"\xff"
    stored(library, "../in/a.txt", good)
    stored(library, "../in/b.txt", bad)
    stored(library, "../in/c.txt", good)

    async def work() -> Any:
        splitter = ChunkSplitter("x", recursively(["\n\n", "\n", ""], 2000, 0))
        documents = await loaded_by(library, "folderFiles", folderPath="in", textSplitter=splitter)
        done = await Upsert(collection, cleanup="full").run(documents.read())
        return done, await collection.database.read(
            lambda c: c.exec_driver_sql("SELECT DISTINCT source FROM chunk ORDER BY 1").scalars().all()
        )

    collection = library.collection("x")
    done, sources = within(work(), 60)
    assert [one.source for one in done.failures] == ["b.txt"]
    assert sources == ["a.txt", "c.txt"]
    assert done.numAdded == 2


@pytest.mark.parametrize(
    "value",
    [
        "FILE-STORAGE::../../secret.key",
        'FILE-STORAGE::["/etc/passwd"]',
        'FILE-STORAGE::["../other/a.txt"]',
        'FILE-STORAGE::["a\\u0000b"]',
        "FILE-STORAGE::[not json",
        "/etc/passwd",
        "data:text/plain;base64,§§§,filename:x",
        "data:text/plain;base64,QQ==QQ==,filename:x",
        '["/etc/passwd"]',
        "[1]",
    ],
)
def test_no_path_leads_out_of_the_folder(library: Library, value: str):
    with pytest.raises(FlowError, match=r"outside of the folder|is no file|no list of files|is damaged"):
        files_of(value, library.files / FLOW)


@pytest.mark.parametrize("size", [0, 1, 2, 3 << 20, (3 << 20) + 1, 7 << 20])
def test_a_file_in_the_flow_comes_back_whole_whatever_its_size(size: int):
    data = bytes(range(256)) * (size // 256 + 1)
    (found,) = files_of(inline(data[:size], "a,b.bin"), Path("nowhere"))
    assert (found.name, found.content) == ("a,b.bin", data[:size])


def test_a_link_out_of_the_folder_is_refused(library: Library, tmp_path: Path):
    (library.files / FLOW / "link.txt").symlink_to(tmp_path)
    with pytest.raises(FlowError, match="outside"):
        files_of("FILE-STORAGE::link.txt", library.files / FLOW)
    with pytest.raises(FlowError, match="outside"):
        loaded(library, "folderFiles", folderPath="/etc", recursive=True)
    with pytest.raises(FlowError, match="no folder 'nowhere'"):
        loaded(library, "folderFiles", folderPath="nowhere", recursive=True)


# The web


class Site(BaseHTTPRequestHandler):
    pages: ClassVar[Mapping[str, bytes]] = {}
    seen: ClassVar[list[tuple[str, Mapping[str, str]]]] = []

    def do_GET(self) -> None:
        self.seen.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
        page = self.pages.get(urllib.parse.urlsplit(self.path).path)
        self.send_response(404 if page is None else 200)
        self.end_headers()
        self.wfile.write(page or b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name in http.server
        pass


@pytest.fixture
def site() -> Generator[tuple[str, type[Site]]]:
    class Own(Site):
        seen: ClassVar[list[tuple[str, Mapping[str, str]]]] = []

    with ThreadingHTTPServer(("127.0.0.1", 0), Own) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", Own
        server.shutdown()
        thread.join(10)


PAGES = {
    "/": b"<title>Home</title><script>x()</script><p>Welcome</p><a href='/a#x'>a</a><a href='http://10.0.0.1/'>out</a>",
    "/a": b"<main>Page A</main><nav>menu</nav><a href='/b'>b</a><a href='/'>home</a><a href='/gone'>x</a>",
    "/b": b"<p>Page B</p><a href='mailto:x@y'>mail</a><a href='http://[bad'>bad</a>",
    "/file": b"%PDF-1.4",
    "/empty": b"<html></html>",
}


def test_one_page_is_read_as_text(library: Library, site: tuple[str, type[Site]]):
    url, server = site
    server.pages = PAGES
    assert loaded(library, "cheerioWebScraper", url=f"{url}/") == [
        Document("Welcome\naout", {"source": f"{url}/", "title": "Home"})
    ]
    assert texts(loaded(library, "cheerioWebScraper", url=f"{url}/a", selector="main")) == ["Page A"]
    with pytest.raises(FlowError, match="'><' is not a CSS selector"):
        raise FlowError(failure(library, "cheerioWebScraper", url=f"{url}/a", selector="><"))


def test_a_crawl_stays_on_its_host_and_within_its_limit(library: Library, site: tuple[str, type[Site]]):
    url, server = site
    server.pages = PAGES
    found = texts(loaded(library, "cheerioWebScraper", url=f"{url}/", relativeLinksMethod="webCrawl", limit="10"))
    assert [text.split("\n")[0] for text in found] == [
        "Welcome",
        "Page A",
        "Page B",
        f"! '{url}/gone' could not be fetched: {url}/gone answered 404",
    ]
    assert len(server.seen) == 4
    assert len(loaded(library, "cheerioWebScraper", url=f"{url}/", relativeLinksMethod="webCrawl", limit=2)) == 2


def test_a_site_map_is_followed(library: Library, site: tuple[str, type[Site]]):
    url, server = site
    space = "xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'"
    server.pages = {
        **PAGES,
        "/map.xml": f"<sitemapindex {space}><sitemap><loc>{url}/pages.xml</loc></sitemap></sitemapindex>".encode(),
        "/pages.xml": f"<urlset {space}><url><loc>{url}/a</loc></url><url><loc> {url}/b </loc></url></urlset>".encode(),
    }
    how: dict[str, Any] = {"relativeLinksMethod": "scrapeXMLSitemap", "limit": 0}
    found = texts(loaded(library, "cheerioWebScraper", url=f"{url}/map.xml", **how))
    assert [text.split("\n")[0] for text in found] == ["Page A", "Page B"]
    assert "it is no site map" in failure(library, "cheerioWebScraper", url=f"{url}/b", **how)
    server.pages["/map.xml"] = b'<?xml version="1.0" encoding="shift_jis"?><urlset/>'
    assert "it is no site map" in failure(library, "cheerioWebScraper", url=f"{url}/map.xml", **how)


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/file", "upload the file instead"), ("/empty", "holds no text"), ("/none", "answered 404")],
)
def test_what_is_no_page_is_said(library: Library, site: tuple[str, type[Site]], path: str, reason: str):
    url, server = site
    server.pages = PAGES
    assert reason in failure(library, "cheerioWebScraper", url=url + path)


def test_parts_inside_of_chosen_parts_are_said_once(library: Library, site: tuple[str, type[Site]]):
    url, server = site
    server.pages = {"/": b"<p>Birds.</p>" + b"<p>x" * 20_000, "/list": b"<li>a<ul><li>b</ul><li>c<p>d</p>"}
    (found,) = texts(loaded(library, "cheerioWebScraper", url=f"{url}/", selector="p"))
    assert found == "Birds.\n" + "\n".join("x" * 20_000)
    assert texts(loaded(library, "cheerioWebScraper", url=f"{url}/list", selector="li, p")) == ["a\nb\nc\nd"]


def test_a_page_without_end_is_cut_off(library: Library, site: tuple[str, type[Site]]):
    url, server = site
    server.pages = {"/": b"x" * (11 << 20), "/hostile": b"<p>The Wren." + b"<a" * 500_000}
    for selector in ("", "p"):
        found = loaded(library, "cheerioWebScraper", url=f"{url}/hostile", selector=selector)
        assert texts(found) == ["The Wren."]
    assert "larger than 10 MiB" in failure(library, "cheerioWebScraper", url=f"{url}/")


def test_an_address_that_the_guard_refuses_is_a_failure_of_that_page(library: Library):
    assert "may not be reached" in failure(library, "cheerioWebScraper", url="http://169.254.169.254/latest")


def test_a_process_without_a_way_to_the_web_says_so(library: Library):
    library._fetch = None
    with pytest.raises(FlowError, match="does not fetch web pages"):
        loaded(library, "cheerioWebScraper", url="http://example.com")


def test_a_repository_is_read_over_githubs_api(library: Library, site: tuple[str, type[Site]]):
    url, server = site
    names = ["README.md", "docs/a.md", "docs/deep/b.md", "logo.png", "secret/x.md", "latin.txt", "gone.md"]
    tree = [{"path": name, "type": "blob", "size": 10} for name in names] + [{"path": "docs", "type": "tree"}]
    place = "/api/repos/own/repo"
    server.pages = {
        f"{place}/git/trees/dev%2Fx": json.dumps({"tree": tree}).encode(),
        **{f"{place}/contents/{name}": f"text of {name}".encode() for name in names[:5]},
        f"{place}/contents/latin.txt": b"\xe9",
    }
    inputs: dict[str, Any] = {
        "repoLink": "https://github.com/own/repo",
        "branch": "dev/x",
        "recursive": True,
        "githubInstanceApi": f"{url}/api",
        "ignorePath": '["secret/"]',
        "credential": "c",
    }
    found = loaded(library, "github", **inputs)
    assert found[0] == document("text of README.md", "README.md", repository="own/repo", branch="dev/x")
    assert [one.pageContent for one in found if isinstance(one, Document)] == [
        "text of README.md",
        "text of docs/a.md",
        "text of docs/deep/b.md",
    ]
    assert [str(one).split(":")[0] for one in found if isinstance(one, LoadFailure)] == [
        "'latin.txt' could not be read",
        "'gone.md' could not be fetched",
    ]
    assert {headers["authorization"] for _, headers in server.seen} == {"Bearer ghp_secret"}
    inputs |= {"repoLink": "https://github.com/own/repo/tree/dev/docs", "recursive": False}
    assert texts(loaded(library, "github", **inputs)) == ["text of docs/a.md"]


@pytest.mark.parametrize("link", ["https://github.com/own", "https://evil.example/own/repo", "own/repo"])
def test_a_link_that_is_no_repository_is_refused(library: Library, link: str):
    with pytest.raises(FlowError, match=r"is no repository|is not on"):
        loaded(library, "github", repoLink=link)


# Packages that are not installed


def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch):
    for name in ("pypdf", "bs4"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(FlowError, match=r"pip install '.\[rag\]'"):
        list(pdf_documents(io.BytesIO(pdf("x")), "a.pdf"))
    with pytest.raises(FlowError, match=r"pip install '.\[rag\]'"):
        selected("<p>", "main")


# Fingerprints


def test_fingerprints_change_with_what_they_stand_for(library: Library):
    def fingerprint(**inputs: Any) -> str:
        return within(loaded_by(library, "textFile", **inputs)).fingerprint

    value = stored(library, "a.txt", "one")
    first = fingerprint(txtFile=value)
    assert first == fingerprint(txtFile=value) != ""
    assert first != fingerprint(txtFile=value, metadata={"a": 1})
    assert first != fingerprint(txtFile=value, textSplitter=ChunkSplitter("x", str.split))
    stored(library, "a.txt", "another")
    assert first != fingerprint(txtFile=value)
    assert fingerprint(txtFile="FILE-STORAGE::missing") == ""
