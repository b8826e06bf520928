"""AWS Bedrock's protocol: Converse, streamed in AWS's binary event frames. Needs the extra `bedrock` (botocore)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, Final
from urllib.parse import urlsplit
from zlib import crc32

import msgspec

from headrace.engine.chat import (
    ChatRequest,
    Delta,
    Finish,
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
from headrace.errors import FlowError, InvalidRequest, ProviderError, ProviderFiltered, ProviderMalformed
from headrace.events import Usage
from headrace.providers.answers import AnswerParser, answered, turns
from headrace.providers.arguments import as_object
from headrace.providers.endpoint import Endpoint
from headrace.providers.images import ImageLimits, picture
from headrace.providers.refusals import Complaint, complaint, refusal_class
from headrace.providers.schemas import as_tool, tool_as_text

# https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ImageBlock.html
_IMAGES: Final = ImageLimits(frozenset(("image/jpeg", "image/png", "image/gif", "image/webp")), 3_750_000)
_FINISH: Final[Mapping[str, Finish]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
}


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
        deltas = answered(self._endpoint.http, _signed(plain, self._region, self._key), FrameParser(self._key.secret))
        return tool_as_text(deltas) if request.schema else deltas


def _signed(call: HttpCall, region: str, key: AwsKey) -> HttpCall:
    """The call with AWS's signature (version 4), which holds for five minutes: enough for all attempts."""
    try:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
    except ImportError:
        raise FlowError("AWS Bedrock needs botocore: pip install 'headrace[server,bedrock]'") from None
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
    return {"name": tool.name, **described, "inputSchema": {"json": tool.parameters}}


def _blocks(message: ModelMessage) -> Iterable[Mapping[str, Any]]:
    if message.answers:
        yield {"toolResult": {"toolUseId": message.answers.id, "content": [{"text": message.text}]}}
        return
    for thought in message.thoughts:
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


class _Usage(msgspec.Struct):
    inputTokens: int = 0
    outputTokens: int = 0
    totalTokens: int = 0
    cacheReadInputTokens: int | None = None


class _Reasoning(msgspec.Struct):
    text: str = ""
    signature: str = ""
    redactedContent: str = ""


class _Tool(msgspec.Struct):
    toolUseId: str = ""
    name: str = ""
    input: str = ""


class _Delta(msgspec.Struct):
    text: str | None = None
    toolUse: _Tool | None = None
    reasoningContent: _Reasoning | None = None


class _Start(msgspec.Struct):
    toolUse: _Tool | None = None


class _Event(msgspec.Struct):
    contentBlockIndex: int = 0
    start: _Start | None = None
    delta: _Delta | None = None
    stopReason: str = ""
    usage: _Usage | None = None


_decode = msgspec.json.Decoder(_Event).decode
_PRELUDE: Final = Struct(">III")
_SMALLEST: Final = 16  # bytes: a frame without headers and payload
_LARGEST: Final = 24 * 1024 * 1024  # bytes, as AWS bounds them
_TEXT_HEADER: Final = 7


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


class FrameParser(AnswerParser):
    """Turns AWS's binary event frames into deltas. No I/O.

    Own code, since botocore's buffer costs eight times what the other protocols do. A frame is its length, the length
    of its headers, a checksum of both, headers, payload, and a checksum of everything:
    https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html
    """

    def __init__(self, secret: str = "") -> None:
        super().__init__(secret)
        self._rest = b""

    def read(self, data: bytes, deltas: list[Delta]) -> None:
        """See AnswerParser."""
        data, at = self._rest + data if self._rest else data, 0
        while len(data) - at >= _SMALLEST:
            size, headers, check = _PRELUDE.unpack_from(data, at)
            if crc32(data[at : at + 8]) != check or not headers + _SMALLEST <= size <= _LARGEST:
                raise ProviderMalformed("the model sent a frame that cannot be read: its beginning is damaged")
            if len(data) - at < size:
                break
            self._frame(data[at : at + size], headers, deltas)
            at += size
        self._rest = data[at:]

    def _frame(self, frame: bytes, headers: int, deltas: list[Delta]) -> None:
        if crc32(frame[:-4]) != int.from_bytes(frame[-4:], "big"):
            raise ProviderMalformed("the model sent a frame that cannot be read: its checksum is wrong")
        try:
            self._take(_headers(frame[12 : 12 + headers]), frame[12 + headers : -4], deltas)
        except (msgspec.MsgspecError, UnicodeDecodeError, IndexError) as error:
            raise ProviderMalformed(f"the model sent a frame that cannot be read: {error}") from None

    def _take(self, headers: Mapping[str, str], payload: bytes, deltas: list[Delta]) -> None:
        if headers.get(":message-type") in ("exception", "error"):
            raise self._failure(headers, payload)
        event = _decode(payload)
        if event.start and event.start.toolUse:
            tool = event.start.toolUse
            deltas.append(ToolCallDelta(event.contentBlockIndex, tool.toolUseId, tool.name))
        if event.delta:
            self._said(event.contentBlockIndex, event.delta, deltas)
        if event.stopReason:
            self.finished = True
            if event.stopReason in ("guardrail_intervened", "content_filtered"):
                raise ProviderFiltered("the provider's content filter stopped the answer")
            deltas.append(FinishDelta(_FINISH.get(event.stopReason, "other")))
        if usage := event.usage:  # it comes after the last word
            self.done = True
            counts = (usage.inputTokens, usage.outputTokens, usage.totalTokens)
            deltas.append(UsageDelta(Usage(*counts, usage.cacheReadInputTokens or None)))

    def _failure(self, headers: Mapping[str, str], payload: bytes) -> ProviderError:
        kind = str(headers.get(":exception-type") or headers.get(":error-code") or "")
        said = Complaint(complaint(payload, self.secret).message, (kind[:1].upper() + kind[1:],))
        return refusal_class(500, said)(f"the model failed inside its answer: {said.message or kind}")

    @staticmethod
    def _said(index: int, delta: _Delta, deltas: list[Delta]) -> None:
        if delta.text is not None:
            deltas.append(TextDelta(delta.text))
        if delta.toolUse:
            deltas.append(ToolCallDelta(index, arguments=delta.toolUse.input))
        if delta.reasoningContent:
            thought, redacted = delta.reasoningContent, delta.reasoningContent.redactedContent
            deltas.append(ThinkingDelta(thought.text, thought.signature or redacted, bool(redacted)))
