"""Vercel's UI message stream, version 1, which the hooks of the AI SDK read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter

from headrace.engine.complaints import complaint
from headrace.errors import InvalidRequest
from headrace.events import Document
from headrace.runtime.log import Entry
from headrace.schema import HumanInput, RunInfo
from headrace.server.auth import OF_A_FLOW, check_caller, local
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
    is_address,
    source_of,
)
from headrace.server.protocols.stream import DONE, ProtocolStream, begin, frame, place

_HEADERS: Final = ((b"x-vercel-ai-ui-message-stream", b"v1"),)
ChatId = Annotated[str, Parameter(description="The chat's id, which the hook has made.")]


class UiMessageEncoder:
    """Makes the stream's parts of a run's events."""

    def __init__(self, info: RunInfo) -> None:
        self._message = info.chatMessageId
        self._parts = Parts()

    def frames(self, entry: Entry) -> Iterable[bytes]:
        """The frames of the next event of the run."""
        for part in self._parts.of(entry.event):
            for told in self._part_frames(part):
                yield frame(told)
            if isinstance(part, Ended):
                yield DONE

    def _part_frames(self, part: Part) -> Iterable[dict[str, Any]]:
        match part:
            case Begun():
                yield {"type": "start", "messageId": self._message}
                yield {"type": "start-step"}
            case Opened():
                yield {"type": f"{part.kind}-start", "id": f"{part.kind}-{part.number}"}
            case Said():
                yield {"type": f"{part.kind}-delta", "id": f"{part.kind}-{part.number}", "delta": part.text}
            case Closed():
                yield {"type": f"{part.kind}-end", "id": f"{part.kind}-{part.number}"}
            case ToolUse():
                yield from _tool(part)
            case Sources():
                yield from (_source(document, n) for n, document in enumerate(part.documents))
                documents = msgspec.to_builtins(part.documents)
                yield {"type": "data-sourceDocuments", "id": "sourceDocuments", "data": documents}
            case Question():
                yield {"type": "data-action", "id": "action", "data": part.action}
            case Facts():
                names = ("chatId", "chatMessageId", "executionId", "followUpPrompts", "usage")
                facts = {name: getattr(part.metadata, name) for name in names}
                yield {"type": "message-metadata", "messageMetadata": {k: v for k, v in facts.items() if v is not None}}
            case Ended():
                yield from _ending(part)


def _tool(part: ToolUse) -> Iterable[dict[str, Any]]:
    call, tool = {"toolCallId": f"call-{part.number}", "dynamic": True, "providerExecuted": True}, part.tool
    yield {"type": "tool-input-available", **call, "toolName": tool.tool, "input": tool.toolInput}
    if tool.error:
        yield {"type": "tool-output-error", **call, "errorText": tool.error}
    else:
        yield {"type": "tool-output-available", **call, "output": tool.toolOutput}


def _source(document: Document, number: int) -> dict[str, Any]:
    source = source_of(document)
    told = {"sourceId": f"source-{number}", "title": str(document.metadata.get("title") or source)}
    if is_address(source):
        return {"type": "source-url", **told, "url": source}
    return {"type": "source-document", **told, "mediaType": "text/plain"}


def _ending(part: Ended) -> Iterable[dict[str, Any]]:
    if part.error:
        yield {"type": "error", "errorText": part.error.data}
    elif part.cancelled is not None:
        yield {"type": "abort", "reason": part.cancelled}
    else:
        yield {"type": "finish-step"}
        yield {"type": "finish", "finishReason": "stop"}


def _stream(request: Request[Any, Any, Any], info: RunInfo) -> ProtocolStream:
    return ProtocolStream(local(request).runs, info.id, UiMessageEncoder(info), place(request, info.id), _HEADERS)


@post(
    "/api/v1/ai-sdk/{flow_id:str}",
    status_code=200,
    opt={**OF_A_FLOW, "refuses": (409,), "streams": "only"},
    summary="Ask a flow from the AI SDK's hooks",
    description="The body is `{id, messages, trigger?, messageId?, humanInput?}`; the answer is a UI message stream.",
    tags=["ai-sdk"],
)
async def ask(request: Request[Any, Any, Any], flow_id: FlowId, data: dict[str, Any]) -> Response[Any]:
    """Runs a flow. Raises InvalidRequest for what a flow cannot be asked."""
    chat, messages = data.get("id"), data.get("messages")
    if not isinstance(chat, str) or not chat:
        raise InvalidRequest("expected the chat's id at $.id")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("expected a list of messages at $.messages")
    flow = await flow_at(flow_id, local(request))
    spoken = [_message(message, number) for number, message in enumerate(messages)]
    asked = question(spoken, "$.messages", chat=chat)
    if (answer := data.get("humanInput")) is not None:
        try:
            asked.humanInput = msgspec.convert(answer, HumanInput)
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"{complaint(error)} in $.humanInput") from None
    return _stream(request, await begin(request, flow, asked, streaming=True))


def _message(message: Any, number: int) -> dict[str, Any]:
    """A message of the interface with its texts and files alone; what the server itself has told is left out."""
    if not isinstance(message, dict) or not isinstance(parts := message.get("parts"), list):
        raise InvalidRequest(f"expected an object with `role` and `parts` at $.messages[{number}]")
    found: list[dict[str, Any]] = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            found.append(part)
        elif kind == "file" and message.get("role") == "user":
            url, mime = part.get("url"), str(part.get("mediaType") or "")
            if mime.startswith("image/"):
                found.append({"type": "image_url", "image_url": url})
            else:
                found.append({"type": "file", "file_data": url, "filename": part.get("filename")})
    return {"role": message.get("role"), "content": found}


@get(
    "/api/v1/ai-sdk/{flow_id:str}/{chat_id:str}/stream",
    opt={**OF_A_FLOW, "streams": "only"},
    responses={204: ResponseSpec(None, description="Nothing goes on.")},
    summary="Resume the answer of a chat",
    description="The answer that goes on, from its beginning, as the hook expects it; 204 when there is none.",
    tags=["ai-sdk"],
)
async def resume(request: Request[Any, Any, Any], flow_id: FlowId, chat_id: ChatId) -> Response[Any]:
    """Follows the newest run of the chat that goes on."""
    running = await _running(request, flow_id, chat_id)
    return _stream(request, running[0]) if running else Response(None, status_code=204)


@post(
    "/api/v1/ai-sdk/{flow_id:str}/{chat_id:str}/stop",
    status_code=204,
    opt=OF_A_FLOW,
    summary="Stop a chat",
    tags=["ai-sdk"],
)
async def stop(request: Request[Any, Any, Any], flow_id: FlowId, chat_id: ChatId) -> None:
    """Cancels every run of the chat, down to the connection to the model."""
    for info in await _running(request, flow_id, chat_id):
        await local(request).runs.cancel(info.id)


async def _running(request: Request[Any, Any, Any], flow_id: str, chat_id: str) -> list[RunInfo]:
    here = local(request)
    flow = await flow_at(flow_id, here)
    await check_caller(request, flow)
    return [info for info in await here.runs.of_chat(flow.row.id, chat_id) if info.state == "running"]


ROUTES = (ask, resume, stop)
