"""Answers questions to people that nobody has answered in time, where their flows say so."""

from __future__ import annotations

import logging
from time import time

from headrace.errors import Conflict, HeadraceError, NotFound
from headrace.runtime.executions import Executions
from headrace.runtime.flows import Flows, Unanswered
from headrace.runtime.runs import Runs
from headrace.schema import HumanInput
from headrace.storage.storage import timestamp

_logger = logging.getLogger("headrace.runs")


class Expiry:
    """The flows' answers in place of people's. Several processes may look at once: each question takes one answer."""

    def __init__(self, executions: Executions, flows: Flows, runs: Runs) -> None:
        self._executions, self._flows, self._runs = executions, flows, runs

    async def answer_expired(self) -> int:
        """Answers what has waited longer than its flow allows; says how much that was."""
        count = 0
        for flow in await self._executions.flows_that_wait():
            try:
                rule = (await self._flows.get(flow)).api.unanswered
            except HeadraceError as error:
                _logger.warning("executions of the flow %s wait on: %s", flow, error)
                continue
            if rule:
                waiting = await self._executions.waiting_since(flow, timestamp(max(0.0, time() - rule.after)))
                count += sum([await self._answer(execution, rule) for execution in waiting])
        return count

    async def _answer(self, execution: str, rule: Unanswered) -> bool:
        """Answers one of them; says whether it still waited and can go on."""
        try:
            further = await self._executions.answered(execution, HumanInput(type=rule.answer, feedback=rule.feedback))
            flow = await self._flows.get(further.flow)
            await self._runs.start(
                flow, further.request, claim=lambda job: self._executions.claim_waiting(execution, job)
            )
        except (Conflict, NotFound):  # somebody was faster
            return False
        except HeadraceError as error:
            _logger.warning("execution %s waits on: %s", execution, error)
            return False
        return True
