"""The execution of an agent flow: stored with its run and listed in the builder."""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec

from headrace.engine.agentflow.progress import Progress

ExecutionState = Literal["INPROGRESS", "FINISHED", "ERROR", "TERMINATED", "TIMEOUT", "STOPPED"]
HIDDEN: Final = "<hidden>"
_NO_CREDENTIAL: Final = "00000000-0000-0000-0000-000000000000"
_SECRET: Final = re.compile(r"(?i)(api_?key|token|secret|password|authorization|headers|baseoptions|credential)$")


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
    """An input as anybody may see it: clients expect the keys of secrets, but not what they hold."""
    if name == "FLOWISE_CREDENTIAL_ID":
        return value and _NO_CREDENTIAL
    if value not in ("", None) and _SECRET.search(name) and not isinstance(value, (int, float)):
        return HIDDEN
    if isinstance(value, dict):
        return {key: public(item, str(key)) for key, item in value.items()}
    return [public(item) for item in value] if isinstance(value, list) else value
