"""The OpenAI protocol: chat completions, streamed, decoded once, in batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from headrace.engine.ports import (
    Body,
    Delta,
    Http,
    HttpCall,
    ImagePart,
    Images,
    ModelMessage,
    Part,
    TextDelta,
    UsageDelta,
)
from headrace.errors import ProviderCut, ProviderError, ProviderMalformed
from headrace.events import Usage
from headrace.providers.http import message_of, refusal_class


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


_END_PATIENCE = 0.05  # seconds
_decode = msgspec.json.Decoder(_Chunk).decode


class OpenAIChat:
    """A chat model behind the OpenAI protocol. `options` go into the request's body as they are."""

    images: Images

    def __init__(
        self,
        http: Http,
        base_url: str,
        *,
        key: str = "",
        headers: Mapping[str, str] | None = None,
        options: Mapping[str, Any],
        images: Images = "refused",
        system_role: str = "system",
        timeout: float | None = None,
    ) -> None:
        self.images = images
        self._http, self._options, self._system_role = http, options, system_role
        self._url, self._key, self._timeout = f"{base_url.rstrip('/')}/chat/completions", key, timeout
        self._headers = {"Content-Type": "application/json", "Accept": "text/event-stream", **(headers or {})}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    async def stream(self, messages: Sequence[ModelMessage]) -> AsyncGenerator[Sequence[Delta]]:
        """The answer's text and usage, one batch a read. Raises ProviderError."""
        parser = ChunkParser(self._key)
        body = await self._http.post(self._call(messages))
        try:
            while data := await body.read():
                if deltas := parser.feed(data):
                    yield deltas
                if parser.done:
                    await _rest(body)
                    break
        finally:
            body.close()
        parser.close()

    def _call(self, messages: Sequence[ModelMessage]) -> HttpCall:
        body = {
            **self._options,
            "stream": True,
            "stream_options": {"include_usage": True},
            "messages": [self._message(message) for message in messages],
        }
        return HttpCall(self._url, self._headers, msgspec.json.encode(body), self._key, self._timeout)

    def _message(self, message: ModelMessage) -> Mapping[str, Any]:
        role = self._system_role if message.role == "system" else message.role
        content = message.content if isinstance(message.content, str) else [_part(part) for part in message.content]
        return {"role": role, "content": content}


def _part(part: Part) -> Mapping[str, Any]:
    if isinstance(part, ImagePart):
        return {"type": "image_url", "image_url": {"url": part.url}}
    return {"type": "text", "text": part.text}


class ChunkParser:
    """Turns the bytes of a chat completion stream, cut anywhere, into deltas. No I/O.

    Every `data:` line is one JSON object in this protocol, so lines are all that is looked at; `\\n` and `\\r\\n` end
    them.
    """

    def __init__(self, secret: str = "") -> None:
        self.done = False
        """The last word of the stream has come."""
        self._secret = secret
        self._rest = b""
        self._finished = False

    def feed(self, data: bytes) -> list[Delta]:
        """The deltas that `data` completes. Raises ProviderMalformed, or the error that the stream carries."""
        *lines, self._rest = (self._rest + data if self._rest else data).split(b"\n")
        deltas: list[Delta] = []
        for line in lines:
            if line[:5] == b"data:":
                self._take(line[5:], deltas)
        return deltas

    def _take(self, payload: bytes, deltas: list[Delta]) -> None:
        try:
            chunk = _decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._take_other(payload.strip(), error)
            return
        for choice in chunk.choices:
            if choice.finish_reason:
                self._finished = True
            if choice.delta is not None and (text := choice.delta.content) is not None:
                deltas.append(TextDelta(text))
        if chunk.usage is not None:
            deltas.append(UsageDelta(_usage(chunk.usage)))
        if chunk.error is not None:
            raise _error(msgspec.json.encode(chunk.error), self._secret)

    def _take_other(self, payload: bytes, error: Exception) -> None:
        if payload == b"[DONE]":
            self._finished = self.done = True
        elif payload:
            raise ProviderMalformed(f"the model sent a chunk that cannot be read: {error}") from None

    def close(self) -> None:
        """Says that the connection has ended. Raises ProviderCut when the answer had not."""
        if not self._finished:
            raise ProviderCut("the model's answer broke off before its end")


async def _rest(body: Body) -> None:
    """Reads to the end of a body whose answer is complete, so that its connection can be used again; not for long."""
    with suppress(TimeoutError, ProviderError):
        async with asyncio.timeout(_END_PATIENCE):
            while await body.read():
                pass


def _error(raw: bytes, secret: str) -> ProviderError:
    text, code = message_of(raw, secret)
    status = int(code) if code.isdigit() else 500
    return refusal_class(status, code)(f"the model failed inside its answer: {text}")


def _usage(usage: _Usage) -> Usage:
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    return Usage(
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.total_tokens or usage.prompt_tokens + usage.completion_tokens,
        prompt.cached_tokens if prompt else None,
        completion.reasoning_tokens if completion else None,
    )
