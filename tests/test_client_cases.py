"""Every client meets every trouble of the table alike: `Headrace`, `AsyncHeadrace`, and `HeadraceClient` everywhere."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import groupby
from time import monotonic

import pytest
from cases import CASES, DEPARTURES, Case, Departure, Mortal, Stage
from clients import SyncDriver, said
from proxy import proxied
from scripted import BOUND, scripted_server
from servers import Server
from typescript import EVERYWHERE
from upstream import Upstream

from headrace.events import Error, Event, Unknown


@pytest.fixture(params=EVERYWHERE)
def client(request: pytest.FixtureRequest) -> SyncDriver:
    return request.param("")


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mortal]:
    with ExitStack() as stack:
        yield Mortal(tmp_path_factory.mktemp("mortal") / "data", stack)


@pytest.fixture
def stage(client: SyncDriver, server: Server, upstream: Upstream, mortal: Mortal) -> Iterator[Stage]:
    with scripted_server() as scripted, ExitStack() as stack:
        client.url = scripted.url
        yield Stage(client, scripted, server, upstream, mortal, stack)


def kinds(events: list[Event]) -> str:
    """Kinds in order, tokens that follow each other as one."""
    return " ".join(kind for kind, _ in groupby(map(kind_of, events)))


def kind_of(event: Event) -> str:
    match event:
        case Unknown(event=kind):
            return kind
        case Error(code=code):
            return f"error:{code}"
        case _:
            return str(event.__struct_config__.tag)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_client_meets_trouble_alike(stage: Stage, case: Case) -> None:
    flow = case.scene(stage)
    begun = monotonic()
    events, error = stage.client.read(flow)
    took = monotonic() - begun
    stage.stack.close()  # what the scene did beside it must have gone well
    text = said(events)
    assert text.startswith(case.said) if case.more else text == case.said
    assert kinds(events) == case.kinds
    if error:
        found = (error.code, error.retryable, error.retry_after)
        assert found == (case.error, case.retryable, case.retry_after)
    assert case.error is None or error
    if not case.more:
        assert stage.requests == list(case.requests)
    assert [request.split()[0] for request in stage.requests] == [request.split()[0] for request in case.requests]
    assert took >= case.waits
    assert len(stage.upstream.requests) <= 1, "a question was paid for twice"
    keys = {seen.key for seen in stage.scripted.seen if seen.method == "POST"}
    assert len(keys) <= 1, "a question was sent again under another key"


@pytest.mark.parametrize("departure", DEPARTURES, ids=lambda departure: departure.name)
def test_who_leaves_early_frees_the_connection_and_decides_about_the_run(
    client: SyncDriver, server: Server, chat: str, upstream: Upstream, departure: Departure
) -> None:
    client.question = "/count 60 | /pace 5"
    with proxied(server.port) as proxy:
        client.url = proxy.url
        options = {"chat_id": departure.name, "on_disconnect": departure.policy}
        if departure.way == "drop":
            client.drop(chat, proxy.left, **options)
        else:
            client.leave(chat, **options)
        assert proxy.left.wait(BOUND)
    assert upstream.wait_until(lambda seen: seen[-1].finished or seen[-1].closed_by_peer_at_token is not None)
    client.url = server.url
    (run,) = client.call("runs", chat, departure.name)
    assert kinds(client.resumed(run.id)) == (
        "start token metadata end" if departure.state == "finished" else "start token abort end"
    )
    assert client.call("run", run.id).state == departure.state


def test_two_hundred_streams_at_once_come_whole(
    client: SyncDriver, server: Server, chat: str, upstream: Upstream
) -> None:
    client.url = server.url
    found = client.many([(chat, f"/say {' '.join([f'm{number}x'] * 30)} | /pace 2") for number in range(200)])
    assert [said(events) for events in found] == [" ".join([f"m{number}x"] * 30) for number in range(200)]
    assert {kinds(events) for events in found} == {"start token metadata end"}
    assert len(upstream.requests) == 200
