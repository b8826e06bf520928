"""The built-in model for tools, which needs no key: it recognises arithmetic and questions about date and time.

It asks for the tool, reads what that gave and says so in a sentence. It calculates nothing and knows nothing itself.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from datetime import date, time
from typing import Final

import msgspec

from headrace.engine.chat import ChatRequest, Delta, FinishDelta, ModelMessage, TextDelta, ToolCallDelta, UsageDelta
from headrace.engine.ports import Images
from headrace.events import Usage

CALCULATOR: Final = "calculator"
CLOCK: Final = "current_date_time"
_WORD: Final = re.compile(r"[^\W_]+")
_PIECE: Final = re.compile(r"(?<!\s)\s*+\S++(?:\s++\Z)?")
_ABOUT: Final = (
    "I am the built-in model for trying out tools. I need no key and know nothing of my own: I only recognise "
    "arithmetic in English, such as `17% of 2,340` or `12*(3+4)`, and questions about today's date and the time. "
    "To get answers to anything else, put a real model into my place: a chat model node with the key of its provider, "
    "or with the address of any OpenAI-compatible server (for Ollama: http://localhost:11434/v1)."
)
_MISSING: Final = "I would need the tool {name!r} for this, and this flow has not connected it to me."

# What words mean in an expression. Longer ones stand first; the order of the table is the order of looking.
_PHRASES: Final = {
    r"to the power of|raised to": "^",
    r"multiplied by|times": "*",
    r"divided by|over": "/",
    r"plus|added to": "+",
    r"minus|less": "-",
    r"modulo|mod": "%",
    r"(?:the )?square root of": "sqrt",
    r"squared": "^2",
    r"cubed": "^3",
    r"twice|double": "2*",
    r"half(?: of)?": "0.5*",
}
_UNITS: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS: Final = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_NUMBERS: Final = {word: n for n, word in enumerate(_UNITS)} | {word: 10 * n for n, word in enumerate(_TENS, 2)}
_WRITTEN: Final = re.compile(rf"\b({'|'.join(_TENS)})[ -]({'|'.join(_UNITS[1:10])})\b|\b({'|'.join(_NUMBERS)})\b")
_PERCENT_OF: Final = re.compile(r"(\d[\d.]{0,40})\s*(?:%|percent|per cent)\s+(?:of|from)\s+", re.IGNORECASE)
_PERCENT_OFF: Final = re.compile(r"(\d[\d.]{0,40})\s*(?:%|percent|per cent)\s+off\s+(?:of\s+)?", re.IGNORECASE)
_PERCENT_MORE: Final = re.compile(r"(\d[\d.]{0,40})\s*([-+])\s*(\d[\d.]*)\s*(?:%|percent)(?!\s*[\d(])")
_PERCENT: Final = re.compile(r"(\d[\d.]{0,40})\s*(?:%|percent)(?!\s*[\d(])")
_TOKEN: Final = re.compile(
    r"\d+\.?\d*(?:e[+-]?\d+)?|\.\d+|\*\*|[-+*/^%(),]|(?:sqrt|log10|log|ln|sin|cos|tan|abs|round|pi)\b"
)
_DATED: Final = re.compile(r"\d{4}-\d\d-\d\d|\d{1,2}\.\d{1,2}\.\d{4}|\d{1,2}:\d\d|\d{1,2}/\d{1,2}/\d{2,4}")
_ASKS_FOR: Final = r"(?P<{0}>day|date|weekday|month|year|time)"
_CLOCK: Final = re.compile(
    rf"\b(?:what|which|what's|whats)(?:\s+is)?(?:\s+the)?(?:\s+(?:current|exact))?\s+{_ASKS_FOR.format('one')}\b"
    r"(?=\s*(?:and\b|is|it|today|now|right|of the week|[?.!]|$))"
    rf"|\b(?:today'?s|current)\s+{_ASKS_FOR.format('two')}\b|\b{_ASKS_FOR.format('three')}\s+(?:is it|today|now)\b"
    r"|\btell me the\s+" + _ASKS_FOR.format("four") + r"\b|\bwhat(?:'s| is) today\b",
    re.IGNORECASE,
)


class ArithmeticChat:
    """Implements `headrace.engine.ports.ChatModel` by rules. Without tools it says what it is."""

    images: Images = "refused"

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[Delta]]:
        """A wish for tools, or a sentence about what they gave, a delta a word. Never fails."""
        asked = max((n for n, message in enumerate(request.messages) if message.role == "user"), default=-1)
        question = request.messages[asked].text if asked >= 0 else ""
        results = [message for message in request.messages[asked + 1 :] if message.answers]
        calls = [] if results else wishes(question)
        offered = {tool.name for tool in request.tools}
        answer = results_text(results) if results else "" if calls else _ABOUT
        if missing := [name for name, _ in calls if name not in offered]:
            calls, answer = [], _MISSING.format(name=missing[0])
        yield [TextDelta("")]
        for index, (name, arguments) in enumerate(calls):
            yield [ToolCallDelta(index, f"call-{index}", name, msgspec.json.encode(arguments).decode())]
        for piece in _PIECE.findall(answer):
            yield [TextDelta(piece)]
        read, said = len(_WORD.findall(question)), len(_WORD.findall(answer))
        yield [FinishDelta("tool_calls" if calls else "stop"), UsageDelta(Usage(read, said, read + said))]


def wishes(question: str) -> list[tuple[str, dict[str, str]]]:
    """The tools that a question needs, each with its arguments."""
    sums = [(CALCULATOR, {"input": found}) for found in expressions(question)]
    return [*sums, (CLOCK, dict[str, str]())] if _CLOCK.search(question) else [*sums]


def expressions(question: str) -> list[str]:
    """The arithmetic in a question, as a calculator takes it; at most four of them."""
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", _DATED.sub(" ; ", question.lower()[:1000]))
    text = _WRITTEN.sub(_number, text.translate(str.maketrans("×÷·−–x", "*/*--x", "$€£=?")))
    text = re.sub(r"(?<=[\d)])\s*x\s*(?=[\d(])", "*", text)
    for phrase, sign in _PHRASES.items():
        text = re.sub(rf"\b(?:{phrase})(?!\w)", f" {sign} ", text)
    text = _PERCENT_OFF.sub(r" (1-\1/100)* ", _PERCENT_OF.sub(r" \1/100* ", text))
    text = _PERCENT.sub(r"(\1/100)", _PERCENT_MORE.sub(r"\1*(1\2\3/100)", text))
    found = (_valid(run) for run in _runs(text))
    return list(dict.fromkeys(filter(None, found)))[:4]


def _number(match: re.Match[str]) -> str:
    tens, unit, alone = match.groups()
    return str(_NUMBERS[alone] if alone else _NUMBERS[tens] + _NUMBERS[unit])


def _runs(text: str) -> Iterator[list[str]]:
    """Pieces of expressions that stand together, with nothing but blanks between them."""
    run: list[str] = []
    end = 0
    for match in _TOKEN.finditer(text):
        if text[end : match.start()].strip():
            yield run
            run = []
        run.append(match[0])
        end = match.end()
    yield run


def _valid(run: list[str]) -> str:
    """The run as an expression, without signs that belong to the sentence around it; "" when there is nothing to do."""
    while run and run[-1] in (",", "-", "+", "*", "/", "%", "^"):
        run = run[:-1]
    while run and run[0] in (",", "*", "/", "%", "^", ")"):
        run = run[1:]
    text = re.sub(r"sqrt ?(\d[\d.]*)", r"sqrt(\1)", "".join(f"{t} " if t.isalpha() else t for t in run))
    try:
        tree = ast.parse(text.replace("^", "**").replace(" ", ""), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    return text.replace(" ", "") if isinstance(tree.body, ast.BinOp | ast.Call) else ""


def results_text(results: Sequence[ModelMessage]) -> str:
    """Sentences about what the tools gave."""
    return " ".join(_sentence(message) for message in results)


def _sentence(message: ModelMessage) -> str:
    call = message.answers
    if call and call.name == CALCULATOR:
        asked = json.loads(call.arguments)["input"]
        value = message.text.strip()
        if re.fullmatch(r"-?[\d.]+(?:e[+-]?\d+)?", value):
            return f"{asked} is {value}."
        return f"The calculator could not work out {asked}: {value}"
    return _moment(message.text)


def _moment(text: str) -> str:
    """The clock's time in words; the text itself when it has another form."""
    try:
        results_text = msgspec.json.decode(text, type=dict[str, str])
        day, now = date.fromisoformat(results_text["date"]), time.fromisoformat(results_text["time"])
    except (msgspec.DecodeError, KeyError, ValueError):
        return f"The clock says: {text}"
    zone = f" ({results_text['timezone']})" if results_text.get("timezone") else ""
    return f"It is {results_text.get('day') or day.strftime('%A')}, {day.day} {day:%B %Y}, {now:%H:%M}{zone}."
