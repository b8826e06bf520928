"""Names of tools, as every provider takes them."""

from __future__ import annotations

import re
from collections.abc import Container


def tool_name(name: str) -> str:
    """A name that every provider takes: letters, digits, _ and -, 64 at most."""
    return re.sub(r"[^\w-]+", "_", name.strip(), flags=re.ASCII)[:64] or "tool"


def free_name(name: str, taken: Container[str]) -> str:
    """The name, with a number when another tool has it."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name[:60]}_{number}"
    return free
