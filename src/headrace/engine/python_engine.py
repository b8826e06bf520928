"""Runs a flow that is written in Python."""

from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path

from headrace.engine.catalog import Catalog
from headrace.engine.node import Context
from headrace.engine.overrides import Overrides
from headrace.engine.python_run import ServerRun
from headrace.errors import FlowError, HeadraceError
from headrace.events import Event, Metadata, RunMetadata
from headrace.python_flow import PythonFlow
from headrace.schema import NodeData, PredictionRequest

_logger = logging.getLogger("headrace.python")


class PythonEngine:
    """A flow in Python, ready to run."""

    memory: NodeData | None = None

    def __init__(self, flow: PythonFlow, catalog: Catalog) -> None:
        self._flow, self._catalog = flow, catalog

    def check(self, request: PredictionRequest) -> None:
        """A form is read when the run begins, with the types of the function."""

    async def run(self, ctx: Context, overrides: Overrides) -> AsyncGenerator[Sequence[Event]]:
        """Starts the answer. Raises InvalidRequest for a form that does not fit."""
        run = ServerRun(ctx, self._catalog)
        self._flow.arguments(run)
        return self._answer(run, ctx)

    async def _answer(self, run: ServerRun, ctx: Context) -> AsyncGenerator[Sequence[Event]]:
        try:
            async with aclosing(self._flow.run(run)) as batches:
                async for batch in batches:
                    yield _kept(batch, ctx)
        except HeadraceError:
            raise
        except Exception as error:
            _logger.exception("the flow %r failed", self._flow.name)
            raise FlowError(f"the flow {self._flow.name!r} failed with {_place(error)}") from None


def _kept(batch: Sequence[Event], ctx: Context) -> Sequence[Event]:
    """The events without the facts that flows leave: they become part of the run's own."""
    facts = [event.data for event in batch if isinstance(event, Metadata)]
    if not facts:
        return batch
    for name in RunMetadata.__struct_fields__:
        for value in (getattr(fact, name) for fact in facts):
            if value is not None and name in ("json", "fields", "text"):
                setattr(ctx, name, value)
    return [event for event in batch if not isinstance(event, Metadata)]


def _place(error: Exception) -> str:
    """The kind of an error and the line it came from. Its text stays in the log: it may hold a secret."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{where}"
