"""Files of visitors are read in processes that are bounded, and end with whoever waits and with the server."""

import asyncio
import gzip
import http.client
import io
import json
import signal
import zipfile
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from files import docx
from jobs import broken, crashed, endless, filled, lied, own_pid, refused, spun
from servers import Server, serving
from uploads import form
from waiting import until, within

from headrace.engine.ports import LoadFailure
from headrace.errors import FlowError
from headrace.events import Document
from headrace.nodes.tools.openapi import known
from headrace.retrieval import parser_processes
from headrace.retrieval.files import File
from headrace.retrieval.folder import parse_for
from headrace.retrieval.html_text import page_at
from headrace.retrieval.loading import FileDocuments, Finish
from headrace.retrieval.parser_processes import ATTACHMENT, Bounds, bounded, kept_warm, result, results
from headrace.retrieval.site_map import site_map_of
from headrace.retrieval.text_decoding import text_documents

TAKES = {"fullFileUpload": {"status": True, "allowedUploadFileTypes": "text/csv,application/pdf,application/json"}}


async def read(found: AsyncGenerator[Any]) -> int:
    async with aclosing(found):
        return len([one async for one in found])


SOON = Bounds(cpu=0.3, wall=20.0, output=1 << 20)


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (spun, "0.3 seconds of computing"), (filled, "1024 MiB of memory"), (endless, "more than 1 MiB"),
        (broken, "ZeroDivisionError"), (crashed, "ended with status -11"), (refused, "it is no such file"),
        (lied, "Expected `int`"),
    ],
)  # fmt: skip
def test_work_out_of_bounds_is_ended_and_the_next_is_done(work: Any, reason: str) -> None:
    async def run() -> None:
        bounds = SOON if work is not filled else Bounds(wall=20.0)
        kind: type[Any] = str if work is endless else int
        async with kept_warm() as warm:
            with pytest.raises(FlowError, match=reason):
                await read(results(work, kind, bounds))
            assert await result(own_pid, int) in [reader.pid for reader in warm.pool.processes]

    within(run(), 60)


def test_work_that_is_waited_for_too_long_is_ended() -> None:
    async def run() -> None:
        with pytest.raises(FlowError, match=r"more than 0\.5 seconds"):
            await result(spun, int, Bounds(wall=0.5))

    within(run(), 30)


def test_a_process_is_used_again_and_ends_when_it_is_left() -> None:
    async def run() -> None:
        async with kept_warm() as warm:
            first = await result(own_pid, int)
            assert await result(own_pid, int) == first
            task = asyncio.create_task(result(spun, int))
            await until(lambda: all(one.spent for one in warm.pool.processes))  # in the middle of the job
            task.cancel()
            await asyncio.wait([task])
            await until(lambda: not Path(f"/proc/{first}").exists())
            assert not warm.pool.processes
            last = await result(own_pid, int)
        assert not Path(f"/proc/{last}").exists()

    within(run(), 60)


def busy(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "R"


# Files that are made to cost much


def pdf(pages: int, content: bytes, more: bytes = b"/FlateDecode") -> bytes:
    kids = b" ".join(b"%d 0 R" % (5 + n) for n in range(pages))
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    page = b"<< /Type /Page /Parent 2 0 R /Contents 3 0 R /Resources << /Font << /F1 4 0 R >> >> >>"
    stream = b"<< /Length %d /Filter %s >>\nstream\n%s\nendstream" % (len(content), more, content)
    tree = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, pages)
    out, places = io.BytesIO(b"%PDF-1.4\n"), list[int]()
    out.seek(0, io.SEEK_END)
    for number, body in enumerate([b"<< /Type /Catalog /Pages 2 0 R >>", tree, stream, font, *[page] * pages], 1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start, size = out.tell(), len(places) + 1
    out.write(b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table))
    out.write(b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (size, start))
    return out.getvalue()


def words(lines: int) -> bytes:
    return zlib.compress(b"BT /F1 12 Tf 100 700 Td " + b"(hello world) Tj 0 -12 Td " * lines + b"ET", 9)


def laughs() -> bytes:
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    return f"<?xml version='1.0'?><!DOCTYPE d [<!ENTITY l0 'ha'>{entities}]><d>&l11;</d>".encode()


def word(document: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", document)
    return out.getvalue()


BOMBS = {
    "columns.csv": ",".join(f"c{n}" for n in range(100_000)).encode() + b"\n" + b"a\n" * 300,
    "quoted.csv": b'a\n"' + b'""' * 3_000_000,
    "pages.pdf": pdf(500, words(40_000)),
    "flate.pdf": pdf(1, zlib.compress(zlib.compress(b" " * (1 << 30), 9), 9), b"[/FlateDecode /FlateDecode]"),
    "deep.pdf": b"%PDF-1.4\n1 0 obj\n" + b"[" * 200_000 + b"\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF",
    "deep.json": b"[" * 1_000_000,
    "deeper.json": b'{"a":' * 500 + b'"b"' + b"}" * 500,
    "laughs.docx": word(laughs()),
    "nested.docx": docx(inner="<w:tbl>" * 200_000),
    "inner.docx": word(word(b"0" * (64 << 20))),
    "bomb.docx": docx(inner="<w:p>" + " " * (100 << 20) + "</w:p>"),
    "long.jsonl": b'{"text": ' + b"[" * 3_000_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_that_is_made_to_cost_much_fails_within_bounds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bounds, parse = Bounds(cpu=4.0, wall=40.0, output=ATTACHMENT.output), parse_for(name, pointer="text")
    assert parse

    async def run() -> list[Document | LoadFailure]:
        documents = FileDocuments([(File(name, BOMBS[name]), parse)], Finish(), "", bounds)
        return [one async for one in documents.read()]

    *before, last = within(run(), 60)
    assert sum(len(one.pageContent) for one in before if isinstance(one, Document)) <= bounds.output
    assert isinstance(last, LoadFailure) or name == "deeper.json"


def test_a_small_text_needs_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser_processes.ParserProcess, "start", None)

    async def run() -> list[Document | LoadFailure]:
        return [
            one async for one in FileDocuments([(File("a.txt", b"The wren."), text_documents)], Finish(), "").read()
        ]

    assert within(run()) == [Document("The wren.", {"source": "a.txt"})]


@pytest.mark.parametrize(
    "html",
    [
        "<a " * 300_000,
        "<!--" * 200_000,
        "<p>" * 300_000,
        "<![CDATA[" * 100_000,
        "&" * 900_000,
        "<" * 900_000,
        "<a b='" * 150_000,
    ],
    ids=["tags", "comments", "paragraphs", "sections", "entities", "brackets", "quotes"],
)
def test_a_page_that_is_made_to_cost_much_is_read_within_bounds(html: str) -> None:
    async def run() -> bool:
        try:
            return bool(await page_at(html, "http://a.example/"))
        except FlowError as error:
            return "seconds" in str(error) or "no HTML" in str(error)

    assert within(run(), 90)


# The server


def attaching(server: Server, name: str, mime: str, content: bytes) -> http.client.HTTPConnection:
    """A request with a file that a model is to read, sent and not yet answered."""
    flow_id = server.create_flow({"nodes": [], "edges": []}, chatbotConfig=json.dumps(TAKES))
    body, headers = form(files=[(name, content, mime)])
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
    chat = "00000000-0000-4000-8000-000000000000"
    connection.request("POST", f"/api/v1/attachments/{flow_id}/{chat}", body, headers)
    return connection


def children(pid: int) -> list[int]:
    """Processes that parse for this one."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found if b"parser_program.py" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_a_file_that_says_too_much_is_refused_and_a_good_one_is_read(server: Server) -> None:
    with closing(attaching(server, "a.csv", "text/csv", BOMBS["columns.csv"])) as connection:
        reply = connection.getresponse()
        assert reply.status == 422
        assert "more than 16 MiB" in json.loads(reply.read())["message"]
    with closing(attaching(server, "a.csv", "text/csv", b"bird\nwren\n")) as connection:
        assert json.loads(connection.getresponse().read())[0]["content"] == "bird: wren"


@pytest.mark.parametrize("end", [None, signal.SIGTERM, signal.SIGKILL])
def test_parsing_ends_with_its_caller_and_with_the_server(tmp_path: Path, end: signal.Signals | None) -> None:
    with serving(tmp_path / "data") as server:
        connection = attaching(server, "a.pdf", "application/pdf", BOMBS["pages.pdf"])

        async def look() -> None:
            await until(lambda: any(busy(child) for child in children(server.process.pid)))
            (child,) = children(server.process.pid)
            if end is None:
                connection.close()
            else:
                server.process.send_signal(end)
            gone = Path(f"/proc/{child}")
            await until(lambda: not gone.exists())
            assert not gone.exists()

        within(look(), 60)
        connection.close()


# What other servers send, and what visitors upsert


def test_bounds_of_a_block_hold_for_all_that_is_read_in_it() -> None:
    async def run() -> None:
        with bounded(SOON), pytest.raises(FlowError, match=r"0\.3 seconds of computing"):
            await asyncio.create_task(result(spun, int, Bounds()))
        assert await result(own_pid, int, Bounds())

    within(run(), 30)


MAPS = {
    "laughs": laughs(),
    "deep": b"<a>" * 3_000_000,
    "packed twice": gzip.compress(b"<urlset>" + b" " * (11 << 20)),
    "none": b"\x00\xff",
    "an encoding that XML has not": b"<?xml version='1.0' encoding='idna'?><urlset/>",
}


@pytest.mark.parametrize("data", MAPS.values(), ids=MAPS.keys())
def test_a_site_map_that_is_none_is_refused_in_words(data: bytes) -> None:
    with pytest.raises(FlowError):
        within(site_map_of(data), 60)


APIS = {
    "deep": b"[" * 1_000_000,
    "deep in YAML": b"a: " + b"[" * 100_000,
    "anchors": "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9 if n else ['x'])}]" for n in range(12)).encode(),
    "no document": b'"text"',
    "nothing": b"",
    "not UTF-8": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("data", APIS.values(), ids=APIS.keys())
def test_an_openapi_document_that_is_none_is_refused_in_words(data: bytes) -> None:
    with pytest.raises(FlowError):
        within(known({}, data), 60)
