"""Names of node types and their inputs in words, for flows and lists that do not say them."""

from __future__ import annotations

import re
from typing import Final

_WORD: Final = re.compile(
    r"OpenAI|OpenAPI|LocalAI|MistralAI|VoyageAI|SQLite|WolframAlpha|SearXNG|BraveSearch|[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+"
)
_OTHERS: Final = {"agentAsTool": "Agent as Tool", "currentDateTime": "CurrentDateTime"}  # as the builder has them


def label(name: str) -> str:
    """`plainText` is "Plain Text"."""
    words = _WORD.findall(name[:1].upper() + name[1:])
    return _OTHERS.get(name) or " ".join(word[:1].upper() + word[1:] for word in words)
