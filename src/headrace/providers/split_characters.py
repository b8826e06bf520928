"""Joins characters whose halves a provider has sent in two chunks: pairs of surrogates, and bytes of one character."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from headrace.engine.chat import Delta, TextDelta, ThinkingDelta
from headrace.surrogates import all_whole, parted, whole

_Said: TypeAlias = TextDelta | ThinkingDelta


class CharacterJoiner:
    """Keeps the beginning of a character until the next text of its kind has come."""

    def __init__(self) -> None:
        self._begun: _Said | None = None

    def joined(self, deltas: Sequence[Delta]) -> list[Delta]:
        """The deltas with whole characters only; another kind of delta ends a text."""
        joined: list[Delta] = []
        for delta in deltas:
            if not isinstance(delta, TextDelta | ThinkingDelta):
                joined += [*self.rest(), _mended(delta)]
                continue
            if self._begun and type(self._begun) is not type(delta):
                joined += self.rest()
            text, begun = parted((self._begun.text if self._begun else "") + delta.text)
            self._begun = msgspec.structs.replace(delta, text=begun) if begun else None
            if text or not begun:
                joined.append(msgspec.structs.replace(delta, text=whole(text)))
        return joined

    def rest(self) -> list[Delta]:
        """The replacement for a beginning that nothing has followed."""
        begun, self._begun = self._begun, None
        return [msgspec.structs.replace(begun, text=whole(begun.text))] if begun else []


def _mended(delta: Delta) -> Delta:
    """The delta with whole characters only, where it comes in one chunk."""
    return msgspec.convert(all_whole(msgspec.to_builtins(delta)), type(delta))
