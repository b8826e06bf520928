"""The OpenAI protocol: chat completions, streamed, decoded once, in batches."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import msgspec

from headrace.engine.chat import (
    ChatRequest,
    CitationDelta,
    Delta,
    FactsDelta,
    FinishDelta,
    ImagePart,
    ModelMessage,
    OutputSchema,
    Part,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    UsageDelta,
)
from headrace.engine.ports import Images
from headrace.events import Document
from headrace.providers.endpoint import Endpoint
from headrace.providers.error_mapping import failure_inside, is_failure
from headrace.providers.finish_reasons import finish_of, named
from headrace.providers.lenient_json import LenientDecoder, as_json, value_of
from headrace.providers.reasoning import OF_CALLS, OF_MESSAGES, ReasoningFields, given_back
from headrace.providers.stream_parser import Answer, LineParser
from headrace.providers.structured_output import as_instruction, as_tool, offered, tool_as_text
from headrace.providers.token_counts import TokenCount
from headrace.providers.tool_calls import Calls
from headrace.surrogates import all_whole


class _Piece(msgspec.Struct, gc=False):
    """A part of a content in parts, as Mistral's reasoning models send it."""

    type: str = ""
    text: str = ""
    thinking: list[_Piece] | str | None = None


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: Any = None  # servers that do not stream them send the object


class _Call(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None
    name: str | None = None  # beside the index, as some gateways have it
    arguments: Any = None
    extra_content: Any = None  # Gemini's signature, by Google and by those who pass it on
    provider_specific_fields: Any = None


class _Delta(msgspec.Struct, gc=False):
    content: str | list[_Piece] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[dict[str, Any]] | None = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int | None = None
    delta: _Delta | None = None
    finish_reason: str | None = None
    message: _Delta | None = None  # of a server that answers at once, although a stream was asked for
    text: str | None = None
    error: Any = None
    usage: TokenCount | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: TokenCount | None = None
    error: Any = None
    citations: list[_Source | str] | None = None
    x_groq: _Groq | None = None


class _Source(msgspec.Struct, gc=False):
    url: str = ""


class _Groq(msgspec.Struct, gc=False):
    usage: TokenCount | None = None
    error: Any = None


class Quirks(msgspec.Struct, frozen=True):
    """Differences of a server of this protocol from OpenAI's own."""

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
        secret, thinking, facts = self._endpoint.secret, self._quirks.thinking, request.facts
        parser = partial(ChunkParser, secret, thinking=thinking, facts=facts)
        deltas = Answer(self._endpoint.http, call, parser)
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
                {"type": "function", "function": {**offered(tool), **self._strict}} for tool in request.tools
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
            sent["tool_calls"] = list(map(_called, message.calls))
            for thought in message.thoughts:
                sent |= given_back(thought.signature, OF_MESSAGES)
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


def _called(call: ToolCall) -> Mapping[str, Any]:
    function = {"name": call.name, "arguments": call.arguments.strip() or "{}"}  # an empty text is refused by some
    return {"id": call.id, "type": "function", "function": function, **given_back(call.signature, OF_CALLS)}


class ChunkParser(LineParser[_Chunk]):
    """Turns the bytes of a chat completion stream, cut anywhere, into deltas. No I/O.

    Of several choices the first that speaks is the answer.
    """

    chunks = LenientDecoder(_Chunk)

    def __init__(self, secret: str = "", *, thinking: bool = True, facts: bool = False) -> None:
        super().__init__(secret)
        self._thinking, self._facts = thinking, facts
        self._reason: str | None = None
        self._choice: int | None = None
        self._calls = Calls()
        self._back = ReasoningFields()
        self._cited = False
        self._counted: TokenCount | None = None
        self._last = b""  # the chunk that it came with

    def read(self, data: bytes, deltas: list[Delta]) -> None:
        """See ResponseParser. Some servers give the count so far with every chunk: the last one holds."""
        super().read(data, deltas)
        if self.done or not data:
            self._closed(deltas)
            if self._counted and self.finished:
                deltas.append(UsageDelta(self._counted.usage))
                if self._facts:
                    deltas.append(_facts(self._last, self._reason))
                self._counted = None

    def take(self, chunk: _Chunk, payload: bytes, deltas: list[Delta]) -> None:
        """See LineParser."""
        reason = None
        for choice in chunk.choices or ():
            if choice.index != self._choice and not self._chosen(choice.index):
                continue
            if (said := choice.delta or choice.message) is None:
                deltas.extend([TextDelta(choice.text)] if choice.text else ())
            else:
                if (content := said.content) is not None:
                    deltas.extend([TextDelta(content)] if isinstance(content, str) else self._pieces(content))
                if (
                    said.reasoning_content
                    or said.reasoning
                    or said.tool_calls
                    or said.refusal
                    or said.reasoning_details
                ):
                    self._said(said, deltas)
                if said.function_call is not None:
                    self._call(_Call(0, function=said.function_call), deltas)
            if choice.finish_reason:
                reason = choice.finish_reason
            if choice.error is not None or choice.usage is not None:
                self._beside(choice, payload)
        if chunk.usage is not None:
            self._count(chunk.usage, payload)
        elif not chunk.choices:
            self._unusual(chunk, payload)
        if chunk.citations and not self._cited:  # the same list comes with every chunk
            self._cited = True
            deltas.extend(CitationDelta(Document("", {"source": source})) for source in map(_source, chunk.citations))
        if chunk.error is not None:
            self._failing(chunk.error)
        if reason is not None and named(reason):
            self._finish(reason, deltas)

    def _chosen(self, index: int | None) -> bool:
        """True for the choice that is the answer."""
        if index is not None and self._choice is None:
            self._choice = index
        return index is None or index == self._choice

    def over(self, deltas: list[Delta]) -> None:
        """See LineParser: the answer is whole, whether or not it has said why it ended."""
        self.finished = self.done = True

    def _unusual(self, chunk: _Chunk, payload: bytes) -> None:
        """A chunk without any choice."""
        if chunk.x_groq:
            self._beside(chunk.x_groq, payload)
        if not chunk.error:
            self.suspect(payload)

    def _beside(self, said: _Choice | _Groq, payload: bytes) -> None:
        if said.usage is not None:
            self._count(said.usage, payload)
        self._failing(said.error)

    def _failing(self, error: Any) -> None:
        if is_failure(error):
            raise failure_inside(as_json({"error": error}), self.secret)

    def _said(self, delta: _Delta, deltas: list[Delta]) -> None:
        """Reads the fields that few chunks have."""
        text = delta.reasoning_content or delta.reasoning
        self._back.add(delta.reasoning_content, delta.reasoning, delta.reasoning_details)
        if self._thinking and text:
            deltas.append(ThinkingDelta(text))
        if delta.refusal:
            deltas.append(TextDelta(delta.refusal))
        for call in delta.tool_calls or ():
            self._call(call, deltas)

    def _pieces(self, pieces: Sequence[_Piece]) -> Iterator[Delta]:
        for piece in pieces:
            if piece.type != "thinking":
                yield TextDelta(piece.text)
            elif self._thinking:
                thought = piece.thinking or ()
                yield ThinkingDelta(thought if isinstance(thought, str) else "".join(part.text for part in thought))

    def _call(self, call: _Call, deltas: list[Delta]) -> None:
        function = call.function or _Function()
        given = function.arguments if function.arguments is not None else call.arguments
        found = self._calls.fragment(call.index, call.id or "", function.name or call.name or "", given)
        if found is None:
            return
        if signed := {name: value for name in OF_CALLS if (value := getattr(call, name)) is not None}:
            found = msgspec.structs.replace(found, signature=as_json(signed).decode())
        deltas.append(found)

    def _count(self, count: TokenCount, payload: bytes) -> None:
        if self._counted is None or count.says:
            self._counted, self._last = count, payload

    def _finish(self, reason: str, deltas: list[Delta]) -> None:
        finish = finish_of(reason)
        if not self.finished:
            self._closed(deltas)
            deltas.append(FinishDelta(finish))
        self.finished, self._reason = True, reason

    def _closed(self, deltas: list[Delta]) -> None:
        """Says what the server wants back with its tool calls."""
        if self._calls and (back := self._back.taken()):
            deltas.append(ThinkingDelta("", back))


def _source(source: _Source | str) -> str:
    return source if isinstance(source, str) else source.url


def _facts(payload: bytes, finish: str | None) -> FactsDelta:
    """Read from the last chunk once more: no other one is asked for them."""
    chunk = all_whole(value_of(payload))
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
