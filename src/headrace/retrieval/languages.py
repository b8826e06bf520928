"""Regular expressions for the places where source code and markup may be cut, best place first, by language.

The places are LangChain's, so that chunks end where its users know them to end; a test compares the two.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

Language: TypeAlias = Literal[
    "c", "cobol", "cpp", "csharp", "elixir", "go", "haskell", "html", "java", "js", "kotlin", "latex", "lua",
    "markdown", "php", "powershell", "proto", "python", "rst", "ruby", "rust", "scala", "sol", "swift", "ts",
]  # fmt: skip

_TEXT: Final = ("\n\n", "\n", " ", "")


def _lines(words: str) -> tuple[str, ...]:
    """Lines that begin with one of the words, then what divides any text."""
    return (*(f"\n{word} " for word in words.split()), *_TEXT)


_C = _lines("class void int float double if for while switch case")

SEPARATORS: Final[dict[Language, tuple[str, ...]]] = {
    "c": _C,
    "cpp": _C,
    "go": _lines("func var const type if for switch case"),
    "java": _lines("class public protected private static if for while switch case"),
    "kotlin": _lines("class public protected private internal companion fun val var if for while when else"),
    "js": _lines("function const let var class if for while switch case default"),
    "ts": _lines("enum interface namespace type class function const let var if for while switch case default"),
    "php": _lines("function class if foreach while do switch case"),
    "proto": _lines("message service enum option import syntax"),
    "python": ("\nclass ", "\ndef ", "\n\tdef ", *_TEXT),
    "rst": ("\n=+\n", "\n-+\n", "\n\\*+\n", "\n\n.. *\n\n", *_TEXT),
    "ruby": _lines("def class if unless while for do begin rescue"),
    "rust": _lines("fn const let if while for loop match"),
    "scala": _lines("class object def val var if for while match case"),
    "swift": _lines("func class struct enum if for while do switch case"),
    "csharp": _lines(
        "interface enum delegate event class abstract public protected private static return if continue for foreach "
        "while switch break case else try throw finally catch"
    ),
    "lua": _lines("local function if for while repeat"),
    "elixir": _lines("def defp defmodule defprotocol defmacro defmacrop if unless case cond with for do"),
    "powershell": _lines("function param if foreach for while switch class try catch finally"),
    "sol": (
        *_lines("pragma using contract interface library constructor type function event modifier error struct enum")[
            :-4
        ],
        *_lines("if for while")[:-4],
        "\ndo while ",
        *_lines("assembly"),
    ),
    "haskell": (
        *("\nmain :: ", "\nmain = ", "\nlet ", "\nin ", "\ndo ", "\nwhere ", "\n:: ", "\n= "),
        *("\ndata ", "\nnewtype ", "\ntype ", "\nmodule ", "\nimport ", "\nqualified ", "\nimport qualified "),
        *("\nclass ", "\ninstance ", "\ncase ", "\n| ", "\n= {", "\n, "),
        *_TEXT,
    ),
    "cobol": (
        *(f"\n{name} DIVISION." for name in ("IDENTIFICATION", "ENVIRONMENT", "DATA", "PROCEDURE")),
        *(f"\n{name} SECTION." for name in ("WORKING-STORAGE", "LINKAGE", "FILE", "INPUT-OUTPUT")),
        *_lines("OPEN CLOSE READ WRITE IF ELSE MOVE PERFORM UNTIL VARYING ACCEPT DISPLAY")[:-4],
        *("\nSTOP RUN.", "\n", " ", ""),
    ),
    "markdown": ("\n#{1,6} ", "```\n", "\n\\*\\*\\*+\n", "\n---+\n", "\n___+\n", *_TEXT),
    "latex": (
        *(f"\n\\\\{name}{{" for name in ("chapter", "section", "subsection", "subsubsection")),
        *(f"\n\\\\begin{{{name}}}" for name in ("enumerate", "itemize", "description", "list")),
        *(f"\n\\\\begin{{{name}}}" for name in ("quote", "quotation", "verse", "verbatim", "align")),
        *("$$", "$", " ", ""),
    ),
    "html": (
        *(f"<{name}" for name in "body div p br li h1 h2 h3 h4 h5 h6 span table tr td th ul ol".split()),
        *(f"<{name}" for name in "header footer nav head style script meta title".split()),
        "",
    ),
}
