"""The API's description as a page that needs no script and no other host."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import msgspec
from litestar import Request
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody

from headrace.documents.upserts import StoreUpsert
from headrace.schema import PredictionRequest, UpsertRequest
from headrace.server.bodies import LENIENT, TEXTS, VALUES
from headrace.server.brand import LOGO, Look

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
:root { color-scheme: light dark }
summary { cursor: pointer; padding: .3rem 0 }
code { font-family: ui-monospace, monospace }
h1 { display: flex; align-items: center; gap: .6rem }
h1 img { height: 2.5rem }
h1, h2, a, .method { color: var(--accent) }
.method { display: inline-block; width: 4.5rem; font-weight: 600 }
td { padding: .1rem 1rem .1rem 0 }
"""


@dataclass
class PredictionOperation(Operation):
    """The endpoint of predictions. It reads its body itself (`bodies.py`), so the framework does not see what it is."""

    def __post_init__(self) -> None:
        json = _prediction()
        json["type"] = ["object", "array"]  # an array asks without a question, as with Flowise
        form: Any = {"type": "object", "properties": {name: {"type": "string"} for name in (*TEXTS, *VALUES)}}
        form["properties"]["files"] = _FILES
        self.request_body = RequestBody(
            {
                "application/json": OpenAPIMediaType(json),
                "multipart/form-data": OpenAPIMediaType(form),
            }
        )


@dataclass
class DraftOperation(Operation):
    """The endpoint of predictions with the flow in their body."""

    def __post_init__(self) -> None:
        json = _prediction()
        json["properties"]["flowData"] = {"type": "string", "description": "Nodes and edges, as JSON."}
        json["required"] = [*json.get("required", ()), "flowData"]
        self.request_body = RequestBody({"application/json": OpenAPIMediaType(json)})


@dataclass
class UpsertOperation(Operation):
    """The endpoint of upserts, which takes JSON and forms."""

    def __post_init__(self) -> None:
        json: Any = _schema(UpsertRequest)
        self.request_body = RequestBody(
            {"application/json": OpenAPIMediaType(json), "multipart/form-data": OpenAPIMediaType(_form("stopNodeId"))}
        )


@dataclass
class StoreUpsertOperation(Operation):
    """The endpoint of document stores' upserts, which takes JSON and forms."""

    def __post_init__(self) -> None:
        json: Any = _schema(StoreUpsert)
        self.request_body = RequestBody(
            {"application/json": OpenAPIMediaType(json), "multipart/form-data": OpenAPIMediaType(_form("loader"))}
        )


@dataclass
class RefreshOperation(Operation):
    """The endpoint that refreshes a document store, whose body may be left out."""

    def __post_init__(self) -> None:
        items = {"anyOf": [{"type": "array", "items": _schema(StoreUpsert)}, {"type": "null"}]}
        json: Any = {"type": "object", "properties": {"items": items}}
        self.request_body = RequestBody({"application/json": OpenAPIMediaType(json)}, required=False)


@dataclass
class AttachmentOperation(Operation):
    """The endpoint of attachments, which takes forms."""

    def __post_init__(self) -> None:
        self.request_body = RequestBody({"multipart/form-data": OpenAPIMediaType(_form("base64"))})


_FILES = {"type": "array", "items": {"type": "string", "format": "binary"}}


def _prediction() -> Any:
    json: Any = _schema(PredictionRequest)
    for name in LENIENT:
        json["properties"][name]["anyOf"].append({"description": "A value of another type is ignored."})
    return json


def _form(field: str) -> Any:
    return {"type": "object", "properties": {"files": _FILES, field: {"type": "string"}}}


def _schema(kind: type[msgspec.Struct]) -> Any:
    """The record's JSON schema in one piece: the framework keeps the document's shared schemas to itself."""
    (whole,), parts = msgspec.json.schema_components([kind])

    def inlined(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return inlined(parts[value["$ref"].rpartition("/")[2]])
            return {key: inlined(item) for key, item in value.items()}
        return [inlined(item) for item in value] if isinstance(value, list) else value

    return inlined(whole)


class DocsPage(OpenAPIRenderPlugin):
    """Renders the OpenAPI document as plain HTML at its root."""

    def __init__(self, look: Look) -> None:
        brand, logo = look
        accents = f":root {{ --accent: {brand.color} }}", f":root {{ --accent: {brand.on_dark} }}"
        self._style = f"{_STYLE}{accents[0]} @media (prefers-color-scheme: dark) {{ {accents[1]} }}"
        self._logo = f'<img src="{LOGO}" alt="">' if logo else ""
        super().__init__(path="/", media_type="text/html")  # type: ignore[arg-type]  # any media type is taken

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The page."""
        title = escape(openapi_schema["info"]["title"])
        groups: dict[str, list[str]] = {}
        for path, methods in openapi_schema.get("paths", {}).items():
            for method, operation in methods.items():
                groups.setdefault((operation.get("tags") or ["other"])[0], []).append(
                    _operation(method, path, operation)
                )
        body = "".join(f"<h2>{escape(tag)}</h2>{''.join(items)}" for tag, items in groups.items())
        return (
            f"<!doctype html><html lang=en><meta charset=utf-8><title>{title} API</title><style>{self._style}</style>"
            f"<h1>{self._logo}{title} API</h1>"
            f"<p>Administration needs <code>Authorization: Bearer &lt;key&gt;</code>. "
            f'The same as <a href="/docs/openapi.json">OpenAPI JSON</a>.</p>{body}</html>'
        ).encode()


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(p['name'])}</code><td>{escape(p['in'])}<td>{escape(p.get('description') or '')}</tr>"
        for p in operation.get("parameters") or ()
    )
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    name = body.get("$ref", "").rpartition("/")[2] or body.get("title", "")
    return (
        f"<details><summary><span class=method>{method.upper()}</span> <code>{escape(path)}</code> "
        f"{escape(operation.get('summary') or '')}</summary><p>{escape(operation.get('description') or '')}</p>"
        f"{f'<p>Body: <code>{escape(name)}</code></p>' if name else ''}<table>{rows}</table></details>"
    )
