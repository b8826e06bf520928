from itertools import pairwise

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


def data(*chunks: bytes) -> list[str]:
    return [event.data for event in events(*chunks)]


def test_one_byte_order_mark_at_the_start_is_dropped_even_in_pieces():
    assert data(b"\xef\xbb\xbfdata:a\n\n") == ["a"]
    assert data(b"\xef", b"\xbb", b"\xbfdata:a\n\n") == ["a"]
    assert data(b"data:a\n\n\xef\xbb\xbfdata:b\n\n") == ["a"]


def test_lines_end_with_cr_or_lf_or_both():
    for end in (b"\n", b"\r", b"\r\n"):
        assert data(end.join([b"data:a", b"data:b", b"", b"data:c", b"", b""])) == ["a\nb", "c"]


def test_crlf_cut_between_its_bytes_is_one_line_end():
    assert data(b"data:a\r", b"\ndata:b\r", b"\n\r", b"\ndata:c\r\r") == ["a\nb", "c"]
    assert data(b"data:a\r", b"", b"\n\r", b"\n") == ["a"]


def test_comments_say_nothing():
    assert data(b": heartbeat\n\n:\ndata:a\n:x\n\n", comment("beat")) == ["a"]


def test_one_space_after_the_colon_is_dropped():
    assert data(b"data:a\n\ndata: a\n\ndata:  a\n\ndata:a: b\n\n") == ["a", "a", " a", "a: b"]


def test_empty_data_is_an_event_and_no_data_is_none():
    assert data(b"data:\n\n") == [""]
    assert data(b"data\n\ndata\ndata\n\n") == ["", "\n"]
    assert data(b"event:token\n\nid:1\n\n\n\n") == []


def test_an_event_without_data_does_not_name_the_next_one():
    assert events(b"event:token\n\ndata:a\n\n") == [ServerSentEvent("message", "a", "")]


def test_a_line_without_colon_is_a_field_with_an_empty_value():
    assert events(b"id:1\ndata:a\n\nid\nevent\ndata\n\n") == [
        ServerSentEvent("message", "a", "1"),
        ServerSentEvent("message", "", ""),
    ]


def test_unknown_fields_such_as_flowises_message_are_ignored():
    assert events(b'message:\ndata:{"event":"end"}\n\nDATA:x\n data:x\n\n') == [
        ServerSentEvent("message", '{"event":"end"}', "")
    ]


def test_ids_stay_until_another_comes_and_those_with_nul_are_ignored():
    stream = b"id:1\ndata:a\n\ndata:b\n\nid:x\0y\ndata:c\n\nid:2\ndata:d\n\n"
    assert [event.id for event in events(stream)] == ["1", "1", "1", "2"]


def test_retry_counts_only_when_it_is_all_ascii_digits():
    decoder = Decoder()
    for value in ("", "-1", "1.5", "1s", "١"):
        decoder.feed(f"retry:{value}\n".encode())
        assert decoder.retry is None
    decoder.feed(b"retry: 2500\n")
    assert decoder.retry == 2500


def test_an_event_without_its_blank_line_is_not_dispatched():
    assert data(b"data:a\n\ndata:b\n") == ["a"]
    assert data(b"data:a\n\ndata:b") == ["a"]


def test_only_cr_and_lf_end_a_line():
    text = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"
    assert data(f"data:{text}\n\n".encode()) == [text]


def test_invalid_utf8_becomes_the_replacement_character():
    assert data(b"data:a\xffb\xe2\x82\n\n") == ["a\ufffdb\ufffd"]


def test_a_character_cut_between_chunks_is_whole():
    assert data(b"data:\xf0\x9f", b"\x99\x82\n\n") == ["🙂"]


def test_last_id_counts_only_whole_events():
    decoder = Decoder()
    decoder.feed(b"id:r:1\ndata:a\n\nid:r:2\ndata:b\n")
    assert decoder.last_id == "r:1"
    decoder.feed(b"\n")
    assert decoder.last_id == "r:2"


def test_a_frame_with_only_an_id_moves_last_id():
    decoder = Decoder()
    assert decoder.feed(b"id:r:0\n\n") == []
    assert decoder.last_id == "r:0"


@given(STREAMS, st.lists(st.integers(0, 300)))
def test_any_cut_of_any_stream_gives_the_same_events(stream: bytes, cuts: list[int]):
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(places)]
    assert events(*pieces) == events(stream)
    assert events(*(bytes([byte]) for byte in stream)) == events(stream)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\n")).filter(lambda text: text[:1] != " "))
def test_a_frame_reads_back(text: str):
    assert events(frame("run:7", text.encode())) == [ServerSentEvent("message", text, "run:7")]


@given(TEXTS)
def test_a_named_frame_reads_back(text: str):
    assert events(named_frame("run:7", "token", text)) == [ServerSentEvent("token", text, "run:7")]


def test_a_frame_is_flowises_with_an_id_in_front():
    assert frame("r:1", b'{"event":"end"}') == b'id:r:1\nmessage:\ndata:{"event":"end"}\n\n'


def test_a_named_frame_has_one_data_line_per_line():
    assert named_frame("r:1", "token", "a\r\nb\rc\n") == b"id: r:1\nevent: token\ndata: a\ndata: b\ndata: c\ndata: \n\n"
