"""Measures retrieval: what is found for questions about the project's own docs, and how fast in a large collection.

    python benchmarks/retrieval.py [--chunks 100000] [--quality-only | --speed-only]

Quality needs no model: without one, vectors are hashed pieces of words, which is hardly more than another lexical
search; with the packages that `minilm.py` names they are a real model's. Speed uses vectors and texts made up here.
"""

import argparse
import asyncio
import random
import re
import sys
import tempfile
import time
from array import array
from collections.abc import AsyncGenerator, Sequence
from contextlib import closing
from itertools import accumulate
from pathlib import Path
from statistics import mean, median
from zlib import crc32

import minilm
import numpy as np

from headrace.engine.ports import Embeddings, Search, SearchMode
from headrace.events import Document
from headrace.gen import ROOT, prose
from headrace.retrieval.collection import Collection
from headrace.retrieval.library import Library
from headrace.retrieval.splitters import ChunkSplitter, by_language
from headrace.retrieval.upsert import Upsert
from headrace.store.database import Database

QUESTIONS = Path(__file__).with_suffix("").with_name("retrieval_questions.tsv")
LEFT_OUT = ("performance.md",)  # measured anew, and it holds this benchmark's own words
DIMENSIONS = 384


class Pieces:
    """Embeds a text as the counts of its words and their pieces of four letters, hashed."""

    name: str

    def __init__(self) -> None:
        self.name = "hashed pieces"

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        return [self.vector(text) for text in texts]

    def vector(self, text: str) -> list[float]:
        found = np.zeros(DIMENSIONS, np.float32)
        for word in re.findall(r"\w+", text.lower()):
            padded = f" {word} "
            for piece in {padded, *(padded[n : n + 4] for n in range(len(padded) - 3))}:
                found[crc32(piece.encode()) % DIMENSIONS] += 1
        found = np.log1p(found)
        return (found / max(float(np.linalg.norm(found)), 1e-9)).tolist()


class MadeUp:
    """Gives the next of some random vectors, as fast as it can."""

    name: str

    def __init__(self) -> None:
        self.name = "made up"
        self.numbers = np.random.default_rng(1)

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        rows = self.numbers.standard_normal((len(texts), DIMENSIONS), np.float32)
        return [array("f", row.tobytes()) for row in rows]


def passages() -> list[Document]:
    """The chunks of the docs."""
    splitter = ChunkSplitter("docs", by_language("markdown", 800, 100))
    pages = [path for path in sorted((ROOT / "docs").glob("*.md")) if path.name not in LEFT_OUT]
    documents = [Document(prose(path.read_text()), {"source": path.name}) for path in [ROOT / "README.md", *pages]]
    return [chunk for document in documents for chunk in splitter.split(document)]


def questions(chunks: Sequence[Document]) -> list[tuple[str, str, str]]:
    """Page, question, and the words that only an answering passage has."""
    rows = [line.split("\t") for line in QUESTIONS.read_text().splitlines()]
    found = [(page, question, answer) for page, question, answer in rows]
    lost = [q for page, q, answer in found if not any(answers(chunk, page, answer) for chunk in chunks)]
    if lost:
        sys.exit(f"no passage answers these any more, so the docs have changed: {lost}")
    return found


def answers(chunk: Document, page: str, words: str) -> bool:
    return chunk.metadata["source"] == page and words in chunk.pageContent


async def quality(library: Library) -> None:
    chunks = passages()
    asked = questions(chunks)
    print(
        f"\n{len(asked)} questions, {len(chunks)} passages\n\n| vectors | search | recall@5 | MRR |\n|---|---|---|---|"
    )
    models: list[Embeddings | None] = [None, Pieces(), *([minilm.MiniLM()] if minilm.available() else [])]
    for model in models:
        collection = library.collection(f"docs {model.name if model else ''}", model)
        await collection.add(chunks)
        modes: list[SearchMode] = ["similarity", "hybrid"] if model else ["lexical"]
        for mode in modes:
            ranks = [await rank(collection, mode, *one) for one in asked]
            recall = mean(place <= 5 for place in ranks)
            reciprocal = mean(1 / place for place in ranks)
            print(f"| {model.name if model else 'none'} | {mode} | {recall:.2f} | {reciprocal:.2f} |")


async def rank(collection: Collection, mode: SearchMode, page: str, question: str, words: str) -> float:
    """The place of the first passage that answers; infinite when none of the first fifty does."""
    hits = await collection.search(Search(text=question, k=50, mode=mode))
    places = [place for place, hit in enumerate(hits, 1) if answers(hit.document, page, words)]
    return places[0] if places else float("inf")


async def speed(library: Library, count: int) -> None:
    numbers = random.Random(1)
    words = [f"word{n}" for n in range(30_000)]
    weights = list(accumulate(1 / (n + 1) for n in range(len(words))))  # as in a language: few words, often

    own = 0.0  # seconds that making texts took

    async def documents() -> AsyncGenerator[Document]:
        nonlocal own
        for n in range(count):
            begun = time.perf_counter()
            text = " ".join(numbers.choices(words, cum_weights=weights, k=60))
            own += time.perf_counter() - begun
            yield Document(text, {"source": f"{n // 100}"})

    collection = library.collection("large", MadeUp())
    begun = time.perf_counter()
    await Upsert(collection).run(documents())
    ingest = count / (time.perf_counter() - begun - own)
    print(f"\n{count} passages of 60 words, {DIMENSIONS} dimensions\n\n| what | measured |\n|---|---|")
    print(f"| upsert with vectors given | {ingest:,.0f} passages/s |")
    begun = time.perf_counter()
    await ask(collection, "hybrid", numbers.choices(words, cum_weights=weights, k=8))
    print(f"| first search, which writes the matrix | {time.perf_counter() - begun:.1f} s |")
    modes: list[SearchMode] = ["lexical", "similarity", "hybrid"]
    for mode in modes:
        times = [await ask(collection, mode, numbers.choices(words, cum_weights=weights, k=8)) for _ in range(200)]
        times.sort()
        print(f"| top 10, {mode}, median and 99th percentile | {median(times):.1f} ms, {times[197]:.1f} ms |")


async def ask(collection: Collection, mode: SearchMode, words: Sequence[str]) -> float:
    begun = time.perf_counter()
    await collection.search(Search(text=" ".join(words), k=10, mode=mode))
    return (time.perf_counter() - begun) * 1000


def peak() -> int:
    """The most memory that this process had, mapped files included, in MiB."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--quality-only", action="store_true")
    parser.add_argument("--speed-only", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, closing(Database(Path(name) / "headrace.sqlite")) as database:
        library = Library(database, Path(name))
        if not arguments.quality_only:  # first, so that its memory is its own
            before = peak()
            asyncio.run(speed(library, arguments.chunks))
            print(f"| memory of the process at its most, and before | {peak()} MiB, {before} MiB |")
        if not arguments.speed_only:
            asyncio.run(quality(library))


if __name__ == "__main__":
    main()
