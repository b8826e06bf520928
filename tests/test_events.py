import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import events
from headrace.events import Event, Fold, Known, Prediction, Token, Unknown, decode, encode, fold
from headrace.sse import Decoder, frame

WIRE = Path(__file__).parent / "wire"
GOLDEN = sorted(path.stem for path in WIRE.glob("*.sse"))

DOCUMENT = events.Document("The turbine turns.", {"page": 3}, "d1")
TOOL = events.UsedTool("calculator", {"input": "6*7"}, "42")
USAGE = events.Usage(12, 9, 21, cached_tokens=4)
SAMPLES: list[Event] = [
    events.Start(""),
    events.Start({"content": "any JSON"}),
    events.Token("Hi"),
    events.Thinking("hm"),
    events.Thinking("", 3),
    events.SourceDocuments([DOCUMENT, events.Document("bare")]),
    events.SourceDocuments([]),
    events.UsedTools([TOOL, events.UsedTool("search", "x", None, "no network")]),
    events.CalledTools([TOOL]),
    events.ToolName("search"),
    events.Artifacts([{"type": "png", "data": "x"}]),
    events.FileAnnotations([{"filePath": "/a", "fileName": "a"}]),
    events.AgentReasoning([{"agentName": "Writer", "messages": ["x"]}]),
    events.NextAgent("Writer"),
    events.AgentFlowEvent("INPROGRESS"),
    events.NextAgentFlow({"nodeId": "llm_0", "status": "FINISHED"}),
    events.AgentFlowExecutedData([{"nodeId": "llm_0", "data": {}}]),
    events.Action({"id": "1", "mapping": {"approve": "yes"}}),
    events.UsageMetadata({"input_tokens": 1}),
    events.AgentTrace({"step": "tool_start"}),
    events.Metadata(events.RunMetadata(chatId="c", question="q", usage=USAGE)),
    events.Metadata(events.RunMetadata()),
    events.SpeechStart({"format": "mp3"}),
    events.SpeechData({"audioChunk": "AA=="}),
    events.SpeechEnd({}),
    events.SpeechAbort({}),
    events.Abort("[DONE]"),
    events.Error("it broke"),
    events.Error("it broke", "provider_cut", True),
    events.End(),
    Unknown("weather", {"data": [1, None], "station": 7}),
]
KINDS: list[str] = [str(kind.__struct_config__.tag) for kind in get_args(Known)]
TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8")),
    st.lists(st.sampled_from(["data:", "data", ":", "\\", '"', "\n", "é"])).map("".join),
)


def read(name: str) -> list[Event]:
    return [decode(event.data) for event in Decoder().feed((WIRE / f"{name}.sse").read_bytes())]


def ident(event: Event) -> str:
    return event.event if isinstance(event, Unknown) else type(event).__name__


def test_there_is_a_sample_of_every_kind():
    assert {type(event) for event in SAMPLES} == {*get_args(Known), Unknown}


@pytest.mark.parametrize("event", SAMPLES, ids=ident)
def test_every_event_reads_back(event: Event):
    assert decode(encode(event)) == event
    assert decode(encode(event).decode()) == event


@pytest.mark.parametrize("event", SAMPLES, ids=ident)
def test_every_event_is_one_line_that_begins_with_its_kind(event: Event):
    line = encode(event)
    assert line.startswith(b'{"event":"')
    assert b"\n" not in line


def test_payloads_that_readers_look_into_are_always_sent():
    assert encode(events.End()) == b'{"event":"end","data":"[DONE]"}'
    assert encode(events.Abort("[DONE]")) == b'{"event":"abort","data":"[DONE]"}'
    assert encode(events.SourceDocuments([events.Document("a")])) == (
        b'{"event":"sourceDocuments","data":[{"pageContent":"a","metadata":{}}]}'
    )


@pytest.mark.parametrize("kind", [*KINDS, "weather", ""])
@pytest.mark.parametrize(
    "payload", ["", ',"data":null', ',"data":5', ',"data":[5]', ',"data":{"chatId":5},"more":[1.5]']
)
def test_unknown_kinds_and_odd_payloads_survive(kind: str, payload: str):
    text = f'{{"event":"{kind}"{payload}}}'
    event = decode(text)
    if isinstance(event, Unknown):
        assert json.loads(encode(event)) == json.loads(text)
        assert event.data == json.loads(text).get("data")
    else:
        assert json.loads(encode(event)).items() >= {k: v for k, v in json.loads(text).items() if k != "more"}.items()


@pytest.mark.parametrize("kind", KINDS)
def test_a_payload_of_the_wrong_type_makes_a_known_kind_unknown(kind: str):
    event = decode(f'{{"event":"{kind}","data":5}}')
    assert isinstance(event, events.Start if kind == "start" else Unknown)


@pytest.mark.parametrize(
    "text", ["", "[DONE]", "[]", '"token"', "{}", '{"data":"x"}', '{"event":5}', '{"event":null}', "{"]
)
def test_what_is_no_event_is_refused(text: str):
    with pytest.raises(msgspec.DecodeError):
        decode(text)


@given(TEXTS)
def test_the_text_that_the_published_sdk_deletes_is_never_sent(text: str):
    line = encode(Token(text))
    assert b"data:" not in line
    assert decode(line) == Token(text)
    assert json.loads(line) == {"event": "token", "data": text}


@given(st.recursive(TEXTS | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner)))
def test_no_payload_and_no_key_can_carry_it_either(payload: Any):
    line = encode(Unknown("weather", {"data": payload}))
    assert b"data:" not in line
    assert json.loads(line)["data"] == payload


@given(st.lists(st.sampled_from(SAMPLES)), st.lists(st.integers(0, 40)))
def test_any_grouping_of_a_stream_folds_to_the_same_answer(stream: list[Event], cuts: list[int]):
    answer = Fold()
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for start, end in pairwise(places):
        answer.add(stream[start:end])
    assert answer.prediction == fold(stream)


@given(st.lists(st.sampled_from(SAMPLES)))
def test_reading_the_answer_half_way_changes_nothing(stream: list[Event]):
    answer = Fold()
    for event in stream:
        answer.add([event])
        assert answer.prediction.text is not None
    assert answer.prediction == fold(stream)


@given(st.lists(st.sampled_from(SAMPLES)))
def test_the_wire_does_not_change_the_answer(stream: list[Event]):
    sent = b"".join(frame(f"r:{seq}", encode(event)) for seq, event in enumerate(stream, 1))
    assert fold(decode(event.data) for event in Decoder().feed(sent)) == fold(stream)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ([], Prediction(text="")),
        ([events.Start("Hi"), Token("Hi"), Token(" you")], Prediction(text="Hi you")),
        ([events.SourceDocuments([DOCUMENT]), events.SourceDocuments([])], Prediction(text="", sourceDocuments=[])),
        (
            [events.Thinking("a"), events.Thinking("b"), events.Thinking("", 2)],
            Prediction(text="", reasonContent={"thinking": "ab", "thinkingDuration": 2}),
        ),
        ([Token("a"), events.Abort("[DONE]"), events.End()], Prediction(text="a", aborted=True)),
        ([Token("a"), events.Error("x"), events.End()], Prediction(text="a", error=events.Error("x"))),
        (
            [events.Metadata(events.RunMetadata(chatId="c", usage=USAGE)), events.Metadata(events.RunMetadata())],
            Prediction(text="", chatId="c", usage=USAGE),
        ),
    ],
    ids=["nothing", "start is not rendered", "the last list wins", "thinking", "abort", "error", "absent keeps"],
)
def test_what_a_stream_folds_to(stream: Sequence[Event], expected: Prediction):
    assert fold(stream) == expected


@pytest.mark.parametrize("name", GOLDEN)
def test_a_golden_stream_folds_to_the_answer_beside_it(name: str):
    assert msgspec.to_builtins(fold(read(name))) == json.loads((WIRE / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", GOLDEN)
def test_a_golden_stream_is_written_again_byte_for_byte(name: str):
    sent = (WIRE / f"{name}.sse").read_bytes().replace(b": heartbeat\n", b"")
    written = [frame(event.id, encode(decode(event.data))) for event in Decoder().feed(sent)]
    assert sent == b"".join(written)


def test_the_golden_streams_are_there():
    assert GOLDEN == ["error_in_the_middle", "plain", "sources_and_tools", "unknown_event"]
