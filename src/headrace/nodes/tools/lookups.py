"""Asking a web API one thing: the request, who says no, and a text without the key. What differs is in a `Lookup`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode

import msgspec

from headrace.engine.ports import Fetch, FetchReply, FetchRequest
from headrace.errors import FetchFailed, FlowError
from headrace.nodes.accounts import Account
from headrace.nodes.providers import Provider
from headrace.providers.error_mapping import complaint

PATIENCE: Final = 60.0  # seconds for one answer
_LONGEST_QUERY: Final = 8000  # characters


class Lookup(msgspec.Struct, frozen=True, kw_only=True):
    """A web API that tools look things up at."""

    provider: Provider
    path: str
    asks: str = "q"
    """The parameter with what is asked."""
    method: Literal["GET", "POST"] = "GET"
    """POST sends the parameters as JSON."""
    key: str = ""
    """Where the key goes: `?name` for a parameter, else a header; in `Authorization` it is a bearer's."""
    fixed: Mapping[str, Any] = {}
    """Parameters that are always sent."""
    second: tuple[str, str] = ("", "")
    """A second value that the account has: the credential's field and the parameter."""
    shortened: Callable[[Any], str] | None = None
    """Shortens its JSON for the model; None for an API that answers with text."""
    wrong_key: tuple[int, ...] = (401, 403)
    silent: tuple[int, ...] = ()
    """Statuses that are an answer too, such as that nothing was understood."""


async def answer(fetch: Fetch, lookup: Lookup, place: Account, query: str, **more: Any) -> FetchReply:
    """The API's answer to a query, with `more` parameters. Raises FlowError, FetchRefused and FetchFailed.

    A parameter that is None is not sent. The headers of a request are given as `headers`.
    """
    if not (query := query.strip()):
        raise FlowError(f"{lookup.provider.label} was asked for nothing: send a query")
    headers = {"Accept": "application/json", **more.pop("headers", {})}
    given = {lookup.asks: query[:_LONGEST_QUERY], **lookup.fixed, **more}
    values = {name: value for name, value in given.items() if value is not None}
    if lookup.key.startswith("?"):
        values[lookup.key[1:]] = place.key
    elif lookup.key and place.key:
        headers[lookup.key] = f"Bearer {place.key}" if lookup.key == "Authorization" else place.key
    url, body = place.base + lookup.path, b""
    if lookup.method == "GET":
        url += "?" + urlencode(values, quote_via=quote)
    else:
        headers["Content-Type"], body = "application/json", msgspec.json.encode(values)
    reply = await fetch(FetchRequest(lookup.method, url, list(headers.items()), body, PATIENCE))
    if reply.status >= 300 and reply.status not in lookup.silent:
        raise _refusal(lookup, reply, place.key)
    return reply


async def looked_up(fetch: Fetch, lookup: Lookup, place: Account, query: str, **more: Any) -> str:
    """The answer as a model reads it. Raises what `answer` raises."""
    reply = await answer(fetch, lookup, place, query, **more)
    if lookup.shortened is None:
        return _masked(reply.body.decode("utf-8", "replace"), place.key)
    try:
        body: Any = msgspec.json.decode(reply.body)
        if not isinstance(body, dict):
            raise ValueError("no object")
        return _masked(lookup.shortened(body), place.key)
    except (ValueError, TypeError, RecursionError):  # msgspec's errors are ValueErrors
        raise FetchFailed(f"{lookup.provider.label} answered with what it does not document: try again later") from None


def _refusal(lookup: Lookup, reply: FetchReply, key: str) -> FlowError:
    said = _masked(complaint(reply.body, key).message, key)[:500]
    wrong_key = reply.status in lookup.wrong_key or (key and "api key not valid" in said.lower())
    if wrong_key and not lookup.provider.keyless:
        label, variable = lookup.provider.label, lookup.provider.environ
        advice = f"put a valid one into the credential of the node, or into {variable}"
        return FlowError(f"{label} does not accept the key ({reply.status}: {said}): {advice}")
    if reply.status == 429:
        return FetchFailed(f"{lookup.provider.label} asks to slow down (429): try again later, or do without it")
    if reply.status >= 500:
        return FetchFailed(f"{lookup.provider.label} does not work at the moment ({reply.status}): try again later")
    return FlowError(f"{lookup.provider.label} refused the request ({reply.status}): {said}")


def _masked(text: str, key: str) -> str:
    for secret in filter(None, (key, quote(key, safe=""))):
        text = text.replace(secret, "***")
    return text
