"""Flows that begin by the clock: one run for each time, a history, and times that were missed."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from agentflows import SHOWN, Flow, flow, node, reply, start
from servers import Reply, Server, serving
from test_executions import executions
from waiting import eventually

EVERY_SECOND = {"scheduleType": "cronExpression", "scheduleCronExpression": "* * * * * *"}
YEARLY = {"scheduleType": "cronExpression", "scheduleCronExpression": "0 0 1 1 *"}


def scheduled(*between: Flow, arrows: str = "start_0 directReply_0", **inputs: Any) -> Flow:
    begins = start(startInputType="scheduleInput", **inputs)
    return flow(begins, *between, reply("You said {{ question }} {{ $form.city }}"), arrows=arrows)


def path(key: str, what: str) -> str:
    return f"/api/v1/chatflows/{key}/schedule/{what}"


def status(server: Server, key: str) -> Any:
    return server.send("GET", path(key, "status"), admin=True).json


def logs(server: Server, key: str, query: str = "limit=500") -> list[dict[str, Any]]:
    return server.send("GET", f"{path(key, 'trigger-logs')}?{query}", admin=True).json["data"]


def switch(server: Server, key: str, enabled: Any) -> Reply:
    return server.send("PATCH", path(key, "enabled"), {"enabled": enabled}, admin=True)


def until_fired(server: Server, key: str, times: int, wanted: str = "SUCCEEDED") -> list[dict[str, Any]]:
    def fired() -> list[dict[str, Any]] | None:
        found = logs(server, key, f"limit=500&status={wanted}")
        return found if len(found) >= times else None

    return eventually(fired)


def test_a_flow_begins_at_each_of_its_times_with_its_question(server: Server) -> None:
    key = server.create_flow(scheduled(**EVERY_SECOND, scheduleDefaultInput="the digest"), **SHOWN)
    fired = until_fired(server, key, 2)
    assert switch(server, key, enabled=False).json["enabled"] is False
    assert {row["error"] for row in fired} == {None}
    assert len({row["scheduledAt"] for row in fired}) == len(fired)
    done = {row["id"]: row for row in executions(server, f"agentflowId={key}&limit=500")}
    told = json.loads(done[fired[0]["executionId"]]["executionData"])
    assert told[0]["data"]["output"] == {"question": "the digest"}
    messages = server.send("GET", f"/api/v1/chatmessage/{key}?chatType=SCHEDULED&order=ASC", admin=True).json
    assert [message["content"] for message in messages[:2]] == ["the digest", "You said the digest {{ $form.city }}"]
    assert messages[0]["chatId"] != messages[2]["chatId"]


def test_a_form_and_nothing_begin_a_flow_as_well(server: Server) -> None:
    fields = [{"type": "options", "label": "City", "name": "city", "addOptions": [{"option": "Oslo"}]}]
    form: Flow = {**EVERY_SECOND, "scheduleInputMode": "form", "scheduleFormInputTypes": fields}
    good = server.create_flow(scheduled(**form, scheduleFormDefaults='{"city": "Oslo"}'), **SHOWN)
    bad = server.create_flow(scheduled(**form, scheduleFormDefaults={"city": "Rome"}), **SHOWN)
    none = server.create_flow(scheduled(**EVERY_SECOND, scheduleInputMode="none"), **SHOWN)
    texts: list[str] = []
    for key in (good, none):
        until_fired(server, key, 1)
        found = executions(server, f"agentflowId={key}&state=FINISHED")[-1]
        texts.append(json.loads(found["executionData"])[-1]["data"]["output"]["content"])
    assert texts[0] == "You said  Oslo"
    assert "the form at $.form does not fit, 'city'" in until_fired(server, bad, 1, "FAILED")[0]["error"]
    for key in (good, bad, none):
        switch(server, key, enabled=False)


def test_one_of_several_processes_begins_each_run(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--workers", "3") as server:
        key = server.create_flow(scheduled(**EVERY_SECOND), **SHOWN)
        until_fired(server, key, 4)
        switch(server, key, enabled=False)
        times = [row["scheduledAt"] for row in logs(server, key)]
        assert len(set(times)) == len(times)
        begun = [row for row in logs(server, key) if row["status"] != "SKIPPED"]
        eventually(lambda: len(executions(server, f"agentflowId={key}&state=FINISHED&limit=500")) == len(begun))


def test_the_status_names_the_next_times_and_follows_the_flow(server: Server) -> None:
    key = server.create_flow(scheduled(**YEARLY, scheduleTimezone="Europe/Berlin", scheduleDefaultInput="Hi"), **SHOWN)
    found = status(server, key)
    assert (found["enabled"], found["canEnable"], len(found["nextRuns"])) == (True, True, 5)
    assert {moment[4:] for moment in found["nextRuns"]} == {"-12-31T23:00:00.000Z"}
    record = found["record"]
    assert (record["nextRunAt"], record["lastRunAt"], record["nodeId"]) == (
        found["nextRuns"][0],
        None,
        "startAgentflow_0",
    )
    drawn = json.dumps(scheduled(**YEARLY, scheduleTimezone="UTC"))
    assert server.send("PUT", f"/api/v1/chatflows/{key}", {"flowData": drawn}, admin=True).status == 200
    assert status(server, key)["record"]["nextRunAt"].endswith("-01-01T00:00:00.000Z")
    assert status(server, key)["record"]["id"] == record["id"]
    switch(server, key, enabled=False)
    assert (status(server, key)["enabled"], status(server, key).get("nextRuns")) == (False, None)
    assert switch(server, key, enabled="yes").status == 400
    drawn = json.dumps(flow(start(), reply("x"), arrows="start_0 directReply_0"))
    server.send("PUT", f"/api/v1/chatflows/{key}", {"flowData": drawn}, admin=True)
    assert (status(server, key)["canEnable"], status(server, key)["record"]) == (False, None)
    assert "does not begin by a schedule" in switch(server, key, enabled=True).json["message"]
    server.send("DELETE", f"/api/v1/chatflows/{key}", admin=True)
    assert status(server, key)["record"] is None


def test_a_bad_cron_text_is_refused_with_its_position_and_a_draft_is_not(server: Server) -> None:
    def create(**inputs: Any) -> Reply:
        body = {"name": "x", "type": "AGENTFLOW", "flowData": json.dumps(scheduled(**inputs))}
        return server.send("POST", "/api/v1/chatflows", body, admin=True)

    refused = create(scheduleType="cronExpression", scheduleCronExpression="0 25 * * *")
    assert refused.status == 422
    assert "at position 3: '25' is no hour from 0 to 23" in refused.json["message"]
    draft = create(scheduleType="visualPicker", scheduleFrequency="daily")
    assert draft.status == 200, draft.text
    found = status(server, draft.json["id"])
    assert (found["canEnable"], found["enabled"]) == (False, False)
    assert "write hours and minutes" in found["reason"]
    assert switch(server, draft.json["id"], enabled=True).status == 422


def test_predictions_do_not_begin_a_scheduled_flow(server: Server) -> None:
    key = server.create_flow(scheduled(**YEARLY), **SHOWN)
    answer = server.ask(key, "by hand")
    assert answer.status == 400
    assert "configured as a Scheduled Trigger" in answer.json["message"]


@pytest.mark.parametrize(("missed", "fate"), [("skip", "SKIPPED"), ("once", "SUCCEEDED")])
def test_times_without_a_server_are_skipped_or_made_up_for_once(tmp_path: Path, missed: str, fate: str) -> None:
    settings = json.dumps({"missedRuns": missed})
    with serving(tmp_path / "data") as server:
        key = server.create_flow(scheduled(**YEARLY), type="AGENTFLOW", apiConfig=settings)
        assert status(server, key)["record"]
    due = (datetime.now(UTC) - timedelta(days=400)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    with closing(sqlite3.connect(tmp_path / "data" / "headrace.sqlite")) as database, database:
        database.execute('UPDATE schedule SET "nextRunAt" = ?', (due,))
    with serving(tmp_path / "data") as server:
        (found,) = until_fired(server, key, 1, fate)
        assert found["scheduledAt"] == due
        assert ("no server was there" in (found["error"] or "")) == (missed == "skip")
        assert status(server, key)["record"]["nextRunAt"] > due
        assert len(executions(server, f"agentflowId={key}")) == (missed == "once")


def test_a_run_that_still_goes_on_keeps_the_next_one_waiting(server: Server) -> None:
    site = node("customFunction", customFunctionJavascriptFunction="await new Promise(done => setTimeout(done, 2500))")
    drawn = scheduled(site, arrows="start_0 customFunction_0, customFunction_0 directReply_0", **EVERY_SECOND)
    key = server.create_flow(drawn, **SHOWN)
    skipped = until_fired(server, key, 1, "SKIPPED")
    switch(server, key, enabled=False)
    assert skipped[0]["error"] == "the run before goes on"
    running = logs(server, key, "status=RUNNING")
    body = {"logIds": [row["id"] for row in [*skipped, *running]]}
    assert server.send("DELETE", path(key, "trigger-logs"), body, admin=True).json["deletedLogs"] == len(skipped)
    (done,) = until_fired(server, key, 1)
    body = {"logIds": [done["id"]]}
    gone = server.send("DELETE", path(key, "trigger-logs"), body, admin=True).json
    assert gone == {"deletedLogs": 1, "deletedExecutions": 1}
    assert executions(server, f"agentflowId={key}") == []
