"""AG-UI, version 1: the protocol between agents and user interfaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from litestar import Request, Response, post

from headrace.engine.references import text_of
from headrace.errors import InvalidRequest
from headrace.events import Usage
from headrace.runtime.log import Entry
from headrace.schema import HumanInput, PredictionRequest
from headrace.server.auth import OF_A_FLOW, local
from headrace.server.predictions import FlowId, flow_at
from headrace.server.protocols.messages import question
from headrace.server.protocols.parts import (
    Begun,
    Closed,
    Ended,
    Facts,
    Opened,
    Part,
    Parts,
    Question,
    Said,
    Sources,
    ToolUse,
)
from headrace.server.protocols.stream import ProtocolStream, begin, frame, json_text, place


class AgUiEncoder:
    """Makes the protocol's events of a run's events. `thread` and `run` are what the caller calls them."""

    def __init__(self, thread: str, run: str, model: str) -> None:
        self._ids = {"threadId": thread, "runId": run}
        self._run, self._model = run, model
        self._parts = Parts()
        self._open: Opened | None = None
        self._usage: Usage | None = None
        self._action: dict[str, Any] | None = None

    def frames(self, entry: Entry) -> Iterable[bytes]:
        """The frames of the next event of the run."""
        for part in self._parts.of(entry.event):
            for told in self._part_events(part):
                yield frame(told)

    def _part_events(self, part: Part) -> Iterable[dict[str, Any]]:
        match part:
            case Begun():
                yield {"type": "RUN_STARTED", **self._ids}
            case Opened():
                self._open = part
                yield from self._opening(part)
            case Said():
                kind = "TEXT_MESSAGE_CONTENT" if part.kind == "text" else "REASONING_MESSAGE_CONTENT"
                if part.text:
                    yield {"type": kind, "messageId": self._message(part.number), "delta": part.text}
            case Closed():
                yield from self._closing()
            case ToolUse():
                yield from self._tool(part)
            case Sources():
                yield {"type": "CUSTOM", "name": "sourceDocuments", "value": msgspec.to_builtins(part.documents)}
            case Question():
                self._action = part.action
            case Facts():
                self._usage = part.metadata.usage
            case Ended():
                yield from self._closing()
                yield self._end(part)

    def _message(self, number: int) -> str:
        return f"{self._run}-{number}"

    def _opening(self, part: Opened) -> Iterable[dict[str, Any]]:
        message = {"messageId": self._message(part.number)}
        if part.kind == "text":
            yield {"type": "TEXT_MESSAGE_START", **message, "role": "assistant"}
        else:
            yield {"type": "REASONING_START", **message}
            yield {"type": "REASONING_MESSAGE_START", **message, "role": "reasoning"}

    def _closing(self) -> Iterable[dict[str, Any]]:
        """Ends the open message, if there is one: a client takes no end of a run before."""
        part, self._open = self._open, None
        if part is None:
            return
        message = {"messageId": self._message(part.number)}
        if part.kind == "text":
            yield {"type": "TEXT_MESSAGE_END", **message}
        else:
            yield {"type": "REASONING_MESSAGE_END", **message}
            yield {"type": "REASONING_END", **message}

    def _tool(self, part: ToolUse) -> Iterable[dict[str, Any]]:
        call, tool = {"toolCallId": f"{self._run}-call-{part.number}"}, part.tool
        result = tool.error or text_of(tool.toolOutput)
        yield {"type": "TOOL_CALL_START", **call, "toolCallName": tool.tool}
        yield {"type": "TOOL_CALL_ARGS", **call, "delta": json_text(tool.toolInput)}
        yield {"type": "TOOL_CALL_END", **call}
        yield {
            "type": "TOOL_CALL_RESULT",
            **call,
            "messageId": f"{self._run}-result-{part.number}",
            "role": "tool",
            "content": result,
        }

    def _end(self, part: Ended) -> dict[str, Any]:
        if part.error:
            code = {"code": part.error.code} if part.error.code else {}
            return {"type": "RUN_ERROR", "message": part.error.data, **code}
        usage = part.usage or self._usage
        counted = {"usage": [_usage(usage, self._model)]} if usage else {}
        return {"type": "RUN_FINISHED", **self._ids, "outcome": self._outcome(part), **counted}

    def _outcome(self, part: Ended) -> dict[str, Any]:
        if part.cancelled is not None:
            return {"type": "cancelled"}
        if self._action is None:
            return {"type": "success"}
        interrupt = {"id": str(self._action.get("id", "")), "reason": "human_input", "metadata": self._action}
        return {"type": "interrupt", "interrupts": [interrupt]}


def _usage(usage: Usage, model: str) -> dict[str, Any]:
    return {"model": model, "inputTokens": usage.input_tokens, "outputTokens": usage.output_tokens}


@post(
    "/api/v1/ag-ui/{flow_id:str}",
    status_code=200,
    opt={**OF_A_FLOW, "refuses": (409,), "streams": "only"},
    summary="Ask a flow from an AG-UI client",
    description="The body is a RunAgentInput; the answer is a stream of the protocol's events.",
    tags=["ag-ui"],
)
async def run(request: Request[Any, Any, Any], flow_id: FlowId, data: dict[str, Any]) -> Response[Any]:
    """Runs a flow. A run that the client calls as one before is that one. Raises InvalidRequest."""
    thread, name, messages = (data.get(key) for key in ("threadId", "runId", "messages"))
    if not isinstance(thread, str) or not isinstance(name, str) or not thread or not name:
        raise InvalidRequest("expected two texts at $.threadId and $.runId")
    if not isinstance(messages, list):
        raise InvalidRequest("expected a list of messages at $.messages")
    flow = await flow_at(flow_id, local(request))
    if data.get("resume"):
        asked = PredictionRequest(chatId=thread, humanInput=_answer(data["resume"]))
    else:
        spoken = [item for item in messages if not isinstance(item, dict) or item.get("role") in _SPEAKERS]
        asked = question([_message(item) for item in spoken], "$.messages", chat=thread)
    info = await begin(request, flow, asked, streaming=True, key=f"ag-ui {thread} {name}")
    encoder = AgUiEncoder(thread, name, flow.row.id)
    return ProtocolStream(local(request).runs, info.id, encoder, place(request, info.id))


_SPEAKERS = ("system", "developer", "user", "assistant")


def _message(message: Any) -> Any:
    """A message with its parts by the names that questions have: pictures and files hold a source."""
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        return message
    return {**message, "content": [_part(part) for part in content]}


def _part(part: Any) -> Any:
    source = part.get("source") if isinstance(part, dict) else None
    if not isinstance(source, dict):
        return part
    value, mime = source.get("value"), source.get("mimeType") or "application/octet-stream"
    url = value if source.get("type") == "url" else f"data:{mime};base64,{value}"
    if part.get("type") == "image":
        return {"type": "image_url", "image_url": url}
    return {"type": "file", "file_data": url, "filename": part.get("filename")}


def _answer(entries: Any) -> HumanInput:
    """A person's answer to the question of the run before."""
    entry: Any = entries[0] if isinstance(entries, list) and len(entries) == 1 else None
    if not isinstance(entry, dict) or entry.get("status") not in ("resolved", "cancelled"):
        raise InvalidRequest("expected one answer with `interruptId` and `status` at $.resume")
    payload: Any = entry.get("payload")
    words: Any = payload.get("feedback") if isinstance(payload, Mapping) else payload
    kind: Any = payload.get("type") if isinstance(payload, Mapping) else None
    refused = entry["status"] == "cancelled" or kind == "reject"
    feedback = words if isinstance(words, str) else None
    return HumanInput("reject" if refused else "proceed", feedback=feedback)


ROUTES = (run,)
