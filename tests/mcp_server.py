"""An MCP server made with the official SDK, as a process of its own: `python mcp_server.py TRANSPORT [PORT]`."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server: Any = MCPServer("tests")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds two numbers.\u200b\U000e0041"""
    return a + b


@server.tool()
def fail(why: str) -> str:
    """Fails."""
    raise ToolError(why)


@server.tool(name="odd name/ä!")
def odd() -> list[str]:
    """Has a name that models do not take."""
    return ["one", "two"]


@server.tool()
def huge() -> str:
    """Gives 50 MB."""
    return "x" * 50_000_000


@server.tool()
async def wait(path: str) -> str:
    """Waits for ever, and leaves a file when it is cancelled."""
    Path(path).write_text("begun")
    try:
        await asyncio.sleep(3600)
    finally:
        Path(path).write_text("cancelled")
    return "never"


@server.tool()
def environment() -> str:
    """Names of its environment."""
    return " ".join(sorted(os.environ))


@server.tool()
def process() -> int:
    """The number of its process."""
    return os.getpid()


if __name__ == "__main__":
    transport = sys.argv[1]
    server.run(transport, **({"port": int(sys.argv[2])} if len(sys.argv) > 2 else {}))
