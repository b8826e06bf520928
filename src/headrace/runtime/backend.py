"""The backend that runs stand on: log, queue and registry, chosen together in `headrace.assembly`."""

from __future__ import annotations

from typing import NamedTuple

from headrace.runtime.log import EventLog
from headrace.runtime.queue import Queue
from headrace.runtime.registry import RunRegistry


class Backend(NamedTuple):
    """One process's part of the backend."""

    log: EventLog
    queue: Queue
    registry: RunRegistry
