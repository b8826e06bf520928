from itertools import pairwise
from typing import Any

import pytest
from golden import CASES, pieces
from hypothesis import given
from hypothesis import strategies as st

from headrace.sse import Decoder, ServerSentEvent, comment, frame, named_frame

FIELDS = st.sampled_from(["data", "event", "id", "retry", "message", "", "data ", "\ufeffdata"])
VALUES = st.text("aé🙂\0 :1\u2028\x85\x0b", max_size=6)
LINES = st.one_of(st.just(""), st.builds("{}:{}".format, FIELDS, VALUES), FIELDS, st.just(": comment"))
STREAMS = st.lists(st.tuples(LINES, st.sampled_from(["\n", "\r", "\r\n"])), max_size=20).map(
    lambda lines: "".join(line + end for line, end in lines).encode()
)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r"))


def events(*chunks: bytes) -> list[ServerSentEvent]:
    decoder = Decoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
@pytest.mark.parametrize("cut", [False, True], ids=["as it is", "byte by byte"])
def test_a_stream_is_read_by_the_rules(case: dict[str, Any], cut: bool):
    decoder, chunks = Decoder(), pieces(case)
    chunks = [bytes([byte]) for byte in b"".join(chunks)] if cut else chunks
    found = [event._asdict() for chunk in chunks for event in decoder.feed(chunk)]
    assert found == case["events"]
    assert (decoder.last_id, decoder.retry) == (case.get("lastId", ""), case.get("retry"))


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
    assert comment("beat") == b": beat\n\n"
    assert events(comment("beat"), b"data:a\n\n") == [ServerSentEvent("message", "a", "")]


def test_a_frame_is_flowises_with_an_id_in_front():
    assert frame("r:1", b'{"event":"end"}') == b'id:r:1\nmessage:\ndata:{"event":"end"}\n\n'


def test_a_named_frame_has_one_data_line_per_line():
    assert named_frame("r:1", "token", "a\r\nb\rc\n") == b"id: r:1\nevent: token\ndata: a\ndata: b\ndata: c\ndata: \n\n"
