"""Maps a provider's refusal to a class of `headrace.errors`, by its status, codes and words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, NamedTuple

from headrace.errors import (
    ProviderContextTooLong,
    ProviderError,
    ProviderFiltered,
    ProviderNotFound,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnauthorized,
    ProviderUnavailable,
)
from headrace.providers.lenient_json import value_of
from headrace.surrogates import whole

_LONGEST = 2000  # characters of a provider's message that are passed on
_LONGEST_PAGE = 500  # and of what is no message but a page of some proxy
_TOO_LONG = re.compile(
    r"(?i)context (?:length|window|size)|context_length|(?:prompt|input|request) is too (?:long|large)|too many "
    r"(?:input )?tokens(?!, please wait)|maximum (?:number of (?:input )?tokens|prompt length)|too large for model|"
    r"reduce the length|exceeds? the (?:available|model's) context|`max_new_tokens` must be|"
    r"`inputs` must have less than"
)
# What some providers say only in words: Anthropic of its filter, xAI of a key (with status 400), Bedrock of a model.
_BY_WORDS: Mapping[str, type[ProviderError]] = {
    "blocked by content filtering policy": ProviderFiltered,
    "Incorrect API key": ProviderUnauthorized,
    "model identifier is invalid": ProviderNotFound,
}
# Each provider's own words for the same few things: OpenAI and Azure, then Anthropic, Google, AWS.
_BY_CODE: Mapping[str, type[ProviderError]] = {
    "insufficient_quota": ProviderRefused,
    "context_length_exceeded": ProviderContextTooLong,
    "content_filter": ProviderFiltered,
    "content_policy_violation": ProviderFiltered,
    "ResponsibleAIPolicyViolation": ProviderFiltered,
    "invalid_api_key": ProviderUnauthorized,
    "model_not_found": ProviderNotFound,
    "rate_limit_exceeded": ProviderRateLimited,
    "authentication_error": ProviderUnauthorized,
    "permission_error": ProviderUnauthorized,
    "not_found_error": ProviderNotFound,
    "request_too_large": ProviderContextTooLong,
    "rate_limit_error": ProviderRateLimited,
    "overloaded_error": ProviderUnavailable,
    "api_error": ProviderUnavailable,
    "timeout_error": ProviderTimeout,
    "API_KEY_INVALID": ProviderUnauthorized,
    "UNAUTHENTICATED": ProviderUnauthorized,
    "PERMISSION_DENIED": ProviderUnauthorized,
    "NOT_FOUND": ProviderNotFound,
    "RESOURCE_EXHAUSTED": ProviderRateLimited,
    "UNAVAILABLE": ProviderUnavailable,
    "INTERNAL": ProviderUnavailable,
    "DEADLINE_EXCEEDED": ProviderTimeout,
    "AccessDeniedException": ProviderUnauthorized,
    "UnrecognizedClientException": ProviderUnauthorized,
    "ExpiredTokenException": ProviderUnauthorized,
    "ResourceNotFoundException": ProviderNotFound,
    "ThrottlingException": ProviderRateLimited,
    "ModelNotReadyException": ProviderUnavailable,
    "ServiceUnavailableException": ProviderUnavailable,
    "InternalServerException": ProviderUnavailable,
    "ModelStreamErrorException": ProviderUnavailable,
    "ModelTimeoutException": ProviderTimeout,
    "ValidationException": ProviderRefused,
}


_VAGUE = frozenset(  # codes that stand for much else besides
    "api_error INTERNAL InternalServerException ModelStreamErrorException ValidationException".split()
)
# Where an error says what it is, the most usual first. Replicate, and servers on FastAPI, say `detail`.
_SAID = (
    "error errors message detail msg reason description error_message error_msg errorMessage errmsg Message "
    "error_description status_msg base_resp fault faultstring exception"
).split()
_CODES = "code type status statusCode status_code error_code errorCode error_type err_code __type".split()
_WELL = frozenset(("0", "200", "ok", "success"))
_DEEPEST = 6  # errors within errors


class Complaint(NamedTuple):
    """The content of an error body: the message for people, and every code in it, the most telling first."""

    message: str
    codes: tuple[str, ...] = ()


def complaint(body: bytes, secret: str = "") -> Complaint:
    """The message and codes of an error body in any of the usual shapes, nested or not: an object, a list, a text.

    `secret` is masked, wherever and however the provider repeats it.
    """
    body = body.replace(secret.encode(), b"***") if secret else body
    try:
        found, longest = _found(value_of(body)), _LONGEST
    except ValueError:
        found, longest = Complaint(body.decode("utf-8", "replace").strip()), _LONGEST_PAGE
    message = whole(found.message)
    message = message.replace(secret, "***") if secret else message
    return Complaint(message[:longest], found.codes)


def carries_error(payload: bytes) -> bool:
    """True when JSON that holds nothing of an answer is an error, in whichever shape."""
    try:
        value = value_of(payload)
    except ValueError:
        return False
    if isinstance(value, list):
        value = next((item for item in value if isinstance(item, dict)), None)
    if not isinstance(value, dict):
        return False
    if value.get("object") == "error" or value.get("type") == "error" or is_failure(value.get("error")):
        return True
    if _state(value) in _WELL:  # what is said beside it is no complaint
        return False
    return value.get("success") is False or any(is_failure(value.get(name)) for name in _SAID)


def is_failure(error: Any) -> bool:
    """True when the value of an error's field is an error: some servers send the field with every chunk."""
    match error:
        case str():
            return error.strip().lower() not in ("", "null", "none", "false", "ok", "success")
        case dict():
            return any(is_failure(inner) for inner in error.values())
        case list():
            return any(is_failure(inner) for inner in error)
        case _:
            return bool(error)


def _state(value: Mapping[str, Any]) -> str:
    inner = value.get("base_resp")  # MiniMax
    known = inner if isinstance(inner, dict) else value
    names = ("code", "status_code", "statusCode", "status", "err_code", "error_code")
    return next((str(known[name]).lower() for name in names if known.get(name) is not None), "")


def _found(parsed: Any, depth: int = 0) -> Complaint:
    if isinstance(parsed, list):
        return _first(parsed, depth)
    if isinstance(parsed, str) and parsed.lstrip()[:1] in ("{", "[") and depth < _DEEPEST:  # an error as its message
        with suppress(ValueError):
            return _found(value_of(parsed.encode("utf-8", "surrogatepass")), depth + 1)
    if not isinstance(parsed, dict) or depth >= _DEEPEST:
        return Complaint("" if parsed is None else str(parsed))
    codes = [*_codes(parsed)]
    said = [parsed[name] for name in _SAID if is_failure(parsed.get(name))]
    if isinstance(kind := parsed.get("error"), str) and len(said) > 1:  # Chroma: the kind, and the words beside it
        said, codes = said[1:], [*codes, kind]
    if not said:
        return Complaint(str(parsed), tuple(codes))
    inner = _found(said[0], depth + 1)
    return Complaint(inner.message, tuple(dict.fromkeys((*inner.codes, *codes))))


def _first(several: Sequence[Any], depth: int) -> Complaint:
    """Google wraps an error once more when it does not stream events; FastAPI lists what is wrong."""
    if not several or depth >= _DEEPEST:
        return Complaint("" if not several else str(several))
    return _found(several[0], depth + 1)


def _codes(error: Mapping[str, Any]) -> Iterator[str]:
    inner = error.get("innererror")
    details = [*(error["details"] if isinstance(error.get("details"), list) else ()), inner]
    for detail in details:
        if isinstance(detail, dict):
            yield from (str(detail[key]) for key in ("reason", "code") if detail.get(key))
    for key in _CODES:
        if isinstance(code := error.get(key), str | int | float) and code:
            yield str(code)


def refusal_class(status: int, said: Complaint) -> type[ProviderError]:
    """The error class for an HTTP status and what the provider said with it; its own code counts for more.

    Words count where a code does not say as much: a message may quote the question, or name another error.
    """
    codes = [code for code in said.codes if code in _BY_CODE]
    too_long = status in (400, 413, 422, 500) and _TOO_LONG.search(said.message)
    if too_long and status == 413:  # Groq calls it a rate limit, but it will never fit
        return ProviderContextTooLong
    if telling := next((code for code in codes if code not in _VAGUE), ""):
        return _BY_CODE[telling]
    if too_long:
        return ProviderContextTooLong
    words = (kind for words, kind in _BY_WORDS.items() if words in said.message)
    return next(chain(words, (_BY_CODE[code] for code in codes)), _by_status(status))


def _by_status(status: int) -> type[ProviderError]:
    match status:
        case 401 | 403:
            return ProviderUnauthorized
        case 404:
            return ProviderNotFound
        case 413:
            return ProviderContextTooLong
        case 429:
            return ProviderRateLimited
        case 408 | 504:
            return ProviderTimeout
        case _:
            return ProviderUnavailable if status >= 500 else ProviderRefused


def failure_inside(raw: bytes, secret: str = "", status: int = 500) -> ProviderError:
    """The error that an answer carries inside, after its status was 200; `status` counts where it names no other."""
    said = complaint(raw, secret)
    status = next((int(code) for code in said.codes if re.fullmatch("[45][0-9][0-9]", code)), status)
    return refusal_class(status, said)(f"the model failed inside its answer: {said.message}")
