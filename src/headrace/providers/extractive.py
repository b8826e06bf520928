"""The built-in model that needs no key: it answers by quoting the sentences of its context that fit the question.

No weights, no download: sentences are ranked by the rarity of the question's words that they contain (BM25).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import AsyncGenerator, Sequence

import msgspec

from headrace.engine.ports import Delta, Images, ModelMessage, TextDelta, UsageDelta
from headrace.events import Usage

_WORD = re.compile(r"[^\W_]+")
_PIECE = re.compile(r"\s*\S+\s*$|\s*\S+")
_BLOCK = re.compile(r"\n\s*\n|\n(?=[-*#>|]|\d+\.)")
_SENTENCE = re.compile(r"(?<=[.!?:])\s+(?=[\w\"'`([*])")
_COMMON = frozenset(
    "a about all an and any are as at be been but by can could did do does for from had has have how i if in into is "
    "it its me my no not of on one or our out should so some such than that the their them then there these they this "
    "to up us use was we what when where which who why will with would you your tell explain please".split()
)
_NOTHING = (
    "I only quote, and nothing in the text that I was given answers this. I am the built-in model, which needs no key "
    "and knows nothing of its own. To get answers from a real model, connect one: set OPENAI_API_KEY, or put the "
    "address of any OpenAI-compatible server (for Ollama: http://localhost:11434/v1) into a chat model's base path."
)
_MINIMUM = 0.34  # share of the question's weight that a quoted sentence must carry


class Sentence(msgspec.Struct, frozen=True):
    """A sentence of the context, with its words reduced to stems."""

    text: str
    place: int
    words: Counter[str]


class ExtractiveChat:
    """Implements `headrace.engine.ports.ChatModel` by quoting. `sentences` is how many it quotes at most."""

    images: Images = "refused"

    def __init__(self, sentences: int = 3) -> None:
        self._sentences = sentences

    async def stream(self, messages: Sequence[ModelMessage]) -> AsyncGenerator[Sequence[Delta]]:
        """The quoted sentences, a delta a word. Never fails; without a fitting sentence it says what it is."""
        context, question = split(messages)
        answer = quote(context, question, self._sentences) or _NOTHING
        yield [TextDelta("")]
        for piece in _PIECE.findall(answer):
            yield [TextDelta(piece)]
        read, said = len(_WORD.findall(context)) + len(_WORD.findall(question)), len(_WORD.findall(answer))
        yield [UsageDelta(Usage(read, said, read + said))]


def split(messages: Sequence[ModelMessage]) -> tuple[str, str]:
    """Context and question. The context is what the system messages say; without one, all but the last paragraph."""
    question = next((m.text for m in reversed(messages) if m.role == "user"), "")
    if context := "\n\n".join(m.text for m in messages if m.role == "system" and m.text):
        return context, question
    before, _, last = question.rstrip().rpartition("\n")
    return (before, last) if before.strip() else ("", question)


def quote(context: str, question: str, most: int) -> str:
    """The sentences that answer the question best, in the order of the text, or ""."""
    sentences = read(context)
    asked = [word for word in dict.fromkeys(stems(question)) if word]
    rarity = _rarity(sentences, asked)
    weight = sum(rarity.values())
    if not weight:
        return ""
    scored = [(_score(s, rarity, _average(sentences)), s) for s in sentences if s.words]
    shares = [(score, s) for score, s in scored if sum(rarity[w] for w in asked if w in s.words) >= _MINIMUM * weight]
    best = sorted(shares, key=lambda pair: (-pair[0], pair[1].place))[:most]
    if not best:
        return ""
    kept = [s for score, s in best if score >= 0.6 * best[0][0]]
    return " ".join(s.text for s in sorted(kept, key=lambda s: s.place))


def read(context: str) -> list[Sentence]:
    """The sentences of a text; Markdown's list items, headings and table rows stand for themselves."""
    texts = (sentence for block in _BLOCK.split(context) for sentence in _SENTENCE.split(" ".join(block.split())))
    unmarked = (text.strip().lstrip("#->* ").strip() for text in texts)
    return [Sentence(text, place, Counter(stems(text))) for place, text in enumerate(unmarked) if text]


def stems(text: str) -> list[str]:
    """The text's words that mean something, without case and common endings."""
    words = (word.casefold() for word in _WORD.findall(text))
    return [_stem(word) for word in words if word not in _COMMON]


def _stem(word: str) -> str:
    for ending in ("ations", "ation", "ings", "ing", "ers", "ies", "ed", "es", "er", "ly", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def _rarity(sentences: Sequence[Sentence], words: Sequence[str]) -> dict[str, float]:
    found = Counter(word for sentence in sentences for word in words if word in sentence.words)
    count = len(sentences)
    # A word that the text never has carries weight too: a question about something else must find nothing.
    return {word: math.log(1 + (count - found[word] + 0.5) / (found[word] + 0.5)) for word in words}


def _average(sentences: Sequence[Sentence]) -> float:
    return sum(s.words.total() for s in sentences) / max(1, len(sentences))


def _score(sentence: Sentence, rarity: dict[str, float], average: float) -> float:
    norm = 1.2 * (0.25 + 0.75 * sentence.words.total() / average)
    return sum(weight * sentence.words[w] * 2.2 / (sentence.words[w] + norm) for w, weight in rarity.items())
