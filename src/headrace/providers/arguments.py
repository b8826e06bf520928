"""Tool calls' arguments, for the protocols that want them as an object."""

from __future__ import annotations

from typing import Any

import msgspec


def as_object(arguments: str) -> dict[str, Any]:
    """The arguments that a model wrote; what is no JSON object goes back as it came, under a name."""
    try:
        value: Any = msgspec.json.decode(arguments or "{}")
    except msgspec.DecodeError:
        value = arguments
    return value if isinstance(value, dict) else {"arguments": value}
