"""The endpoint of an adapter: the address of its calls, their key, and their timeout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.engine.ports import Http, HttpCall
from headrace.surrogates import all_whole

_JSON = {"Content-Type": "application/json", "Accept": "text/event-stream"}


class Endpoint(msgspec.Struct, frozen=True):
    """A provider's address. `headers` carry the key; `secret` is the key again, to be cut out of error texts."""

    http: Http
    url: str
    headers: Mapping[str, str] = {}
    secret: str = ""
    timeout: float | None = None
    """Seconds for a whole answer."""

    def call(self, body: Mapping[str, Any]) -> HttpCall:
        """The call that sends this JSON."""
        try:
            encoded = msgspec.json.encode(body)
        except UnicodeEncodeError:  # half of a character, from whichever program has cut a text
            encoded = msgspec.json.encode(all_whole(msgspec.to_builtins(body)))
        return HttpCall(self.url, {**_JSON, **self.headers}, encoded, self.secret, self.timeout)


def set_values(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options without those that are not set (None)."""
    return {name: value for name, value in options.items() if value is not None}
