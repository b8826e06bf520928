"""Tools that need nothing but this server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from headrace.engine.annotations import NodeInfo
from headrace.engine.node import Context, Node
from headrace.engine.ports import Tool, ToolResult
from headrace.nodes.tools.arithmetic import calculated
from headrace.nodes.tools.function import FunctionTool

_NO_SUM: Final = "I don't know how to do that."  # what agents of the builder read here; recordings hold it


class Calculator(Node, frozen=True, kw_only=True, tag="calculator"):
    """Calculates an expression."""

    async def build(self, ctx: Context) -> Tool:
        """The tool."""
        parameters = {"type": "object", "properties": {"input": {"type": "string"}}, "additionalProperties": False}
        about = "Calculates an arithmetic expression such as `2 * (3 + 4)` or `sqrt(2)` and gives its value."
        return FunctionTool("calculator", about, parameters, self._call)

    async def _call(self, arguments: Mapping[str, Any]) -> ToolResult:
        try:
            return ToolResult(calculated(str(arguments.get("input", ""))))
        except ValueError:
            return ToolResult(_NO_SUM)


class CurrentDateTime(Node, frozen=True, kw_only=True, tag="currentDateTime"):
    """Tells the date and the time of the server."""

    info = NodeInfo(label="CurrentDateTime")

    async def build(self, ctx: Context) -> Tool:
        """The tool."""
        about = "Tells today's date, the time, the day of the week and the time zone."
        return FunctionTool(
            "current_date_time", about, {"type": "object", "properties": {}, "additionalProperties": False}, self._call
        )

    async def _call(self, arguments: Mapping[str, Any]) -> ToolResult:
        now = datetime.now().astimezone()
        told = {
            "date": now.date().isoformat(),
            "time": now.time().isoformat("seconds"),
            "day": now.strftime("%A"),
            "timezone": now.tzname(),
            "utcOffset": now.strftime("%z"),
        }
        return ToolResult(msgspec.json.encode(told).decode())


NODES = (Calculator, CurrentDateTime)
