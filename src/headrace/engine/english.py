"""English word lists: stop words, endings to strip, and synonyms.

For programs' texts, and for ranking only: a word too many costs little, so the lists are short and no dictionary.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

COMMON: Final = frozenset(
    "a about actually all always am an and any are as at be been being between but by can could currently did "
    "difference different do does during ever explain for from gave get gets give gives go goes got had happen "
    "happens has have hello hey hi how i if in into is it its just keep know let make makes many me mean means "
    "much my need needs no not of on one only or our out own please possible really say says see should so some still "
    "such support supported supports take takes tell than thank thanks that the their them then there these they "
    "this through to under up upon us use used using want was we what when where whether which while who why will "
    "with within without work works would you your".split()
)
_ENDINGS: Final = ("ations", "ation", "ings", "ing", "ers", "ies", "ed", "es", "er", "ly", "s", "e", "y")
_WORD: Final = re.compile(r"[^\W_]+")
_CAMEL: Final = re.compile(r"[A-Z]{2,}s(?![a-z])|[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_PARTED: Final = re.compile(r"(?i)\b(back|log|set|shut|sign|start)[ -](up|in|out|down)\b")
_RELATED: Final = """
abort cancel halt interrupt kill quit stop terminate
add append create insert make new
address endpoint host link location uri url
allow enable grant may permission permit
answer output reply response result
argument flag option parameter
async asynchronous asyncio
attach document file upload
attempt repeat retry twice
authenticate login password
backup copy
begin boot launch start
big large length long size
bind lock protect restrict secure security safe
bound cap limit maximum max most
break broken crash cut error exception fail failure fault raise throw
browser page site web website
bill charge cost dollar paid pay price
change edit modify switch update write
chat conversation session thread
choose decide pick select
chunk fragment part passage piece
client library package sdk
close disconnect end gone leave left shutdown
combine join merge
compatible same unchanged
concurrent parallel side simultaneous
contain hold include
container docker image
core cpu process processor worker
credential key secret token
data storage store
default unless
delete drop erase forget gone remove
dependency extra package
directory folder path
discover find locate look search
disk drive space volume
display list print show
duration period second time timeout wait
element entry item
env environment setting variable
event frame message
execute run
expire old
export import
fast quick speed
idle quiet silence silent
illustration image photo picture
install npm pip setup
iteration loop round
keep kept persist record remember save store
keyword lexical term word
latest newest recent
licence license
local localhost machine
lose loss lost
memory history remember
multiple several
must require
node component step
overwrite replace
post send submit
query question request statement
reasoning thinking thought
reconnect resume continue again
safe secure
string text
ssl tls https
template prompt
tool function
user caller person
vector embedding
version release
"""


def joined(text: str) -> str:
    """The text with "back up" as "backup": people write such verbs apart and their nouns together."""
    return _PARTED.sub(r"\1\2", text)


def words(text: str) -> list[str]:
    """The text's words that mean something, without case; of `aName` also its parts."""
    found = [word for name in _WORD.findall(joined(text)) for word in dict.fromkeys((name, *_CAMEL.findall(name)))]
    return [word for word in map(str.casefold, found) if word not in COMMON]


def stem(word: str) -> str:
    """The word without a common ending."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if word[-2:-1] == word[-1:] else word  # stopped, stops


def stems(text: str) -> list[str]:
    """The text's words that mean something, without endings."""
    return [stem(word) for word in words(text)]


def _groups() -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for line in _RELATED.strip().splitlines():
        group = {stem(word) for word in line.split()}
        for one in group:
            found.setdefault(one, set()).update(group - {one})
    return {one: frozenset(others) for one, others in found.items()}


RELATED: Final = _groups()
"""Of a stem those that mean about the same, in texts about programs."""
