from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from golden import CASES, WIRE, pieces
from hypothesis import given, settings
from hypothesis import strategies as st
from typescript import node

from headrace.sse import Decoder, ServerSentEvent, comment, frame, named_frame

FIELDS = st.sampled_from(["data", "event", "id", "retry", "message", "", "data ", "\ufeffdata"])
VALUES = st.text("aé🙂\0 :1\u2028\x85\x0b", max_size=6)
LINES = st.one_of(st.just(""), st.builds("{}:{}".format, FIELDS, VALUES), FIELDS, st.just(": comment"))
TEXT = st.lists(st.tuples(LINES, st.sampled_from(["\n", "\r", "\r\n"])), max_size=20).map(
    lambda lines: "".join(line + end for line, end in lines).encode()
)
STREAMS = st.lists(st.one_of(TEXT, st.binary(max_size=40)), max_size=3).map(b"".join)  # bytes: invalid UTF-8 above all
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r"))


def events(*chunks: bytes) -> list[ServerSentEvent]:
    decoder = Decoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def read(*chunks: bytes) -> dict[str, Any]:
    decoder = Decoder()
    found = [event._asdict() for chunk in chunks for event in decoder.feed(chunk)]
    return {"events": found, "lastId": decoder.last_id, "retry": decoder.retry}


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_stream_is_read_by_the_rules_however_it_is_cut(case: dict[str, Any]):
    chunks = pieces(case)
    whole = b"".join(chunks)
    expected = {"events": case["events"], "lastId": case.get("lastId", ""), "retry": case.get("retry")}
    assert read(*chunks) == expected
    assert read(*(bytes([byte]) for byte in whole)) == expected
    for at in range(len(whole)):
        assert read(whole[:at], whole[at:]) == expected


@pytest.mark.parametrize("path", sorted(WIRE.glob("*.sse")), ids=lambda path: path.stem)
def test_a_golden_stream_is_the_same_however_it_is_cut(path: Path):
    whole = path.read_bytes()
    expected = read(whole)
    assert len(expected["events"]) > 4
    for at in range(len(whole)):
        assert read(whole[:at], whole[at:]) == expected


@settings(deadline=None)
@given(st.lists(STREAMS, min_size=20, max_size=20))
def test_both_libraries_read_any_stream_alike(streams: list[bytes]):
    found = node().does({"job": "decoded", "streams": [list(stream) for stream in streams]})
    assert found == [read(stream) for stream in streams]


@given(STREAMS, st.lists(st.integers(0, 300)))
def test_any_cut_of_any_stream_gives_the_same_events(stream: bytes, cuts: list[int]):
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert events(*(stream[start:end] for start, end in pairwise(places))) == events(stream)
    assert events(*(bytes([byte]) for byte in stream)) == events(stream)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\n")).filter(lambda text: text[:1] != " "))
def test_a_frame_reads_back(text: str):
    assert events(frame("run:7", text.encode())) == [ServerSentEvent("message", text, "run:7")]


@given(TEXTS)
def test_a_named_frame_reads_back(text: str):
    assert events(named_frame("run:7", "token", text)) == [ServerSentEvent("token", text, "run:7")]


def test_a_comment_says_nothing_to_readers():
    assert comment("beat") == b": beat\n"
    assert events(comment("beat"), b"data:a\n\n") == [ServerSentEvent("message", "a", "")]


def test_a_frame_is_flowises_with_an_id_in_front():
    assert frame("r:1", b'{"event":"end"}') == b'id:r:1\nmessage:\ndata:{"event":"end"}\n\n'


def test_a_named_frame_has_one_data_line_per_line():
    assert named_frame("r:1", "token", "a\r\nb\rc\n") == b"id: r:1\nevent: token\ndata: a\ndata: b\ndata: c\ndata: \n\n"
