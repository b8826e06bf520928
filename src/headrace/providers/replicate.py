"""Replicate's protocol: a prediction is made, then its output is read from a stream, or looked up where it has none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final

import msgspec

from headrace.engine.chat import ChatRequest, Delta, FinishDelta, TextDelta
from headrace.engine.ports import HttpCall, Images
from headrace.engine.references import text_of
from headrace.errors import ProviderError, ProviderMalformed, ProviderUnavailable
from headrace.providers.answers import AnswerParser, answered, json_answer
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
            async with aclosing(self._told(made)) as batches:
                async for deltas in batches:
                    yield deltas
            ended = True
        finally:
            if not ended and made.urls.cancel:
                with suppress(ProviderError, TimeoutError):
                    async with asyncio.timeout(5):
                        await self._asked(self._call("POST", made.urls.cancel))

    def _call(self, method: Any, url: str, accept: str = "application/json") -> HttpCall:
        headers = {**self._endpoint.headers, "Accept": accept}
        return HttpCall(url, headers, b"", self._endpoint.secret, self._endpoint.timeout, method)

    async def _asked(self, call: HttpCall) -> _Prediction:
        return await json_answer(self._endpoint.http, call, _Prediction)

    def _told(self, made: _Prediction) -> AsyncGenerator[Sequence[Delta]]:
        if not made.urls.stream:
            return self._looked_up(made)
        call = self._call("GET", made.urls.stream, "text/event-stream")
        return answered(self._endpoint.http, call, OutputParser(self._endpoint.secret))

    async def _looked_up(self, made: _Prediction) -> AsyncGenerator[Sequence[Delta]]:
        """The output of a prediction that does not stream: a list's items in one, since they are pieces of text."""
        while made.status in ("starting", "processing"):
            await asyncio.sleep(_LOOK_EVERY)
            made = await self._asked(self._call("GET", made.urls.get))
        if made.status != "succeeded":
            raise _failure(made.error or f"the prediction was {made.status}", self._endpoint.secret)
        whole = "".join(map(text_of, made.output)) if isinstance(made.output, list) else text_of(made.output or "")
        yield [TextDelta(whole), FinishDelta("stop")]


def _failure(error: Any, secret: str) -> ProviderError:
    said = complaint(text_of(error).encode(), secret)
    return ProviderUnavailable(f"the model failed inside its answer: {said.message}")


class _Done(msgspec.Struct):
    reason: str = ""


_decode = msgspec.json.Decoder(_Done).decode


class OutputParser(AnswerParser):
    """Turns the bytes of a prediction's stream into deltas. No I/O. Its data is plain text, of any number of lines."""

    def __init__(self, secret: str = "") -> None:
        super().__init__(secret)
        self._decoder = Decoder()

    def read(self, data: bytes, deltas: list[Delta]) -> None:
        """See AnswerParser."""
        for event in self._decoder.feed(data or b"\n\n"):  # the last event may lack its blank line
            match event.event:
                case "output":
                    deltas.append(TextDelta(event.data))
                case "error":
                    raise _failure(event.data, self.secret)
                case "done":
                    self._ending(event.data, deltas)
                case _:
                    pass

    def _ending(self, data: str, deltas: list[Delta]) -> None:
        self.finished = self.done = True
        try:
            reason = _decode(data or "{}").reason
        except msgspec.MsgspecError as error:
            raise ProviderMalformed(f"the model sent an end that cannot be read: {error}") from None
        if reason:
            raise _failure(f"the prediction ended as {reason!r}", self.secret)
        deltas.append(FinishDelta("stop"))
