"""`create_prediction` beside the published client of Flowise, on the same server."""

import json
from collections.abc import Iterator
from inspect import Parameter, signature

import flowise
import pytest
from clients import DRIVERS, KEY, SyncDriver
from golden import ANSWER, END, frames, golden, odd_pieces, payloads
from scripted import JSON, Reply, ScriptedServer, scripted_server

import headrace
from headrace import Chunk, Headrace, PredictionData

GOLDEN = ["plain", "sources_and_tools", "unknown_event", "error_in_the_middle"]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture(params=DRIVERS)
def client(request: pytest.FixtureRequest, server: ScriptedServer) -> SyncDriver:
    return request.param(server.url)


@pytest.mark.parametrize("name", GOLDEN)
def test_chunks_are_the_json_texts_of_the_events(client: SyncDriver, server: ScriptedServer, name: str):
    chunks = client.chunks(PredictionData(server.answers(*odd_pieces(golden(name))), "Hi", streaming=True))
    assert chunks == payloads(golden(name))
    for chunk in chunks:
        assert isinstance(chunk, Chunk)
        assert {"event": chunk.event, "data": chunk.data}.items() <= {"data": None, **json.loads(chunk)}.items()
    assert isinstance(chunks[-1], Chunk)
    assert chunks[-1].id == f"{name}:{len(chunks)}"


@pytest.mark.parametrize("name", GOLDEN)
def test_chunks_equal_those_of_the_published_client(client: SyncDriver, server: ScriptedServer, name: str):
    server.replies["same"] = Reply([golden(name)])
    published = flowise.Flowise(server.url, KEY).create_prediction(
        flowise.PredictionData(chatflowId="same", question="Hi", streaming=True)
    )
    assert client.chunks(PredictionData("same", "Hi", streaming=True)) == list(published)


@pytest.mark.parametrize("streaming", [True, False])
def test_a_json_answer_equals_that_of_the_published_client(client: SyncDriver, server: ScriptedServer, streaming: bool):
    server.replies["same"] = Reply([json.dumps(ANSWER).encode()], JSON)
    published = flowise.Flowise(server.url, KEY).create_prediction(
        flowise.PredictionData(chatflowId="same", question="Hi", streaming=streaming)
    )
    ours = client.chunks(PredictionData("same", "Hi", streaming=streaming))
    assert ours == list(published) == [ANSWER]


@pytest.mark.parametrize("name", ["PredictionData", "IMessage", "IFileUpload"])
def test_records_take_the_parameters_of_the_published_client(name: str):
    def parameters(record: type) -> list[tuple[str, object]]:
        return [
            (p.name, p.default) for p in signature(record).parameters.values() if p.kind is not Parameter.VAR_KEYWORD
        ]

    assert parameters(getattr(headrace, name)) == parameters(getattr(flowise, name))


def test_nothing_is_sent_before_the_first_step(server: ScriptedServer):
    flow = server.answers(golden("plain"))
    with Headrace(server.url) as client:
        chunks, stream = client.create_prediction(PredictionData(flow, "Hi", streaming=True)), client.stream(flow, "Hi")
        assert server.seen == []
        assert (stream.run_id, stream.last_event_id) == (None, None)
        next(chunks)
        assert len(server.seen) == 1
        chunks.close()


def test_leaving_the_chunks_early_closes_the_connection(client: SyncDriver, server: ScriptedServer):
    assert client.leave_chunks(server.answers(golden("plain"), ending="open"), server.left)


def test_text_that_the_published_client_deletes_arrives_whole(client: SyncDriver, server: ScriptedServer):
    flow = server.answers(frames('{"event":"token","data":"data:x"}', END))  # as Flowise sends it
    chunk = client.chunks(PredictionData(flow, "Hi", streaming=True))[0]
    assert isinstance(chunk, Chunk)
    assert chunk.data == "data:x"
