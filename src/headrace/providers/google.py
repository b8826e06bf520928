"""Google's protocol: Gemini's `streamGenerateContent` as server-sent events; also the one of Vertex AI."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
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
    ToolCall,
    ToolCallDelta,
    UsageDelta,
)
from headrace.engine.ports import Images
from headrace.errors import ProviderFiltered, ProviderUnavailable
from headrace.events import Document, Usage
from headrace.providers.endpoint import Endpoint
from headrace.providers.error_mapping import failure_inside, is_failure
from headrace.providers.finish_reasons import finish_of, named
from headrace.providers.images import ImageLimits, picture
from headrace.providers.lenient_json import LenientDecoder, as_json
from headrace.providers.message_turns import turns
from headrace.providers.partial_arguments import PartialArguments
from headrace.providers.reasoning import given_back, is_fields
from headrace.providers.stream_parser import Answer, LineParser
from headrace.providers.token_counts import usage_of, whole_number
from headrace.providers.tool_arguments import as_object
from headrace.providers.tool_calls import Calls, as_text
from headrace.providers.tool_schemas import for_gemini

# https://ai.google.dev/gemini-api/docs/image-understanding: 20 MB is the limit of a whole request
_IMAGES: Final = ImageLimits(
    frozenset(("image/jpeg", "image/png", "image/webp", "image/heic", "image/heif")), 20 * 1024 * 1024
)


class _Function(msgspec.Struct, gc=False):
    name: str = ""
    args: Any = None
    id: str = ""
    partialArgs: list[dict[str, Any]] | None = None
    willContinue: bool = False


class _Part(msgspec.Struct, gc=False):
    text: str | None = None
    thought: bool = False
    thoughtSignature: str = ""
    functionCall: _Function | None = None


class _Content(msgspec.Struct, gc=False):
    parts: list[_Part] = []


class _Web(msgspec.Struct, gc=False):
    uri: str = ""
    title: str = ""


class _Ground(msgspec.Struct, gc=False):
    web: _Web | None = None


class _Grounding(msgspec.Struct, gc=False):
    groundingChunks: list[_Ground] = []


class _Candidate(msgspec.Struct, gc=False):
    content: _Content | None = None
    finishReason: str = ""
    index: int | None = None
    finishMessage: str = ""
    groundingMetadata: _Grounding | None = None


class _Feedback(msgspec.Struct, gc=False):
    blockReason: str = ""


class _Usage(msgspec.Struct, gc=False):
    promptTokenCount: float = 0
    candidatesTokenCount: float = 0
    totalTokenCount: float = 0
    cachedContentTokenCount: float | None = None
    thoughtsTokenCount: float | None = None


class _Chunk(msgspec.Struct, gc=False):
    candidates: list[_Candidate] = []
    promptFeedback: _Feedback | None = None
    usageMetadata: _Usage | None = None
    error: Any = None


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
        async with aclosing(Answer(endpoint.http, call, partial(ChunkParser, endpoint.secret))) as batches:
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
            {"name": tool.name, "description": tool.description, "parametersJsonSchema": for_gemini(tool.parameters)}
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
    said = list(map(_part, message.parts))
    for thought in message.thoughts:
        if signed := given_back(thought.signature, (_SIGNED,)):  # of a part without a call
            said = [*said[:-1], {**(said[-1] if said else {"text": ""}), **signed}]
    yield from said
    for call in message.calls:
        sent = {"functionCall": _with_id({"name": call.name, "args": as_object(call.arguments)}, call)}
        signed = call.signature and not is_fields(call.signature)
        yield {**sent, _SIGNED: call.signature} if signed else sent


def _with_id(function: dict[str, Any], call: ToolCall) -> dict[str, Any]:
    # Ids of our own making name the call by its place; Gemini did not give them and does not want them.
    return function if call.id.startswith(_OWN_ID) else {**function, "id": call.id}


_SIGNED: Final = "thoughtSignature"
_OWN_ID: Final = "call-"


def _part(part: Part) -> Mapping[str, Any]:
    if not isinstance(part, ImagePart):
        return {"text": part.text}
    if found := picture(part, _IMAGES):
        return {"inlineData": {"mimeType": found.media_type, "data": found.base64}}
    return {"fileData": {"fileUri": part.url}}


class ChunkParser(LineParser[_Chunk]):
    """Turns the bytes of a Gemini stream into deltas. No I/O. The stream has no last word but its finish reason.

    Of several candidates the first that speaks is the answer.
    """

    chunks = LenientDecoder(_Chunk)

    def __init__(self, secret: str = "") -> None:
        super().__init__(secret)
        self._calls = Calls()
        self._candidate: int | None = None
        self._reason = self._message = ""
        self._spoken = False
        self._partial: tuple[int, PartialArguments] | None = None
        self._counted: _Usage | None = None

    def read(self, data: bytes, deltas: list[Delta]) -> None:
        """See ResponseParser. Older models and proxies repeat reason and count in every chunk: the last ones hold."""
        super().read(data, deltas)
        if self.finished and (self.done or not data):
            self._ending(deltas)

    def take(self, chunk: _Chunk, payload: bytes, deltas: list[Delta]) -> None:
        """See LineParser: a chunk may hold several parts."""
        if chunk.error is not None and is_failure(chunk.error):
            raise failure_inside(as_json({"error": chunk.error}), self.secret)
        if chunk.promptFeedback and _blocks(chunk.promptFeedback.blockReason):
            raise ProviderFiltered(f"the provider refused the question: {chunk.promptFeedback.blockReason}")
        for candidate in chunk.candidates:
            if candidate.index is not None and candidate.index != self._candidate:
                if self._candidate is not None:
                    continue
                self._candidate = candidate.index
            self._take(candidate, deltas)
        self._counted = chunk.usageMetadata or self._counted
        if not chunk.candidates and chunk.usageMetadata is None:
            self.suspect(payload)

    def _take(self, candidate: _Candidate, deltas: list[Delta]) -> None:
        for part in candidate.content.parts if candidate.content else ():
            self._part(part, deltas)
        if candidate.groundingMetadata:
            webs = [ground.web for ground in candidate.groundingMetadata.groundingChunks if ground.web]
            deltas.extend(CitationDelta(Document("", {"source": web.uri, "title": web.title})) for web in webs)
        if (reason := candidate.finishReason) and named(reason):
            self.finished, self._reason, self._message = True, reason, candidate.finishMessage
            finish_of(reason, candidate.finishMessage or reason)  # raises at once what the end stands for

    def _part(self, part: _Part, deltas: list[Delta]) -> None:
        if part.functionCall:
            self._function(part.functionCall, part.thoughtSignature, deltas)
            return
        if part.text is not None:
            if part.text:
                self._spoken = True
            deltas.append(ThinkingDelta(part.text) if part.thought else TextDelta(part.text))
        if part.thoughtSignature:
            deltas.append(ThinkingDelta("", as_json({_SIGNED: part.thoughtSignature}).decode()))

    def _function(self, function: _Function, signature: str, deltas: list[Delta]) -> None:
        """A call at once, or a part of one: its name comes first, and its arguments until no more is announced."""
        if not self._partial or function.name:
            self._close_call(deltas)
            number = self._calls.opened(None, function.id, function.name)
            known = self._calls.id(number) or f"{_OWN_ID}{number}"
            whole = not function.willContinue and function.partialArgs is None
            arguments = as_text(function.args) or "{}" if whole else ""
            deltas.append(ToolCallDelta(number, known, function.name, arguments, signature))
            if whole:
                return
            self._partial = number, PartialArguments()
        for part in function.partialArgs or ():
            self._partial[1].add(part)
        if not function.willContinue:
            self._close_call(deltas)

    def _close_call(self, deltas: list[Delta]) -> None:
        if self._partial:
            number, arguments = self._partial
            deltas.append(ToolCallDelta(number, arguments=as_text(arguments.value)))
            self._partial = None

    def _ending(self, deltas: list[Delta]) -> None:
        self._close_call(deltas)
        finish = finish_of(self._reason)
        if finish == "other" and not self._calls and not self._spoken:
            raise ProviderUnavailable(f"the model failed inside its answer: {self._message or self._reason}")
        deltas.append(FinishDelta("tool_calls" if self._calls else finish))
        if self._counted:
            deltas.append(UsageDelta(_usage(self._counted)))
        self.done = True


def _blocks(reason: str) -> bool:
    return named(reason) and reason != "BLOCK_REASON_UNSPECIFIED"


def _usage(usage: _Usage) -> Usage:
    thought = usage.thoughtsTokenCount
    said = whole_number(usage.candidatesTokenCount) + whole_number(thought)
    return usage_of(
        usage.promptTokenCount,
        said,
        usage.totalTokenCount,
        whole_number(usage.cachedContentTokenCount) or None,
        whole_number(thought) or None,
    )
