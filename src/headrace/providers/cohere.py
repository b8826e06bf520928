"""Cohere's protocol: chat of its API version 2, streamed as typed events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from headrace.engine.chat import (
    ChatRequest,
    CitationDelta,
    Delta,
    FinishDelta,
    ImagePart,
    ModelMessage,
    Part,
    TextDelta,
    ThinkingDelta,
    UsageDelta,
)
from headrace.engine.ports import Images
from headrace.events import Document
from headrace.providers.endpoint import Endpoint
from headrace.providers.error_mapping import failure_inside, is_failure
from headrace.providers.finish_reasons import finish_of
from headrace.providers.lenient_json import LenientDecoder, as_json
from headrace.providers.reasoning import given_back
from headrace.providers.stream_parser import Answer, LineParser
from headrace.providers.structured_output import offered
from headrace.providers.token_counts import usage_of, whole_number
from headrace.providers.tool_calls import Calls


class _Content(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None
    thinking: str | None = None


class _Function(msgspec.Struct, gc=False):
    name: str = ""
    arguments: Any = None


class _Call(msgspec.Struct, gc=False):
    id: str = ""
    function: _Function | None = None


class _Message(msgspec.Struct, gc=False):
    # Lists where the message as a whole is meant, objects where a part of it is.
    content: _Content | list[_Content] | None = None
    tool_calls: _Call | list[_Call] | None = None
    citations: dict[str, Any] | list[Any] | None = None
    tool_plan: str = ""


class _Tokens(msgspec.Struct, gc=False):
    input_tokens: float = 0
    output_tokens: float = 0


class _Usage(msgspec.Struct, gc=False):
    tokens: _Tokens | None = None
    billed_units: _Tokens | None = None
    cached_tokens: float = 0


class _Delta(msgspec.Struct, gc=False):
    message: _Message | None = None
    finish_reason: str = ""
    usage: _Usage | None = None
    error: Any = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    index: int = 0
    delta: _Delta | None = None
    message: dict[str, Any] | None = None  # of an answer that comes at once, although a stream was asked for
    finish_reason: str = ""
    usage: _Usage | None = None


_PLAN: Final = "tool_plan"
_MESSAGES: Final = LenientDecoder(_Message)


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
            body["tools"] = [{"type": "function", "function": offered(tool)} for tool in named]
            if request.choice != "auto":
                body["tool_choice"] = "NONE" if request.choice == "none" else "REQUIRED"
        parser = partial(EventParser, self._endpoint.secret)
        return Answer(self._endpoint.http, self._endpoint.call(body), parser)


def _message(message: ModelMessage) -> Mapping[str, Any]:
    content = message.content if isinstance(message.content, str) else [_part(part) for part in message.content]
    sent: dict[str, Any] = {"role": message.role}
    if content or not message.calls:  # an assistant that only calls tools says nothing
        sent["content"] = content
    if message.calls:
        sent["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}
            for call in message.calls
        ]
        for thought in message.thoughts:
            sent |= given_back(thought.signature, (_PLAN,))
    if message.answers:
        sent["tool_call_id"] = message.answers.id
    return sent


def _part(part: Part) -> Mapping[str, Any]:
    if isinstance(part, ImagePart):
        return {"type": "image_url", "image_url": {"url": part.url}}
    return {"type": "text", "text": part.text}


class EventParser(LineParser[_Event]):
    """Turns the bytes of a Cohere stream into deltas. No I/O. Events name their type inside their data too."""

    chunks = LenientDecoder(_Event)

    def __init__(self, secret: str = "") -> None:
        super().__init__(secret)
        self._calls = Calls()
        self._plan: list[str] = []

    def take(self, chunk: _Event, payload: bytes, deltas: list[Delta]) -> None:
        """See LineParser."""
        delta = chunk.delta
        if delta is None:
            message = _MESSAGES.of(chunk.message or {})
            if not (message.content or chunk.finish_reason):
                self.suspect(payload)
                return
            delta = _Delta(message, chunk.finish_reason, chunk.usage)
        if delta.message:
            self._said(chunk.index, delta.message, deltas)
        if delta.finish_reason or chunk.type == "message-end":
            self._ending(delta, deltas)

    def over(self, deltas: list[Delta]) -> None:
        """See LineParser: gateways say so before the protocol's own end."""

    def _said(self, index: int, message: _Message, deltas: list[Delta]) -> None:
        if (content := message.content) is not None:
            for part in content if isinstance(content, list) else (content,):
                if part.text is not None:
                    deltas.append(TextDelta(part.text))
                if part.thinking:
                    deltas.append(ThinkingDelta(part.thinking))
        if (calls := message.tool_calls) is not None:
            for place, call in enumerate(calls if isinstance(calls, list) else (calls,), index):
                self._call(place, call, deltas)
        if isinstance(message.citations, dict):
            deltas.append(CitationDelta(_cited(message.citations)))
        if message.tool_plan:
            self._plan.append(message.tool_plan)
            deltas.append(ThinkingDelta(message.tool_plan))

    def _call(self, index: int, call: _Call, deltas: list[Delta]) -> None:
        function = call.function or _Function()
        if found := self._calls.fragment(index, call.id, function.name, function.arguments):
            deltas.append(found)

    def _ending(self, delta: _Delta, deltas: list[Delta]) -> None:
        self.finished = self.done = True
        if is_failure(delta.error):
            raise failure_inside(as_json({"error": delta.error}), self.secret)
        if self._plan:  # it goes back with the calls
            deltas.append(ThinkingDelta("", as_json({_PLAN: "".join(self._plan)}).decode()))
        deltas.append(FinishDelta(finish_of(delta.finish_reason)))
        if delta.usage and (tokens := delta.usage.tokens or delta.usage.billed_units):
            cached = whole_number(delta.usage.cached_tokens) or None
            deltas.append(UsageDelta(usage_of(tokens.input_tokens, tokens.output_tokens, None, cached)))


def _cited(citation: Mapping[str, Any]) -> Document:
    listed = citation.get("sources")
    sources = [source for source in listed if isinstance(source, dict)] if isinstance(listed, list) else []
    known = sources[0] if sources else {}
    document = known.get("document") if isinstance(known.get("document"), dict) else {}
    return Document(str(citation.get("text") or ""), {"source": known.get("id") or "", **(document or {})})
