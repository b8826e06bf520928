"""What the builder calls a node type, for flows and executions that do not say it."""

from __future__ import annotations

import re
from typing import Final

_WORDS: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_OTHERS: Final = {
    "agentAsTool": "Agent as Tool",
    "braveSearchAPI": "BraveSearch API",
    "currentDateTime": "CurrentDateTime",
    "openAPIToolkit": "OpenAPI Toolkit",
    "searXNG": "SearXNG",
    "wolframAlpha": "WolframAlpha",
}  # those that are not the words of the name


def label(name: str) -> str:
    """The label of a tool's node type: `retrieverTool` is a Retriever Tool."""
    words = _WORDS.sub(" ", name)
    return _OTHERS.get(name) or words[:1].upper() + words[1:]
