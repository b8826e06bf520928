"""Ollama's own protocol: one JSON object a line."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final

import msgspec

from headrace.engine.chat import (
    ChatRequest,
    Delta,
    FinishDelta,
    ImagePart,
    ModelMessage,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageDelta,
)
from headrace.engine.ports import Images
from headrace.errors import InvalidRequest
from headrace.providers.endpoint import Endpoint
from headrace.providers.error_mapping import failure_inside, is_failure
from headrace.providers.finish_reasons import finish_of, named
from headrace.providers.images import ImageLimits, picture
from headrace.providers.lenient_json import LenientDecoder, as_json
from headrace.providers.reasoning import given_back
from headrace.providers.stream_parser import Answer, LineParser
from headrace.providers.structured_output import offered
from headrace.providers.token_counts import usage_of
from headrace.providers.tool_arguments import as_object
from headrace.providers.tool_calls import Calls, as_text
from headrace.surrogates import whole

_IMAGES: Final = ImageLimits(frozenset(("image/jpeg", "image/png", "image/webp")), 20 * 1024 * 1024)


class _Function(msgspec.Struct, gc=False):
    name: str = ""
    arguments: Any = None


class _Call(msgspec.Struct, gc=False):
    function: _Function | None = None
    id: str = ""


class _Message(msgspec.Struct, gc=False):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None


class _Chunk(msgspec.Struct, gc=False):
    message: _Message | None = None
    done: bool = False
    done_reason: str = ""
    prompt_eval_count: float = 0
    eval_count: float = 0
    error: Any = None


class OllamaChat:
    """A chat model behind Ollama's protocol. `options` go into the request's body as they are."""

    images: Images

    def __init__(self, endpoint: Endpoint, options: Mapping[str, Any], images: Images = "refused") -> None:
        self.images = images
        self._endpoint, self._options = endpoint, options

    def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[Delta]]:
        """See ChatModel."""
        body: dict[str, Any] = {**self._options, "stream": True, "messages": list(map(_message, request.messages))}
        if request.stop:
            options = body.get("options") or {}
            body["options"] = {**options, "stop": [*(options.get("stop") or ()), *request.stop]}
        if request.schema:
            body["format"] = request.schema.schema
        if request.tools and request.choice != "none":
            tools = [tool for tool in request.tools if request.choice in ("auto", "required", tool.name)]
            body["tools"] = [{"type": "function", "function": offered(tool)} for tool in tools]
        parser = partial(ChunkParser, self._endpoint.secret)
        return Answer(self._endpoint.http, self._endpoint.call(body), parser)


def _message(message: ModelMessage) -> Mapping[str, Any]:
    sent: dict[str, Any] = {"role": message.role, "content": message.text}
    if images := [_image(part) for part in message.parts if isinstance(part, ImagePart)]:
        sent["images"] = images
    if message.calls:
        for thought in message.thoughts:
            sent |= given_back(thought.signature, ("thinking",))
        sent["tool_calls"] = [
            {"function": {"name": call.name, "arguments": as_object(call.arguments)}} for call in message.calls
        ]
    if message.answers:
        sent["tool_name"] = message.answers.name
    return sent


def _image(part: ImagePart) -> str:
    if found := picture(part, _IMAGES):
        return found.base64
    raise InvalidRequest("Ollama reads no pictures from addresses: upload the picture itself")


class ChunkParser(LineParser[_Chunk]):
    """Turns the bytes of an Ollama answer into deltas. No I/O."""

    prefix: ClassVar[bytes] = b""
    chunks = LenientDecoder(_Chunk)

    def __init__(self, secret: str = "") -> None:
        super().__init__(secret)
        self._calls = Calls()
        self._thoughts: list[str] = []

    def take(self, chunk: _Chunk, payload: bytes, deltas: list[Delta]) -> None:
        """See LineParser."""
        if chunk.error is not None and is_failure(chunk.error):
            raise failure_inside(payload, self.secret)
        if chunk.message:
            self._said(chunk.message, deltas)
        if chunk.done:
            self._ending(chunk, deltas)
        elif not chunk.message:
            self.suspect(payload)

    def _said(self, message: _Message, deltas: list[Delta]) -> None:
        if message.thinking:
            self._thoughts.append(message.thinking)
            deltas.append(ThinkingDelta(message.thinking))
        if message.content:
            deltas.append(TextDelta(message.content))
        for call in message.tool_calls or ():
            function = call.function or _Function()
            number = self._calls.opened(None, call.id, function.name)
            known, arguments = self._calls.id(number) or f"call-{number}", as_text(function.arguments) or "{}"
            deltas.append(ToolCallDelta(number, known, function.name, arguments))

    def _ending(self, chunk: _Chunk, deltas: list[Delta]) -> None:
        self.finished = self.done = True
        # Old versions give no reason.
        finish = finish_of(chunk.done_reason) if named(chunk.done_reason) else "stop"
        if self._calls and self._thoughts:
            deltas.append(ThinkingDelta("", as_json({"thinking": whole("".join(self._thoughts))}).decode()))
        deltas.append(FinishDelta("tool_calls" if self._calls else finish))
        deltas.append(UsageDelta(usage_of(chunk.prompt_eval_count, chunk.eval_count)))
