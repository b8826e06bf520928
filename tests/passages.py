"""What the tests of retrieval share: a library on a real database, and a small deterministic embedding model."""

import math
import random
import re
from array import array
from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from places import place_of

from headrace.documents.library import DocumentLibrary
from headrace.engine.ports import LoadFailure
from headrace.events import Document
from headrace.storage.database import Database

BIRDS = (
    "The Kestrel is a small falcon that hovers over open grassland while it looks for voles.",
    "The Heron is a tall wading bird that stands still in shallow water and spears fish.",
    "The Swift spends almost its whole life in the air and even sleeps on the wing.",
)


class Bags:
    """Embeds a text as the sum of its words, each of them a direction of its own: the same everywhere and always."""

    name: str

    def __init__(self, dimensions: int = 64, name: str = "bags") -> None:
        self.name, self.dimensions = name, dimensions
        self.asked: list[str] = []

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        self.asked += texts
        return [self.vector(text) for text in texts]

    def vector(self, text: str) -> Sequence[float]:
        words = [direction(word, self.dimensions) for word in re.findall(r"\w+", text.lower())]
        summed = [sum(numbers) for numbers in zip(*words, strict=True)] or [0.0] * self.dimensions
        length = math.sqrt(sum(number * number for number in summed)) or 1.0
        return array("f", [number / length for number in summed])


@cache
def direction(word: str, dimensions: int) -> Sequence[float]:
    numbers = random.Random(word)
    return [numbers.gauss(0, 1) for _ in range(dimensions)]


def document(text: str, source: str = "birds.txt", /, **metadata: Any) -> Document:
    return Document(text, {"source": source, **metadata})


async def given(documents: Iterable[Document | LoadFailure]) -> AsyncGenerator[Document | LoadFailure]:
    for one in documents:
        yield one


@contextmanager
def opened(folder: Path, url: str = "") -> Generator[DocumentLibrary]:
    """A library on the database of a folder, or of a URL, as another process would open it."""
    folder.mkdir(exist_ok=True)
    with closing(Database(url or place_of(folder))) as database:
        yield DocumentLibrary(database, folder, {})
