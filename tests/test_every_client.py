"""Our clients, in Python and in each JavaScript runtime, against the real server: answers, runs, keys and limits.

What goes wrong on the way is in the table of cases.py.
"""

import json

import pytest
from agentflows import flow, node, reply, start
from clients import SyncDriver, counted, said
from proxy import proxied
from servers import Server, conversation
from typescript import EVERYWHERE
from upstream import Upstream

from headrace import HumanInput, PredictionData, errors
from headrace.events import Abort, End, Token, fold

LINE = "a\u2028b\u2029c\u0085d data: x 🙂 "


@pytest.fixture(params=EVERYWHERE)
def client(request: pytest.FixtureRequest, server: Server) -> SyncDriver:
    return request.param(server.url)


@pytest.mark.parametrize("events", [2, 7, 50])
def test_a_stream_cut_while_it_goes_on_comes_whole(client: SyncDriver, server: Server, chat: str, events: int) -> None:
    client.question = "/count 97 | /pace 2"
    with proxied(server.port, events) as proxy:
        client.url = proxy.url
        assert client.text(chat) == ["w1", *(f" w{n}" for n in range(2, 98))]


def test_a_long_answer_arrives_whole(client: SyncDriver, chat: str) -> None:
    client.question, text = "/count 160000", counted(160000)
    assert len(text) > 2**20
    assert client.final(chat).text == text
    assert client.predict(chat).text == text


def test_the_answer_is_the_fold_of_the_stream(client: SyncDriver, chat: str) -> None:
    client.question = f"/json {json.dumps(LINE)}"
    streamed, answered = fold(client.events(chat)), client.predict(chat, chat_id="c-1")
    assert (streamed.text, answered.text) == (LINE, LINE)
    assert (answered.chatId, answered.isStreamValid) == ("c-1", False)
    assert streamed.usage == answered.usage is not None


def test_a_form_begins_an_agent_flow(client: SyncDriver, server: Server) -> None:
    asks = start(startInputType="formInput", formInputTypes=[{"type": "string", "label": "City", "name": "city"}])
    drawn = flow(asks, reply("to {{ $form.city }}"), arrows="start_0 directReply_0")
    key, client.question = server.create_flow(drawn, type="AGENTFLOW"), ""
    streamed, answered = client.final(key, form={"city": "Oslo"}), client.predict(key, form={"city": "Oslo"})
    assert (streamed.text, streamed.form) == (answered.text, answered.form) == ("to Oslo", {"city": "Oslo"})


def test_a_person_answers_an_agent_flow(client: SyncDriver, server: Server) -> None:
    human = node("humanInput", humanInputDescription="Pay it?")
    arrows = "start_0 humanInput_0, humanInput_0:0 directReply_0"
    key = server.create_flow(flow(start(), human, reply("Paid."), arrows=arrows), type="AGENTFLOW")
    client.question = "Order 17"
    asked = client.predict(key, chat_id="c")
    assert asked.action
    client.question = ""
    answer = HumanInput(type="proceed", feedback="Once.")
    done = client.final(key, chat_id="c", human_input=answer)
    assert (done.text, done.executionId) == ("Paid.", asked.executionId)


def test_a_run_is_cancelled_and_what_was_said_is_kept(client: SyncDriver, chat: str, upstream: Upstream) -> None:
    client.question = "/count 500 | /pace 10"
    run, rest, answer = client.cancelled(chat, 4)
    assert run.state == "cancelled"
    assert [type(event) for event in rest if not isinstance(event, Token)] == [Abort, End]
    assert answer.aborted
    assert str(answer.text).startswith("w1 w2 w3")
    assert upstream.wait_until(lambda seen: seen[-1].closed_by_peer_at_token is not None)


def test_a_run_in_the_background_is_followed_by_its_id(client: SyncDriver, chat: str) -> None:
    run = client.call("start", chat, "/count 20 | /pace 1", chat_id="background")
    assert run.state == "running"
    events = client.resumed(run.id)
    assert said(events) == counted(20)
    assert client.resumed(run.id, 20) == events[20:]
    assert client.call("run", run.id).state == "finished"
    assert client.call("cancel", run.id).state == "finished"


def test_a_key_joins_its_run_and_refuses_another_question(client: SyncDriver, chat: str, upstream: Upstream) -> None:
    first = client.predict(chat, idempotency_key="once")
    assert client.final(chat, idempotency_key="once").chatMessageId == first.chatMessageId
    assert len(upstream.requests) == 1
    client.question = "another"
    with pytest.raises(errors.IdempotencyConflict):
        client.predict(chat, idempotency_key="once")


def test_a_limit_is_waited_for(client: SyncDriver, server: Server, upstream: Upstream) -> None:
    limit = {"limitDuration": 1, "limitMax": 1, "limitMsg": "Slow down"}
    flow = server.create_flow(conversation(upstream.url), apiConfig={"rateLimit": limit})
    for _ in range(2):
        assert client.final(flow).text == "You said: Hi"
    client.limits["attempts"] = 1
    with pytest.raises(errors.RateLimited, match="Slow down") as caught:
        client.final(flow)
    assert caught.value.retry_after == 1


def test_a_failure_inside_a_stream_is_raised_with_its_code(client: SyncDriver, chat: str) -> None:
    client.question = "/count 9 | /cut 3"
    assert said(client.events(chat)) == counted(3)
    for use in (client.text, client.final):
        with pytest.raises(errors.ProviderCut):
            use(chat)


def test_unknown_names_and_wrong_keys_are_refused(client: SyncDriver, server: Server, upstream: Upstream) -> None:
    with pytest.raises(errors.FlowNotFound):
        client.events("11111111-1111-4111-8111-111111111111")
    with pytest.raises(errors.NotFound, match=r"\.\./chatflows\?"):
        client.predict("../chatflows?")
    with pytest.raises(errors.RunNotFound):
        client.resumed("0" * 32)
    made = server.send("POST", "/api/v1/apikey", {"keyName": "k", "permissions": []}, admin=True).json
    bound = server.create_flow(conversation(upstream.url), apikeyid=made["id"])
    for use in (client.events, client.predict, lambda flow: client.chunks(PredictionData(flow, "Hi", streaming=True))):
        with pytest.raises(errors.Unauthorized):
            use(bound)
    assert upstream.requests == []


def test_a_model_that_says_nothing_is_given_up_after_the_attempts(client: SyncDriver, chat: str) -> None:
    client.question = "/count 9 | /stall 3"
    client.limits |= {"read_timeout": 0.2, "attempts": 2}
    with pytest.raises(errors.ConnectionFailed, match="nothing came in time") as caught:
        client.text(chat)
    assert caught.value.__notes__[0].startswith("attempts: 2; last event: ")
