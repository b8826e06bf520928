"""Tools made of functions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from headrace.engine.chat import ToolSpec
from headrace.engine.ports import ToolResult
from headrace.engine.tool_names import tool_name

INPUT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
"""The arguments of a tool that takes one text."""


class FunctionTool:
    """Implements `headrace.engine.ports.Tool` with a function."""

    spec: ToolSpec
    return_direct: bool

    def __init__(
        self,
        name: str,
        description: str,
        parameters: dict[str, Any],
        function: Callable[[Mapping[str, Any]], Awaitable[ToolResult]],
        *,
        return_direct: bool = False,
    ) -> None:
        self.spec = ToolSpec(tool_name(name), description, parameters)
        self.return_direct = return_direct
        self._function = function

    async def call(self, arguments: Mapping[str, Any]) -> ToolResult:
        """See Tool."""
        return await self._function(arguments)
