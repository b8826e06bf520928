"""Many flows that wait for people: after a restart, from several processes, and with nobody who answers."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from agentflows import SHOWN, Flow, flow, llm, node, reply, start
from servers import Server, serving
from test_executions import executions
from test_runs import at_work
from test_soak import only_with_soak
from upstream import Upstream
from waiting import eventually, within

from headrace.errors import Interrupted
from headrace.schema import FlowRow, HumanInput


def asking(base: str) -> Flow:
    return flow(
        start(), node("humanInput", humanInputDescription="Go on?"), llm(base, message="/say done"), reply("No."),
        arrows="start_0 humanInput_0, humanInput_0:0 llm_0, humanInput_0:1 directReply_0",
    )  # fmt: skip


@pytest.mark.parametrize("many", [20, pytest.param(500, marks=pytest.mark.soak)])
def test_what_waits_goes_on_once_after_a_restart_whichever_process_is_answered(
    tmp_path: Path, upstream: Upstream, many: int, request: pytest.FixtureRequest
) -> None:
    if many > 20:
        only_with_soak(request)
    with ThreadPoolExecutor(16) as pool:
        with serving(tmp_path / "data") as server:
            key = server.create_flow(asking(upstream.url), **SHOWN)
            asked = list(pool.map(lambda n: server.ask(key, "Hi", chatId=f"c{n}").json["executionId"], range(many)))
            server.stop()
        upstream.requests.clear()
        with serving(tmp_path / "data", "--workers", "2") as server:

            def answer(execution: str) -> int:
                path = f"/api/v1/executions/{execution}/answer"
                return server.send("POST", path, {"type": "proceed"}, admin=True).status

            statuses = Counter(pool.map(answer, [*asked, *reversed(asked)]))
            assert statuses == {200: many, 409: many}
            assert len(executions(server, f"agentflowId={key}&state=FINISHED&limit=500")) == many
    assert len(upstream.requests) == many


@pytest.mark.parametrize(
    ("rule", "text"),
    [({"after": 0, "answer": "reject"}, "No."), ({"after": 0, "answer": "proceed", "feedback": "Silence."}, "done")],
)
def test_a_question_that_nobody_answers_takes_the_flows_answer(
    tmp_path: Path, upstream: Upstream, rule: dict[str, Any], text: str
) -> None:
    with serving(tmp_path) as server:
        settings = {"showInternals": True, "unanswered": rule}
        late = server.create_flow(asking(upstream.url), type="AGENTFLOW", apiConfig=json.dumps(settings))
        patient = server.create_flow(asking(upstream.url), **SHOWN)
        server.ask(late, "Hi", chatId="late")
        server.ask(patient, "Hi", chatId="patient")
        server.stop()
    with serving(tmp_path) as server:
        found = eventually(lambda: executions(server, f"agentflowId={late}&state=FINISHED"))
        assert json.loads(found[0]["executionData"])[-1]["data"]["output"]["content"] == text
        assert [row["state"] for row in executions(server, f"agentflowId={patient}")] == ["STOPPED"]


def test_a_rule_for_the_unanswered_is_checked(server: Server) -> None:
    made = {"name": "x", "type": "AGENTFLOW", "flowData": json.dumps(asking("http://127.0.0.1:1/v1"))}
    bad = {**made, "apiConfig": json.dumps({"unanswered": {"after": -1, "answer": "perhaps"}})}
    assert server.send("POST", "/api/v1/chatflows", bad, admin=True).status in (400, 422)


def test_an_answer_that_a_stopping_server_cannot_take_leaves_the_question_open(
    tmp_path: Path, upstream: Upstream
) -> None:
    async def scenario() -> None:
        async with at_work(tmp_path / "data") as here:
            text = json.dumps(asking(upstream.url))
            flow_row = await here.storage.add_flow(FlowRow("", "asks", text, type="AGENTFLOW"))
            asks = await here.flows.get(flow_row.id)
            stopped = await here.runs.answer(await here.start(asks, "Hi"))
            assert stopped.executionId
            further = await here.executions.answered(stopped.executionId, HumanInput(type="proceed"))
            await here.backend.queue.close()
            with pytest.raises(Interrupted):
                await here.runs.start(asks, further.request, claim=here.executions.claim)
            assert (await here.executions.one(stopped.executionId)).state == "STOPPED"

    within(scenario(), 30)
