"""The built-in model that needs no key: it answers by quoting the sentences of its context that fit the question.

No weights, no download: sentences are ranked by the rarity of the question's words that they contain (BM25), where the
headings above a sentence count as a fainter part of it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from functools import lru_cache

import msgspec

from headrace.engine.chat import ChatRequest, Delta, FinishDelta, ModelMessage, TextDelta, UsageDelta
from headrace.engine.ports import Images
from headrace.events import Usage

_WORD = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_PIECE = re.compile(r"\s*\S+\s*$|\s*\S+")
_FENCE = re.compile(r"(?ms)(^```.*?^```[ \t]*$)")
_BLOCK = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*+#>|]|\d+\.)\s?)")
_TABLE_HEAD = re.compile(r"(?m)^\|.*\|[ \t]*\n\|[-: |]+\|[ \t]*$")
_HEADING = re.compile(r"(#+) +(.+)")
_MARK = re.compile(r"^(?:[-*+>]|\d+\.) +")
_SENTENCE = re.compile(r"(?<=[.!?])[\"')*]*\s+(?=[^\sa-z])")
_COMMON = frozenset(
    "a about all an and any are as at be been but by can could did do does for from had happen happens has have how i "
    "if in into is it its know many me mean means much my need needs no not of on one or our out should so some such "
    "than that the their them then there these they this to up us use used using want was we what when where which "
    "who why will with would you your tell explain please".split()
)
_NOTHING = (
    "I only quote, and nothing in the text that I was given answers this. I am the built-in model, which needs no key "
    "and knows nothing of its own. To get answers from a real model, connect one: set OPENAI_API_KEY, or put the "
    "address of any OpenAI-compatible server (for Ollama: http://localhost:11434/v1) into a chat model's base path."
)
_MINIMUM = 0.34  # share of the question's weight that a quoted sentence must carry
_NEAR_BEST = 0.7  # share of the best score that other quoted sentences must reach
_SUBJECT = 1.3  # a sentence that begins with a word of the question is rather about it
_HEADING_WEIGHT = 0.5  # of a word in a heading, beside one in the sentence


class Sentence(msgspec.Struct, frozen=True):
    """A sentence of the context, with its words reduced to stems and counted, those of its headings in part."""

    text: str
    place: int
    words: dict[str, float]
    length: int
    first: str


class ExtractiveChat:
    """Implements `headrace.engine.ports.ChatModel` by quoting. `sentences` is how many it quotes at most."""

    images: Images = "refused"

    def __init__(self, sentences: int = 3) -> None:
        self._sentences = sentences

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[Delta]]:
        """The quoted sentences, a delta a word. Never fails; without a fitting sentence it says what it is."""
        context, question = split(request.messages)
        answer = quote(context, question, self._sentences) or _NOTHING
        yield [TextDelta("")]
        for piece in _PIECE.findall(answer):
            yield [TextDelta(piece)]
        read, said = len(_WORD.findall(context)) + len(_WORD.findall(question)), len(_WORD.findall(answer))
        yield [FinishDelta("stop"), UsageDelta(Usage(read, said, read + said))]


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
    rarity = _rarity(sentences, list(dict.fromkeys(stems(question))))
    enough = _MINIMUM * sum(rarity.values())
    average = sum(s.length for s in sentences) / max(1, len(sentences))
    fitting = [s for s in sentences if enough and _share(s, rarity) >= enough]
    scored = [(_score(s, rarity, average), s) for s in fitting]
    best = sorted(scored, key=lambda pair: (-pair[0], pair[1].place))[:most]
    kept = sorted((s for score, s in best if score >= _NEAR_BEST * best[0][0]), key=lambda s: s.place)
    return (" " if all("\n" not in s.text for s in kept) else "\n\n").join(s.text for s in kept)


@lru_cache(maxsize=16)  # the same flow asks with the same context
def read(context: str) -> Sequence[Sentence]:
    """The sentences of a text. List items and table rows stand for themselves, code belongs to what comes before it."""
    found: list[Sentence] = []
    headings: dict[int, str] = {}
    bare = True  # no sentence since the last heading
    for part in _FENCE.split(context):
        if part.startswith("```"):
            last = _sentence("", len(found), headings) if bare else found.pop()
            found.append(msgspec.structs.replace(last, text=f"{last.text}\n\n{part.strip()}".strip()))
            bare = False
            continue
        for block in _BLOCK.split(_TABLE_HEAD.sub("", part)):
            if heading := _HEADING.match(block.strip()):
                headings = {level: text for level, text in headings.items() if level < len(heading[1])}
                headings[len(heading[1])] = heading[2]
                bare = True
            for text in () if heading else _sentences(block):
                found.append(_sentence(text, len(found), headings))
                bare = False
    return found


def _sentences(block: str) -> Iterator[str]:
    text = " ".join(block.split())
    if text.startswith("|"):
        cells = [cell.strip() for cell in text.strip("|").split(" | ")]
        text = ": ".join((cells[0], ", ".join(filter(None, cells[1:])))) if cells[1:] else cells[0]
    return filter(None, _SENTENCE.split(_MARK.sub("", text)))


def _sentence(text: str, place: int, headings: Mapping[int, str]) -> Sentence:
    own = stems(text)
    words = dict.fromkeys(stems(" ".join(headings.values())), _HEADING_WEIGHT)
    for word in own:
        words[word] = words.get(word, 0.0) + 1.0
    return Sentence(text, place, words, len(own), own[0] if own else "")


def stems(text: str) -> list[str]:
    """The text's words that mean something, without case and common endings; of `aName` also its parts."""
    words = [word for name in _WORD.findall(text) for word in dict.fromkeys((name, *_CAMEL.findall(name)))]
    return [_stem(word) for word in map(str.casefold, words) if word not in _COMMON]


def _stem(word: str) -> str:
    for ending in ("ations", "ation", "ings", "ing", "ers", "ies", "ed", "es", "er", "ly", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if word[-2:-1] == word[-1:] else word  # stopped, stops


def _rarity(sentences: Sequence[Sentence], words: Sequence[str]) -> dict[str, float]:
    found = Counter(word for sentence in sentences for word in words if sentence.words.get(word, 0.0) >= 1)
    # A word that the text never has weighs as one that it has once: a question about something else must find nothing.
    often = {word: max(1, found[word]) for word in words}
    return {word: math.log(1 + (len(sentences) - times + 0.5) / (times + 0.5)) for word, times in often.items()}


def _share(sentence: Sentence, rarity: dict[str, float]) -> float:
    return sum(weight * min(1.0, sentence.words.get(word, 0.0)) for word, weight in rarity.items())


def _score(sentence: Sentence, rarity: dict[str, float], average: float) -> float:
    norm = 1.2 * (0.6 + 0.4 * sentence.length / average)  # a long list may be the answer
    times = sentence.words
    score = sum(weight * times[w] * 2.2 / (times[w] + norm) for w, weight in rarity.items() if w in times)
    return score * _SUBJECT if sentence.first in rarity else score
