"""What a provider's refusal means: from its status, its own codes and its words to a class of `headrace.errors`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

import msgspec

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


class Complaint(NamedTuple):
    """What an error body says: the message for people, and every code in it, the most telling first."""

    message: str
    codes: tuple[str, ...] = ()


def complaint(body: bytes, secret: str = "") -> Complaint:
    """The message and codes of an error body in any of the usual shapes: `{error: {message, code}}`, `{error}`, text.

    `secret` is masked, wherever and however the provider repeats it.
    """
    body = body.replace(secret.encode(), b"***") if secret else body
    try:
        found, longest = _found(msgspec.json.decode(body)), _LONGEST
    except (msgspec.DecodeError, UnicodeDecodeError):
        found, longest = Complaint(body.decode("utf-8", "replace").strip()), _LONGEST_PAGE
    message = found.message.replace(secret, "***") if secret else found.message
    return Complaint(message[:longest], found.codes)


def _found(parsed: Any) -> Complaint:
    if isinstance(parsed, list) and parsed:  # Google wraps it once more when it does not stream events
        parsed = parsed[0]
    error = parsed.get("error") or parsed if isinstance(parsed, dict) else parsed
    if isinstance(error, str) and isinstance(parsed, dict) and isinstance(parsed.get("message"), str):
        error = parsed  # Chroma: the kind as `error`, and the words beside it
    if isinstance(error, dict) and isinstance(several := error.get("errors"), list) and several:  # Cloudflare
        error = several[0]
    if not isinstance(error, dict):
        return Complaint(str(error))
    # Replicate, and servers on FastAPI, say `detail`; Elasticsearch says `reason`.
    said = error.get("message") or error.get("detail") or error.get("reason") or error
    return Complaint(str(said), tuple(dict.fromkeys(_codes(error))))


def _codes(error: Mapping[str, Any]) -> Iterator[str]:
    inner = error.get("innererror")
    details = [*(error["details"] if isinstance(error.get("details"), list) else ()), inner]
    for detail in details:
        if isinstance(detail, dict):
            yield from (str(detail[key]) for key in ("reason", "code") if detail.get(key))
    yield from (str(error[key]) for key in ("code", "type", "status") if error.get(key))


def refusal_class(status: int, said: Complaint) -> type[ProviderError]:
    """The error class for an HTTP status and what the provider said with it; its own code counts for more."""
    if status in (400, 413, 422, 500) and _TOO_LONG.search(said.message):
        return ProviderContextTooLong
    found = (kind for words, kind in _BY_WORDS.items() if words in said.message)
    found = chain(found, (_BY_CODE[code] for code in said.codes if code in _BY_CODE))
    return next(found, _by_status(status))


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
    status = next((int(code) for code in said.codes if code.isdigit()), status)
    return refusal_class(status, said)(f"the model failed inside its answer: {said.message}")
