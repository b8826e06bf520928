"""The guarded way out over real sockets: what is checked is what is connected to, and nothing comes without bound."""

import asyncio
import gzip
import socket
import ssl
import threading
import zlib
from collections.abc import Generator, Sequence
from contextlib import aclosing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from waiting import within

from headrace.engine.ports import FetchReply, FetchRequest
from headrace.errors import FetchFailed, FetchRefused
from headrace.providers.fetch import Fetcher, FetchLimits
from headrace.providers.guard import Allowed

MIB = 1024 * 1024


class Site(ThreadingHTTPServer):
    """Answers by path, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.gone = threading.Event()

    def url(self, path: str, host: str = "a.test") -> str:
        return f"http://{host}:{self.server_port}{path}"


class Page(BaseHTTPRequestHandler):
    server: Site  # pyright: ignore[reportIncompatibleVariableOverride]  # only our server makes pages

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((self.command, self.path, headers, body))
        kind, _, rest = self.path[1:].partition("/")
        getattr(self, f"send_{kind}")(rest)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer

    def reply(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_text(self, rest: str) -> None:
        self.reply(body=rest.encode(), X_Name="value")

    def send_status(self, rest: str) -> None:
        self.reply(int(rest), b"no")

    def send_to(self, rest: str) -> None:
        status, _, place = rest.partition("/")
        self.reply(int(status), Location=place.replace("PORT", str(self.server.server_port)))

    def send_loop(self, rest: str) -> None:
        self.reply(302, Location=f"/loop/{int(rest) + 1}")

    def send_big(self, rest: str) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            for _ in range(int(rest)):
                self.wfile.write(b"x" * MIB)
        except OSError:
            self.server.gone.set()

    def send_packed(self, rest: str) -> None:
        bodies = {
            "gzip": gzip.compress(b"hello"),
            "deflate": zlib.compress(b"hello"),
            "raw": zlib.compress(b"hello")[2:-4],
            "two": gzip.compress(b"hel") + gzip.compress(b"lo"),
            "bomb": gzip.compress(b"\0" * 100 * MIB),
            "empty": gzip.compress(b"") * 2000,
            "nothing": b"\x78\x9c" + b"\0\0\0\xff\xff" * 3 * MIB,
            "broken": b"not packed",
            "br": b"hello",
        }
        encoding = {"deflate": "deflate", "raw": "deflate", "nothing": "deflate", "br": "br"}.get(rest, "gzip")
        self.reply(body=bodies[rest], Content_Encoding=encoding)

    def send_silence(self, rest: str) -> None:
        self.server.gone.wait(10)

    def send_short(self, rest: str) -> None:
        self.reply(body=b"half", Content_Length="8")
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class's name
        pass


@contextmanager
def serving() -> Generator[Site]:
    site = Site()
    thread = threading.Thread(target=site.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield site
    finally:
        site.gone.set()
        site.shutdown()
        thread.join()
        site.server_close()


@pytest.fixture
def site() -> Generator[Site]:
    with serving() as site:
        yield site


async def home(host: str, port: int) -> Sequence[str]:
    """Every name leads to this machine; which of them may be reached is the list's matter."""
    return ["127.0.0.1"]


def fetcher(**limits: float) -> Fetcher:
    return Fetcher(Allowed("a.test, b.test"), FetchLimits(**limits), home)  # type: ignore[arg-type]  # some are whole


def get(url: str, *headers: tuple[str, str], method: str = "GET", body: bytes = b"", **limits: float) -> FetchReply:
    return within(fetcher(**limits).fetch(FetchRequest(method, url, headers, body)))


def test_an_answer_comes_whole(site: Site) -> None:
    reply = get(site.url("/text/hello"))
    assert (reply.status, reply.body, reply.url) == (200, b"hello", site.url("/text/hello"))
    assert ("X-Name", "value") in reply.headers
    assert get(site.url("/status/404")).status == 404


def test_the_request_goes_out_as_it_was_given(site: Site) -> None:
    get(site.url("/text/x?q=1%2F2"), ("X-Mine", "1"), method="put", body=b"data")
    method, path, headers, body = site.asked[0]
    assert (method, path, body) == ("PUT", "/text/x?q=1%2F2", b"data")
    assert (headers["x-mine"], headers["host"]) == ("1", f"a.test:{site.server_port}")


def test_headers_of_the_connection_are_ours(site: Site) -> None:
    theirs = [("Host", "evil"), ("Content-Length", "9"), ("Transfer-Encoding", "chunked"), ("Accept-Encoding", "br")]
    get(site.url("/text/x"), *theirs, ("Proxy-Authorization", "x"), ("Connection", "upgrade"))
    headers = site.asked[0][2]
    assert headers["host"] == f"a.test:{site.server_port}"
    assert headers["accept-encoding"] == "gzip, deflate"
    assert not {"content-length", "transfer-encoding", "proxy-authorization"} & headers.keys()


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "GET /x HTTP/1.1\r\nX:", ""])
def test_methods_that_are_none_of_a_flow_are_refused(site: Site, method: str) -> None:
    with pytest.raises(FetchRefused):
        get(site.url("/text/x"), method=method)
    assert site.asked == []


@pytest.mark.parametrize(
    "header", [("X-Mine", "1\r\nX-Evil: 2"), ("X\r\nY", "1"), ("X Y", "1"), ("", "1"), ("X:Y", "1"), ("X", "\0")]
)
def test_a_header_cannot_smuggle_another(site: Site, header: tuple[str, str]) -> None:
    with pytest.raises(FetchFailed, match="cannot be sent"):
        get(site.url("/text/x"), header)
    assert site.asked == []


@pytest.mark.parametrize(
    "place",
    [
        "http://127.0.0.1:PORT/text/secret",
        "http://localhost:PORT/text/secret",
        "http://c.test:PORT/text/secret",
        "//127.0.0.1:PORT/text/secret",
        "http://169.254.169.254/latest",
        "http://[::1]:PORT/text/secret",
        "http://2130706433:PORT/text/secret",
        "file:///etc/passwd",
        "http://user:pw@b.test:PORT/text/secret",
    ],
)
def test_a_redirect_is_checked_like_a_request(site: Site, place: str) -> None:
    with pytest.raises(FetchRefused):
        get(site.url(f"/to/302/{place}"))
    assert len(site.asked) == 1


def test_a_name_is_looked_up_once_and_what_was_checked_is_connected_to(site: Site) -> None:
    answers = iter([["127.0.0.1"], ["10.0.0.1"], ["10.0.0.1"]])
    looked_up: list[str] = []

    async def rebinding(host: str, port: int) -> Sequence[str]:
        looked_up.append(host)
        return next(answers)

    fetcher = Fetcher(Allowed("127.0.0.1"), resolve=rebinding)
    assert within(fetcher.fetch(FetchRequest("GET", site.url("/text/hello")))).body == b"hello"
    assert looked_up == ["a.test"]
    with pytest.raises(FetchRefused):
        within(fetcher.fetch(FetchRequest("GET", site.url("/text/hello"))))
    assert len(site.asked) == 1


@pytest.mark.parametrize(("host", "kept"), [("a.test", True), ("b.test", False)])
def test_secrets_stay_on_their_host(site: Site, host: str, kept: bool) -> None:
    secret = [("Authorization", "Bearer x"), ("Cookie", "a=b"), ("X-RapidAPI-Key", "k"), ("X-Auth-Token", "t")]
    get(site.url(f"/to/307/http://{host}:PORT/text/x"), *secret, ("X-Plain", "1"))
    headers = site.asked[1][2]
    assert headers["x-plain"] == "1"
    assert [name.lower() in headers for name, _ in secret] == [kept] * 4


def test_secrets_stay_on_their_port(site: Site) -> None:
    with serving() as other:
        get(site.url(f"/to/302/http://a.test:{other.server_port}/text/x"), ("Authorization", "Bearer x"))
        assert "authorization" not in other.asked[0][2]


@pytest.mark.parametrize(
    ("status", "method", "then", "body"),
    [
        (301, "POST", "GET", b""),
        (302, "POST", "GET", b""),
        (303, "POST", "GET", b""),
        (303, "PUT", "GET", b""),
        (302, "PUT", "PUT", b"data"),
        (307, "POST", "POST", b"data"),
        (308, "POST", "POST", b"data"),
    ],
)
def test_a_redirect_changes_the_method_as_browsers_do(
    site: Site, status: int, method: str, then: str, body: bytes
) -> None:
    get(site.url(f"/to/{status}//text/x"), ("Content-Type", "text/plain"), method=method, body=b"data")
    assert (site.asked[-1][0], site.asked[-1][3]) == (then, body)
    assert ("content-type" in site.asked[-1][2]) == bool(body)


def test_a_loop_of_redirects_ends(site: Site) -> None:
    with pytest.raises(FetchFailed, match="redirects more than 5 times"):
        get(site.url("/loop/0"))
    assert len(site.asked) == 6


def test_a_large_answer_is_cut_while_it_comes(site: Site) -> None:
    with pytest.raises(FetchFailed, match="larger than"):
        get(site.url("/big/50"))
    assert site.gone.wait(10), "the connection was closed inside the answer"


@pytest.mark.parametrize("packing", ["gzip", "deflate", "raw", "two"])
def test_a_packed_answer_is_unpacked(site: Site, packing: str) -> None:
    reply = get(site.url(f"/packed/{packing}"))
    assert reply.body == b"hello"
    assert "content-encoding" not in {name.lower() for name, _ in reply.headers}


@pytest.mark.parametrize("packing", ["bomb", "broken", "br", "empty", "nothing"])
def test_what_unpacks_badly_fails(site: Site, packing: str) -> None:
    with pytest.raises(FetchFailed):
        get(site.url(f"/packed/{packing}"))


def test_silence_ends(site: Site) -> None:
    with pytest.raises(FetchFailed, match="took too long"):
        get(site.url("/silence/"), read=0.05)
    with pytest.raises(FetchFailed, match="took too long"):
        get(site.url("/silence/"), total=0.05)
    with pytest.raises(FetchFailed, match="took too long"):
        within(fetcher().fetch(FetchRequest("GET", site.url("/silence/"), timeout=0.05)))


def test_an_answer_that_breaks_off_is_none(site: Site) -> None:
    with pytest.raises(FetchFailed, match="broke"):
        get(site.url("/short/"))


def certificate(folder: Path) -> Path:
    """A key and a certificate for a.test that nobody has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a.test")])
    start = datetime.now(UTC) - timedelta(days=1)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(start).not_valid_after(start + timedelta(days=9))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("a.test")]), critical=False)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "pem"
    signed = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    path.write_bytes(key.private_bytes(*form) + signed)
    return path


def test_tls_asks_for_the_name_and_checks_its_certificate(site: Site, tmp_path: Path) -> None:
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))
    context.sni_callback = lambda _, name, __: names.append(name)
    site.socket = context.wrap_socket(site.socket, server_side=True)
    with pytest.raises(FetchFailed, match="no certificate that can be trusted"):
        get(site.url("/text/x").replace("http:", "https:"))
    assert names == ["a.test"]
    assert site.asked == []


def test_a_host_that_is_not_there_fails_by_name(site: Site) -> None:
    async def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError("no such host")

    with pytest.raises(FetchFailed, match=r"'gone\.test'"):
        within(Fetcher(resolve=unknown).fetch(FetchRequest("GET", "http://gone.test/")))
    closed = site.server_port
    site.server_close()
    with pytest.raises(FetchFailed, match="cannot connect"):
        get(f"http://a.test:{closed}/")


def test_a_bomb_of_a_download_comes_in_small_parts(site: Site) -> None:
    async def sizes() -> tuple[int, int]:
        whole = largest = 0
        async with aclosing(fetcher().download(FetchRequest("GET", site.url("/packed/bomb")), 50 * MIB)) as parts:
            with suppress(FetchFailed):
                async for part in parts:
                    whole, largest = whole + len(part), max(largest, len(part))
        return whole, largest

    whole, largest = within(sizes())
    assert (whole, largest <= MIB) == (50 * MIB, True)


def test_silent_name_servers_take_no_threads_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: asked.wait(10) and [])  # pyright: ignore

    async def others_work() -> str:
        limits = FetchLimits(connect=0.05)
        fetches = [Fetcher(limits=limits).fetch(FetchRequest("GET", f"http://n{n}.test/")) for n in range(64)]
        ended = asyncio.gather(*fetches, return_exceptions=True)
        try:
            assert {str(error).split("'")[2] for error in await ended} == {" took too long"}
            return await asyncio.to_thread(lambda: "done")
        finally:
            asked.set()

    assert within(others_work()) == "done"


def test_a_download_comes_in_parts_and_ends_at_its_bound(site: Site) -> None:
    async def size(url: str, most: int) -> int:
        async with aclosing(fetcher(bytes=10).download(FetchRequest("GET", url), most)) as parts:
            return sum([len(part) async for part in parts])

    assert within(size(site.url("/big/12"), 12 * MIB)) == 12 * MIB
    with pytest.raises(FetchFailed, match="larger than"):
        within(size(site.url("/big/12"), 12 * MIB - 1))
    with pytest.raises(FetchFailed, match="answered 500"):
        within(size(site.url("/status/500"), MIB))


def test_a_download_that_is_left_closes_its_connection(site: Site) -> None:
    async def first() -> bytes:
        async with aclosing(fetcher().download(FetchRequest("GET", site.url("/big/100")), 200 * MIB)) as parts:
            async for part in parts:
                return part
        return b""

    assert within(first())
    assert site.gone.wait(10)
