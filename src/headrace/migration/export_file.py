"""A file that Flowise's page or API exported, as tables: what it leaves out is missing from the columns."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from headrace.errors import InvalidRequest
from headrace.exports import SECTIONS, read_json
from headrace.migration.sources import BATCH, Row, Wanted

_TABLES: Final = {
    "ChatMessage": "chat_message",
    "ChatMessageFeedback": "chat_message_feedback",
    "CustomTemplate": "custom_template",
    "DocumentStore": "document_store",
    "DocumentStoreFileChunk": "document_store_file_chunk",
    "Execution": "execution",
    "Tool": "tool",
    "Variable": "variable",
    **dict.fromkeys(("AssistantCustom", "AssistantOpenAI", "AssistantAzure"), "assistant"),
    **dict.fromkeys(SECTIONS, "chat_flow"),
}


class ExportSource:
    """Implements `Source`."""

    def __init__(self, path: Path) -> None:
        """Reads the file. Raises InvalidRequest."""
        content: Any = read_json(path)
        if not isinstance(content, dict) or not any(section in content for section in SECTIONS):
            raise InvalidRequest(f"{path} is not an export of a whole install: `headrace import` takes single flows")
        self._tables: dict[str, list[Row]] = {}
        for section, items in content.items():
            if isinstance(items, list):
                self._take(section, items)
        self.columns: Mapping[str, Sequence[str]] = {
            table: list(dict.fromkeys(name for row in rows for name in row)) for table, rows in self._tables.items()
        }

    def _take(self, section: str, items: list[Any]) -> None:
        kind = {"type": SECTIONS[section]} if section in SECTIONS else {}
        rows = [{**kind, **item} if isinstance(item, dict) else {"id": repr(item)[:40]} for item in items]
        self._tables.setdefault(_TABLES.get(section, section), []).extend(rows)

    async def count(self, table: str) -> int:
        """See Source."""
        return len(self._tables[table])

    async def rows(self, wanted: Wanted) -> AsyncIterator[list[Row]]:
        """See Source."""
        rows = self._tables.get(wanted.table, [])
        if wanted.column:
            rows = [row for row in rows if row.get(wanted.column) == wanted.value]
        rows = sorted(rows, key=lambda row: str(row.get(wanted.order) or "").replace("T", " "))
        for first in range(0, len(rows), BATCH):
            yield rows[first : first + BATCH]
