"""Google's protocol: Gemini's `streamGenerateContent` as server-sent events; also the one of Vertex AI."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
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
    ToolCall,
    ToolCallDelta,
    UsageDelta,
)
from headrace.engine.ports import Images
from headrace.errors import ProviderFiltered
from headrace.events import Document, Usage
from headrace.providers.answers import answered, turns
from headrace.providers.arguments import as_object
from headrace.providers.endpoint import Endpoint
from headrace.providers.images import ImageLimits, picture
from headrace.providers.lines import LineParser
from headrace.providers.refusals import failure_inside

# https://ai.google.dev/gemini-api/docs/image-understanding: 20 MB is the limit of a whole request
_IMAGES: Final = ImageLimits(
    frozenset(("image/jpeg", "image/png", "image/webp", "image/heic", "image/heif")), 20 * 1024 * 1024
)
_FINISH: Final[Mapping[str, Finish]] = {"STOP": "stop", "MAX_TOKENS": "length"}
_FILTERED: Final = frozenset(
    "SAFETY RECITATION BLOCKLIST PROHIBITED_CONTENT SPII IMAGE_SAFETY IMAGE_PROHIBITED_CONTENT".split()
)


class _Function(msgspec.Struct):
    name: str = ""
    args: dict[str, Any] = {}
    id: str = ""


class _Part(msgspec.Struct):
    text: str | None = None
    thought: bool = False
    thoughtSignature: str = ""
    functionCall: _Function | None = None


class _Content(msgspec.Struct):
    parts: list[_Part] = []


class _Web(msgspec.Struct):
    uri: str = ""
    title: str = ""


class _Ground(msgspec.Struct):
    web: _Web | None = None


class _Grounding(msgspec.Struct):
    groundingChunks: list[_Ground] = []


class _Candidate(msgspec.Struct):
    content: _Content | None = None
    finishReason: str = ""
    finishMessage: str = ""
    groundingMetadata: _Grounding | None = None


class _Feedback(msgspec.Struct):
    blockReason: str = ""


class _Usage(msgspec.Struct):
    promptTokenCount: int = 0
    candidatesTokenCount: int = 0
    totalTokenCount: int = 0
    cachedContentTokenCount: int | None = None
    thoughtsTokenCount: int | None = None


class _Chunk(msgspec.Struct):
    candidates: list[_Candidate] = []
    promptFeedback: _Feedback | None = None
    usageMetadata: _Usage | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode


class GoogleChat:
    """A chat model behind Gemini's protocol. `options` go into the request's body as they are.

    `token` gives a short-lived access token for each call (Vertex AI); without it the endpoint's headers are enough.
    """

    images: Images

    def __init__(
        self,
        endpoint: Endpoint,
        options: Mapping[str, Any],
        images: Images = "refused",
        token: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self.images = images
        self._endpoint, self._options, self._token = endpoint, options, token

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[Delta]]:
        """See ChatModel."""
        endpoint = self._endpoint
        if self._token:
            token = await self._token()
            headers = {**endpoint.headers, "Authorization": f"Bearer {token}"}
            endpoint = msgspec.structs.replace(endpoint, headers=headers, secret=token)
        call = endpoint.call(body_of(request, self._options))
        async with aclosing(answered(endpoint.http, call, ChunkParser(endpoint.secret))) as batches:
            async for deltas in batches:
                yield deltas


def body_of(request: ChatRequest, options: Mapping[str, Any]) -> dict[str, Any]:
    """The request's body."""
    body: dict[str, Any] = {**options, "contents": turns(request.messages, "model", "parts", _parts)}
    if system := [{"text": m.text} for m in request.messages if m.role == "system" and m.text]:
        body["systemInstruction"] = {"parts": system}
    if request.stop:
        config = body.get("generationConfig", {})
        body["generationConfig"] = {**config, "stopSequences": list(request.stop)}
    if request.schema:
        form = {"responseMimeType": "application/json", "responseJsonSchema": request.schema.schema}
        body["generationConfig"] = {**body.get("generationConfig", {}), **form}
    if request.tools:
        tools = [
            {"name": tool.name, "description": tool.description, "parametersJsonSchema": tool.parameters}
            for tool in request.tools
        ]
        body["tools"] = [*body.get("tools", ()), {"functionDeclarations": tools}]
        if request.choice != "auto":
            body["toolConfig"] = {"functionCallingConfig": _choice(request.choice)}
    return body


def _choice(choice: str) -> Mapping[str, Any]:
    if choice in ("none", "required"):
        return {"mode": "NONE" if choice == "none" else "ANY"}
    return {"mode": "ANY", "allowedFunctionNames": [choice]}


def _parts(message: ModelMessage) -> Iterable[Mapping[str, Any]]:
    if message.answers:
        response = {"name": message.answers.name, "response": {"result": message.text}}
        yield {"functionResponse": _with_id(response, message.answers)}
        return
    for part in message.parts:
        yield _part(part)
    for call in message.calls:
        sent: dict[str, Any] = {"functionCall": _with_id({"name": call.name, "args": as_object(call.arguments)}, call)}
        yield {**sent, "thoughtSignature": call.signature} if call.signature else sent


def _with_id(function: dict[str, Any], call: ToolCall) -> dict[str, Any]:
    # Ids of our own making name the call by its place; Gemini did not give them and does not want them.
    return function if call.id.startswith(_OWN_ID) else {**function, "id": call.id}


_OWN_ID: Final = "call-"


def _part(part: Part) -> Mapping[str, Any]:
    if not isinstance(part, ImagePart):
        return {"text": part.text}
    if found := picture(part, _IMAGES):
        return {"inlineData": {"mimeType": found.media_type, "data": found.base64}}
    return {"fileData": {"fileUri": part.url}}


class ChunkParser(LineParser):
    """Turns the bytes of a Gemini stream into deltas. No I/O. The stream has no last word but its finish reason."""

    def __init__(self, secret: str = "") -> None:
        super().__init__(secret)
        self._calls = 0
        self._reason = ""
        self._counted: _Usage | None = None

    def read(self, data: bytes, deltas: list[Delta]) -> None:
        """See AnswerParser. Older models and proxies give a reason and a count with every chunk: the last ones hold."""
        super().read(data, deltas)
        if not data and self.finished:
            deltas.append(FinishDelta("tool_calls" if self._calls else _FINISH.get(self._reason, "other")))
            if self._counted:
                deltas.append(UsageDelta(_usage(self._counted)))

    def take(self, payload: bytes, deltas: list[Delta]) -> None:
        """One chunk, which may hold several parts. Raises ProviderMalformed, or the error that the stream carries."""
        try:
            chunk = _decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.unreadable(payload, error)
            return
        if chunk.error is not None:
            raise failure_inside(msgspec.json.encode({"error": chunk.error}), self.secret)
        if chunk.promptFeedback and chunk.promptFeedback.blockReason:
            raise ProviderFiltered(f"the provider refused the question: {chunk.promptFeedback.blockReason}")
        for candidate in chunk.candidates:
            self._candidate(candidate, deltas)
        self._counted = chunk.usageMetadata or self._counted

    def _candidate(self, candidate: _Candidate, deltas: list[Delta]) -> None:
        for part in candidate.content.parts if candidate.content else ():
            self._part(part, deltas)
        if candidate.groundingMetadata:
            webs = [ground.web for ground in candidate.groundingMetadata.groundingChunks if ground.web]
            deltas.extend(CitationDelta(Document("", {"source": web.uri, "title": web.title})) for web in webs)
        if reason := candidate.finishReason:
            self.finished, self._reason = True, reason
            if reason in _FILTERED:
                raise ProviderFiltered(f"the provider stopped the answer: {candidate.finishMessage or reason}")

    def _part(self, part: _Part, deltas: list[Delta]) -> None:
        if part.functionCall:
            function, index = part.functionCall, self._calls
            self._calls += 1
            arguments = msgspec.json.encode(function.args).decode()
            own = f"{_OWN_ID}{index}"
            deltas.append(ToolCallDelta(index, function.id or own, function.name, arguments, part.thoughtSignature))
        elif part.text is not None:
            deltas.append(ThinkingDelta(part.text) if part.thought else TextDelta(part.text))


def _usage(usage: _Usage) -> Usage:
    said = usage.candidatesTokenCount + (usage.thoughtsTokenCount or 0)
    total = usage.totalTokenCount or usage.promptTokenCount + said
    return Usage(
        usage.promptTokenCount, said, total, usage.cachedContentTokenCount or None, usage.thoughtsTokenCount or None
    )
