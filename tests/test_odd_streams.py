"""Models' answers as providers really send them: each protocol's odd streams, cut at every byte, give the same."""

import pytest
from odd import Odd, openai, others
from protocols import PROTOCOLS, framed

from headrace.engine.chat import Delta, FinishDelta, ThinkingDelta, UsageDelta
from headrace.engine.model_answer import ModelAnswer
from headrace.errors import ProviderError

TABLE = {
    "openai": openai.ROWS,
    "anthropic": others.ANTHROPIC,
    "google": others.GOOGLE,
    "ollama": others.OLLAMA,
    "cohere": others.COHERE,
    "bedrock": others.BEDROCK,
    "completions": others.COMPLETIONS,
    "generation": others.GENERATION,
    "replicate": others.REPLICATE,
}
CASES = [(protocol, row) for protocol, rows in TABLE.items() for row in rows]
NAMES = [f"{protocol}: {row.name}" for protocol, row in CASES]


def bytes_of(protocol: str, row: Odd) -> bytes:
    return b"".join(map(framed, row.stream.splitlines())) if protocol == "bedrock" else row.stream


def read(protocol: str, row: Odd, *pieces: bytes) -> Odd:
    """What a parser makes of the pieces, as a row."""
    parser, deltas, error = PROTOCOLS[protocol].parser("sk-secret"), list[Delta](), None
    try:
        for piece in [*filter(None, pieces), b""]:
            if not parser.done:
                deltas += parser.feed(piece)
        parser.close()
    except ProviderError as failure:
        error = failure.code
    turn = ModelAnswer()
    turn.add(deltas)
    ends = [delta.reason for delta in deltas if isinstance(delta, FinishDelta)]
    counts = [delta.usage for delta in deltas if isinstance(delta, UsageDelta)]
    assert len(ends) <= 1
    assert len(counts) <= 1
    return Odd(
        row.name,
        row.stream,
        turn.text,
        "".join(delta.text for delta in deltas if isinstance(delta, ThinkingDelta)),
        tuple((call.id, call.name, call.arguments) for call in turn.calls),
        ends[0] if ends else None,
        (counts[0].input_tokens, counts[0].output_tokens, counts[0].total_tokens) if counts else None,
        error,
    )


def test_there_are_enough_of_them_and_each_has_its_own_name() -> None:
    assert len(NAMES) == len(set(NAMES)) > 200


@pytest.mark.parametrize(("protocol", "row"), CASES, ids=NAMES)
def test_an_odd_stream_is_read_in_one_piece_and_byte_for_byte(protocol: str, row: Odd) -> None:
    stream = bytes_of(protocol, row)
    assert read(protocol, row, stream) == row
    assert read(protocol, row, *(stream[at : at + 1] for at in range(len(stream)))) == row


@pytest.mark.parametrize(("protocol", "row"), CASES, ids=NAMES)
def test_an_odd_stream_is_read_wherever_it_is_cut(protocol: str, row: Odd) -> None:
    stream = bytes_of(protocol, row)
    for at in range(1, len(stream)):
        assert read(protocol, row, stream[:at], stream[at:]) == row, at
