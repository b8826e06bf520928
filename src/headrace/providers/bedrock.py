"""AWS Bedrock's protocol: Converse, streamed in AWS's binary event frames. Needs the extra `bedrock` (botocore)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from struct import Struct
from typing import Any, Final
from urllib.parse import urlsplit
from zlib import crc32

import msgspec

from headrace.engine.chat import (
    ChatRequest,
    Delta,
    FinishDelta,
    ImagePart,
    ModelMessage,
    Part,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolSpec,
    UsageDelta,
)
from headrace.engine.ports import HttpCall, Images
from headrace.errors import FlowError, InvalidRequest, ProviderError, ProviderMalformed
from headrace.installation import remedy
from headrace.providers.endpoint import Endpoint
from headrace.providers.error_mapping import Complaint, carries_error, complaint, failure_inside, refusal_class
from headrace.providers.finish_reasons import finish_of, named
from headrace.providers.images import ImageLimits, picture
from headrace.providers.lenient_json import LenientDecoder
from headrace.providers.message_turns import turns
from headrace.providers.reasoning import is_fields
from headrace.providers.stream_parser import Answer, ResponseParser
from headrace.providers.structured_output import as_tool, tool_as_text
from headrace.providers.token_counts import usage_of, whole_number
from headrace.providers.tool_arguments import as_object
from headrace.providers.tool_calls import Calls, as_text
from headrace.providers.tool_schemas import portable

# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ImageBlock.html
_IMAGES: Final = ImageLimits(frozenset(("image/jpeg", "image/png", "image/gif", "image/webp")), 3_750_000)


class AwsKey(msgspec.Struct, frozen=True):
    """An AWS access key; `session` belongs to temporary ones."""

    key: str
    secret: str
    session: str = ""


class BedrockChat:
    """A chat model behind Bedrock's Converse. `options` go into the request's body as they are."""

    images: Images

    def __init__(
        self, endpoint: Endpoint, region: str, key: AwsKey, options: Mapping[str, Any], images: Images = "refused"
    ) -> None:
        self.images = images
        self._endpoint, self._region, self._key, self._options = endpoint, region, key, options

    def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[Delta]]:
        """See ChatModel."""
        plain = self._endpoint.call(body_of(as_tool(request) if request.schema else request, self._options))
        call, parser = _signed(plain, self._region, self._key), partial(FrameParser, self._key.secret)
        deltas = Answer(self._endpoint.http, call, parser)
        return tool_as_text(deltas) if request.schema else deltas


def _signed(call: HttpCall, region: str, key: AwsKey) -> HttpCall:
    """The call with AWS's signature (version 4), which holds for five minutes: enough for all attempts."""
    try:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
    except ImportError:
        raise FlowError(f"AWS Bedrock needs botocore: {remedy('bedrock')}") from None
    headers = {**call.headers, "Accept": "application/vnd.amazon.eventstream", "Host": urlsplit(call.url).netloc}
    request = AWSRequest("POST", call.url, headers, call.body)
    SigV4Auth(Credentials(key.key, key.secret, key.session or None), "bedrock", region).add_auth(request)
    return msgspec.structs.replace(call, headers=dict(request.headers.items()), secret=key.secret)


def body_of(request: ChatRequest, options: Mapping[str, Any]) -> dict[str, Any]:
    """The request's body."""
    body: dict[str, Any] = {**options, "messages": turns(request.messages, "assistant", "content", _blocks)}
    if system := [{"text": m.text} for m in request.messages if m.role == "system" and m.text]:
        body["system"] = system
    if request.stop:
        body["inferenceConfig"] = {**body.get("inferenceConfig", {}), "stopSequences": list(request.stop)}
    if request.tools and request.choice != "none":  # there is no way to forbid tools that are offered
        config: dict[str, Any] = {"tools": [{"toolSpec": _spec(tool)} for tool in request.tools]}
        if request.choice != "auto":
            config["toolChoice"] = {"any": {}} if request.choice == "required" else {"tool": {"name": request.choice}}
        body["toolConfig"] = config
    return body


def _spec(tool: ToolSpec) -> Mapping[str, Any]:
    described = {"description": tool.description} if tool.description else {}  # an empty one is refused
    return {"name": tool.name, **described, "inputSchema": {"json": portable(tool.parameters)}}


def _blocks(message: ModelMessage) -> Iterable[Mapping[str, Any]]:
    if message.answers:
        yield {"toolResult": {"toolUseId": message.answers.id, "content": [{"text": message.text}]}}
        return
    for thought in message.thoughts:
        if is_fields(thought.signature):  # another provider's, before this one was asked in its place
            continue
        if thought.redacted:
            yield {"reasoningContent": {"redactedContent": thought.signature}}
        else:
            yield {"reasoningContent": {"reasoningText": {"text": thought.text, "signature": thought.signature}}}
    for part in message.parts:
        yield _part(part)
    for call in message.calls:
        yield {"toolUse": {"toolUseId": call.id, "name": call.name, "input": as_object(call.arguments)}}


def _part(part: Part) -> Mapping[str, Any]:
    if not isinstance(part, ImagePart):
        return {"text": part.text}
    if found := picture(part, _IMAGES):
        return {"image": {"format": found.media_type.removeprefix("image/"), "source": {"bytes": found.base64}}}
    raise InvalidRequest("Bedrock reads no pictures from addresses: upload the picture itself")


class _Usage(msgspec.Struct, gc=False):
    inputTokens: float = 0
    outputTokens: float = 0
    totalTokens: float = 0
    cacheReadInputTokens: float | None = None


class _Reasoned(msgspec.Struct, gc=False):
    text: str = ""
    signature: str = ""


class _Reasoning(msgspec.Struct, gc=False):
    text: str = ""
    signature: str = ""
    redactedContent: str = ""
    reasoningText: _Reasoned | None = None


class _Tool(msgspec.Struct, gc=False):
    toolUseId: str = ""
    name: str = ""
    input: Any = None


class _Delta(msgspec.Struct, gc=False):
    text: str | None = None
    toolUse: _Tool | None = None
    reasoningContent: _Reasoning | None = None


class _Start(msgspec.Struct, gc=False):
    toolUse: _Tool | None = None


class _Message(msgspec.Struct, gc=False):
    content: list[_Delta] = []


class _Output(msgspec.Struct, gc=False):
    message: _Message | None = None


class _Event(msgspec.Struct, gc=False):
    contentBlockIndex: int = 0
    start: _Start | None = None
    delta: _Delta | None = None
    stopReason: str = ""
    usage: _Usage | None = None
    output: _Output | None = None  # of an answer that comes at once, although a stream was asked for


_EVENTS: Final = LenientDecoder(_Event)
_PRELUDE: Final = Struct(">III")
_SMALLEST: Final = 16  # bytes: a frame without headers and payload
_LARGEST: Final = 24 * 1024 * 1024  # bytes, as AWS bounds them
_TEXT_HEADER: Final = 7
_JSON: Final = (b"{", b"[", b"\n", b" ")


@lru_cache(256)  # the frames of an answer share theirs
def _headers(raw: bytes) -> Mapping[str, str]:
    """The headers of a frame that are texts, up to the first of another kind: only texts are sent here."""
    found: dict[str, str] = {}
    at = 0
    while at < len(raw) and raw[at + 1 + raw[at]] == _TEXT_HEADER:
        name, at = raw[at + 1 : at + 1 + raw[at]], at + 2 + raw[at]
        size = int.from_bytes(raw[at : at + 2], "big")
        found[name.decode()] = raw[at + 2 : at + 2 + size].decode()
        at += 2 + size
    return found


class FrameParser(ResponseParser):
    """Turns AWS's binary event frames into deltas. No I/O.

    Own code, since botocore's buffer costs eight times what the other protocols do. A frame is its length, the length
    of its headers, a checksum of both, headers, payload, and a checksum of everything:
    https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html
    """

    def __init__(self, secret: str = "") -> None:
        super().__init__(secret)
        self._rest = b""
        self._calls = Calls()

    def read(self, data: bytes, deltas: list[Delta]) -> None:
        """See ResponseParser."""
        if not data and self._rest and not self.finished:
            self._unframed(deltas)
            return
        data, at = self._rest + data if self._rest else data, 0
        while len(data) - at >= _SMALLEST:
            if not at and data[:1] in _JSON:  # no frame is as long as this would be
                break
            size, headers, check = _PRELUDE.unpack_from(data, at)
            if crc32(data[at : at + 8]) != check or not headers + _SMALLEST <= size <= _LARGEST:
                raise ProviderMalformed("the model sent a frame that cannot be read: its beginning is damaged")
            if len(data) - at < size:
                break
            self._frame(data[at : at + size], headers, deltas)
            at += size
        self._rest = data[at:]
        if len(self._rest) > _LARGEST:
            raise ProviderMalformed("the model sent a frame without an end")

    def _unframed(self, deltas: list[Delta]) -> None:
        """Reads plain JSON from a gateway: an error, or the answer as a whole."""
        with suppress(ValueError):
            self.rescued()
            event = _EVENTS.read(self._rest)
            self._take(event, self._rest, deltas)

    def _frame(self, frame: bytes, headers: int, deltas: list[Delta]) -> None:
        if crc32(frame[:-4]) != int.from_bytes(frame[-4:], "big"):
            raise ProviderMalformed("the model sent a frame that cannot be read: its checksum is wrong")
        payload = frame[12 + headers : -4]
        try:
            named = _headers(frame[12 : 12 + headers])
            if named.get(":message-type") in ("exception", "error"):
                raise self._failure(named, payload)
            try:
                event = _EVENTS.strict(payload)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                self.rescued()
                event = _EVENTS.read(payload)
            self._take(event, payload, deltas)
        except (ValueError, IndexError) as error:
            raise ProviderMalformed(f"the model sent a frame that cannot be read: {error}") from None

    def _take(self, event: _Event, payload: bytes, deltas: list[Delta]) -> None:
        if event.start and event.start.toolUse:
            self._called(event.contentBlockIndex, event.start.toolUse, deltas)
        if event.delta:
            self._said(event.contentBlockIndex, event.delta, deltas)
        elif event.output and event.output.message:
            self._whole(event.output.message, deltas)
        if event.stopReason and named(event.stopReason) and not self.finished:
            finish = finish_of(event.stopReason)
            self.finished = True
            deltas.append(FinishDelta(finish))
        if usage := event.usage:  # it comes after the last word
            self.done = self.finished
            cached = whole_number(usage.cacheReadInputTokens) or None
            deltas.append(UsageDelta(usage_of(usage.inputTokens, usage.outputTokens, usage.totalTokens, cached)))
        elif not (event.start or event.delta or event.output or event.stopReason) and carries_error(payload):
            raise failure_inside(payload, self.secret)

    def _failure(self, headers: Mapping[str, str], payload: bytes) -> ProviderError:
        kind = str(headers.get(":exception-type") or headers.get(":error-code") or "")
        said = complaint(payload, self.secret)
        named = Complaint(said.message, (kind[:1].upper() + kind[1:], *said.codes))
        return refusal_class(500, named)(f"the model failed inside its answer: {said.message or kind}")

    def _whole(self, message: _Message, deltas: list[Delta]) -> None:
        for index, block in enumerate(message.content):
            if block.toolUse:
                self._called(index, block.toolUse, deltas)
            else:
                self._said(index, block, deltas)

    def _called(self, index: int, tool: _Tool, deltas: list[Delta]) -> None:
        number = self._calls.opened(index, tool.toolUseId, tool.name)
        arguments = as_text(tool.input)
        deltas.append(ToolCallDelta(number, self._calls.id(number), tool.name, arguments))

    def _said(self, index: int, delta: _Delta, deltas: list[Delta]) -> None:
        if delta.text is not None:
            deltas.append(TextDelta(delta.text))
        if delta.toolUse and (number := self._calls.number(index)) is not None:
            deltas.append(ToolCallDelta(number, arguments=as_text(delta.toolUse.input)))
        if delta.reasoningContent:
            redacted = delta.reasoningContent.redactedContent
            thought = delta.reasoningContent.reasoningText or delta.reasoningContent
            deltas.append(ThinkingDelta(thought.text, thought.signature or redacted, bool(redacted)))
