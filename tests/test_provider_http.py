"""The way out to providers, over real sockets: retries, timeouts, errors, one pool, and nothing left open."""

import asyncio
import socket
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, aclosing, contextmanager
from email.utils import formatdate

import pytest
from upstream import Upstream, serve_in_thread

from headrace.engine.chat import ChatRequest, ModelMessage, TextDelta
from headrace.errors import (
    ProviderCut,
    ProviderError,
    ProviderNotFound,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnauthorized,
    ProviderUnavailable,
)
from headrace.providers.endpoint import Endpoint
from headrace.providers.http import ProviderHttp, ProviderLimits
from headrace.providers.openai import OpenAIChat, Quirks

QUICK = ProviderLimits(first_pause=0.01)
BOUND = 10.0  # seconds that anything here may take


def model(http: ProviderHttp, base: str, *, timeout: float | None = None, key: str = "sk-secret") -> OpenAIChat:
    endpoint = Endpoint(http, f"{base}/chat/completions", {"Authorization": f"Bearer {key}"}, key, timeout)
    return OpenAIChat(endpoint, {"model": "m"}, Quirks())


async def told(chat: OpenAIChat, question: str) -> str:
    async with aclosing(chat.stream(ChatRequest([ModelMessage("user", question)]))) as batches:
        return "".join([d.text async for deltas in batches for d in deltas if isinstance(d, TextDelta)])


def ask(base: str, *questions: str, limits: ProviderLimits = QUICK, timeout: float | None = None) -> list[str]:
    """The answers to questions, asked one after the other over one pool."""

    async def run() -> list[str]:
        http = ProviderHttp(limits)
        try:
            async with asyncio.timeout(BOUND):
                return [await told(model(http, base, timeout=timeout), question) for question in questions]
        finally:
            await http.close()

    return asyncio.run(run())


# Errors

STATUSES: dict[str, tuple[type[ProviderError], int]] = {
    "400": (ProviderRefused, 1),
    "401": (ProviderUnauthorized, 1),
    "403": (ProviderUnauthorized, 1),
    "404": (ProviderNotFound, 1),
    "408": (ProviderTimeout, 4),
    "409": (ProviderRefused, 1),
    "429": (ProviderRateLimited, 4),
    "500": (ProviderUnavailable, 4),
    "503": (ProviderUnavailable, 4),
    "504": (ProviderTimeout, 4),
    "0": (ProviderUnavailable, 4),
}


@pytest.mark.parametrize(("status", "expected"), STATUSES.items(), ids=STATUSES.keys())
def test_a_status_becomes_its_error_and_only_some_are_tried_again(
    upstream: Upstream, status: str, expected: tuple[type[ProviderError], int]
) -> None:
    kind, attempts = expected
    with pytest.raises(ProviderError) as caught:
        ask(upstream.url, f"/status {status}")
    assert type(caught.value) is kind
    assert len(upstream.requests) == attempts
    assert upstream.url in str(caught.value)
    assert status == "0" or f"The script asks for status {status}." in str(caught.value)


def test_an_address_that_is_none_is_named() -> None:
    for base in ("not an address", "ftp://x/v1", "http://", "http://[x/v1"):
        with pytest.raises(ProviderNotFound, match="is not an address: check the base path"):
            ask(base, "Hi")


def test_a_header_that_cannot_be_sent_is_no_fault_of_the_server(upstream: Upstream) -> None:
    async def run() -> None:
        http = ProviderHttp(QUICK)
        try:
            await told(model(http, upstream.url, key="sk-two\nlines"), "Hi")
        finally:
            await http.close()

    with pytest.raises(ProviderRefused, match="cannot be sent") as caught:
        asyncio.run(run())
    assert "sk-two" not in str(caught.value)
    assert upstream.requests == []


def test_a_refused_connection_is_named_and_tried_again() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound, but nobody listens
        base = f"http://127.0.0.1:{reserved.getsockname()[1]}/v1"
        with pytest.raises(ProviderUnavailable, match=f"cannot reach the model at {base}"):
            ask(base, "Hi")


def test_an_address_is_told_without_what_may_be_secret_in_it() -> None:
    with one_answer(b"SSH-2.0-OpenSSH\r\n") as base, pytest.raises(ProviderUnavailable, match="not HTTP") as caught:
        ask(f"{base}?token=sesame", "Hi")
    assert "sesame" not in str(caught.value)


def test_a_name_that_does_not_exist_is_named() -> None:
    with pytest.raises(ProviderUnavailable, match=r"cannot reach the model at http://nowhere\.invalid/v1"):
        ask("http://nowhere.invalid/v1", "Hi", limits=ProviderLimits(attempts=1))


@contextmanager
def one_answer(answer: bytes) -> Generator[str]:
    """A server that says the same to whoever comes, whatever is asked, then closes."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(say, "127.0.0.1", 0), loop).result(BOUND)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(BOUND)
        loop.close()


def head(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Connection: close", *headers, "", ""]).encode()


def test_a_providers_message_is_quoted_without_our_key() -> None:
    body = b'{"error": {"message": "Incorrect API key provided: sk-secret. Find yours."}}'
    answer = head("401 Unauthorized", f"Content-Length: {len(body)}") + body
    with one_answer(answer) as base, pytest.raises(ProviderUnauthorized) as caught:
        ask(base, "Hi")
    assert "Incorrect API key provided: ***. Find yours." in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (head("502 Bad Gateway", "Content-Length: 0"), "answered 502: Bad Gateway"),
        (head("500 Oops", "Content-Length: 9") + b"<h1>no", "answered 500"),
        (b"SSH-2.0-OpenSSH\r\n", "cannot reach the model"),
        (b"", "closed the connection"),
    ],
    ids=["no body", "half a body", "another protocol", "nothing"],
)
def test_odd_answers_are_unavailability(answer: bytes, message: str) -> None:
    with pytest.raises(ProviderUnavailable, match=message), one_answer(answer) as base:
        ask(base, "Hi", limits=ProviderLimits(attempts=1))


# Retries


def test_a_call_is_tried_again_until_it_is_answered(upstream: Upstream) -> None:
    assert ask(upstream.url, "/say fine | /fail 3 503") == ["fine"]
    assert len(upstream.requests) == 4


def test_nothing_is_tried_again_once_an_answer_has_begun(upstream: Upstream) -> None:
    for break_off in ("/cut 2", "/end 2"):
        upstream.reset()
        with pytest.raises(ProviderCut):
            ask(upstream.url, f"/count 5 | {break_off}")
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("wait", ["1", "date"])
def test_a_wait_that_the_provider_asks_for_is_kept(upstream: Upstream, wait: str) -> None:
    seconds = formatdate(time.time() + 2, usegmt=True) if wait == "date" else wait
    with pytest.raises(ProviderRateLimited):
        ask(upstream.url, f"/status 429 {seconds}", limits=ProviderLimits(attempts=2, first_pause=0.01))
    first, second = upstream.requests
    assert 0.9 <= second.at - first.at <= 3


@pytest.mark.parametrize("wait", ["3600", "date"])
def test_a_wait_that_is_too_long_is_left_to_the_caller(upstream: Upstream, wait: str) -> None:
    seconds = formatdate(time.time() + 3600, usegmt=True) if wait == "date" else wait
    with pytest.raises(ProviderRateLimited) as caught:
        ask(upstream.url, f"/status 429 {seconds}")
    assert len(upstream.requests) == 1
    assert caught.value.retry_after == pytest.approx(3600, abs=10)


def test_a_wait_that_cannot_be_read_or_lies_behind_us_is_no_wait(upstream: Upstream) -> None:
    for seconds in ("soon", formatdate(0, usegmt=True), "-5"):
        upstream.reset()
        with pytest.raises(ProviderRateLimited):
            ask(upstream.url, f"/status 429 {seconds}")
        assert len(upstream.requests) == 4


def test_no_attempt_is_begun_that_the_timeout_would_cut(upstream: Upstream) -> None:
    with pytest.raises(ProviderRateLimited):
        ask(upstream.url, "/status 429 5", timeout=1)
    assert len(upstream.requests) == 1


# Timeouts


@contextmanager
def deaf_port() -> Generator[int]:
    """A port whose queue of connections is full, so that one more is never answered."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_connecting_has_a_timeout() -> None:
    began = time.monotonic()
    with deaf_port() as port, pytest.raises(ProviderError) as caught:
        ask(f"http://127.0.0.1:{port}/v1", "Hi", limits=ProviderLimits(connect=0.2, attempts=1))
    assert caught.value.retryable
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("question", ["/count 5 | /stall 2", "/count 5 | /stall 0"])
def test_a_silent_model_has_a_timeout(upstream: Upstream, question: str) -> None:
    with pytest.raises(ProviderTimeout, match=upstream.url):
        ask(upstream.url, question, limits=ProviderLimits(read=0.3, attempts=1))
    upstream.wait_until(lambda requests: requests[-1].closed_by_peer_at_token is not None)


def test_a_model_that_does_not_begin_has_a_timeout_for_each_attempt(upstream: Upstream) -> None:
    limits = ProviderLimits(connect=0.1, read=0.2, attempts=2, first_pause=0.01)
    with pytest.raises(ProviderTimeout, match="did not answer in time"):
        ask(upstream.url, "/say late | /wait 5000", limits=limits)
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("question", ["/count 500 | /pace 20", "/say late | /wait 5000"])
def test_a_whole_answer_has_a_timeout(upstream: Upstream, question: str) -> None:
    began = time.monotonic()
    with pytest.raises(ProviderTimeout):
        ask(upstream.url, question, timeout=0.4)
    assert time.monotonic() - began < 3
    assert len(upstream.requests) == 1
    upstream.wait_until(lambda requests: requests[-1].closed_by_peer_at_token is not None)


def test_a_slow_model_is_not_a_silent_one(upstream: Upstream) -> None:
    limits = ProviderLimits(read=0.3, attempts=1)
    assert ask(upstream.url, "/count 20 | /pace 50", limits=limits) == [" ".join(f"w{n}" for n in range(1, 21))]


# Sockets


def test_a_cancelled_call_closes_its_socket(upstream: Upstream) -> None:
    async def run() -> None:
        http = ProviderHttp(QUICK)
        task = asyncio.create_task(told(model(http, upstream.url), "/count 500 | /pace 10"))
        async with asyncio.timeout(BOUND):
            await asyncio.to_thread(upstream.wait_until, lambda requests: bool(requests))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(
                upstream.wait_until, lambda requests: requests[-1].closed_by_peer_at_token is not None
            )
        await http.close()

    asyncio.run(run())
    assert (upstream.requests[-1].closed_by_peer_at_token or 0) < 500


def test_an_answer_that_is_left_closes_its_socket(upstream: Upstream) -> None:
    async def run() -> None:
        http = ProviderHttp(QUICK)
        chat = model(http, upstream.url)
        async with asyncio.timeout(BOUND):
            async with aclosing(chat.stream(ChatRequest([ModelMessage("user", "/count 500 | /pace 10")]))) as batches:
                assert await anext(batches)
            await asyncio.to_thread(
                upstream.wait_until, lambda requests: requests[-1].closed_by_peer_at_token is not None
            )
        await http.close()

    asyncio.run(run())


@pytest.fixture
def unshared() -> Generator[Upstream]:
    """A scripted model that no server of another test keeps connections to."""
    with serve_in_thread() as upstream:
        yield upstream


def test_calls_one_after_the_other_share_a_connection(unshared: Upstream) -> None:
    async def run() -> set[int]:
        http, ports = ProviderHttp(QUICK), set[int]()
        async with asyncio.timeout(BOUND):
            for n in range(5):
                assert await told(model(http, unshared.url), f"/say answer {n}") == f"answer {n}"
                ports |= {connection.transport.get_extra_info("peername")[1] for connection in unshared.connections}
        await http.close()
        return ports

    assert len(asyncio.run(run())) == 1


def test_calls_at_once_have_connections_of_their_own_and_close_takes_all(unshared: Upstream) -> None:
    async def run() -> list[str]:
        http = ProviderHttp(QUICK)
        async with asyncio.timeout(BOUND):
            found = await asyncio.gather(
                *(told(model(http, unshared.url), f"/count {n} | /pace 1") for n in range(1, 60))
            )
        await http.close()
        await http.close()  # a second time does nothing
        return found

    assert [len(text.split()) for text in asyncio.run(run())] == list(range(1, 60))
    unshared.wait_until(lambda _: not unshared.connections)


def test_a_pool_that_was_closed_opens_again(upstream: Upstream) -> None:
    async def run() -> list[str]:
        http, found = ProviderHttp(QUICK), list[str]()
        async with asyncio.timeout(BOUND):
            for _ in range(2):
                found.append(await told(model(http, upstream.url), "/say again"))
                await http.close()
        return found

    assert asyncio.run(run()) == ["again", "again"]
