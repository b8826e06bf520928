"""Documents out of CSV, JSON and JSON lines: one a row, value or line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import msgspec

from headrace.errors import FlowError
from headrace.events import Document
from headrace.retrieval.text_decoding import decoded

_JSON_MOST = 64 << 20  # bytes: a JSON file can only be read whole
_MISSING: Any = object()


def csv_documents(file: BinaryIO, name: str, column: str = "") -> Iterator[Document]:
    """One a row: `column: value` lines, or one column alone. Raises FlowError."""
    with decoded(file) as lines:
        rows = csv.DictReader(lines, restkey="")
        try:
            if column and column not in (rows.fieldnames or ()):
                raise FlowError(f"it has no column {column!r}, only {', '.join(map(repr, rows.fieldnames or ()))}")
            for number, row in enumerate(rows, 1):
                text = row[column] if column else "\n".join(f"{key}: {value}" for key, value in row.items() if key)
                if text and text.strip():
                    yield Document(text, {"source": name, "line": number})
        except csv.Error as error:
            raise FlowError(f"it is no CSV after line {rows.line_num}: {error}") from None


def json_documents(
    file: BinaryIO, name: str, pointers: Sequence[str] = (), *, by_object: bool = False
) -> Iterator[Document]:
    """One a text in the file, or only those under the pointers; or one an object of its list. Raises FlowError."""
    data = file.read(_JSON_MOST + 1)
    if len(data) > _JSON_MOST:
        raise FlowError(f"it is larger than {_JSON_MOST >> 20} MiB: save it as JSON lines, which are read line by line")
    if not data.strip():
        return
    try:
        value = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FlowError(f"it is no JSON: {error}") from None
    if by_object:
        found = [_lines_of(item) for item in (value if isinstance(value, list) else [value])]
    else:
        found = [text for pointer in pointers or ("",) for text in _texts(_at(value, pointer, everywhere=True))]
    for number, text in enumerate(found, 1):
        if text.strip():
            yield Document(text, {"source": name, "line": number})


def jsonl_documents(file: BinaryIO, name: str, pointer: str) -> Iterator[Document]:
    """One a line: what the pointer finds in it. Raises FlowError."""
    number = 0
    with decoded(file) as lines:
        try:
            for number, line in enumerate(lines, 1):
                if line.strip() and (value := _at(msgspec.json.decode(line), pointer)) is not _MISSING:
                    found = value if isinstance(value, str) else msgspec.json.encode(value).decode()
                    if found.strip():
                        yield Document(found, {"source": name, "line": number})
        except (msgspec.DecodeError, RecursionError) as error:
            raise FlowError(f"line {number} is no JSON: {error}") from None


def _at(value: Any, pointer: str, *, everywhere: bool = False) -> Any:
    """The values at a JSON pointer; `everywhere` looks into each item of the lists on its way."""
    for number, key in enumerate(keys := [key for key in pointer.strip().split("/") if key]):
        key = key.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(key, _MISSING)
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, list) and everywhere:
            rest = "/".join(keys[number:])
            return [found for item in value if (found := _at(item, rest, everywhere=True)) is not _MISSING]
        else:
            return _MISSING
    return value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _lines_of(item: Any) -> str:
    if not isinstance(item, dict):
        return item if isinstance(item, str) else msgspec.json.encode(item).decode()
    texts = {
        key: value if isinstance(value, str) else msgspec.json.encode(value).decode() for key, value in item.items()
    }
    return "\n".join(f"{key}: {value}" for key, value in texts.items())
