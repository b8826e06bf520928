"""Reads multipart forms: their fields, and their files as data URIs under the inputs that loaders have for them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import msgspec
from litestar import Request

# Another package, `python-multipart`, brings a namesake that hands over to this one and hides its types.
from multipart import (
    MultipartError,  # pyright: ignore[reportAttributeAccessIssue]
    MultipartSegment,  # pyright: ignore[reportAttributeAccessIssue]
    PushMultipartParser,  # pyright: ignore[reportAttributeAccessIssue]
    parse_options_header,  # pyright: ignore[reportAttributeAccessIssue]
)

from headrace.errors import InvalidRequest
from headrace.retrieval.files import to_base64
from headrace.retrieval.folder import TEXTS
from headrace.surrogates import all_whole, decoded

_MOST_PARTS = 1000
_INPUTS = {
    ".pdf": "pdfFile",
    ".json": "jsonFile",
    ".csv": "csvFile",
    ".xls": "csvFile",
    ".xlsx": "csvFile",
    ".jsonl": "jsonlinesFile",
    ".doc": "docxFile",
    ".docx": "docxFile",
    ".yaml": "yamlFile",
    ".yml": "yamlFile",
}
_ENDINGS = {
    "txtFile": sorted(TEXTS),
    "pdfFile": [".pdf"],
    "docxFile": [".docx"],
    "csvFile": [".csv"],
    "jsonFile": [".json"],
    "jsonlinesFile": [".jsonl"],
}
_TEXTS = ("text/", "application/json", "application/x-", "application/yaml", "application/xml", "application/jsonl")
_MIMES: dict[str, tuple[str, ...]] = {
    ".pdf": ("application/pdf",),
    ".json": _TEXTS,
    ".jsonl": _TEXTS,
    ".csv": (*_TEXTS, "application/vnd.ms-excel"),
    ".doc": ("application/msword",),
    ".docx": ("application/vnd.openxmlformats-officedocument.wordprocessingml.document",),
    ".xls": ("application/vnd.ms-excel",),
    ".xlsx": ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",),
    ".png": ("image/png",),
    ".jpg": ("image/jpeg", "image/jpg"),
    ".jpeg": ("image/jpeg", "image/jpg"),
    ".gif": ("image/gif",),
    ".webp": ("image/webp",),
    ".svg": ("image/svg+xml",),
    ".webm": ("audio/webm", "video/webm"),
    ".mp3": ("audio/mpeg", "audio/mp3"),
    ".mp4": ("audio/mp4", "video/mp4"),
    ".m4a": ("audio/mp4", "audio/x-m4a", "audio/m4a"),
    ".ogg": ("audio/ogg", "application/ogg"),
    ".wav": ("audio/wav", "audio/x-wav", "audio/wave"),
}


class FormFile(NamedTuple):
    """An uploaded file. The name has no folders in it."""

    name: str
    mime: str
    content: bytes

    @property
    def uri(self) -> str:
        """The file as flows hold files. Blocking."""
        return to_base64(self.content, f"data:{self.mime};base64,", f",filename:{self.name}")

    @property
    def input(self) -> str:
        """The input of the loader for files with this ending."""
        return _INPUTS.get(PurePosixPath(self.name).suffix.lower(), "txtFile")


class Form(NamedTuple):
    """A form: its last value of each name, and its files."""

    fields: dict[str, str]
    files: list[FormFile]

    @property
    def values(self) -> dict[str, str]:
        """The files as values of loaders' inputs; File Loader's `file` takes all of them. Blocking."""
        found: dict[str, list[str]] = {}
        for file in self.files:
            uri = file.uri
            for name in (file.input, "file"):
                found.setdefault(name, []).append(uri)
        return {name: _together(uris) for name, uris in found.items()}

    def overrides(self, own: Collection[str]) -> dict[str, Any]:
        """The form's overrides: `overrideConfig`, every field that is not the request's own, and the files.

        Blocking. Raises InvalidRequest.
        """
        given = json_field(self.fields, "overrideConfig") or {}
        if not isinstance(given, dict):
            raise InvalidRequest("the form's field 'overrideConfig' must be a JSON object")
        flat: dict[str, Any] = {name: value for name, value in self.fields.items() if name not in own}
        if "vars" in flat:
            flat["vars"] = json_field(self.fields, "vars")
        return {**given, **flat, **self.values}

    @property
    def inputs(self) -> Mapping[str, Sequence[str]]:
        """For each file's name the inputs that could take it."""
        return {file.name: (file.input, "file") for file in self.files}


def _together(uris: list[str]) -> str:
    return uris[0] if len(uris) == 1 else msgspec.json.encode(uris).decode()  # one large file is not copied again


def is_form(request: Request[Any, Any, Any]) -> bool:
    """True for a multipart form."""
    return parse_options_header(request.headers.get("content-type", ""))[0] == "multipart/form-data"


async def read_form(request: Request[Any, Any, Any]) -> Form:
    """The form, as large as the server takes bodies. Raises InvalidRequest."""
    boundary = parse_options_header(request.headers.get("content-type", ""))[1].get("boundary")
    if not boundary:
        raise InvalidRequest("the form has no boundary in its Content-Type: let your HTTP library write that header")
    form, part, content = Form({}, []), None, bytearray()
    try:
        with PushMultipartParser(boundary, max_segment_count=_MOST_PARTS, strict=True) as parser:
            async for piece in request.stream():
                for event in parser.parse(piece) if piece else ():
                    if isinstance(event, MultipartSegment):
                        part, content = event, bytearray()
                    elif event:
                        content += event
                    elif part:
                        _add(form, part, bytes(content))
    except MultipartError as error:
        raise InvalidRequest(f"the form cannot be read: {error}") from None
    return form


def _add(form: Form, part: Any, content: bytes) -> None:
    if part.filename is None:
        if part.name == "files":
            raise InvalidRequest("the form's part 'files' is no file: send it with a file name")
        try:
            form.fields[part.name or ""] = content.decode()
        except UnicodeDecodeError:
            raise InvalidRequest(f"the form's field {part.name!r} is not UTF-8") from None
    else:
        name = safe_name(part.filename)
        mime = part.content_type or "application/octet-stream"
        check_mime(name, mime)
        form.files.append(FormFile(name, mime, content))


def safe_name(name: str) -> str:
    """The name of an uploaded file, without folders. Raises InvalidRequest for one that names no file."""
    last = name.replace("\\", "/").rpartition("/")[2].strip()
    if last in ("", ".", "..") or any(ord(sign) < 32 for sign in last) or len(last.encode()) > 200:
        raise InvalidRequest(f"{name[:80]!r} is not the name of a file: use up to 200 bytes without control characters")
    return last


def endings_for(inputs: Collection[str]) -> list[str]:
    """Endings of the files that these inputs take, as the chat widget compares them."""
    if "file" in inputs:
        return ["*"]
    return [ending for name, endings in _ENDINGS.items() if name in inputs for ending in endings]


def check_mime(name: str, mime: str) -> None:
    """Refuses a file whose ending says something else than its type. Raises InvalidRequest."""
    kind = mime.partition(";")[0].strip().lower()
    ending = PurePosixPath(name).suffix.lower()
    wanted = _MIMES.get(ending, _TEXTS)
    if kind not in ("", "application/octet-stream") and not kind.startswith(wanted):
        raise InvalidRequest(f"the file {name!r} has the ending {ending!r} and the type {kind!r}: make them agree")


def json_field(fields: Mapping[str, str], name: str) -> Any:
    """A field's JSON value, None without one. Raises InvalidRequest."""
    if not fields.get(name):
        return None
    try:
        return msgspec.json.decode(fields[name])
    except msgspec.DecodeError as error:
        with suppress(ValueError, RecursionError):  # half of a character, as JavaScript cuts texts
            return all_whole(decoded(fields[name]))
        raise InvalidRequest(f"the form's field {name!r} is not valid JSON: {error}") from None
