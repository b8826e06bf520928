"""The OpenAI protocol: chat completions, streamed, decoded once, in batches."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from headrace.engine.chat import (
    ChatRequest,
    CitationDelta,
    Delta,
    FactsDelta,
    Finish,
    FinishDelta,
    ImagePart,
    ModelMessage,
    OutputSchema,
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
from headrace.providers.schemas import as_instruction, as_tool, tool_as_text


class _Piece(msgspec.Struct):
    """A part of a content in parts, as Mistral's reasoning models send it."""

    type: str = ""
    text: str = ""
    thinking: list[_Piece] | None = None


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None  # servers that do not stream them send the object


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | list[_Piece] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = 0
    completion_tokens: int | None = 0
    total_tokens: int | None = 0
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None
    citations: list[str] | None = None


class Quirks(msgspec.Struct, frozen=True):
    """Where a server of this protocol differs from OpenAI's own."""

    usage: bool = True
    """It takes `stream_options`; others send the usage unasked, or refuse a field that they do not know."""
    thinking: bool = True
    """Its `reasoning_content` or `reasoning` is shown."""
    schemas: Literal["schema", "json", "tool"] = "tool"
    """How it is held to a form: by a JSON Schema, by JSON mode, or by a tool that it must call."""
    system_role: Literal["system", "developer"] = "system"
    strict_tools: bool = False
    stop: bool = True
    """It takes words to stop at."""
    names: bool = False
    """Its messages say who speaks; others refuse a field that they do not know."""
    image_detail: str = ""


_FINISH: Final[Mapping[str, Finish]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
_decode = msgspec.json.Decoder(_Chunk).decode


class OpenAIChat:
    """A chat model behind the OpenAI protocol. `options` go into the request's body as they are."""

    images: Images

    def __init__(
        self, endpoint: Endpoint, options: Mapping[str, Any], quirks: Quirks, images: Images = "refused"
    ) -> None:
        self.images = images
        self._endpoint, self._options, self._quirks = endpoint, options, quirks

    def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[Delta]]:
        """See ChatModel."""
        by_tool = request.schema and self._quirks.schemas == "tool"
        call = self._endpoint.call(self._body(as_tool(request) if by_tool else request))
        parser = ChunkParser(self._endpoint.secret, thinking=self._quirks.thinking, facts=request.facts)
        deltas = answered(self._endpoint.http, call, parser)
        return tool_as_text(deltas) if by_tool else deltas

    def _body(self, request: ChatRequest) -> dict[str, Any]:
        body: dict[str, Any] = {**self._options, "stream": True}
        if self._quirks.usage:
            body["stream_options"] = {"include_usage": True}
        if request.stop and self._quirks.stop:
            body["stop"] = [*(body.get("stop") or ()), *request.stop][:4]
        if request.schema:
            if self._quirks.schemas == "json":
                request = as_instruction(request)
            body["response_format"] = self._format(request.schema)
        if request.tools:
            body["tools"] = [
                {"type": "function", "function": {**msgspec.to_builtins(tool), **self._strict}}
                for tool in request.tools
            ]
            if request.choice != "auto":
                body["tool_choice"] = _choice(request.choice)
        body["messages"] = [self._message(message) for message in request.messages]
        return body

    def _format(self, schema: OutputSchema | None) -> Mapping[str, Any]:
        if schema is None or self._quirks.schemas == "json":
            return {"type": "json_object"}
        return {"type": "json_schema", "json_schema": {"name": schema.name, "schema": schema.schema}}

    @property
    def _strict(self) -> Mapping[str, bool]:
        return {"strict": True} if self._quirks.strict_tools else {}

    def _message(self, message: ModelMessage) -> Mapping[str, Any]:
        role = self._quirks.system_role if message.role == "system" else message.role
        content = message.content if isinstance(message.content, str) else [self._part(p) for p in message.content]
        sent: dict[str, Any] = {"role": role, "content": content}
        if message.name and self._quirks.names:
            sent["name"] = message.name
        if message.calls:
            sent["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in message.calls
            ]
        if message.answers:
            sent["tool_call_id"] = message.answers.id
        return sent

    def _part(self, part: Part) -> Mapping[str, Any]:
        if isinstance(part, ImagePart):
            detail = {"detail": self._quirks.image_detail} if self._quirks.image_detail else {}
            return {"type": "image_url", "image_url": {"url": part.url, **detail}}
        return {"type": "text", "text": part.text}


def _choice(choice: str) -> Any:
    return choice if choice in ("none", "required") else {"type": "function", "function": {"name": choice}}


class ChunkParser(LineParser):
    """Turns the bytes of a chat completion stream, cut anywhere, into deltas. No I/O."""

    def __init__(self, secret: str = "", *, thinking: bool = True, facts: bool = False) -> None:
        super().__init__(secret)
        self._thinking, self._facts = thinking, facts
        self._reason: str | None = None
        self._calls: list[str] = []  # ids in order of appearance, where the server counts none
        self._cited = False
        self._counted: _Usage | None = None
        self._last = b""  # the chunk that it came with

    def read(self, data: bytes, deltas: list[Delta]) -> None:
        """See AnswerParser. Some servers give the count so far with every chunk: the last one holds."""
        super().read(data, deltas)
        if self._counted and (self.done or not data):
            deltas.append(UsageDelta(_usage(self._counted)))
            if self._facts:
                deltas.append(_facts(self._last, self._reason))
            self._counted = None

    def take(self, payload: bytes, deltas: list[Delta]) -> None:
        """One chunk. Raises ProviderMalformed, or the error that the stream carries."""
        try:
            chunk = _decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            if payload.strip() != b"[DONE]":
                self.unreadable(payload, error)
                return
            self.finished = self.done = True
            return
        for choice in chunk.choices or ():
            if choice.delta is not None:
                self._said(choice.delta, deltas)
            if choice.finish_reason:
                self._finish(choice.finish_reason, deltas)
        if chunk.usage is not None:
            self._counted, self._last = chunk.usage, payload
        if chunk.citations and not self._cited:  # the same list comes with every chunk
            self._cited = True
            deltas.extend(CitationDelta(Document("", {"source": source})) for source in chunk.citations)
        if chunk.error is not None:
            raise failure_inside(msgspec.json.encode({"error": chunk.error}), self.secret)

    def _said(self, delta: _Delta, deltas: list[Delta]) -> None:
        if (content := delta.content) is not None:
            deltas.extend([TextDelta(content)] if isinstance(content, str) else self._pieces(content))
        if delta.reasoning_content or delta.reasoning:
            self._thought(delta.reasoning_content or delta.reasoning or "", deltas)
        if delta.refusal:
            deltas.append(TextDelta(delta.refusal))
        if delta.tool_calls:
            deltas.extend(map(self._call, delta.tool_calls))

    def _pieces(self, pieces: Sequence[_Piece]) -> Iterator[Delta]:
        for piece in pieces:
            if piece.type != "thinking":
                yield TextDelta(piece.text)
            elif self._thinking:
                yield ThinkingDelta("".join(part.text for part in piece.thinking or ()))

    def _thought(self, text: str, deltas: list[Delta]) -> None:
        if self._thinking:
            deltas.append(ThinkingDelta(text))

    def _call(self, call: _Call) -> ToolCallDelta:
        index, function = call.index, call.function or _Function()
        if call.id and call.id not in self._calls:
            self._calls.append(call.id)
        if index is None:  # without a number a call is known by its id, and what has none belongs to the last one
            index = self._calls.index(call.id) if call.id else max(0, len(self._calls) - 1)
        given = function.arguments or ""
        arguments = given if isinstance(given, str) else msgspec.json.encode(given).decode()
        return ToolCallDelta(index, call.id or "", function.name or "", arguments)

    def _finish(self, reason: str, deltas: list[Delta]) -> None:
        self.finished, self._reason = True, reason
        if reason == "content_filter":
            raise ProviderFiltered("the provider's content filter stopped the answer")
        deltas.append(FinishDelta(_FINISH.get(reason, "other")))


def _facts(payload: bytes, finish: str | None) -> FactsDelta:
    """Read from the last chunk once more: no other one is asked for them."""
    chunk = msgspec.json.decode(payload)
    found = {
        "model_provider": "openai",
        "usage": chunk.get("usage"),
        "finish_reason": finish,
        "system_fingerprint": chunk.get("system_fingerprint"),
        "model_name": chunk.get("model"),
        "service_tier": chunk.get("service_tier"),
    }
    facts = {name: value for name, value in found.items() if value is not None}
    return FactsDelta(facts, str(chunk.get("id") or ""))


def _usage(usage: _Usage) -> Usage:
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    read, said = usage.prompt_tokens or 0, usage.completion_tokens or 0
    return Usage(
        read,
        said,
        usage.total_tokens or read + said,
        prompt.cached_tokens if prompt else None,
        completion.reasoning_tokens if completion else None,
    )
