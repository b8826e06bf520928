"""Anthropic's protocol: messages, streamed as typed events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
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
    ToolCallDelta,
    UsageDelta,
)
from headrace.engine.ports import Images
from headrace.events import Document, Usage
from headrace.providers.endpoint import Endpoint
from headrace.providers.finish_reasons import finish_of, named
from headrace.providers.images import ImageLimits, picture
from headrace.providers.lenient_json import LenientDecoder
from headrace.providers.message_turns import turns
from headrace.providers.reasoning import is_fields
from headrace.providers.stream_parser import Answer, LineParser
from headrace.providers.structured_output import as_tool, tool_as_text
from headrace.providers.token_counts import whole_number
from headrace.providers.tool_arguments import as_object
from headrace.providers.tool_calls import Calls, as_text
from headrace.providers.tool_schemas import portable

# https://docs.anthropic.com/en/docs/build-with-claude/vision
_IMAGES: Final = ImageLimits(frozenset(("image/jpeg", "image/png", "image/gif", "image/webp")), 5 * 1024 * 1024)
_CACHED: Final = {"cache_control": {"type": "ephemeral"}}


class _Delta(msgspec.Struct, gc=False):
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    citation: dict[str, Any] | None = None
    stop_reason: str | None = None


class _Block(msgspec.Struct, gc=False):
    type: str = ""
    id: str = ""
    name: str = ""
    text: Any = ""  # what blocks of kinds to come call so may be anything
    data: Any = ""
    input: Any = None
    thinking: Any = ""
    signature: Any = ""


class _Usage(msgspec.Struct, gc=False):
    input_tokens: float | None = None
    output_tokens: float | None = None
    cache_read_input_tokens: float | None = None
    cache_creation_input_tokens: float | None = None


class _Message(msgspec.Struct, gc=False):
    usage: _Usage | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    index: int = 0
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: _Message | None = None
    usage: _Usage | None = None
    content: list[_Block] = []  # of an answer that comes at once, although a stream was asked for
    stop_reason: str | None = None


class AnthropicChat:
    """A chat model behind Anthropic's protocol. `options` go into the request's body as they are."""

    images: Images

    def __init__(self, endpoint: Endpoint, options: Mapping[str, Any], images: Images = "refused") -> None:
        self.images = images
        self._endpoint, self._options = endpoint, options

    def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[Delta]]:
        """See ChatModel."""
        call = self._endpoint.call(body_of(as_tool(request) if request.schema else request, self._options))
        deltas = Answer(self._endpoint.http, call, partial(EventParser, self._endpoint.secret))
        return tool_as_text(deltas) if request.schema else deltas


def body_of(request: ChatRequest, options: Mapping[str, Any]) -> dict[str, Any]:
    """The request's body. What opens every turn of a conversation, instructions and tools, is marked for the cache."""
    system = [message.text for message in request.messages if message.role == "system" and message.text]
    body: dict[str, Any] = {**options, "stream": True}
    if body.get("thinking") and not _may_think(request, body["thinking"]):
        del body["thinking"]  # and then Anthropic refuses the turn's earlier thoughts as well
        said = [msgspec.structs.replace(message, thoughts=()) for message in request.messages]
    else:
        said = request.messages
    body["messages"] = turns(said, "assistant", "content", _blocks)
    if request.stop:
        body["stop_sequences"] = [*(options.get("stop_sequences") or ()), *request.stop]
    if system:
        blocks: list[dict[str, Any]] = [{"type": "text", "text": text} for text in system]
        body["system"] = [*blocks[:-1], {**blocks[-1], **_CACHED}]
    if request.tools:
        tools: list[dict[str, Any]] = [
            {"name": tool.name, "description": tool.description, "input_schema": portable(tool.parameters)}
            for tool in request.tools
        ]
        body["tools"] = [*tools[:-1], {**tools[-1], **_CACHED}]
        if request.choice != "auto":
            body["tool_choice"] = _choice(request.choice)
    return body


def _may_think(request: ChatRequest, thinking: Any) -> bool:
    """False where Anthropic refuses to think.

    It refuses about a tool that it must call, and, with a budget, in a turn whose first tool calls came without
    thoughts: they were another provider's, before this model was asked in its place, or had to be made.
    """
    if request.tools and request.choice not in ("auto", "none"):
        return False
    asked = max((n for n, message in enumerate(request.messages) if message.role == "user"), default=-1)
    turn = (message for message in request.messages[asked + 1 :] if message.role == "assistant")
    first = next(turn, None)
    if first is None or not first.calls or thinking.get("type") == "adaptive":
        return True
    return any(not is_fields(thought.signature) for thought in first.thoughts)


def _choice(choice: str) -> Mapping[str, str]:
    names = {"none": "none", "required": "any"}
    return {"type": names[choice]} if choice in names else {"type": "tool", "name": choice}


def _blocks(message: ModelMessage) -> Iterable[Mapping[str, Any]]:
    if message.answers:
        yield {"type": "tool_result", "tool_use_id": message.answers.id, "content": message.text}
        return
    for thought in message.thoughts:
        if is_fields(thought.signature):  # another provider's, before this one was asked in its place
            continue
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


class EventParser(LineParser[_Event]):
    """Turns the bytes of a message stream into deltas. No I/O. Events name their type inside their data too."""

    chunks = LenientDecoder(_Event)

    def __init__(self, secret: str = "") -> None:
        super().__init__(secret)
        self._usage = _Usage()
        self._calls = Calls()  # of the flow's tools; other blocks are the provider's own
        self._input: tuple[int, str] | None = None  # of a call whose block began with it

    def take(self, chunk: _Event, payload: bytes, deltas: list[Delta]) -> None:
        """See LineParser."""
        match chunk.type or self.event[6:].strip().decode("utf-8", "replace"):
            case "content_block_delta":
                self._said(chunk.index, chunk.delta or _Delta(), deltas)
            case "content_block_start":
                self._give(deltas)
                self._opened(chunk.index, chunk.content_block or _Block(), deltas)
            case "content_block_stop":
                self._give(deltas)
            case "message_start":
                self._count(chunk.message and chunk.message.usage)
            case "message_delta":
                self._count(chunk.usage)
                self._ending(chunk.delta and chunk.delta.stop_reason, deltas)
            case "message_stop":
                self.finished = self.done = True
            case "message" if chunk.content or chunk.stop_reason:
                self._whole(chunk, deltas)
            case "ping":
                pass
            case _:  # kinds to come, and errors
                self.suspect(payload)

    def _whole(self, message: _Event, deltas: list[Delta]) -> None:
        self._count(message.usage)
        for index, block in enumerate(message.content):
            self._opened(index, block, deltas)
            self._give(deltas)
        self._ending(message.stop_reason, deltas)
        self.finished = self.done = True

    def _opened(self, index: int, block: _Block, deltas: list[Delta]) -> None:
        match block.type:
            case "text":
                deltas.append(TextDelta(str(block.text or "")))
            case "tool_use":
                number = self._calls.opened(index, block.id, block.name)
                deltas.append(ToolCallDelta(number, self._calls.id(number), block.name))
                self._input = (number, as_text(block.input)) if block.input else None
            case "thinking" if block.thinking or block.signature:
                deltas.append(ThinkingDelta(str(block.thinking or ""), str(block.signature or "")))
            case "redacted_thinking":
                deltas.append(ThinkingDelta("", str(block.data), redacted=True))
            case _:
                pass

    def _give(self, deltas: list[Delta]) -> None:
        """Gives the input that a call began with, if no other has come: gateways send it whole."""
        if self._input:
            number, arguments = self._input
            self._input = None
            deltas.append(ToolCallDelta(number, arguments=arguments))

    def _said(self, index: int, delta: _Delta, deltas: list[Delta]) -> None:
        if delta.text is not None:
            deltas.append(TextDelta(delta.text))
        elif delta.partial_json is not None:
            number = self._calls.number(index)
            if number is not None:
                if delta.partial_json:
                    self._input = None
                deltas.append(ToolCallDelta(number, arguments=delta.partial_json))
        elif delta.thinking is not None:
            deltas.append(ThinkingDelta(delta.thinking))
        elif delta.signature is not None:
            deltas.append(ThinkingDelta("", delta.signature))
        elif delta.citation is not None:
            deltas.append(CitationDelta(_cited(delta.citation)))

    def _count(self, usage: _Usage | None) -> None:
        """Takes in a count; later ones replace what they name."""
        for name in _Usage.__struct_fields__:
            if (value := getattr(usage, name, None)) is not None:
                setattr(self._usage, name, value)

    def _ending(self, reason: str | None, deltas: list[Delta]) -> None:
        if self.finished or not named(reason):
            return
        self._give(deltas)
        self.finished = True
        deltas.append(FinishDelta(finish_of(reason or "")))
        usage = self._usage
        cached, new = whole_number(usage.cache_read_input_tokens), whole_number(usage.cache_creation_input_tokens)
        read, said = whole_number(usage.input_tokens) + cached + new, whole_number(usage.output_tokens)
        deltas.append(UsageDelta(Usage(read, said, read + said, cached or None)))


def _cited(citation: Mapping[str, Any]) -> Document:
    source = citation.get("url") or citation.get("document_title") or ""
    metadata = {"source": source, "title": citation.get("title") or citation.get("document_title")}
    return Document(str(citation.get("cited_text") or ""), {key: value for key, value in metadata.items() if value})
