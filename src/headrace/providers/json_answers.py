"""Answers of providers that are read whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from headrace.engine.ports import Body, Http, HttpCall
from headrace.errors import ProviderError, ProviderMalformed
from headrace.providers.error_mapping import carries_error, failure_inside
from headrace.providers.lenient_json import LenientDecoder

_LARGEST_ANSWER: Final = 256 * 1024 * 1024  # bytes
_T = TypeVar("_T")


async def read_answer(http: Http, call: HttpCall, read: Callable[[bytes], _T]) -> _T:
    """The result of `read` for the whole body of an answer. Raises ProviderError, also for a body that is too large.

    The call is made again, as the provider's limits allow, when its answer breaks off or holds an error that may pass.
    """
    tries = http.tries(call)
    while True:
        body = await http.send(call, tries)
        try:
            return read(await _whole(body, call))
        except ProviderError as error:
            failure = error
        finally:
            body.close()
        await tries.again(failure)


async def _whole(body: Body, call: HttpCall) -> bytes:
    answer = bytearray()
    while data := await body.read():
        answer += data
        if len(answer) > _LARGEST_ANSWER:
            raise ProviderMalformed(f"the answer from {call.url.split('?')[0]} has more than {_LARGEST_ANSWER} bytes")
    return bytes(answer)


async def json_answer(http: Http, call: HttpCall, kind: type[_T]) -> _T:
    """The answer to a call that has a single JSON value for one. Raises ProviderError."""

    def read(data: bytes) -> _T:
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ProviderMalformed(f"the answer from {call.url.split('?')[0]} cannot be read: {error}") from None

    return await read_answer(http, call, read)


async def loose_answer(http: Http, call: HttpCall, kind: LenientDecoder[_T], whole: Callable[[_T], object]) -> _T:
    """The same for a model's answer, of which only what is needed must be right: that it is `whole`.

    Raises ProviderError, also the one that an answer with status 200 carries.
    """

    def read(data: bytes) -> _T:
        try:
            value = kind.read(data)
        except ValueError as error:
            value, wrong = None, error
        else:
            wrong = "what is needed is not in it"
        if value is not None and whole(value):
            return value
        if carries_error(data):
            raise failure_inside(data, call.secret)
        raise ProviderMalformed(f"the answer from {call.url.split('?')[0]} cannot be read: {wrong}")

    return await read_answer(http, call, read)
