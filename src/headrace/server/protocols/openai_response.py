"""A run as a response of OpenAI's Responses API: its items, and the events that tell of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from headrace.events import (
    Abort,
    Document,
    End,
    Error,
    Event,
    Metadata,
    SourceDocuments,
    Thinking,
    Token,
    Usage,
    UsedTool,
    UsedTools,
)
from headrace.runtime.log import Entry
from headrace.schema import RunInfo
from headrace.server.protocols.stream import BEGINNING, Place, json, json_text

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


class ResponseEncoder:
    """Takes a run's events in; gives the events of its response, and the response so far.

    Each stretch of text, each stretch of reasoning and each tool's call is an item. The number of an event tells where
    it belongs in the run's log, so that numbers rise and are the same for every reader.
    """

    def __init__(self, info: RunInfo) -> None:
        self._run = info.id
        self._begun = False
        self._open: dict[str, Any] | None = None
        self._texts: list[str] = []
        self._tools: list[UsedTool] = []
        self._annotations: list[dict[str, Any]] = []
        self.response: dict[str, Any] = {
            "id": PREFIX + info.id,
            "object": "response",
            "created_at": int(datetime.fromisoformat(info.createdDate).timestamp()),
            "status": "in_progress",
            "background": False,
            "conversation": {"id": info.chatId},
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "model": info.chatflowid,
            "output": [],
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
        for number, told in enumerate(self._events(entry.event), entry.seq * _STEP):
            told["sequence_number"] = number
            yield b"event: %b\ndata: %b\n\n" % (told["type"].encode(), json(told))

    def _events(self, event: Event) -> Iterable[dict[str, Any]]:
        if not self._begun:
            self._begun = True
            yield {"type": "response.created", "response": self.response}
            yield {"type": "response.in_progress", "response": self.response}
        match event:
            case Token():
                yield from self._say(event.data)
            case Thinking():
                yield from self._think(event)
            case UsedTools():
                yield from self._use(event.data)
            case SourceDocuments():
                self._annotations = [_annotation(document, n) for n, document in enumerate(event.data)]
            case Metadata():
                if event.data.json is not None:
                    yield from self._say(json_text(event.data.json))
                self.response["usage"] = usage_of(event.data.usage)
            case Abort():
                self.response["usage"] = usage_of(event.usage)
                self.response["status"] = "cancelled"
            case Error():
                self.response["status"] = "failed"
                self.response["error"] = {"code": event.code or "server_error", "message": event.data}
            case End():
                yield from self._ending()
            case _:
                pass

    def _say(self, text: str) -> Iterable[dict[str, Any]]:
        if self._open is None or self._open["type"] != "message":
            yield from self._close()
            yield from self._add({"type": "message", "role": "assistant", "content": []}, "msg")
            yield {**self._place(), "type": "response.content_part.added", "part": _part("", [])}
        self._texts.append(text)
        yield {**self._place(), "type": "response.output_text.delta", "delta": text, "logprobs": []}

    def _think(self, event: Thinking) -> Iterable[dict[str, Any]]:
        if event.data:
            if self._open is None or self._open["type"] != "reasoning":
                yield from self._close()
                yield from self._add({"type": "reasoning", "summary": [], "content": []}, "rs")
            self._texts.append(event.data)
            yield {**self._place(), "type": "response.reasoning_text.delta", "delta": event.data}
        elif event.duration is not None and self._open is not None and self._open["type"] == "reasoning":
            yield from self._close()

    def _use(self, tools: list[UsedTool]) -> Iterable[dict[str, Any]]:
        for tool in tools:
            if tool in self._tools:  # the list holds the earlier ones too
                continue
            self._tools.append(tool)
            yield from self._close()
            arguments = tool.toolInput if isinstance(tool.toolInput, str) else json_text(tool.toolInput)
            call = {"type": "mcp_call", "server_label": "flow", "name": tool.tool, "arguments": arguments}
            yield from self._add({**call, "output": None, "error": None}, "mcp")
            yield from self._close_call(tool)

    def _close_call(self, tool: UsedTool) -> Iterable[dict[str, Any]]:
        item, place = self._opened, self._place()
        if tool.error:
            item["error"] = {"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": tool.error}]}
        else:
            item["output"] = tool.toolOutput if isinstance(tool.toolOutput, str) else json_text(tool.toolOutput)
        yield from self._done("failed" if tool.error else "completed", place)

    def _close(self) -> Iterable[dict[str, Any]]:
        """Ends the open item, if there is one."""
        if self._open is None:
            return
        place, text = self._place(), "".join(self._texts)
        if self._open["type"] == "reasoning":
            yield {**place, "type": "response.reasoning_text.done", "text": text}
            self._open["content"] = [{"type": "reasoning_text", "text": text}]
        else:
            for n, annotation in enumerate(self._annotations):
                told = {"type": "response.output_text.annotation.added", "annotation_index": n}
                yield {**place, **told, "annotation": annotation}
            yield {**place, "type": "response.output_text.done", "text": text, "logprobs": []}
            part = _part(text, self._annotations)
            yield {**place, "type": "response.content_part.done", "part": part}
            self._open["content"] = [part]
        yield from self._done("completed", place)

    def _done(self, status: str, place: dict[str, Any]) -> Iterable[dict[str, Any]]:
        item, self._open = self._opened, None
        self._texts = []
        item["status"] = status
        yield {"type": "response.output_item.done", "output_index": place["output_index"], "item": item}

    def _add(self, item: dict[str, Any], prefix: str) -> Iterable[dict[str, Any]]:
        output: list[dict[str, Any]] = self.response["output"]
        self._open = {"id": f"{prefix}_{self._run}_{len(output)}", **item, "status": "in_progress"}
        output.append(self._open)
        yield {"type": "response.output_item.added", "output_index": len(output) - 1, "item": self._open}

    @property
    def _opened(self) -> dict[str, Any]:
        assert self._open is not None
        return self._open

    def _place(self) -> dict[str, Any]:
        index = len(self.response["output"]) - 1
        return {"item_id": self._opened["id"], "output_index": index, "content_index": 0}

    def _ending(self) -> Iterable[dict[str, Any]]:
        if self.response["status"] == "in_progress":
            yield from self._close()
            self.response["status"] = "completed"
            yield {"type": "response.completed", "response": self.response}
            return
        failed = self.response["status"] == "failed"
        if self._open is not None:
            self._open["content"] = [_part("".join(self._texts), [])] if self._open["type"] == "message" else []
            self._open["status"] = "incomplete"
        yield {"type": "response.failed" if failed else "response.incomplete", "response": self.response}


def place_after(number: int) -> Place:
    """The place of the frame that has this number; of none, before the first one, for a number below."""
    return divmod(number, _STEP) if number >= 0 else BEGINNING


def _part(text: str, annotations: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}


def _annotation(document: Document, number: int) -> dict[str, Any]:
    """A source: an address where the passage has one, else the name of what it comes from."""
    about = document.metadata
    source = next((str(about[key]) for key in ("url", "source", "fileName", "pdf") if about.get(key)), "document")
    title = str(about.get("title") or source)
    if source.startswith(("https://", "http://")):
        return {"type": "url_citation", "url": source, "title": title, "start_index": 0, "end_index": 0}
    return {"type": "file_citation", "file_id": document.id or source, "filename": title, "index": number}
