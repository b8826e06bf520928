"""Listeners to events inside a running tool, such as those of another flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import TypeAlias

from headrace.events import Event

Listener: TypeAlias = Callable[[Sequence[Event]], None]


def _nobody(_: Sequence[Event]) -> None:
    pass


# Tools of one turn run side by side on one context of the run, each in a task: the task knows who listens to it.
_listener: ContextVar[Listener] = ContextVar("listener", default=_nobody)


def listen(listener: Listener = _nobody) -> None:
    """Sets the only listener of this task and of those that it starts."""
    _listener.set(listener)


def tell(events: Sequence[Event]) -> None:
    """Tells events to the listener of the task, if there is one."""
    _listener.get()(events)
