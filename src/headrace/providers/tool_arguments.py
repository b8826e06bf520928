"""Tool calls' arguments, for the protocols that want them as an object."""

from __future__ import annotations

from typing import Any

from headrace.surrogates import all_whole, decoded


def as_object(arguments: str) -> dict[str, Any]:
    """The arguments that a model wrote; what is no JSON object goes back as it came, under a name.

    Some models write the object once more as a JSON text.
    """
    value: Any = arguments or "{}"
    while isinstance(value, str):
        try:
            value = decoded(value)
        except (ValueError, RecursionError):
            break
    value = all_whole(value)
    return value if isinstance(value, dict) else {"arguments": value}
