"""The built-in model that needs no key: it answers by quoting the sentences of its context that fit the question.

No weights, no download: sentences are ranked by the rarity of the question's words that they contain (BM25). Words that
mean about the same, headings above and code below a sentence count as a fainter part of it.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence, Set
from functools import lru_cache

import msgspec

from headrace.engine.chat import ChatRequest, Delta, FinishDelta, ModelMessage, TextDelta, UsageDelta
from headrace.engine.english import RELATED, stems
from headrace.engine.ports import Images
from headrace.events import Usage

_WORD = re.compile(r"[^\W_]+")
_PIECE = re.compile(r"(?<!\s)\s*+\S++(?:\s++\Z)?")
_PASSAGE = re.compile(r"(?s)<doc\b[^<>]*>(.*?)</doc>")
_FENCE = re.compile(r"(?ms)(^```.*?^```[ \t]*$)")
_BLOCK = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*+#>|]|\d+\.)\s?)")
_TABLE_HEAD = re.compile(r"(?m)^\|.*\|[ \t]*\n\|[-: |]+\|[ \t]*$")
_HEADING = re.compile(r"(#+) +(.+)")
_MARK = re.compile(r"^(?:[-*+>]|\d+\.) +")
_SENTENCE = re.compile(r"(?<=[.!?])[\"')*]*\s+(?=[^\sa-z])")
_SAYS = re.compile(r"[`:.!?]")
_OPEN_LABEL = re.compile(r"[^:]{1,60}:")
_LABELLED = re.compile(r"[^:]{1,60}: *(\S.*)")
_CUES = (  # what a question of a kind is answered with
    (r"(?i)\bhow (?:many|much|long|large|big|often|fast|small|old|far|high)\b|\b(?:max|min)(?:imum)?\b", r"\d"),
    (r"(?i)^\W*what(?:'s| is| are) (?:an? |the )?[\w.-]+\W*$", r"^\W*(?:(?:An?|The) )?[\w.`-]+ (?:is|are) "),
)
_NOTHING = (
    "I only quote, and nothing in the text that I was given answers this. I am the built-in model, which needs no key "
    "and knows nothing of its own. To get answers from a real model, connect one: set OPENAI_API_KEY, or put the "
    "address of any OpenAI-compatible server (for Ollama: http://localhost:11434/v1) into a chat model's base path."
)
_MINIMUM = 0.3  # share of the question's weight that a section must carry
_MORE_THAN_ONE = 1.02  # words, of a question of a few: one may be there by chance
_NEAR_BEST = 0.45  # share of the best score that other quoted sentences must reach
_SUBJECT = 1.3  # a sentence that begins with a word of the question is rather about it
_CUE = 1.3  # a sentence with a number, when the question asks how many, and so on
_HEADING_WEIGHT = 0.5  # of a word in a heading, beside one in the sentence
_CODE_WEIGHT = 0.3  # of a word in the code that belongs to it
_RELATED_WEIGHT = 0.6  # of a word that means about the same
_NEIGHBOUR = 0.3  # of what the sentence before or behind scores
_ROW = 0.7  # of the score: a row of a table is no sentence
_LATER = 0.03  # how much less a passage counts than the one before: retrievers give the best first
_WORDS = 120  # of an answer, its code included
_SECTIONS = 4  # that an answer comes from: more are a heap
_ALIKE = 0.7  # share of words that two sentences have in common when one of them is enough


class Sentence(msgspec.Struct, frozen=True):
    """A sentence of the context. `words` are its stems, counted, those of its headings and its code in part.

    `own` are its stems alone. Sentences of one paragraph have one `paragraph`, those under one heading one `section`.
    `passage` counts the passages that the context says it is made of.
    """

    text: str
    place: int
    passage: int
    section: int
    paragraph: int
    own: frozenset[str]
    words: dict[str, float]
    length: int
    first: str
    row: bool


class ExtractiveChat:
    """Implements `headrace.engine.ports.ChatModel` by quoting. `sentences` is how many it quotes at most."""

    images: Images = "refused"

    def __init__(self, sentences: int = 3) -> None:
        self._sentences = sentences

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[Delta]]:
        """The quoted sentences, a delta a word. Never fails; without a fitting sentence it says what it is."""
        context, question = split(request.messages)
        if not (answer := _rephrased(request.messages)):  # a megabyte of context takes half a second
            answer = await asyncio.to_thread(quote, context, question, self._sentences) or _NOTHING
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


def _rephrased(messages: Sequence[ModelMessage]) -> str:
    """The text under the last but one label of a prompt that ends with an open one ("Question that stands alone:").

    Chains ask so for a question in other words; one that only quotes leaves its words as they are.
    """
    *lines, last = messages[-1].text.rstrip().split("\n") if [m.role for m in messages] == ["user"] else [""]
    if not _OPEN_LABEL.fullmatch(last):
        return ""
    for place in range(len(lines) - 1, -1, -1):
        if said := _LABELLED.fullmatch(lines[place]):
            return "\n".join([said[1], *lines[place + 1 :]]).strip()
    return ""


def quote(context: str, question: str, most: int) -> str:
    """The sentences that answer the question best, at most `most` of a few sections, or ""; in the order of the text,
    the section of the best sentence first."""
    scored = _ranked(read(context), question)
    kept: list[Sentence] = []
    left = _WORDS
    for score, sentence in scored:
        if len(kept) == most or score < _NEAR_BEST * scored[0][0]:
            break
        size = len(sentence.text.split())
        if (size > left and kept) or not _stands_alone(sentence) or any(_alike(sentence, other) for other in kept):
            continue
        if len({sentence.section, *(one.section for one in kept)}) <= _SECTIONS:
            kept.append(sentence)
            left -= size
    sections = list(dict.fromkeys(sentence.section for sentence in kept))
    return _joined(sorted(kept, key=lambda s: (sections.index(s.section), s.place)))


def _stands_alone(sentence: Sentence) -> bool:
    """False for the head of a list, for a part of a text in marks, and for a title."""
    text = sentence.text
    return not text.endswith(":") and text.count("`") % 2 == 0 and (len(text.split()) > 3 or bool(_SAYS.search(text)))


def _alike(one: Sentence, other: Sentence) -> bool:
    return len(one.own & other.own) > _ALIKE * len(one.own | other.own)


def _joined(sentences: Sequence[Sentence]) -> str:
    """The sentences, each paragraph that they come from on its own where there are several."""
    text = ""
    for before, sentence in zip([None, *sentences], sentences, strict=False):
        together = before and before.paragraph == sentence.paragraph and "\n" not in before.text + sentence.text
        text += (" " if together else "\n\n") + sentence.text
    return text.strip()


@lru_cache(maxsize=16)  # the same flow asks with the same context
def read(context: str) -> Sequence[Sentence]:
    """The sentences of a text; of one with passages between <doc> marks, those of the passages.

    List items and table rows stand for themselves, code belongs to what comes before it.
    """
    reader = _Reader()
    for text in _PASSAGE.findall(context, 0, context.rfind("</doc>") + 6) or [context]:
        reader.read(text)
    return reader.found


class _Reader:
    """Takes passages apart, one after the other."""

    def __init__(self) -> None:
        self.found: list[Sentence] = []
        self._passage, self._section, self._paragraph = -1, 0, 0
        self._headings: dict[int, str] = {}

    def read(self, text: str) -> None:
        self._passage += 1
        self._section += 1
        self._headings = {}
        bare = True  # no sentence since the last heading
        for part in _FENCE.split(text):
            if part.startswith("```"):
                self._add("" if bare else self.found.pop().text, part.strip())
                bare = False
                continue
            for block in _BLOCK.split(_TABLE_HEAD.sub("", part)):
                bare = self._block(block.strip(), bare)

    def _block(self, block: str, bare: bool) -> bool:
        if heading := _HEADING.match(block):
            above = {level: words for level, words in self._headings.items() if level < len(heading[1])}
            self._headings = {**above, len(heading[1]): heading[2]}
            self._section += 1
            return True
        self._paragraph += 1
        for text in _sentences(block):
            self._add(text, row=block.startswith("|"))
            bare = False
        return bare

    def _add(self, text: str, code: str = "", *, row: bool = False) -> None:
        own = stems(text)
        words = dict.fromkeys(stems(" ".join(self._headings.values())), _HEADING_WEIGHT)
        for word in set(stems(code)):
            words[word] = words.get(word, 0.0) + _CODE_WEIGHT
        for word in own:
            words[word] = words.get(word, 0.0) + 1.0
        self.found.append(
            Sentence(
                text=f"{text}\n\n{code}".strip(),
                place=len(self.found),
                passage=self._passage,
                section=self._section,
                paragraph=self._paragraph,
                own=frozenset(own),
                words=words,
                length=len(own),
                first=own[0] if own else "",
                row=row,
            )
        )


def _sentences(block: str) -> Iterator[str]:
    text = " ".join(block.split())
    if text.startswith("|"):
        cells = [cell.strip() for cell in text.strip("|").split(" | ")]
        text = ": ".join((cells[0], ", ".join(filter(None, cells[1:])))) if cells[1:] else cells[0]
    return filter(None, _SENTENCE.split(_MARK.sub("", text)))


def _ranked(sentences: Sequence[Sentence], question: str) -> list[tuple[float, Sentence]]:
    """The sentences with their scores, best first; none when no section says enough of what the question does."""
    rarity = _rarity(sentences, list(dict.fromkeys(stems(question))))
    if not _covered(sentences, rarity):
        return []
    average = sum(s.length for s in sentences) / max(1, len(sentences))
    cues = [re.compile(sign) for asks, sign in _CUES if re.search(asks, question)]
    alone = [_score(s, rarity, average, cues) for s in sentences]
    scored = [(_beside(alone, sentences, place) / (1 + _LATER * s.passage), s) for place, s in enumerate(sentences)]
    return sorted((pair for pair in scored if pair[0]), key=lambda pair: (-pair[0], pair[1].place))


def _covered(sentences: Sequence[Sentence], rarity: Mapping[str, float]) -> bool:
    """True when a section has enough of the question's words in sentences or headings; in code they may be chance."""
    said: dict[int, set[str]] = {}
    for one in sentences:
        said.setdefault(one.section, set()).update(w for w, times in one.words.items() if times >= _HEADING_WEIGHT)
    most = max((_carried(words, rarity) for words in said.values()), default=0.0)
    least = max(_MINIMUM, _MORE_THAN_ONE / len(rarity)) if len(rarity) > 1 else _MINIMUM
    return most > 0 and most >= least * sum(rarity.values())


def _carried(words: Set[str], rarity: Mapping[str, float]) -> float:
    """The weight of those of the question's words that are among these, or have a related one there."""
    related = (word for word in rarity.keys() - words if not words.isdisjoint(RELATED.get(word, ())))
    return sum(rarity[word] for word in rarity.keys() & words) + _RELATED_WEIGHT * sum(rarity[w] for w in related)


def _beside(alone: Sequence[float], sentences: Sequence[Sentence], place: int) -> float:
    """The score of a sentence with its neighbours in the section."""
    beside = [n for n in (place - 1, place + 1) if 0 <= n < len(alone)]
    near = [alone[n] for n in beside if sentences[n].section == sentences[place].section]
    return alone[place] + _NEIGHBOUR * max(near, default=0.0)


def _rarity(sentences: Sequence[Sentence], words: Sequence[str]) -> dict[str, float]:
    found = Counter(word for sentence in sentences for word in words if word in sentence.own)
    # A word that the text never has weighs as one that it has once: a question about something else must find nothing.
    often = {word: max(1, found[word]) for word in words}
    return {word: math.log(1 + (len(sentences) - times + 0.5) / (times + 0.5)) for word, times in often.items()}


def _times(sentence: Sentence, word: str) -> float:
    """The count of a word in a sentence; a part of one when only a heading, its code or a related word has it."""
    times = sentence.words.get(word, 0.0)
    related = times < 1 and not sentence.own.isdisjoint(RELATED.get(word, ()))
    return max(times, _RELATED_WEIGHT) if related else times


def _score(sentence: Sentence, rarity: Mapping[str, float], average: float, cues: Sequence[re.Pattern[str]]) -> float:
    norm = 1.2 * (0.6 + 0.4 * sentence.length / max(average, 1.0))  # a long list may be the answer
    times = {word: _times(sentence, word) for word in rarity}
    score = sum(weight * times[w] * 2.2 / (times[w] + norm) for w, weight in rarity.items() if times[w])
    score *= _SUBJECT if sentence.first in rarity else 1.0
    score *= _ROW if sentence.row else 1.0
    return score * _CUE if any(cue.search(sentence.text) for cue in cues) else score
