"""Measures retrieval: what is found for questions about the project's own docs, and how fast in a large collection.

    python benchmarks/retrieval.py [--chunks 100000] [--quality-only | --speed-only]

Quality needs no model: without one, vectors are the built-in hashed words; with the packages that `minilm.py` names
they are a real model's too. The answers are those of the example flow
"Ask the docs". Speed uses vectors and texts made up here.

A line of a file of questions is a page, a question, and the beginnings of all sentences that answer it.
"""

import argparse
import asyncio
import io
import random
import sys
import tempfile
import time
from array import array
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, closing
from itertools import accumulate
from pathlib import Path
from statistics import mean, median
from typing import NamedTuple

import minilm
import numpy as np

from headrace.assembly import opened
from headrace.engine.ports import Embeddings, Search, SearchMode
from headrace.events import Document, fold
from headrace.exports import read_export
from headrace.gen import ROOT
from headrace.providers.extractive import read
from headrace.providers.hashed import HashedEmbeddings
from headrace.retrieval.embedded.collection import Collection, Upsert
from headrace.retrieval.library import Library
from headrace.retrieval.manual import pages, sections
from headrace.retrieval.splitters import ChunkSplitter, by_language
from headrace.runtime.local import Local
from headrace.schema import PredictionRequest
from headrace.settings import Settings
from headrace.storage.database import Database

QUESTIONS = {
    "the model's weights were chosen with these": "retrieval_questions.tsv",
    "only their sum was looked at while choosing": "retrieval_questions_held_out.tsv",
    "written when the model was done": "retrieval_questions_fresh.tsv",
}
EXAMPLE = ROOT / "src/headrace/examples/ask-the-docs.json"
DIMENSIONS = 384


class MadeUp:
    """Gives the next of some random vectors, as fast as it can."""

    name: str

    def __init__(self) -> None:
        self.name = "made up"
        self.numbers = np.random.default_rng(1)

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        rows = self.numbers.standard_normal((len(texts), DIMENSIONS), np.float32)
        return [array("f", row.tobytes()) for row in rows]


class Question(NamedTuple):
    page: str
    text: str
    answers: Sequence[str]

    def answered_by(self, text: str) -> bool:
        """True when a text holds one of the sentences that answer."""
        return any(answer in flat(text) for answer in self.answers)


def flat(text: str) -> str:
    return " ".join(text.split())


def passages() -> list[Document]:
    """What the example flow searches."""
    splitter = ChunkSplitter("docs", by_language("markdown", 3000, 0))
    found = [section for page in pages() for section in sections(io.BytesIO(page.open().read()), page.name)]
    return [chunk for section in found for chunk in splitter.split(section)]


def questions(name: str, chunks: Sequence[Document]) -> list[Question]:
    rows = [line.split("\t") for line in Path(__file__).with_name(name).read_text().splitlines()]
    found = [Question(page, text, answers) for page, text, *answers in rows]
    whole = flat("\n".join([*(s.text for c in chunks for s in read(c.pageContent)), *(c.pageContent for c in chunks)]))
    if lost := [(one.text, one.answers) for one in found if not one.answered_by(whole)]:
        sys.exit(f"the docs have changed, and these are not answered any more: {lost}")
    return found


async def quality(library: Library, folder: Path) -> None:
    chunks = passages()
    asked = {about: questions(name, chunks) for about, name in QUESTIONS.items()}
    everything = [question for part in asked.values() for question in part]
    print(f"\n{len(everything)} questions, {len(chunks)} passages\n")
    print("| vectors | search | recall@5 | recall@12 | MRR |\n|---|---|---|---|---|")
    models: list[Embeddings | None] = [None, HashedEmbeddings(), *([minilm.MiniLM()] if minilm.available() else [])]
    for model in models:
        collection = library.collection(f"docs {model.name if model else ''}", model)
        await collection.add(chunks)
        modes: list[SearchMode] = ["similarity", "hybrid"] if model else ["lexical"]
        for mode in modes:
            ranks = [await rank(collection, mode, one) for one in everything]
            shares = [mean(place <= most for place in ranks) for most in (5, 12)]
            cells = [*shares, mean(1 / place for place in ranks)]
            name = model.name.partition(" 5")[0] if model else "none"
            print(f"| {name} | {mode} | {' | '.join(f'{cell:.2f}' for cell in cells)} |")
    print("\n| questions | number | answered by a quoted sentence | characters of an answer |\n|---|---|---|---|")
    async with opened(Settings(data_dir=str(folder / "flow"))) as here, here.working(heartbeat=15, grace=0):
        (row,) = read_export(EXAMPLE).flows
        flow = (await here.storage.add_flow(row)).id
        for about, part in [*asked.items(), ("all", everything)]:
            answers = [await answer(here, flow, question.text) for question in part]
            right = [question.answered_by(text) for question, text in zip(part, answers, strict=True)]
            print(f"| {about} | {len(part)} | {mean(right):.0%} | {mean(map(len, answers)):.0f} |")


async def answer(here: Local, flow: str, question: str) -> str:
    """What the example flow says."""
    run = await here.runs.start(await here.flows.get(flow), PredictionRequest(question=question), streaming=True)
    async with aclosing(here.runs.follow(run)) as batches:
        return fold([entry.event async for entries in batches for entry in entries]).text or ""


async def rank(collection: Collection, mode: SearchMode, question: Question) -> float:
    """The place of the first passage that answers; infinite when none of the first fifty does."""
    hits = await collection.search(Search(text=question.text, k=50, mode=mode))
    places = [place for place, hit in enumerate(hits, 1) if question.answered_by(hit.document.pageContent)]
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
            asyncio.run(quality(library, Path(name)))


if __name__ == "__main__":
    main()
