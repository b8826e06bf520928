"""Splitters: LangChain's boundaries on any text, lines, and what cannot be."""

import re
from base64 import b64encode
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, get_args

import pytest
import tiktoken
from calls import context
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_text_splitters import CharacterTextSplitter, Language, RecursiveCharacterTextSplitter
from langchain_text_splitters.base import Tokenizer, split_text_on_tokens
from waiting import within

from headrace.engine.inputs import read
from headrace.errors import FlowError
from headrace.events import Document
from headrace.nodes import built_in
from headrace.retrieval import encodings, html_tree, splitters
from headrace.retrieval.encodings import EncodingName, encoding
from headrace.retrieval.languages import SEPARATORS
from headrace.retrieval.languages import Language as Ours
from headrace.retrieval.splitters import ChunkSplitter, by_characters, by_language, by_tokens, recursively

PROSE = st.text(alphabet="ab .,\n\té😀", max_size=300)
SIZES = st.integers(1, 60).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1)))


def markup(language: Ours) -> st.SearchStrategy[str]:
    """Texts that hold the language's own separators."""
    words = [re.sub(r"[+*\\]|\{1,6\}", "", separator) for separator in SEPARATORS[language] if separator]
    return st.lists(st.sampled_from([*words, "word", " ", "\n", "\n\n", "x" * 30]), max_size=40).map("".join)


@settings(deadline=None)
@given(PROSE, SIZES, st.sampled_from([["\n\n", "\n", " ", ""], [" "], [".", "a"], ["b", ""], ["", " "]]))
def test_recursive_chunks_are_langchains(text: str, sizes: tuple[int, int], separators: list[str]):
    size, overlap = sizes
    theirs = RecursiveCharacterTextSplitter(separators=separators, chunk_size=size, chunk_overlap=overlap)
    assert recursively([re.escape(one) for one in separators], size, overlap)(text) == theirs.split_text(text)


@settings(deadline=None)
@given(PROSE, SIZES, st.sampled_from(["\n\n", "\n", " ", "ab", "", "."]))
def test_character_chunks_are_langchains(text: str, sizes: tuple[int, int], separator: str):
    size, overlap = sizes
    theirs = CharacterTextSplitter(separator=separator, chunk_size=size, chunk_overlap=overlap)
    assert by_characters(separator, size, overlap)(text) == theirs.split_text(text)


@pytest.mark.parametrize("language", get_args(Ours))
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_code_chunks_are_langchains(language: Ours, data: st.DataObject):
    text, (size, overlap) = data.draw(markup(language)), data.draw(SIZES)
    theirs = RecursiveCharacterTextSplitter.from_language(Language(language), chunk_size=size, chunk_overlap=overlap)
    assert by_language(language, size, overlap)(text) == theirs.split_text(text)


@settings(deadline=None)
@given(st.text(max_size=80), SIZES)
def test_token_chunks_are_langchains(text: str, sizes: tuple[int, int]):
    size, overlap = sizes
    ranks = {bytes([n]): n for n in range(256)} | {b"th": 256, b"the": 257, b"\xc3\xa9": 258}
    encoding = tiktoken.Encoding("small", pat_str=r"\s?\S+|\s+", mergeable_ranks=ranks, special_tokens={})
    theirs = Tokenizer(overlap, size, encoding.decode, encoding.encode_ordinary)
    expected = split_text_on_tokens(text=text, tokenizer=theirs)
    assert by_tokens(encoding, size, overlap)(text) == expected


def built(name: str, environ: Mapping[str, str] | None = None, **inputs: Any) -> ChunkSplitter:
    """A splitter as a flow makes it."""

    ctx = context(environ=environ)
    splitter = within(read(built_in()[name], inputs, name).build(ctx))
    assert isinstance(splitter, ChunkSplitter)
    return splitter


def chunks(splitter: ChunkSplitter, text: str) -> list[str]:
    return [document.pageContent for document in splitter.split(Document(text))]


def test_defaults_are_flowises():
    text = "word " * 1000
    theirs = RecursiveCharacterTextSplitter(chunk_size=1000, chunk_overlap=200)
    assert chunks(built("recursiveCharacterTextSplitter"), text) == theirs.split_text(text)
    assert chunks(built("recursiveCharacterTextSplitter", chunkSize="", chunkOverlap=""), text) == theirs.split_text(
        text
    )


@pytest.mark.parametrize("zero", [0, "0"])
def test_an_overlap_of_zero_is_zero(zero: Any):
    splitter = built("recursiveCharacterTextSplitter", chunkSize=100, chunkOverlap=zero)
    assert chunks(splitter, "a" * 60 + "\n\n" + "b" * 60) == ["a" * 60, "b" * 60]


@pytest.mark.parametrize("name", [name for name in built_in() if name.endswith("TextSplitter")])
@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ({"chunkSize": 100}, r"chunkOverlap \(200\) must be smaller than its chunkSize \(100\)"),
        ({"chunkSize": 0, "chunkOverlap": 0}, "chunkSize is 0"),
        ({"chunkOverlap": -1}, "chunkOverlap is -1"),
    ],
)
def test_sizes_that_cannot_be_are_said(name: str, sizes: dict[str, Any], reason: str):
    language: dict[str, Any] = {"language": "python"} if name == "codeTextSplitter" else {}
    with pytest.raises(FlowError, match=reason):
        built(name, **sizes, **language)


def test_custom_separators_are_a_json_list():
    splitter = built("recursiveCharacterTextSplitter", chunkSize=5, chunkOverlap=0, separators='["|", ""]')
    assert chunks(splitter, "one|two|three") == ["one", "|two", "|thre", "e"]
    with pytest.raises(FlowError, match="write a JSON list"):
        built("recursiveCharacterTextSplitter", separators="| ##")


def test_a_separator_is_a_text_not_a_pattern():
    assert chunks(built("characterTextSplitter", separator=".*", chunkSize=3, chunkOverlap=0), "a.*b.*c") == [
        "a",
        "b",
        "c",
    ]


def test_chunks_know_their_lines_and_keep_what_was_known():
    splitter = built("recursiveCharacterTextSplitter", chunkSize=8, chunkOverlap=0)
    document = Document("\nfirst\n\nsecond\nthird\n\n\nfirst", {"source": "x", "loc": {"pageNumber": 3}})
    found = [(chunk.pageContent, chunk.metadata["loc"]["lines"]["from"]) for chunk in splitter.split(document)]
    assert found == [("first", 2), ("second", 4), ("third", 5), ("first", 8)]
    assert splitter.split(document)[0].metadata == {
        "source": "x",
        "loc": {"pageNumber": 3, "lines": {"from": 2, "to": 2}},
    }


def test_overlapping_chunks_know_their_lines():
    splitter = built("recursiveCharacterTextSplitter", chunkSize=8, chunkOverlap=4)
    text = "aaa\nbbb\nccc\nddd"
    for chunk in splitter.split(Document(text)):
        lines = chunk.metadata["loc"]["lines"]
        assert "\n".join(text.split("\n")[lines["from"] - 1 : lines["to"]]) == chunk.pageContent


def test_markdown_is_cut_at_headings():
    text = "# One\n\ntext\n\n## Two\n\nmore\n\n```\n# no heading\n```\n\n# Three\n\nend"
    assert chunks(built("markdownTextSplitter", chunkSize=16, chunkOverlap=0), text)[:2] == [
        "# One\n\ntext",
        "## Two\n\nmore",
    ]
    whole = built("markdownTextSplitter", splitByHeaders="h1")
    assert [chunk.partition("\n")[0] for chunk in chunks(whole, text)] == ["# One", "# Three"]
    finer = built("markdownTextSplitter", splitByHeaders="h2")
    assert [chunk.partition("\n")[0] for chunk in chunks(finer, text)] == ["# One", "## Two", "# Three"]


def test_html_becomes_markdown():
    html = "<html><script>no()</script><h1>Birds</h1><p>A <b>Heron</b>.</p><ul><li>one<li>two</ul></html>"
    (chunk,) = chunks(built("htmlToMarkdownTextSplitter"), html)
    assert "# Birds" in chunk
    assert "**Heron**" in chunk
    assert "no()" not in chunk


def test_quotes_inside_of_quotes_do_not_multiply_a_page():
    html = "<blockquote>The Wren\n" * 100 + "sings.\n" * 5_000
    with pytest.raises(FlowError, match="more than 4 times as long"):
        built("htmlToMarkdownTextSplitter").split(Document(html))


def test_a_page_that_takes_too_long_to_be_written_as_markdown_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(html_tree, "_SECONDS", 0.0)
    with pytest.raises(FlowError, match="takes more than 0 seconds"):
        built("htmlToMarkdownTextSplitter").split(Document("<p>The Wren.</p>"))


def test_chunks_that_are_not_in_the_text_are_not_looked_for_without_end(monkeypatch: pytest.MonkeyPatch):
    text = "\n\n".join(["one", "two", "", "three", "", "four", "five", "six"])
    splitter = ChunkSplitter("x", by_characters("\n\n", 12, 0))

    def lines() -> list[tuple[str, int]]:
        return [(one.pageContent, one.metadata["loc"]["lines"]["from"]) for one in splitter.split(Document(text))]

    assert lines() == [("one\n\ntwo", 1), ("three\n\nfour", 1), ("five\n\nsix", 13)]
    monkeypatch.setattr(splitters, "_SEARCHED", 10)
    assert lines() == [("one\n\ntwo", 1), ("three\n\nfour", 1), ("five\n\nsix", 1)]


def test_code_needs_a_known_language():
    assert chunks(
        built("codeTextSplitter", language="python", chunkSize=20, chunkOverlap=0), "x = 1\ndef f():\n    pass"
    )
    with pytest.raises(FlowError, match="language"):
        built("codeTextSplitter", language="klingon")
    with pytest.raises(FlowError, match="'language' is not set"):
        built("codeTextSplitter")


@pytest.fixture
def no_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the packages that carry tables."""
    monkeypatch.setattr(encodings, "find_spec", lambda name: find_spec(name) if name == "tiktoken" else None)


@pytest.mark.parametrize("name", get_args(EncodingName))
def test_tokens_are_counted_without_the_internet_as_tiktoken_counts_them(
    name: EncodingName, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
):
    text = (
        "It's 1234567 tokens,\n\n   naïve 漢字 𝔘 don't\tyou'LL     think?\r\n" + " " * 40 + "def f(x):\n    return x\n"
    )
    ours = encoding(name, {})
    ranks = b"".join(b64encode(token) + b" %d\n" % rank for token, rank in ours._mergeable_ranks.items())
    (tmp_path / encodings._key(ours.name)).write_bytes(ranks)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    theirs = tiktoken.get_encoding(ours.name)  # checks the hash of what it reads
    assert ours.encode_ordinary(text) == theirs.encode_ordinary(text)
    assert ours._pat_str == theirs._pat_str


def test_a_chunk_has_as_many_tokens_as_the_splitter_says():
    made = built("tokenTextSplitter", encodingName="cl100k_base", chunkSize=5, chunkOverlap=0)
    assert chunks(made, "The gate of the mill is open all day long.") == [
        "The gate of the mill",
        " is open all day long",
        ".",
    ]


@pytest.mark.usefixtures("no_tables")
@pytest.mark.parametrize("name", get_args(EncodingName))
def test_a_missing_table_of_tokens_says_what_to_put_where(name: str, tmp_path: Any):
    environs: list[dict[str, str]] = [{}, {"TIKTOKEN_CACHE_DIR": str(tmp_path)}]
    for environ in environs:
        with pytest.raises(FlowError, match=r"\[tokens\].* as '[0-9a-f]{40}'.*TIKTOKEN_CACHE_DIR"):
            built("tokenTextSplitter", environ, encodingName=name)


@pytest.mark.usefixtures("no_tables")
def test_a_damaged_table_of_tokens_is_not_downloaded_anew(tmp_path: Any):
    key = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"  # what tiktoken calls the table of cl100k_base
    (tmp_path / key).write_bytes(b"damaged")
    with pytest.raises(FlowError, match=key):
        built("tokenTextSplitter", {"TIKTOKEN_CACHE_DIR": str(tmp_path)}, encodingName="cl100k_base")
    assert (tmp_path / key).read_bytes() == b"damaged"
