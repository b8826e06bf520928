"""Anthropic's protocol: messages, streamed as typed events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
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
from headrace.errors import ProviderContextTooLong, ProviderFiltered
from headrace.events import Document, Usage
from headrace.providers.answers import answered, turns
from headrace.providers.arguments import as_object
from headrace.providers.endpoint import Endpoint
from headrace.providers.images import ImageLimits, picture
from headrace.providers.lines import LineParser
from headrace.providers.refusals import failure_inside
from headrace.providers.schemas import as_tool, tool_as_text

# https://docs.anthropic.com/en/docs/build-with-claude/vision
_IMAGES: Final = ImageLimits(frozenset(("image/jpeg", "image/png", "image/gif", "image/webp")), 5 * 1024 * 1024)
_CACHED: Final = {"cache_control": {"type": "ephemeral"}}
_FINISH: Final[Mapping[str, Finish]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
}


class _Delta(msgspec.Struct):
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    citation: dict[str, Any] | None = None
    stop_reason: str | None = None


class _Block(msgspec.Struct):
    type: str
    id: str = ""
    name: str = ""
    text: Any = ""  # what blocks of kinds to come call so may be anything
    data: Any = ""


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _Message(msgspec.Struct):
    usage: _Usage = msgspec.field(default_factory=_Usage)


class _Event(msgspec.Struct):
    type: str
    index: int = 0
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: _Message | None = None
    usage: _Usage | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Event).decode


class AnthropicChat:
    """A chat model behind Anthropic's protocol. `options` go into the request's body as they are."""

    images: Images

    def __init__(self, endpoint: Endpoint, options: Mapping[str, Any], images: Images = "refused") -> None:
        self.images = images
        self._endpoint, self._options = endpoint, options

    def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[Delta]]:
        """See ChatModel."""
        call = self._endpoint.call(body_of(as_tool(request) if request.schema else request, self._options))
        deltas = answered(self._endpoint.http, call, EventParser(self._endpoint.secret))
        return tool_as_text(deltas) if request.schema else deltas


def body_of(request: ChatRequest, options: Mapping[str, Any]) -> dict[str, Any]:
    """The request's body. What opens every turn of a conversation, instructions and tools, is marked for the cache."""
    system = [message.text for message in request.messages if message.role == "system" and message.text]
    body: dict[str, Any] = {
        **options,
        "stream": True,
        "messages": turns(request.messages, "assistant", "content", _blocks),
    }
    if request.stop:
        body["stop_sequences"] = [*(options.get("stop_sequences") or ()), *request.stop]
    if system:
        blocks: list[dict[str, Any]] = [{"type": "text", "text": text} for text in system]
        body["system"] = [*blocks[:-1], {**blocks[-1], **_CACHED}]
    if request.tools:
        tools: list[dict[str, Any]] = [
            {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
            for tool in request.tools
        ]
        body["tools"] = [*tools[:-1], {**tools[-1], **_CACHED}]
        if request.choice != "auto":
            body["tool_choice"] = _choice(request.choice)
            if request.choice != "none":
                body.pop("thinking", None)  # Anthropic refuses to think about a tool that it must call
    return body


def _choice(choice: str) -> Mapping[str, str]:
    names = {"none": "none", "required": "any"}
    return {"type": names[choice]} if choice in names else {"type": "tool", "name": choice}


def _blocks(message: ModelMessage) -> Iterable[Mapping[str, Any]]:
    if message.answers:
        yield {"type": "tool_result", "tool_use_id": message.answers.id, "content": message.text}
        return
    for thought in message.thoughts:
        if thought.redacted:
            yield {"type": "redacted_thinking", "data": thought.signature}
        else:
            yield {"type": "thinking", "thinking": thought.text, "signature": thought.signature}
    for part in message.parts:
        yield _part(part)
    for call in message.calls:
        yield {"type": "tool_use", "id": call.id, "name": call.name, "input": as_object(call.arguments)}


def _part(part: Part) -> Mapping[str, Any]:
    if not isinstance(part, ImagePart):
        return {"type": "text", "text": part.text}
    if found := picture(part, _IMAGES):
        source = {"type": "base64", "media_type": found.media_type, "data": found.base64}
    else:
        source = {"type": "url", "url": part.url}
    return {"type": "image", "source": source}


class EventParser(LineParser):
    """Turns the bytes of a message stream into deltas. No I/O. Every event names its type inside its data too."""

    def __init__(self, secret: str = "") -> None:
        super().__init__(secret)
        self._usage = _Usage()
        self._tools: set[int] = set()  # blocks that are calls of the flow's tools; others are the provider's own

    def take(self, payload: bytes, deltas: list[Delta]) -> None:
        """One event. Raises ProviderMalformed, or the error that the stream carries."""
        try:
            event = _decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.unreadable(payload, error)
            return
        match event.type:
            case "content_block_delta" if event.delta:
                self._said(event.index, event.delta, deltas)
            case "content_block_start" if event.content_block:
                self._opened(event.index, event.content_block, deltas)
            case "message_start" if event.message:
                self._count(event.message.usage)
            case "message_delta":
                self._count(event.usage or _Usage())
                self._ending(event.delta and event.delta.stop_reason, deltas)
            case "message_stop":
                self.finished = self.done = True
            case "error":
                raise failure_inside(msgspec.json.encode({"error": event.error}), self.secret)
            case _:
                pass  # ping, the end of a block, and kinds to come

    def _opened(self, index: int, block: _Block, deltas: list[Delta]) -> None:
        match block.type:
            case "text":
                deltas.append(TextDelta(str(block.text)))
            case "tool_use":
                self._tools.add(index)
                deltas.append(ToolCallDelta(index, block.id, block.name))
            case "redacted_thinking":
                deltas.append(ThinkingDelta("", str(block.data), redacted=True))
            case _:
                pass

    def _said(self, index: int, delta: _Delta, deltas: list[Delta]) -> None:
        if delta.text is not None:
            deltas.append(TextDelta(delta.text))
        elif delta.partial_json is not None and index in self._tools:
            deltas.append(ToolCallDelta(index, arguments=delta.partial_json))
        elif delta.thinking is not None:
            deltas.append(ThinkingDelta(delta.thinking))
        elif delta.signature is not None:
            deltas.append(ThinkingDelta("", delta.signature))
        elif delta.citation is not None:
            deltas.append(CitationDelta(_cited(delta.citation)))

    def _count(self, usage: _Usage) -> None:
        """Takes in a count; later ones replace what they name. Raises nothing."""
        for name in _Usage.__struct_fields__:
            if (value := getattr(usage, name)) is not None:
                setattr(self._usage, name, value)

    def _ending(self, reason: str | None, deltas: list[Delta]) -> None:
        if not reason:
            return
        self.finished = True
        if reason == "refusal":
            raise ProviderFiltered("the provider's content filter stopped the answer")
        if reason == "model_context_window_exceeded":
            raise ProviderContextTooLong("the conversation and the answer do not fit into the model's context window")
        deltas.append(FinishDelta(_FINISH.get(reason, "other")))
        cached, new = self._usage.cache_read_input_tokens or 0, self._usage.cache_creation_input_tokens or 0
        read, said = (self._usage.input_tokens or 0) + cached + new, self._usage.output_tokens or 0
        deltas.append(UsageDelta(Usage(read, said, read + said, cached or None)))


def _cited(citation: Mapping[str, Any]) -> Document:
    source = citation.get("url") or citation.get("document_title") or ""
    metadata = {"source": source, "title": citation.get("title") or citation.get("document_title")}
    return Document(str(citation.get("cited_text") or ""), {key: value for key, value in metadata.items() if value})
