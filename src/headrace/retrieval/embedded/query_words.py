"""The words of a question, as FTS5 takes them: what users type is never part of its query language."""

from __future__ import annotations

import re

from headrace.engine.english import COMMON, joined

_WORD = re.compile(r"\w+")
_MOST = 40
"""Distinct words that are looked at: a pasted page would otherwise cost as many searches."""


def quoted_words(text: str) -> list[str]:
    """The text's words, each once and in quotes; those that only make it a question are left out beside others."""
    words = [
        word
        for word in dict.fromkeys(word.strip("_").lower() for word in _WORD.findall(f"{text} {joined(text)}"))
        if word
    ]
    telling = [word for word in words if word not in COMMON]
    return [f'"{word}"' for word in telling or words][:_MOST]
