"""Reads a prediction's body: JSON or a form, with the tolerance that today's clients rely on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar import Request

from headrace.engine.complaints import complaint
from headrace.errors import BodyMissing, InvalidRequest
from headrace.schema import PredictionRequest
from headrace.server.forms import is_form, json_field, read_form
from headrace.surrogates import all_whole
from headrace.surrogates import decoded as json_value

_T = TypeVar("_T")
_BYTE = re.compile(r" \(byte (\d+)\)$")
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
LENIENT: Final[Mapping[str, type]] = {"history": list, "uploads": list, "overrideConfig": dict}
"""Fields that are ignored when they have another type, as Flowise does."""
TEXTS: Final = ("question", "chatId", "streaming", "leadEmail")
VALUES: Final = ("history", "uploads", "form", "action", "humanInput")
"""A form's fields: texts, and JSON texts."""
_IGNORED = ("overrideConfig", "chatflowId")


class JsonRequest(Request[Any, Any, Any]):
    """A request whose JSON body is read, and refused, as a prediction's is."""

    async def json(self) -> Any:
        """The body as its endpoint takes it. Raises InvalidRequest.

        The framework itself would take 1 for true and "5" for 5, which the API's description does not.
        """
        return converted(
            decoded(await self.body()), self.route_handler.parsed_fn_signature.parameters["data"].annotation
        )


def prediction_request(body: bytes, content_type: str) -> PredictionRequest:
    """The request. Raises InvalidRequest with the position or the JSON path of the mistake, BodyMissing without a body.

    As with Flowise, an empty JSON body and an array ask without a question, and `history`, `uploads` and
    `overrideConfig` of another type are ignored.
    """
    kind = content_type.partition(";")[0].strip().lower()
    # Curl calls a body a form unless it is told otherwise, and no field's name begins with a brace.
    if kind == "application/x-www-form-urlencoded" and not body.lstrip().startswith(b"{"):
        fields: Any = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    elif kind in ("application/json", "application/x-www-form-urlencoded") or kind.endswith("+json"):
        fields = decoded(body) if body.strip() else {}
    else:
        raise BodyMissing("send the question as JSON, with `Content-Type: application/json`")
    if isinstance(fields, list):
        fields = {}
    if not isinstance(fields, dict):
        raise InvalidRequest('the body must be a JSON object such as {"question": "…"}')
    for name, wanted in LENIENT.items():
        if not isinstance(fields.get(name), wanted):
            fields.pop(name, None)
    return _converted(fields)


async def asked(request: Request[Any, Any, Any]) -> PredictionRequest:
    """Reads a request for a prediction. A form's files and unknown fields override inputs.

    Raises InvalidRequest and BodyMissing.
    """
    if not is_form(request):
        return prediction_request(await request.body(), request.headers.get("content-type", ""))
    form = await read_form(request)
    fields: dict[str, Any] = {name: value for name, value in form.fields.items() if name in TEXTS and value}
    fields |= {name: json_field(form.fields, name) for name in VALUES if form.fields.get(name)}
    overrides = await asyncio.to_thread(form.overrides, (*TEXTS, *VALUES, *_IGNORED))
    return _converted({**fields, "overrideConfig": overrides})


def decoded(body: bytes) -> Any:
    """The JSON value. Raises InvalidRequest with the position of the mistake."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if _HALF.search(body):  # JavaScript cuts texts inside an emoji, and its JSON has the half
            with suppress(ValueError, RecursionError):
                return all_whole(json_value(body))
        raise InvalidRequest(_mistake(body, error)) from None
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply to be read") from None


def converted(value: Any, kind: type[_T]) -> _T:
    """The JSON value as a record. Raises InvalidRequest with the JSON path of the mistake."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(complaint(error)) from None


def _mistake(body: bytes, error: Exception) -> str:
    """Describes and locates the decoding error; msgspec's own message on text that is no UTF-8 is vague."""
    try:
        body.decode()
    except UnicodeDecodeError as found:
        return f"the body is not valid UTF-8, at position {found.start}"
    place = _BYTE.search(str(error))
    return f"the body is not valid JSON: {_BYTE.sub('', str(error))}, at position {place[1] if place else len(body)}"


def _converted(fields: dict[str, Any]) -> PredictionRequest:
    request = converted(fields, PredictionRequest)
    session = (request.overrideConfig or {}).get("sessionId")
    if session is not None and not isinstance(session, str):
        raise InvalidRequest("expected a text at $.overrideConfig.sessionId")
    return request
