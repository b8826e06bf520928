"""A run as a response of OpenAI's Responses API: its items, and the events that tell of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from headrace.engine.references import text_of
from headrace.events import Document, Usage
from headrace.runtime.log import Entry
from headrace.schema import RunInfo
from headrace.server.protocols.parts import (
    Begun,
    Closed,
    Ended,
    Facts,
    Opened,
    Part,
    Parts,
    Said,
    Sources,
    ToolUse,
    is_address,
    source_of,
)
from headrace.server.protocols.stream import BEGINNING, Place, json, unix_time

PREFIX: Final = "resp_"
_STEP: Final = 1024  # numbers for each event of a run: at most so many are made of one


def usage_of(usage: Usage | None) -> dict[str, Any] | None:
    """Counted tokens by the names of this protocol."""
    if usage is None:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens or 0, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": usage.total_tokens,
    }


def place_after(number: int) -> Place:
    """The place of the event that has this number; before the first one for a number below all."""
    return divmod(number, _STEP) if number >= 0 else BEGINNING


class ResponseEncoder:
    """Takes a run's events in; gives the events of its response, and the response so far.

    Each stretch of text, each stretch of reasoning and each tool's call is an item. The number of an event tells where
    it belongs in the run's log, so that numbers rise and are the same for every reader.
    """

    def __init__(self, info: RunInfo) -> None:
        self._run = info.id
        self._parts = Parts()
        self._items: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self.response: dict[str, Any] = {
            "id": PREFIX + info.id,
            "object": "response",
            "created_at": unix_time(info.createdDate),
            "status": "in_progress",
            "background": False,
            "conversation": {"id": info.chatId},
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "model": info.chatflowid,
            "output": self._items,
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "temperature": None,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            "usage": None,
        }

    def frames(self, entry: Entry) -> Iterable[bytes]:
        """The frames of the next event of the run."""
        number = entry.seq * _STEP
        for part in self._parts.of(entry.event):
            for told in self._events(part):
                told["sequence_number"] = number
                number += 1
                yield b"event: %b\ndata: %b\n\n" % (told["type"].encode(), json(told))

    def _events(self, part: Part) -> Iterable[dict[str, Any]]:
        match part:
            case Begun():
                yield {"type": "response.created", "response": self.response}
                yield {"type": "response.in_progress", "response": self.response}
            case Opened():
                yield from self._open(part)
            case Said("text"):
                yield {**self._place(), "type": "response.output_text.delta", "delta": part.text, "logprobs": []}
            case Said():
                yield {**self._place(), "type": "response.reasoning_text.delta", "delta": part.text}
            case Closed("text"):
                yield from self._close_message(part.text)
            case Closed():
                yield {**self._place(), "type": "response.reasoning_text.done", "text": part.text}
                yield self._done("completed", content=[{"type": "reasoning_text", "text": part.text}])
            case ToolUse():
                yield from self._call(part)
            case Sources():
                self._annotations = [_annotation(document, n) for n, document in enumerate(part.documents)]
            case Facts():
                self.response["usage"] = usage_of(part.metadata.usage)
            case Ended():
                yield self._end(part)
            case _:
                pass

    def _open(self, part: Opened) -> Iterable[dict[str, Any]]:
        if part.kind == "reasoning":
            yield self._added("rs", {"type": "reasoning", "summary": [], "content": []})
            return
        yield self._added("msg", {"type": "message", "role": "assistant", "content": []})
        yield {**self._place(), "type": "response.content_part.added", "part": _text_part("", [])}

    def _close_message(self, text: str) -> Iterable[dict[str, Any]]:
        place, whole = self._place(), _text_part(text, self._annotations)
        for n, annotation in enumerate(self._annotations):
            told = {"type": "response.output_text.annotation.added", "annotation_index": n}
            yield {**place, **told, "annotation": annotation}
        yield {**place, "type": "response.output_text.done", "text": text, "logprobs": []}
        yield {**place, "type": "response.content_part.done", "part": whole}
        yield self._done("completed", content=[whole])

    def _call(self, part: ToolUse) -> Iterable[dict[str, Any]]:
        tool = part.tool
        call = {
            "type": "mcp_call",
            "server_label": "flow",
            "name": tool.tool,
            "arguments": text_of(tool.toolInput),
            "output": None,
            "error": None,
        }
        yield self._added("mcp", call)
        if tool.error:
            failed = {"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": tool.error}]}
            yield self._done("failed", error=failed)
        else:
            yield self._done("completed", output=text_of(tool.toolOutput))

    def _added(self, prefix: str, item: dict[str, Any]) -> dict[str, Any]:
        index = len(self._items)
        self._items.append({"id": f"{prefix}_{self._run}_{index}", **item, "status": "in_progress"})
        return {"type": "response.output_item.added", "output_index": index, "item": self._items[index]}

    def _done(self, status: str, **fields: Any) -> dict[str, Any]:
        self._items[-1].update(fields, status=status)
        index = len(self._items) - 1
        return {"type": "response.output_item.done", "output_index": index, "item": self._items[index]}

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._items[-1]["id"], "output_index": len(self._items) - 1, "content_index": 0}

    def _end(self, part: Ended) -> dict[str, Any]:
        if self._items and self._items[-1]["status"] == "in_progress":
            self._items[-1]["status"] = "incomplete"
        if part.error:
            error = {"code": part.error.code or "server_error", "message": part.error.data}
            self.response.update(status="failed", error=error)
            return {"type": "response.failed", "response": self.response}
        if part.cancelled is not None:
            self.response.update(status="cancelled", usage=usage_of(part.usage))
            return {"type": "response.incomplete", "response": self.response}
        self.response["status"] = "completed"
        return {"type": "response.completed", "response": self.response}


def _text_part(text: str, annotations: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}


def _annotation(document: Document, number: int) -> dict[str, Any]:
    source = source_of(document)
    title = str(document.metadata.get("title") or source)
    if is_address(source):
        return {"type": "url_citation", "url": source, "title": title, "start_index": 0, "end_index": 0}
    return {"type": "file_citation", "file_id": document.id or source, "filename": title, "index": number}
