"""The words of all chunks: SQLite's FTS5, or a `tsvector` for each chunk in PostgreSQL. Both stem by Porter's rules.

FTS5 keeps itself whole by triggers and ranks by BM25. PostgreSQL is given words without accents, and BM25 is calculated
in the statement: its own ranking does not know how rare a word is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import log
from unicodedata import category, normalize

from sqlalchemy import Connection

from headrace.retrieval.embedded.filters import Condition
from headrace.storage.dialect import execute

_RANKED = {"sqlite": 10_000, "postgresql": 2_000}
"""Chunks that one search ranks at most, unless a single word is in more: 0.7 µs each in SQLite, more in PostgreSQL."""
_WORD = re.compile(r"[^\W_]+")
_LONGEST = 400_000
"""Characters of a chunk whose words are looked at in PostgreSQL; a `tsvector` has a megabyte at most."""
_ADD = (
    "INSERT INTO chunk_text (id, words, length) SELECT ?, words, "
    "(SELECT coalesce(sum(cardinality(positions)), 0) FROM unnest(words) AS one(word, positions, weights)) "
    "FROM to_tsvector('headrace_words', ?) AS words"
)
_COUNT = {
    "sqlite": "SELECT count(*) FROM "
    "(SELECT 1 FROM chunk_text WHERE chunk_text MATCH ? AND rowid BETWEEN ? AND ? LIMIT ?)",
    "postgresql": "SELECT count(*) FROM "
    "(SELECT 1 FROM chunk_text WHERE words @@ CAST(? AS tsquery) AND id BETWEEN ? AND ? LIMIT ?)",
}
_STEMS = "SELECT DISTINCT unnest(tsvector_to_array(to_tsvector('headrace_words', ?)))"
_TOTALS = "SELECT count(*), coalesce(avg(length), 1)::float8 FROM chunk_text WHERE id BETWEEN ? AND ?"
_K, _B = 1.2, 0.75  # as in FTS5
_BM25 = f"sum(wanted.rarity * tf * {_K + 1} / (tf + {_K} * (1 - {_B} + {_B} * chunk_text.length / ?)))"


def add(c: Connection, texts: Sequence[tuple[int, str]]) -> None:
    """Keeps the words of new chunks, by id. FTS5 has them already."""
    if c.dialect.name == "postgresql":
        execute(c, _ADD, [(number, words_of(text)) for number, text in texts])


def words_of(text: str) -> str:
    """A text's words in small letters and without accents, with a space between two."""
    letters = normalize("NFKD", text[:_LONGEST].lower())
    return " ".join(_WORD.findall("".join(one for one in letters if category(one) != "Mn")))


def ranked(
    c: Connection, ids: tuple[int, int], words: Sequence[str], where: Condition | None, most: int
) -> list[tuple[int, float]]:
    """Ids and BM25 (higher is better) of the chunks in a range of ids that hold any of the words, best first.

    Words must be quoted for FTS5. Of many words the rarest decide: those that most chunks hold say little, and
    ranking by them takes longest.
    """
    on_postgresql = c.dialect.name == "postgresql"
    if on_postgresql:
        found = execute(c, _STEMS, (words_of(" ".join(words)),))
        words = [f"'{stem}'" for (stem,) in found]
    chosen = _rarest(c, ids, words)
    if not chosen:
        return []
    return _by_stems(c, ids, chosen, where, most) if on_postgresql else _by_words(c, ids, list(chosen), where, most)


def _rarest(c: Connection, ids: tuple[int, int], words: Sequence[str]) -> dict[str, int]:
    """The rarest words, each with the number of chunks that hold it, as far as that was counted."""
    limit, statement = _RANKED[c.dialect.name], _COUNT[c.dialect.name]
    # Counting costs a third of ranking, and words that are in more are all alike here.
    counts = [(execute(c, statement, (word, *ids, limit + 1)).scalar_one(), word) for word in words]
    chosen: dict[str, int] = {}
    total = 0
    for found, word in sorted(item for item in counts if item[0]):
        total += found
        if chosen and total > limit:
            break
        chosen[word] = found
    return chosen


def _by_words(
    c: Connection, ids: tuple[int, int], words: Sequence[str], where: Condition | None, most: int
) -> list[tuple[int, float]]:
    joined = "" if where is None else "JOIN chunk ON chunk.id = chunk_text.rowid"
    statement = (
        f"SELECT chunk_text.rowid, -bm25(chunk_text) FROM chunk_text {joined} WHERE chunk_text MATCH ? "
        f"AND chunk_text.rowid BETWEEN ? AND ? AND ({'true' if where is None else where.sql}) ORDER BY rank LIMIT ?"
    )
    values = (" OR ".join(words), *ids, *(where.values if where else ()), most)
    return [(found, score) for found, score in execute(c, statement, values)]


def _by_stems(
    c: Connection, ids: tuple[int, int], counts: dict[str, int], where: Condition | None, most: int
) -> list[tuple[int, float]]:
    total, length = execute(c, _TOTALS, ids).one()
    rarities = [max(log((total - count + 0.5) / (count + 0.5)), 1e-6) for count in counts.values()]
    joined = "" if where is None else "JOIN chunk ON chunk.id = chunk_text.id"
    statement = (
        f"SELECT chunk_text.id, {_BM25} AS score FROM chunk_text {joined}, unnest(chunk_text.words) "
        "AS word(lexeme, positions, weights), cardinality(word.positions) AS tf, "
        "unnest(CAST(? AS text[]), CAST(? AS float8[])) AS wanted(lexeme, rarity) "
        "WHERE wanted.lexeme = word.lexeme AND chunk_text.words @@ CAST(? AS tsquery) "
        f"AND chunk_text.id BETWEEN ? AND ? AND ({'true' if where is None else where.sql}) "
        "GROUP BY chunk_text.id ORDER BY score DESC, chunk_text.id LIMIT ?"
    )
    stems = [quoted.strip("'") for quoted in counts]
    values = (length, stems, rarities, " | ".join(counts), *ids, *(where.values if where else ()), most)
    return [(found, float(score)) for found, score in execute(c, statement, values)]
