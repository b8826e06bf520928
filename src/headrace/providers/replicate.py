"""Replicate's protocol: a prediction is made, then its output is read from a stream, or looked up where it has none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, Final

import msgspec

from headrace.engine.chat import ChatRequest, Delta, FinishDelta, TextDelta
from headrace.engine.ports import HttpCall, Images
from headrace.engine.references import text_of
from headrace.errors import ProviderError, ProviderMalformed
from headrace.providers.completions import prompt_of
from headrace.providers.endpoint import Endpoint
from headrace.providers.error_mapping import carries_error, failure_inside, is_failure
from headrace.providers.finish_reasons import finish_of, named
from headrace.providers.json_answers import loose_answer
from headrace.providers.lenient_json import LenientDecoder, as_json
from headrace.providers.stream_parser import Answer, ResponseParser, says_something
from headrace.sse import Decoder
from headrace.surrogates import whole

_LONGEST_REFUSAL: Final = 64 * 1024  # bytes
_LOOK_EVERY: Final = 0.5  # seconds between two looks at a prediction that does not stream


class _Urls(msgspec.Struct):
    get: str = ""
    cancel: str = ""
    stream: str = ""


class _Prediction(msgspec.Struct):
    status: str = ""
    output: Any = None
    error: Any = None
    urls: _Urls = msgspec.field(default_factory=_Urls)


_PREDICTIONS: Final = LenientDecoder(_Prediction)
_AT_WORK: Final = frozenset(("starting", "processing", "queued", "booting"))


class ReplicateChat:
    """A model at Replicate. `version` is "" for a model that Replicate itself keeps; `values` go into its input."""

    images: Images = "refused"

    def __init__(self, endpoint: Endpoint, version: str, values: Mapping[str, Any]) -> None:
        self._endpoint, self._version, self._values = endpoint, version, values

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[Delta]]:
        """See ChatModel. A prediction that fails before its first word is made again, as the way out allows."""
        body: dict[str, Any] = {"input": {**self._values, "prompt": prompt_of(request.messages)}, "stream": True}
        if self._version:
            body["version"] = self._version
        call = self._endpoint.call(body)
        tries = self._endpoint.http.tries(call)
        while True:
            begun = False
            try:
                async with aclosing(self._predicted(call)) as batches:
                    async for deltas in batches:
                        begun = begun or says_something(deltas)
                        yield deltas
                return
            except ProviderError as error:
                if begun:
                    raise
                failure = error
            await tries.again(failure)

    async def _predicted(self, call: HttpCall) -> AsyncGenerator[Sequence[Delta]]:
        """One prediction's output. One that is left before its end is cancelled, so that it costs no more."""
        made = await self._asked(call)
        ended = False
        try:
            async with aclosing(self._output_deltas(made)) as batches:
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
        return await loose_answer(self._endpoint.http, call, _PREDICTIONS, lambda made: made.status)

    def _output_deltas(self, made: _Prediction) -> AsyncGenerator[Sequence[Delta]]:
        if not made.urls.stream or made.status not in _AT_WORK:
            return self._looked_up(made)
        call = self._call("GET", made.urls.stream, "text/event-stream")
        return Answer(self._endpoint.http, call, partial(OutputParser, self._endpoint.secret), _Once())

    async def _looked_up(self, made: _Prediction) -> AsyncGenerator[Sequence[Delta]]:
        """The output of a prediction that does not stream: a list's items in one, since they are pieces of text."""
        while made.status in _AT_WORK:
            await asyncio.sleep(_LOOK_EVERY)
            made = await self._asked(self._call("GET", made.urls.get))
        if is_failure(made.error) or made.status not in ("succeeded", "successful"):
            raise _failure(made.error or f"the prediction was {made.status}", self._endpoint.secret)
        texts = map(text_of, made.output) if isinstance(made.output, list) else [text_of(made.output or "")]
        yield [TextDelta(whole("".join(texts))), FinishDelta("stop")]


class _Once:
    """Implements `headrace.engine.ports.Tries` for a stream: what has failed there is not to be had by reading on."""

    async def again(self, failure: ProviderError) -> None:
        """See Tries."""
        raise failure


def _failure(error: Any, secret: str) -> ProviderError:
    text = error if isinstance(error, str) else as_json(error).decode()
    return failure_inside(text.encode("utf-8", "replace"), secret)


class OutputParser(ResponseParser):
    """Turns the bytes of a prediction's stream into deltas. No I/O. Its data is plain text, of any number of lines."""

    def __init__(self, secret: str = "") -> None:
        super().__init__(secret)
        self._decoder = Decoder()
        self._start = b""  # of what may be no stream at all

    def read(self, data: bytes, deltas: list[Delta]) -> None:
        """See ResponseParser."""
        if len(self._start) < _LONGEST_REFUSAL:
            self._start += data
        for event in self._decoder.feed(data or b"\n\n"):  # the last event may lack its blank line
            match event.event:
                case "output":
                    deltas.append(TextDelta(event.data))
                case "error":
                    raise _failure(event.data, self.secret)
                case "done":
                    self._ending(event.data, deltas)
                    return
                case _:
                    pass
        if not data and not self.finished and carries_error(self._start):
            raise failure_inside(self._start, self.secret)

    def _ending(self, data: str, deltas: list[Delta]) -> None:
        self.finished = self.done = True
        try:
            reason = _DONE.read(data.encode() or b"{}").reason
        except ValueError as error:
            raise ProviderMalformed(f"the model sent an end that cannot be read: {error}") from None
        if named(reason) and finish_of(reason, f"the prediction ended as {reason!r}") == "other":
            raise _failure(f"the prediction ended as {reason!r}", self.secret)
        deltas.append(FinishDelta("stop"))


class _Done(msgspec.Struct):
    reason: str = ""


_DONE: Final = LenientDecoder(_Done)
