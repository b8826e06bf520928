"""Reads flows out of files: an exported flow, a stored row, or a full `ExportData.json`. Executes nothing."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Any

import msgspec

from headrace.documents.chunks import StoredChunk
from headrace.documents.exports import document_chunk, document_store
from headrace.documents.stores import StoreRow
from headrace.engine.complaints import complaint
from headrace.engine.flow_file import read_flow
from headrace.errors import InvalidRequest
from headrace.schema import CustomTool, FlowFile, FlowRow, Variable, is_id

SECTIONS = {
    "ChatFlow": "CHATFLOW",
    "AgentFlow": "MULTIAGENT",
    "AgentFlowV2": "AGENTFLOW",
    "AssistantFlow": "ASSISTANT",
}
"""The sections of an export that hold flows, and the type that theirs have."""
_GRAPH_AGENTS = ("Multi Agents", "Sequential Agents")


_SETTINGS = ("apikeyid", "apiConfig", "chatbotConfig", "isPublic")
_TEXTS = (
    "chatbotConfig",
    "apiConfig",
    "analytic",
    "speechToText",
    "textToSpeech",
    "followUpPrompts",
    "mcpServerConfig",
)
_UNUSED = {
    "analytic": "tracing with other services",
    "speechToText": "speech to text",
    "textToSpeech": "text to speech",
    "mcpServerConfig": "its MCP server",
}
_SWITCHES = ("status", "enabled")
_GZIP = b"\x1f\x8b"
BARE = (
    "the export has no settings of flows (Flowise's page leaves them out): flows that asked for an API key, "
    "limited requests or named allowed sites there do none of it here until you set it again"
)


class Export(msgspec.Struct):
    """The content of an export file.

    `skipped` counts the entries of each section that is not taken over; `notes` say what else stays behind.
    """

    flows: list[FlowRow] = []
    variables: list[Variable] = []
    tools: list[CustomTool] = []
    stores: list[StoreRow] = []
    chunks: list[StoredChunk] = []
    skipped: dict[str, int] = {}
    notes: list[str] = []


def exported(row: FlowRow) -> bytes:
    """A file that holds the flow with its settings, and that `read_export` reads. Of a key it has only the id."""
    values = {name: value for name, value in msgspec.structs.asdict(row).items() if value is not None}
    with suppress(msgspec.DecodeError):  # then it stays as it was stored, so that nothing is lost
        values["flowData"] = msgspec.json.decode(row.flowData)
    return msgspec.json.format(msgspec.json.encode(values), indent=2)


def flow_files(paths: list[Path]) -> list[Path]:
    """The files, and for a folder every `.json` file in it."""
    return [file for path in paths for file in (sorted(path.rglob("*.json")) if path.is_dir() else [path])]


def read_exports(paths: Iterable[Path]) -> list[Export]:
    """Reads export files. Raises InvalidRequest that names every unreadable file, and those that can be read."""
    exports: list[Export] = []
    good: list[str] = []
    bad: list[str] = []
    for path in paths:
        try:
            exports.append(read_export(path))
            good.append(str(path))
        except InvalidRequest as error:
            bad.append(str(error))
    if not bad:
        return exports
    told = "\n".join(["nothing was imported, for not every file can be read.", *bad])
    if good:
        told += f"\nThese can be read, so name them alone to import them: {' '.join(map(quote, good))}"
    raise InvalidRequest(told)


def read_export(path: Path) -> Export:
    """Reads an export file. Raises InvalidRequest naming the file and the place of the mistake."""
    content = read_json(path)
    try:
        return export_of(content, path.stem)
    except InvalidRequest as error:
        raise InvalidRequest(f"{path}: {error}") from None


def read_json(path: Path) -> Any:
    """The file's JSON value; the file may be packed with gzip. Raises InvalidRequest naming the file."""
    try:
        data = path.read_bytes()
        return msgspec.json.decode(_text_of(gzip.decompress(data) if data.startswith(_GZIP) else data))
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise InvalidRequest(f"{path} is damaged: gzip cannot unpack it") from None
    except OSError as error:
        raise InvalidRequest(f"{path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidRequest(f"{path} is not valid JSON: {error}") from None


def _text_of(data: bytes) -> str:
    """The JSON text in any of its encodings, with or without a mark in front. Raises UnicodeDecodeError."""
    return data.decode(json.detect_encoding(data)).removeprefix("\ufeff")


def export_of(content: Any, name: str) -> Export:
    """Reads a file's JSON value; `name` is for a flow that has none. Raises InvalidRequest."""
    export = _read(content, name)
    for variable in export.variables:
        if variable.type == "static" and not variable.value:
            export.notes.append(f"the variable {variable.name!r} has no value: Flowise's exports leave values out")
    return export


def _read(content: Any, name: str) -> Export:
    if isinstance(content, list) and content:
        return _several(content, name)
    if not isinstance(content, dict):
        raise InvalidRequest("a flow is a JSON object with `nodes` and `edges`")
    if "nodes" in content:
        return Export(flows=[_row({"name": name, "flowData": msgspec.json.encode(content).decode()})])
    if "flowData" in content:
        return Export(flows=[_row({"name": name, **content})], notes=_notes({"name": name, **content}))
    if "func" in content:
        return Export(tools=[_tool({"name": name, **content})])
    if not any(section in content for section in (*SECTIONS, "Variable", "Tool", "DocumentStore")):
        raise InvalidRequest("neither a flow (`nodes`), nor a tool (`func`), nor an export (`ChatFlow`, `Tool`, …)")
    export, bare = Export(), False
    for section, items in content.items():
        if section in SECTIONS:
            found = _objects(section, items)
            export.flows += _rows([{"type": SECTIONS[section], **item} for item in found])
            export.notes += [note for item in found for note in _notes(item)]
            bare = bare or any(not any(name in item for name in _SETTINGS) for item in found)
        elif section == "Variable":
            export.variables += [_variable(item) for item in _objects(section, items)]
        elif section == "Tool":
            export.tools += [_tool(item) for item in _objects(section, items)]
        elif section == "DocumentStore":
            export.stores += [document_store(item) for item in _objects(section, items)]
        elif section == "DocumentStoreFileChunk":
            export.chunks += [document_chunk(item) for item in _objects(section, items)]
        elif isinstance(items, list) and items:
            export.skipped[section] = len(items)
    if bare:
        export.notes.append(BARE)
    return export


def _several(items: list[Any], name: str) -> Export:
    """The flows and tools of a list, such as the API gives. Raises InvalidRequest that names all bad ones."""
    export, bad = Export(), list[str]()
    for number, item in enumerate(items, 1):
        own = item.get("name") if isinstance(item, dict) else None
        try:
            found = _read(item, str(own or f"{name} {number}"))
        except InvalidRequest as error:
            bad.append(f"{own or number!r}: {error}")
            continue
        export.flows += found.flows
        export.tools += found.tools
        export.notes += found.notes
    if bad:
        raise InvalidRequest("; ".join(bad))
    return export


def _notes(values: dict[str, Any]) -> list[str]:
    """Notes on parts of a flow that work differently here."""
    flow = f"the flow {values.get('name')!r}"
    notes = [f"{flow}: {about} is kept and does nothing here" for name, about in _UNUSED.items() if _on(values, name)]
    if values.get("webhookSecret") or values.get("webhookSecretConfigured"):
        notes.append(f"{flow}: the secret of its webhook does not come along, and nothing here answers its webhook")
    return notes


def _on(values: dict[str, Any], name: str) -> bool:
    """True when this configuration switches anything on, at any depth."""
    config = values.get(name)
    try:
        value: Any = msgspec.json.decode(config) if isinstance(config, str) and config else config
    except msgspec.DecodeError:
        return False
    found, waiting = False, [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            found = found or any(item.get(switch) is True for switch in _SWITCHES)
            waiting += item.values()
    return found


def _objects(section: str, items: Any) -> list[dict[str, Any]]:
    if isinstance(items, list) and all(isinstance(item, dict) for item in items):
        return items
    raise InvalidRequest(f"section {section!r} must be a list of objects")


def _variable(values: dict[str, Any]) -> Variable:
    try:
        return msgspec.convert(values, Variable)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"a variable of the export cannot be read: {complaint(error)}") from None


def _tool(values: dict[str, Any]) -> CustomTool:
    try:
        tool = msgspec.convert({key: value for key, value in values.items() if value is not None}, CustomTool)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"a tool of the export cannot be read: {complaint(error)}") from None
    tool.id = tool.id if is_id(tool.id) else ""
    return tool


def _rows(items: list[dict[str, Any]]) -> list[FlowRow]:
    """The flows of a section. Raises InvalidRequest that names all of those that cannot be read."""
    rows: list[FlowRow] = []
    bad: list[str] = []
    for item in items:
        try:
            rows.append(_row(item))
        except InvalidRequest as error:
            bad.append(f"the flow {item.get('name')!r}: {error}")
    if bad:
        raise InvalidRequest("; ".join(bad))
    return rows


def _row(values: dict[str, Any]) -> FlowRow:
    data = values.get("flowData")
    text = data if isinstance(data, str) else msgspec.json.encode(data).decode()
    flow = read_flow(text)
    # Workspaces of the other server mean nothing here; a key does: the flow stays closed (imports.py).
    kept = {name: value for name, value in values.items() if name != "workspaceId" and value is not None}
    if not is_id(kept.get("id")):
        kept.pop("id", None)
    kept |= {name: _text(kept[name]) for name in ("apikeyid", *_TEXTS) if name in kept}
    try:
        return msgspec.convert({"id": "", "type": _type(flow), **kept, "flowData": text}, FlowRow, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"a flow of the export cannot be read: {complaint(error)}") from None


def _text(value: Any) -> str:
    """A column that is a text; other exports have it as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _type(flow: FlowFile) -> str:
    if any(node.type == "agentFlow" for node in flow.nodes):
        return "AGENTFLOW"
    return "MULTIAGENT" if any(node.data.category in _GRAPH_AGENTS for node in flow.nodes) else "CHATFLOW"
