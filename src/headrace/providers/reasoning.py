"""Fields that servers want back with their own tool calls: reasoning, open or encrypted, and signatures.

It travels as JSON in the signature of a thought or a call. The signatures that providers make themselves are no JSON,
so that one protocol does not send what another one has made, before it was asked in the other's place.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from headrace.providers.lenient_json import as_json, value_of
from headrace.surrogates import all_whole

OF_MESSAGES: Final = ("reasoning_content", "reasoning", "reasoning_details")
"""Fields of a message in OpenAI's protocol."""
OF_CALLS: Final = ("extra_content", "provider_specific_fields")
"""Fields of a call: Gemini's signature, by Google itself and by those who pass it on."""
_JOINED: Final = frozenset(("text", "summary", "data"))  # fields whose fragments are one text


class ReasoningFields:
    """The reasoning of one answer, put together from its fragments."""

    def __init__(self) -> None:
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._details: list[dict[str, Any]] = []

    def add(
        self, content: str | None, reasoning: str | None = None, details: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        """Takes a fragment in."""
        if content:
            self._content.append(content)
        if reasoning:
            self._reasoning.append(reasoning)
        for detail in details or ():
            self._detail(detail)

    def _detail(self, detail: Mapping[str, Any]) -> None:
        last = self._details[-1] if self._details else {}
        whole = detail.get("data") and detail.get("index") is None  # encrypted, and not numbered: one of several
        if not last or whole or any(last.get(name) != detail.get(name) for name in ("type", "index")):
            self._details.append(dict(detail))
            return
        for name, value in detail.items():
            if name in _JOINED and isinstance(value, str) and isinstance(last.get(name), str):
                last[name] += value
            elif value is not None:
                last[name] = value

    def taken(self) -> str:
        """The fields so far as JSON, once; "" without any."""
        found: dict[str, Any] = {}
        if self._content:
            found["reasoning_content"] = "".join(self._content)
        if self._reasoning and not self._details:
            found["reasoning"] = "".join(self._reasoning)
        if self._details:
            found["reasoning_details"] = self._details
        self._content, self._reasoning, self._details = [], [], []
        return as_json(all_whole(found)).decode() if found else ""


def given_back(signature: str, names: Collection[str]) -> dict[str, Any]:
    """Those of the named fields that a signature holds; none when another protocol has made it."""
    if not is_fields(signature):
        return {}
    found = value_of(signature.encode())
    return {name: found[name] for name in names if name in found} if isinstance(found, dict) else {}


def is_fields(signature: str) -> bool:
    """True for a signature of this kind: those that providers make are no JSON."""
    return signature.startswith('{"')
