"""Reads finish reasons, in the spelling of any provider, as an end or as an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from headrace.engine.chat import Finish
from headrace.errors import ProviderContextTooLong, ProviderError, ProviderFiltered, ProviderUnavailable
from headrace.surrogates import whole

_FINISH: Final[Mapping[str, Finish]] = {
    **dict.fromkeys("stop stopsequence endturn complete completed eos eostoken success succeeded".split(), "stop"),
    **dict.fromkeys("length maxtokens maxnewtokens maxoutputtokens modellength".split(), "length"),
    **dict.fromkeys("toolcalls toolcall tooluse functioncall".split(), "tool_calls"),
    **dict.fromkeys("pauseturn other load unload finishreasonunspecified".split(), "other"),
}
# Tried in this order, since providers add words every few months. Gemini alone has two dozen.
_FILTERED: Final = re.compile(
    "filter|safety|block|prohibited|recitation|refus|guardrail|toxic|sensitive|moderat|spii|violat"
)
_TOO_LONG: Final = re.compile("context|errorlimit")
_FAILED: Final = re.compile(
    "error|fail|malformed|unexpected|invalid|missing|toomany|network|timeout|timedout|overload|unavailable|"
    "insufficient|abort|cancel|interrupt|noimage|imageother|crash|exhausted|quota|ratelimit"
)
_LENGTH: Final = re.compile("length|maxtoken|tokenlimit|truncat")
_TOOLS: Final = re.compile("tool|function")


def finish_of(reason: str, said: str = "") -> Finish:
    """The end that a finish reason names. Raises the ProviderError that it stands for, with what was `said`."""
    word = _plain(reason)
    if found := _FINISH.get(word):
        return found
    if error := _error(word, whole(reason), whole(said)):
        raise error
    if _LENGTH.search(word):
        return "length"
    return "tool_calls" if _TOOLS.search(word) else "other"


def named(reason: str | None) -> bool:
    """True for a reason; some servers write into every chunk that there is none."""
    return bool(reason) and _plain(reason or "") not in ("", "null", "none")


def _plain(reason: str) -> str:
    word = re.sub("[^a-z]", "", reason.lower())
    return word.removeprefix("finishreason") or word


def _error(word: str, reason: str, said: str) -> ProviderError | None:
    if _FILTERED.search(word):
        beside = f": {said}" if said else ""
        return ProviderFiltered(f"the provider's content filter stopped the answer{beside}")
    if _TOO_LONG.search(word):
        return ProviderContextTooLong("the conversation and the answer do not fit into the model's context window")
    if _FAILED.search(word):
        return ProviderUnavailable(f"the model failed inside its answer: {said or reason}")
    return None
