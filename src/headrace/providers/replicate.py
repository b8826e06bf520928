"""Replicate's protocol: a prediction is made, then its output is read from a stream, or looked up where it has none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec

from headrace.engine.chat import ChatRequest, Delta, FinishDelta, TextDelta
from headrace.engine.ports import HttpCall, Images
from headrace.engine.references import text_of
from headrace.errors import ProviderCut, ProviderError, ProviderUnavailable
from headrace.providers.answers import json_answer
from headrace.providers.completions import prompt_of
from headrace.providers.endpoint import Endpoint
from headrace.providers.refusals import complaint
from headrace.sse import Decoder

_LOOK_EVERY: Final = 0.5  # seconds between two looks at a prediction that does not stream


class _Urls(msgspec.Struct):
    get: str = ""
    cancel: str = ""
    stream: str = ""


class _Prediction(msgspec.Struct):
    status: str
    output: Any = None
    error: Any = None
    urls: _Urls = msgspec.field(default_factory=_Urls)


class ReplicateChat:
    """A model at Replicate. `version` is "" for a model that Replicate itself keeps; `values` go into its input."""

    images: Images = "refused"

    def __init__(self, endpoint: Endpoint, version: str, values: Mapping[str, Any]) -> None:
        self._endpoint, self._version, self._values = endpoint, version, values

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[Delta]]:
        """See ChatModel. A prediction that is left before its end is cancelled, so that it costs no more."""
        body: dict[str, Any] = {"input": {**self._values, "prompt": prompt_of(request.messages)}, "stream": True}
        if self._version:
            body["version"] = self._version
        made = await self._asked(self._endpoint.call(body))
        ended = False
        try:
            if made.urls.stream:
                async for deltas in self._streamed(made.urls.stream):
                    yield deltas
            else:
                text = await self._looked_up(made)
                yield [TextDelta(text)]
            ended = True
        finally:
            if not ended and made.urls.cancel:
                with suppress(ProviderError, TimeoutError):
                    async with asyncio.timeout(5):
                        await self._asked(self._call("POST", made.urls.cancel))
        yield [FinishDelta("stop")]

    def _call(self, method: Any, url: str, accept: str = "application/json") -> HttpCall:
        headers = {**self._endpoint.headers, "Accept": accept}
        return HttpCall(url, headers, b"", self._endpoint.secret, self._endpoint.timeout, method)

    async def _asked(self, call: HttpCall) -> _Prediction:
        return await json_answer(self._endpoint.http, call, _Prediction)

    async def _looked_up(self, made: _Prediction) -> str:
        """The output of a prediction that does not stream: a list's items in one, since they are pieces of text."""
        while made.status in ("starting", "processing"):
            await asyncio.sleep(_LOOK_EVERY)
            made = await self._asked(self._call("GET", made.urls.get))
        if made.status != "succeeded":
            raise self._failure(made.error or f"the prediction was {made.status}")
        return "".join(map(text_of, made.output)) if isinstance(made.output, list) else text_of(made.output or "")

    async def _streamed(self, url: str) -> AsyncGenerator[Sequence[Delta]]:
        body = await self._endpoint.http.send(self._call("GET", url, "text/event-stream"))
        decoder = Decoder()
        try:
            while data := await body.read():
                deltas: list[Delta] = []
                for event in decoder.feed(data):
                    match event.event:
                        case "output":
                            deltas.append(TextDelta(event.data))
                        case "error":
                            raise self._failure(event.data)
                        case "done":
                            if deltas:
                                yield deltas
                            return
                        case _:
                            pass
                if deltas:
                    yield deltas
        finally:
            body.close()
        raise ProviderCut("the model's answer broke off before its end")

    def _failure(self, error: Any) -> ProviderError:
        said = complaint(text_of(error).encode(), self._endpoint.secret)
        return ProviderUnavailable(f"the model failed inside its answer: {said.message}")
