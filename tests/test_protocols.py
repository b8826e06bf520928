"""Every provider's protocol: whole transcripts, cut anywhere, over real sockets, give their deltas at once."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from protocols import PROTOCOLS, SECRET, TRANSCRIPTS, all_shown, expected, transcript
from provider import Answer, Provider, Seen, as_json
from waiting import within

from headrace.engine.chat import ChatRequest, Delta, FinishDelta, ModelMessage, UsageDelta
from headrace.engine.ports import ChatModel
from headrace.errors import ProviderCut, ProviderError, ProviderMalformed
from headrace.providers.endpoint import Endpoint
from headrace.providers.http import ProviderHttp, ProviderLimits

REQUEST = ChatRequest([ModelMessage("user", "Hi")])
PLAIN = [name for name in TRANSCRIPTS if "/plain." in name]
COMPLETE = [name for name in TRANSCRIPTS if "error" not in expected(name)]


def parsed(name: str, pieces: Sequence[bytes]) -> dict[str, object]:
    """What a parser makes of a transcript that arrives in these reads, in the shape of the expected ones."""
    parser = PROTOCOLS[name.split("/")[0]].parser(SECRET)
    deltas: list[Delta] = []
    try:
        for piece in [*filter(None, pieces), b""]:
            if not parser.done:
                deltas += parser.feed(piece)
        parser.close()
    except ProviderError as error:
        return {"deltas": all_shown(deltas), "error": error.code, "message": str(error)}
    return {"deltas": all_shown(deltas)}


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_a_transcript_gives_its_deltas_in_one_read(name: str) -> None:
    assert parsed(name, [transcript(name)]) == expected(name)


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_a_transcript_gives_its_deltas_byte_for_byte(name: str) -> None:
    data = transcript(name)
    assert parsed(name, [data[at : at + 1] for at in range(len(data))]) == expected(name)


@settings(deadline=None, max_examples=400)
@given(st.sampled_from(TRANSCRIPTS), st.lists(st.floats(0, 1), max_size=12))
def test_any_cut_of_any_stream_gives_the_same_deltas(name: str, cuts: list[float]) -> None:
    data = transcript(name)
    places = [0, *sorted(int(cut * len(data)) for cut in cuts), len(data)]
    assert parsed(name, [data[start:stop] for start, stop in pairwise(places)]) == expected(name)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(TRANSCRIPTS), st.floats(0, 1), st.sampled_from([b"\0", b"{", b"\xff\n", b"data: {\n\n", b"\n"]))
def test_a_spoilt_stream_never_breaks_a_parser(name: str, place: float, spoiler: bytes) -> None:
    data, at = transcript(name), int(place * len(transcript(name)))
    found = parsed(name, [data[:at], spoiler, data[at:]])
    assert isinstance(found["deltas"], list)


@pytest.mark.parametrize("name", COMPLETE)
def test_an_answer_has_one_end_and_its_tokens_are_counted_once(name: str) -> None:
    kinds = [next(iter(delta)) for delta in expected(name)["deltas"]]
    assert kinds.count("finish") == 1
    assert kinds.count("usage") <= 1
    assert set(kinds[kinds.index("finish") + 1 :]) <= {"usage"}


@pytest.mark.parametrize("name", [name for name in COMPLETE if not name.endswith(".frames")])
def test_other_line_ends_change_nothing(name: str) -> None:
    data = transcript(name).replace(b"\r\n", b"\n")
    assert parsed(name, [data]) == parsed(name, [data.replace(b"\n", b"\r\n")]) == expected(name)


@pytest.mark.parametrize("place", [0, 9, -1], ids=["length", "checksum of the front", "checksum of all"])
def test_a_frame_with_a_wrong_checksum_is_malformed_after_what_came_before_it(place: int) -> None:
    data = bytearray(transcript("bedrock/plain.frames"))
    second = int.from_bytes(data[:4], "big")
    third = second + int.from_bytes(data[second : second + 4], "big")
    start = third if place >= 0 else third + int.from_bytes(data[third : third + 4], "big")
    data[start + place] ^= 0x40
    parser = PROTOCOLS["bedrock"].parser(SECRET)
    assert all_shown(parser.feed(bytes(data))) == [{"text": "Señor"}]
    with pytest.raises(ProviderMalformed):
        parser.close()


# Over sockets


def answer_with(provider: Provider, name: str, answer: Answer) -> None:
    """Sets the answer to a chat; Replicate's comes in two steps."""
    provider.always(answer)
    if name.startswith("replicate/"):
        urls = {"get": provider.url + "/get", "cancel": provider.url + "/cancel", "stream": provider.url + "/stream"}
        made = as_json({"id": "p", "status": "starting", "urls": urls}, 201)
        provider.answer = lambda seen: answer if seen.path == "/stream" else made


def model(http: ProviderHttp, provider: Provider, name: str) -> ChatModel:
    return PROTOCOLS[name.split("/")[0]].model(Endpoint(http, provider.url + "/chat", {}, SECRET))


async def answered(provider: Provider, name: str) -> list[Delta]:
    http = ProviderHttp(ProviderLimits(attempts=1))
    try:
        async with aclosing(model(http, provider, name).stream(REQUEST)) as batches:
            return [delta async for deltas in batches for delta in deltas]
    finally:
        await http.close()


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_a_transcript_over_a_socket_gives_its_deltas_or_its_error(provider: Provider, name: str) -> None:
    data, wanted = transcript(name), expected(name)
    pieces = [data[at : at + 97] for at in range(0, len(data), 97)]
    answer_with(provider, name, Answer(pieces))
    if "error" not in wanted:
        assert all_shown(within(answered(provider, name))) == wanted["deltas"]
        return
    with pytest.raises(ProviderError) as caught:
        within(answered(provider, name))
    assert (caught.value.code, str(caught.value)) == (wanted["error"], wanted["message"])


def first_piece(name: str) -> bytes:
    """The shortest beginning of a stream that gives a delta."""
    data = transcript(name)
    parser = PROTOCOLS[name.split("/")[0]].parser(SECRET)
    for at in range(len(data)):
        if parser.feed(data[at : at + 1]):
            return data[: at + 1]
    raise AssertionError("no delta")


def left(seen: list[Seen]) -> bool:
    return any(each.left for each in seen)


@pytest.mark.parametrize("name", PLAIN)
def test_the_first_delta_is_out_before_anything_more_comes_and_leaving_closes_the_socket(
    provider: Provider, name: str
) -> None:
    piece = first_piece(name)
    answer_with(provider, name, Answer([piece, transcript(name)[len(piece) :]], held=True))

    async def run() -> None:
        http = ProviderHttp()
        async with aclosing(model(http, provider, name).stream(REQUEST)) as batches:
            assert all_shown(await anext(batches)) == expected(name)["deltas"][:1]
            assert not left(provider.seen)  # the rest is still held back
        await asyncio.to_thread(provider.until, left)
        await http.close()

    within(run())


@pytest.mark.parametrize("name", PLAIN)
def test_a_cancelled_answer_closes_the_socket(provider: Provider, name: str) -> None:
    answer_with(provider, name, Answer([first_piece(name), b"never"], held=True))

    async def run() -> None:
        http, begun = ProviderHttp(), asyncio.Event()

        async def listen() -> None:
            async with aclosing(model(http, provider, name).stream(REQUEST)) as batches:
                async for _ in batches:
                    begun.set()

        task = asyncio.create_task(listen())
        await begun.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        await asyncio.to_thread(provider.until, left)
        await http.close()

    within(run())
    assert [seen.path for seen in provider.seen if seen.path == "/cancel"] == ["/cancel"] * name.startswith("replicate")


@pytest.mark.parametrize("name", PLAIN)
def test_a_connection_that_breaks_inside_the_answer_is_a_cut(provider: Provider, name: str) -> None:
    answer_with(provider, name, Answer([first_piece(name)], cut=True))
    with pytest.raises(ProviderCut):
        within(answered(provider, name))


# Replicate without a stream


def test_a_prediction_that_does_not_stream_is_looked_up_until_it_is_there(provider: Provider) -> None:
    urls = {"get": provider.url + "/get", "cancel": provider.url + "/cancel"}
    looks = [
        {"status": "starting"},
        {"status": "processing"},
        {"status": "succeeded", "output": ["Once", " upon", "."]},
    ]
    provider.always(as_json({}))
    provider.answer = lambda _: as_json({**looks.pop(0), "urls": urls})
    deltas = within(answered(provider, "replicate/x"))
    assert all_shown(deltas) == [{"text": "Once upon."}, {"finish": "stop"}]
    assert [seen.path for seen in provider.seen] == ["/chat", "/get", "/get"]


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ({"status": "failed", "error": f"CUDA of {SECRET} is full"}, "CUDA of *** is full"),
        ({"status": "canceled"}, "the prediction was canceled"),
        ({"status": "failed", "error": {"detail": "odd"}}, "odd"),
    ],
)
def test_a_prediction_that_fails_says_why_and_is_cancelled(
    provider: Provider, end: dict[str, object], message: str
) -> None:
    provider.always(as_json({**end, "urls": {"get": provider.url + "/get", "cancel": provider.url + "/cancel"}}, 201))
    with pytest.raises(ProviderError) as caught:
        within(answered(provider, "replicate/x"))
    assert str(caught.value).endswith(message)
    assert provider.seen[-1].path == "/cancel"


def test_a_count_and_an_end_are_kept_for_the_end_of_the_stream() -> None:
    """Nothing is said twice by servers that count with every chunk, and nothing is lost when the last one is silent."""
    for name in ("openai/perplexity.sse", "google/stops_all_the_time.sse"):
        parser = PROTOCOLS[name.split("/")[0]].parser("")
        before = parser.feed(transcript(name))
        assert not any(isinstance(delta, UsageDelta) for delta in before)
        after = parser.feed(b"")
        assert any(isinstance(delta, UsageDelta) for delta in after)
        assert any(isinstance(delta, FinishDelta) for delta in [*before, *after])
