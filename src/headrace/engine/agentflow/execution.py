"""The execution of an agent flow: stored with its run and listed in the builder."""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec

from headrace.engine.agentflow.progress import Progress

ExecutionState = Literal["INPROGRESS", "FINISHED", "ERROR", "TERMINATED", "TIMEOUT", "STOPPED"]
HIDDEN: Final = "<hidden>"
_NO_CREDENTIAL: Final = "00000000-0000-0000-0000-000000000000"
_SECRET: Final = re.compile(
    r"(?i)(api[_-]?key|token|secret|password|passwd|authorization|cookie|headers|env|baseoptions|credential|"
    r"connectionstring|(access|private|subscription)[_-]?key)$"
)
_PAIR_NAMES: Final = ("key", "name", "inputArgName")
_PAIR_VALUES: Final = ("value", "inputArgValue")
# Lengths are bounded: a text may hold megabytes of what somebody sent.
_USER: Final = re.compile(r"(?<=://)[^\s/?#\"'<>@]{1,1000}(?=@)")
_IN_QUERY: Final = re.compile(
    r"(?i)([?&#][\w.%-]{0,64}?(?:key|token|secret|password|passwd|sig|signature|auth|credential)=)[^\s&#\"'<>]+"
)


class Execution(msgspec.Struct, kw_only=True):
    """An execution that goes on. `data` has an entry for every node that was executed."""

    id: str
    state: ExecutionState = "INPROGRESS"
    data: list[dict[str, Any]] = []
    action: dict[str, Any] | None = None
    """The question to a human, where the flow waits for one."""
    progress: Progress | None = None
    """Where it is, and from where it can go on."""
    amended: bool = False
    """`data` has changed since it was told last."""


def public(value: Any, name: str = "") -> Any:
    """An input without secrets: clients expect the names of these, but not what they hold.

    Secrets in addresses, in texts that are JSON, and in pairs of a name and a value are found as well.
    """
    if name == "FLOWISE_CREDENTIAL_ID":
        return value and _NO_CREDENTIAL
    if value not in ("", None) and _SECRET.search(name) and not isinstance(value, (int, float)):
        return HIDDEN
    if isinstance(value, dict):
        pair = next((str(value[key]) for key in _PAIR_NAMES if value.get(key)), "")
        return {key: public(item, pair if key in _PAIR_VALUES else str(key)) for key, item in value.items()}
    if isinstance(value, list):
        return [public(item) for item in value]
    return _public_text(value) if isinstance(value, str) else value


def _public_text(text: str) -> str:
    if text.lstrip()[:1] in ("{", "["):
        try:
            given = msgspec.json.decode(text)
        except msgspec.DecodeError:
            given = None
        if isinstance(given, (dict, list)):
            seen = public(given)
            return text if seen == given else msgspec.json.encode(seen).decode()
    return _IN_QUERY.sub(rf"\1{HIDDEN}", _USER.sub(HIDDEN, text)) if "://" in text else text
