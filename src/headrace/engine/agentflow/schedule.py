"""Flows that begin by the clock: the settings of their Start node, and the times that these mean."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from headrace.engine.agentflow.cron import Cron
from headrace.engine.agentflow.form import FormInput
from headrace.engine.agentflow.webhook import Webhook
from headrace.engine.annotations import Input, options
from headrace.engine.overrides import read_json
from headrace.errors import FlowError
from headrace.schema import FlowFile

_SCHEDULE: Final = {"startInputType": "scheduleInput"}
_PICKED: Final = {**_SCHEDULE, "scheduleType": "visualPicker"}
_WEEKLY, _MONTHLY = {**_PICKED, "scheduleFrequency": "weekly"}, {**_PICKED, "scheduleFrequency": "monthly"}
_AT_A_TIME: Final = {**_PICKED, "scheduleFrequency": ["daily", "weekly", "monthly"]}
_FORM: Final = {**_SCHEDULE, "scheduleInputMode": "form"}
_TIME: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


class Schedule(Webhook, frozen=True, kw_only=True):  # records take their fields from one line of classes
    """The inputs of a Start node that say when its flow begins, and with which question or form."""

    scheduleType: Annotated[
        str,
        Input(
            label="Schedule Type",
            type="options",
            options=options("visualPicker", "cronExpression"),
            show=_SCHEDULE,
        ),
    ] = "visualPicker"
    """Anything but `visualPicker` means the cron text, as with Flowise."""
    scheduleCronExpression: Annotated[
        str, Input(label="Cron Expression", show={**_SCHEDULE, "scheduleType": "cronExpression"})
    ] = ""
    scheduleFrequency: Annotated[
        Literal["hourly", "daily", "weekly", "monthly"] | None, Input(label="Frequency", show=_PICKED)
    ] = None
    scheduleOnMinute: Annotated[
        int | None, Input(label="On Minute", show={**_PICKED, "scheduleFrequency": "hourly"})
    ] = None
    scheduleOnTime: Annotated[str, Input(label="On Time", type="timePicker", show=_AT_A_TIME)] = ""
    scheduleOnDayOfWeek: Annotated[str, Input(label="On Day of Week", type="weekDaysPicker", show=_WEEKLY)] = ""
    """Numbers with commas: 1 is Monday, 7 Sunday."""
    scheduleOnDayOfMonth: Annotated[str, Input(label="On Day of Month", type="monthDaysPicker", show=_MONTHLY)] = ""
    """Numbers with commas."""
    scheduleEndDate: Annotated[str, Input(label="End Date", type="datePicker", show=_SCHEDULE)] = ""
    scheduleTimezone: Annotated[str, Input(label="Timezone", type="options", show=_SCHEDULE)] = "UTC"
    """A name of the IANA's list, such as `Europe/Oslo`."""
    scheduleInputMode: Annotated[
        Literal["text", "form", "none"], Input(label="Schedule Input Mode", show=_SCHEDULE)
    ] = "text"
    scheduleDefaultInput: Annotated[
        str, Input(label="Default Input", show={**_SCHEDULE, "scheduleInputMode": "text"})
    ] = ""
    scheduleFormInputTypes: Annotated[list[FormInput], Input(label="Form Fields", show=_FORM)] = msgspec.field(
        default_factory=list
    )
    scheduleFormDefaults: Annotated[
        str | dict[str, Any], Input(label="Default Form Values", type="json", show=_FORM)
    ] = ""

    def check(self) -> None:
        """Raises FlowError for a schedule that names no times, with the reason."""
        _ = self.cron, self.zone, self.end
        self.form()

    @property
    def text(self) -> str:
        """The schedule as a cron text. Raises FlowError for one that is not filled in."""
        if self.scheduleType != "visualPicker":
            if not self.scheduleCronExpression.strip():
                raise FlowError("the schedule of the Start node has no cron text: write one, such as `0 9 * * 1-5`")
            return self.scheduleCronExpression.strip()
        match self.scheduleFrequency:
            case None:
                raise FlowError("the schedule of the Start node has no frequency: choose one")
            case "hourly":
                return f"{_required(self.scheduleOnMinute, 'minute')} * * * *"
            case "daily":
                return f"{self._clock()} * * *"
            case "weekly":
                return f"{self._clock()} * * {_list(_required(self.scheduleOnDayOfWeek, 'day of the week'))}"
            case "monthly":
                return f"{self._clock()} {_list(_required(self.scheduleOnDayOfMonth, 'day of the month'))} * *"

    def _clock(self) -> str:
        found = _TIME.fullmatch(self.scheduleOnTime.strip())
        if found is None:
            raise FlowError(f"the schedule's time is {self.scheduleOnTime!r}: write hours and minutes, such as 09:30")
        return f"{int(found[2])} {int(found[1])}"

    @property
    def cron(self) -> Cron:
        """The cron text, read. Raises FlowError."""
        return Cron(self.text)

    @property
    def zone(self) -> ZoneInfo:
        """The time zone. Raises FlowError."""
        try:
            return ZoneInfo(self.scheduleTimezone)
        except (OSError, ValueError, LookupError):
            raise FlowError(
                f"there is no time zone {self.scheduleTimezone!r}: use a name such as Europe/Oslo"
            ) from None

    @property
    def end(self) -> datetime | None:
        """The last moment at which anything comes, in UTC; a day alone counts whole. Raises FlowError."""
        if not (text := self.scheduleEndDate.strip()):
            return None
        try:
            if len(text) == len("2026-01-31"):
                last = datetime.combine(date.fromisoformat(text) + timedelta(days=1), time(), self.zone)
                return last.astimezone(UTC) - timedelta(milliseconds=1)
            given = datetime.fromisoformat(text)
        except ValueError:
            raise FlowError(f"the schedule's end is {text!r}: write a date such as 2026-12-31") from None
        return (given if given.tzinfo else given.replace(tzinfo=self.zone)).astimezone(UTC)

    def following(self, after: datetime) -> datetime | None:
        """The next time after that one, in UTC; None when the schedule has ended. Raises FlowError."""
        found, end = self.cron.following(after, self.zone), self.end
        return None if end and found > end else found

    def following_times(self, after: datetime, count: int) -> list[datetime]:
        """The next times, in UTC. Raises FlowError."""

        def times() -> Any:
            moment = self.following(after)
            while moment:
                yield moment
                moment = self.following(moment)

        return list(islice(times(), count))

    def form(self) -> dict[str, Any] | None:
        """The values of the form that it begins with; None for another mode. Raises FlowError."""
        if self.scheduleInputMode != "form":
            return None
        values = read_json(self.scheduleFormDefaults) or {}
        if not isinstance(values, dict):
            raise FlowError("the schedule's default form values need to be a JSON object")
        return values

    @property
    def fields(self) -> Sequence[FormInput]:
        """The fields of that form."""
        return self.scheduleFormInputTypes if self.scheduleInputMode == "form" else ()


def schedule_of(inputs: Mapping[str, Any]) -> Schedule | None:
    """The schedule of a Start node with these inputs; None for one that begins otherwise. Raises FlowError."""
    if inputs.get("startInputType") != "scheduleInput":
        return None
    given = {key: value for key, value in inputs.items() if value not in ("", None)}
    if fields := given.get("scheduleFormInputTypes"):
        given["scheduleFormInputTypes"] = read_json(fields)
    try:
        return msgspec.convert(given, Schedule, strict=False)
    except msgspec.ValidationError as error:
        raise FlowError(f"the schedule of the Start node is not set up: {error}") from None


def check_cron(flow: FlowFile) -> None:
    """Raises FlowError for a flow with a cron text that cannot be read; what is not filled in yet may stay so."""
    for inputs in (node.data.inputs for node in flow.nodes if node.data.name == "startAgentflow"):
        written = inputs.get("scheduleType") != "visualPicker" and str(inputs.get("scheduleCronExpression") or "")
        if inputs.get("startInputType") == "scheduleInput" and written and written.strip():
            Cron(written.strip())


def _required(value: Any, what: str) -> Any:
    if value in (None, ""):
        raise FlowError(f"the schedule of the Start node has no {what}: choose one")
    return value


def _list(text: str) -> str:
    return ",".join(part for part in re.split(r"[\s,]+", text) if part)
