"""Cron texts: the moments that they name, where clocks change, and what is said about those that cannot be read."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from headrace.engine.agentflow.cron import Cron
from headrace.engine.agentflow.schedule import schedule_of
from headrace.errors import FlowError


def following(text: str, after: str, count: int = 3, zone: str = "UTC") -> list[str]:
    """The next moments in UTC, without year and seconds."""
    moment, cron = datetime.fromisoformat(after).replace(tzinfo=UTC), Cron(text)
    found: list[str] = []
    for _ in range(count):
        moment = cron.following(moment, ZoneInfo(zone))
        found.append(moment.strftime("%m-%dT%H:%M" if not moment.second else "%m-%dT%H:%M:%S"))
    return found


@pytest.mark.parametrize(
    ("text", "moments"),
    [
        ("*/20 * * * *", ["01-30T12:20", "01-30T12:40", "01-30T13:00"]),
        ("5,10-12 8 * * *", ["01-31T08:05", "01-31T08:10", "01-31T08:11"]),
        ("0 9 * * MON-FRI", ["02-02T09:00", "02-03T09:00", "02-04T09:00"]),
        ("0 0 31 * *", ["01-31T00:00", "03-31T00:00", "05-31T00:00"]),
        ("0 0 1 * 7", ["02-01T00:00", "02-08T00:00", "02-15T00:00"]),  # either of both days
        ("0 0 */10 * sun", ["02-01T00:00", "03-01T00:00", "05-31T00:00"]),  # both of them
        ("*/25 59 23 31 dec *", ["12-31T23:59", "12-31T23:59:25", "12-31T23:59:50"]),
        ("50/4 * * * *", ["01-30T12:50", "01-30T12:54", "01-30T12:58"]),
        ("0 0 29 2 */7", ["02-29T00:00"]),  # a Sunday: 2032
    ],
)
def test_a_text_names_its_moments(text: str, moments: list[str]) -> None:
    assert following(text, "2026-01-30T12:00", len(moments)) == moments


def test_the_moment_itself_is_past() -> None:
    assert following("0 12 * * *", "2026-01-30T12:00", 1) == ["01-31T12:00"]
    assert following("0 12 * * *", "2026-01-30T11:59:59.999", 1) == ["01-30T12:00"]


@pytest.mark.parametrize(
    ("text", "after", "zone", "moments"),
    [
        # Half past two does not exist on the 29th of March in Berlin, and is there twice on the 25th of October.
        ("30 2 * * *", "2026-03-28T12:00", "Europe/Berlin", ["03-29T01:30", "03-30T00:30", "03-31T00:30"]),
        ("30 2 * * *", "2026-10-24T12:00", "Europe/Berlin", ["10-25T00:30", "10-26T01:30", "10-27T01:30"]),
        ("0,30 * * * *", "2026-03-29T00:30", "Europe/Berlin", ["03-29T01:00", "03-29T01:30", "03-29T02:00"]),
        ("30 * * * *", "2026-10-25T00:00", "Europe/Berlin", ["10-25T00:30", "10-25T01:30", "10-25T02:30"]),
        ("0 9 * * *", "2026-03-28T00:00", "Europe/Berlin", ["03-28T08:00", "03-29T07:00", "03-30T07:00"]),
        # Half an hour, and a day that was left out as a whole.
        ("45 1 * * *", "2026-04-04T00:00", "Australia/Lord_Howe", ["04-04T14:45", "04-05T15:15", "04-06T15:15"]),
        ("0 12 * * *", "2011-12-29T12:00", "Pacific/Apia", ["12-29T22:00", "12-30T22:00", "12-31T22:00"]),
        ("30 0 * * *", "2026-04-22T23:00", "Africa/Cairo", ["04-23T22:30", "04-24T21:30", "04-25T21:30"]),
    ],
)
def test_a_clock_that_is_changed_neither_loses_a_run_nor_doubles_one(
    text: str, after: str, zone: str, moments: list[str]
) -> None:
    assert following(text, after, 3, zone) == moments


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("61 * * * *", 1, "'61' is no minute from 0 to 59"),
        ("* * * *", 8, "4 fields"),
        ("* * * * * * *", 13, "7 fields"),
        ("0 9 * * MON-FRY", 13, "'FRY' is no day of the week"),
        ("1,2,x * * * *", 5, "'x' is no minute"),
        ("*/0 * * * *", 3, "'0' is no step"),
        ("*/ * * * *", 3, "'' is no step"),
        ("0  5-2 * * *", 4, "ends before it begins"),
        ("* * 31 2,4 *", 5, "none of its months has this day"),
        ("@daily", 7, "1 fields"),
        ("-1 * * * *", 1, "'' is no minute"),
        ("² * * * *", 1, "'²' is no minute"),
        ("9" * 5000 + " * * * *", 1, "is no minute"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused_with_the_position(text: str, position: int, reason: str) -> None:
    with pytest.raises(FlowError) as error:
        Cron(text)
    assert f"at position {position}: " in str(error.value)
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"scheduleFrequency": "hourly", "scheduleOnMinute": "30"}, "30 * * * *"),
        ({"scheduleFrequency": "daily", "scheduleOnTime": "09:05"}, "5 9 * * *"),
        ({"scheduleFrequency": "weekly", "scheduleOnTime": "23:59", "scheduleOnDayOfWeek": "1, 7"}, "59 23 * * 1,7"),
        ({"scheduleFrequency": "monthly", "scheduleOnTime": "0:00", "scheduleOnDayOfMonth": "1,15"}, "0 0 1,15 * *"),
        ({"scheduleType": "cronExpression", "scheduleCronExpression": " 0 9 * * 1 "}, "0 9 * * 1"),
    ],
)
def test_a_picked_time_is_a_cron_text(inputs: dict[str, str], text: str) -> None:
    schedule = schedule_of({"startInputType": "scheduleInput", **inputs})
    assert schedule
    assert schedule.text == text
    schedule.check()


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({}, "no frequency"),
        ({"scheduleType": "cronExpression"}, "no cron text"),
        ({"scheduleFrequency": "daily", "scheduleOnTime": "24:00"}, "write hours and minutes"),
        ({"scheduleFrequency": "weekly", "scheduleOnTime": "9:00"}, "no day of the week"),
        ({"scheduleFrequency": "hourly", "scheduleOnMinute": 60}, "at position 1"),
        ({"scheduleFrequency": "hourly", "scheduleOnMinute": 0, "scheduleTimezone": "Mars/Olympus"}, "no time zone"),
        ({"scheduleFrequency": "hourly", "scheduleOnMinute": 0, "scheduleTimezone": "../etc"}, "no time zone"),
        ({"scheduleFrequency": "hourly", "scheduleOnMinute": 0, "scheduleEndDate": "soon"}, "a date such as"),
        ({"scheduleFrequency": "sometimes"}, "not set up"),
    ],
)
def test_a_schedule_that_names_no_times_says_why(inputs: dict[str, str], reason: str) -> None:
    def check() -> None:
        if schedule := schedule_of({"startInputType": "scheduleInput", **inputs}):
            schedule.check()

    with pytest.raises(FlowError, match=reason):
        check()


def test_a_schedule_ends_after_the_whole_last_day() -> None:
    schedule = schedule_of(
        {
            "startInputType": "scheduleInput",
            "scheduleFrequency": "daily",
            "scheduleOnTime": "23:30",
            "scheduleTimezone": "America/New_York",
            "scheduleEndDate": "2026-06-02",
        }
    )
    assert schedule
    times = schedule.following_times(datetime(2026, 6, 1, tzinfo=UTC), 5)
    assert [moment.isoformat() for moment in times] == ["2026-06-01T03:30:00+00:00", "2026-06-02T03:30:00+00:00",
                                                       "2026-06-03T03:30:00+00:00"]  # fmt: skip
