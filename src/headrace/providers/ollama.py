"""Ollama's own protocol: one JSON object a line."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec

from headrace.engine.chat import (
    ChatRequest,
    Delta,
    Finish,
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
from headrace.events import Usage
from headrace.providers.answers import answered
from headrace.providers.arguments import as_object
from headrace.providers.endpoint import Endpoint
from headrace.providers.images import ImageLimits, picture
from headrace.providers.lines import LineParser
from headrace.providers.refusals import failure_inside

_IMAGES: Final = ImageLimits(frozenset(("image/jpeg", "image/png", "image/webp")), 20 * 1024 * 1024)
_FINISH: Final[Mapping[str, Finish]] = {"": "stop", "stop": "stop", "length": "length"}  # "" is of old versions


class _Function(msgspec.Struct):
    name: str = ""
    arguments: dict[str, Any] = {}


class _Call(msgspec.Struct):
    function: _Function
    id: str = ""


class _Message(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None


class _Chunk(msgspec.Struct):
    message: _Message | None = None
    done: bool = False
    done_reason: str = ""
    prompt_eval_count: int = 0
    eval_count: int = 0
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode


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
            body["tools"] = [{"type": "function", "function": msgspec.to_builtins(tool)} for tool in tools]
        return answered(self._endpoint.http, self._endpoint.call(body), ChunkParser(self._endpoint.secret))


def _message(message: ModelMessage) -> Mapping[str, Any]:
    sent: dict[str, Any] = {"role": message.role, "content": message.text}
    if images := [_image(part) for part in message.parts if isinstance(part, ImagePart)]:
        sent["images"] = images
    if message.calls:
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


class ChunkParser(LineParser):
    """Turns the bytes of an Ollama answer into deltas. No I/O."""

    prefix: ClassVar[bytes] = b""

    def __init__(self, secret: str = "") -> None:
        super().__init__(secret)
        self._calls = 0

    def take(self, payload: bytes, deltas: list[Delta]) -> None:
        """One line. Raises ProviderMalformed, or the error that the stream carries."""
        try:
            chunk = _decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.unreadable(payload, error)
            return
        if chunk.error is not None:
            raise failure_inside(payload, self.secret)
        if chunk.message:
            self._said(chunk.message, deltas)
        if chunk.done:
            self.finished = self.done = True
            deltas.append(FinishDelta("tool_calls" if self._calls else _FINISH.get(chunk.done_reason, "other")))
            read, said = chunk.prompt_eval_count, chunk.eval_count
            deltas.append(UsageDelta(Usage(read, said, read + said)))

    def _said(self, message: _Message, deltas: list[Delta]) -> None:
        if message.thinking:
            deltas.append(ThinkingDelta(message.thinking))
        if message.content:
            deltas.append(TextDelta(message.content))
        for call in message.tool_calls or ():
            arguments = msgspec.json.encode(call.function.arguments).decode()
            deltas.append(ToolCallDelta(self._calls, call.id or f"call-{self._calls}", call.function.name, arguments))
            self._calls += 1
