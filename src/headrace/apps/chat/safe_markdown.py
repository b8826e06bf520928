"""Text of a source or of a model as the page may show it: literally, or as Markdown that does nothing unforeseen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

_END = re.compile(r"(?<![.!?])[.!?]++(?!\S)|\n++")  # of a sentence; looked for once at each sign, so in linear time
_SIGNS = re.compile(r"(?s)\S.*\S")
_WORD = re.compile(r"\w+")
_CODE = re.compile(r"(?s)(```.*?(?:```|$)|~~~.*?(?:~~~|$)|`[^`\n]*`)")
_PRICE = re.compile(r"(?<![\\$])\$(?=\d)")
_MARK = r'<mark style="background: #f5b50055; color: inherit; border-radius: 3px">\g<0></mark>'
_LEAST = 4  # letters of a word that says something about its sentence
_SHARE = 0.6  # of a sentence's words that an answer that rests on it has too


def literal(text: str) -> str:
    """Markdown that shows the text itself."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))


def readable(text: str) -> str:
    """An answer's Markdown with amounts of dollars, which would else be the signs around a formula."""
    parts = _CODE.split(text)
    return "".join(part if n % 2 else _PRICE.sub(r"\\$", part) for n, part in enumerate(parts))


def marked(passage: str, answer: str) -> str:
    """HTML of the passage, in which the sentences that the answer rests on are marked. Nothing in it is a tag."""
    said = {word.lower() for word in _WORD.findall(answer)}
    pieces = [_SIGNS.sub(_MARK, escape(text)) if rests else escape(text) for text, rests in _sentences(passage, said)]
    return f'<div style="white-space: pre-wrap">{"".join(pieces)}</div>'


def _sentences(passage: str, said: set[str]) -> Iterator[tuple[str, bool]]:
    """The whole passage in pieces, each with the answer to: does what the answer says rest on it?"""
    start = 0
    for end in (*(found.end() for found in _END.finditer(passage)), len(passage)):
        text, start = passage[start:end], end
        words = {word.lower() for word in _WORD.findall(text) if len(word) >= _LEAST}
        yield text, len(words) > 1 and len(words & said) >= _SHARE * len(words)
