"""The page's environment variables, and its look when the server sets none."""

from typing import Final

from headrace.schema import Look

FLOWS: Final = "HEADRACE_CHAT_FLOWS"
"""Environment variable: the flows to choose from, one a line, as `<name>=<id>` or `<id>`."""
FILE: Final = "HEADRACE_CHAT_FILE"
"""Environment variable: where chats are kept."""
LOOK: Final = Look("Headrace", "#0b6e99", "#6cc4ea")
