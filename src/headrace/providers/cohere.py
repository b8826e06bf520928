"""Cohere's protocol: chat of its API version 2, streamed as typed events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final

import msgspec

from headrace.engine.chat import (
    ChatRequest,
    CitationDelta,
    Delta,
    Finish,
    FinishDelta,
    ImagePart,
    ModelMessage,
    Part,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageDelta,
)
from headrace.engine.ports import Images
from headrace.errors import ProviderFiltered
from headrace.events import Document, Usage
from headrace.providers.answers import answered
from headrace.providers.endpoint import Endpoint
from headrace.providers.lines import LineParser
from headrace.providers.refusals import failure_inside

_FINISH: Final[Mapping[str, Finish]] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
}


class _Content(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None


class _Function(msgspec.Struct):
    name: str = ""
    arguments: str = ""


class _Call(msgspec.Struct):
    id: str = ""
    function: _Function = msgspec.field(default_factory=_Function)


class _Message(msgspec.Struct):
    # Lists where the message as a whole is meant, objects where a part of it is.
    content: _Content | list[Any] | None = None
    tool_calls: _Call | list[Any] | None = None
    citations: dict[str, Any] | list[Any] | None = None
    tool_plan: str = ""


class _Tokens(msgspec.Struct):
    input_tokens: float = 0
    output_tokens: float = 0


class _Usage(msgspec.Struct):
    tokens: _Tokens | None = None
    billed_units: _Tokens | None = None
    cached_tokens: float = 0


class _Delta(msgspec.Struct):
    message: _Message | None = None
    finish_reason: str = ""
    usage: _Usage | None = None
    error: str = ""


class _Event(msgspec.Struct):
    type: str = ""
    index: int = 0
    delta: _Delta | None = None
    message: str = ""


_decode = msgspec.json.Decoder(_Event).decode


class CohereChat:
    """A chat model behind Cohere's protocol. `options` go into the request's body as they are."""

    images: Images = "refused"

    def __init__(self, endpoint: Endpoint, options: Mapping[str, Any]) -> None:
        self._endpoint, self._options = endpoint, options

    def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[Delta]]:
        """See ChatModel."""
        body: dict[str, Any] = {**self._options, "stream": True, "messages": list(map(_message, request.messages))}
        if request.stop:
            body["stop_sequences"] = list(request.stop)
        if request.schema:
            body["response_format"] = {"type": "json_object", "json_schema": request.schema.schema}
        if request.tools:
            # This protocol can demand a tool but not say which: the others are not offered.
            named = [tool for tool in request.tools if request.choice in ("auto", "none", "required", tool.name)]
            body["tools"] = [{"type": "function", "function": msgspec.to_builtins(tool)} for tool in named]
            if request.choice != "auto":
                body["tool_choice"] = "NONE" if request.choice == "none" else "REQUIRED"
        return answered(self._endpoint.http, self._endpoint.call(body), EventParser(self._endpoint.secret))


def _message(message: ModelMessage) -> Mapping[str, Any]:
    content = message.content if isinstance(message.content, str) else [_part(part) for part in message.content]
    sent: dict[str, Any] = {"role": message.role}
    if content or not message.calls:  # an assistant that only calls tools says nothing
        sent["content"] = content
    if message.calls:
        sent["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.calls
        ]
    if message.answers:
        sent["tool_call_id"] = message.answers.id
    return sent


def _part(part: Part) -> Mapping[str, Any]:
    if isinstance(part, ImagePart):
        return {"type": "image_url", "image_url": {"url": part.url}}
    return {"type": "text", "text": part.text}


class EventParser(LineParser):
    """Turns the bytes of a Cohere stream into deltas. No I/O. Every event names its type inside its data too."""

    def take(self, payload: bytes, deltas: list[Delta]) -> None:
        """One event. Raises ProviderMalformed, or the error that the stream carries."""
        try:
            event = _decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            if payload.strip() != b"[DONE]":
                self.unreadable(payload, error)
            return
        if event.message and not event.delta:
            raise failure_inside(payload, self.secret)
        delta = event.delta or _Delta()
        if delta.message:
            self._said(event, delta.message, deltas)
        if event.type == "message-end":
            self._ending(delta, deltas)

    def _said(self, event: _Event, message: _Message, deltas: list[Delta]) -> None:
        if isinstance(message.content, _Content):
            if message.content.text is not None:
                deltas.append(TextDelta(message.content.text))
            if message.content.thinking:
                deltas.append(ThinkingDelta(message.content.thinking))
        if isinstance(message.tool_calls, _Call):
            call = message.tool_calls
            deltas.append(ToolCallDelta(event.index, call.id, call.function.name, call.function.arguments))
        if isinstance(message.citations, dict):
            deltas.append(CitationDelta(_cited(message.citations)))
        if message.tool_plan:
            deltas.append(ThinkingDelta(message.tool_plan))

    def _ending(self, delta: _Delta, deltas: list[Delta]) -> None:
        self.finished = self.done = True
        if delta.finish_reason == "ERROR_TOXIC":
            raise ProviderFiltered("the provider's content filter stopped the answer")
        if delta.finish_reason in ("ERROR", "TIMEOUT"):
            raise failure_inside(msgspec.json.encode(delta.error or delta.finish_reason), self.secret)
        deltas.append(FinishDelta(_FINISH.get(delta.finish_reason, "other")))
        if delta.usage and (tokens := delta.usage.tokens or delta.usage.billed_units):
            read, said = int(tokens.input_tokens), int(tokens.output_tokens)
            deltas.append(UsageDelta(Usage(read, said, read + said, int(delta.usage.cached_tokens) or None)))


def _cited(citation: Mapping[str, Any]) -> Document:
    sources = [source for source in citation.get("sources") or () if isinstance(source, dict)]
    known = sources[0] if sources else {}
    document = known.get("document") if isinstance(known.get("document"), dict) else {}
    return Document(str(citation.get("text") or ""), {"source": known.get("id") or "", **(document or {})})
