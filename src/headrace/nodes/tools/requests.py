"""Tools that make one HTTP request, to the flow's address or one of the model's choice; the guard decides on both."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple, TypeAlias, get_type_hints
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from headrace.engine.annotations import Input, NodeInfo
from headrace.engine.node import Context, Node, Templated
from headrace.engine.ports import FetchReply, FetchRequest, Tool, ToolResult
from headrace.engine.references import text_of
from headrace.errors import FetchFailed, FlowError
from headrace.nodes.tools.function import FunctionTool
from headrace.retrieval.html_text import content_type, readable

Method: TypeAlias = Literal["GET", "POST", "PUT", "DELETE"]
Variable: TypeAlias = Annotated[str, msgspec.Meta(extra={"acceptVariable": True})]

_TYPES: Final = ("string", "number", "integer", "boolean", "object", "array")
_NO_TEXT: Final = re.compile(r"(image|audio|video|font)/(?!svg).*|application/(octet-stream|pdf|zip|gzip|x-.*)")


class Parameter(NamedTuple):
    """A parameter that the model may set: part of a request's path, query or body."""

    name: str
    place: str
    required: bool
    schema: dict[str, Any]


class Row(NamedTuple):
    """A node type: its method, and what the flow calls the inputs that others call as `RequestNode` does."""

    node: str
    method: Method
    tool: str
    about: str
    schema: str
    body: str = ""
    version: int = 1

    @property
    def group(self) -> str:
        """The argument with what the model sets."""
        return "body" if self.body else "queryParams"


class RequestNode(Node, frozen=True, kw_only=True):
    """The shared part of the request tools. Without `url` the model chooses the address."""

    info = NodeInfo(category="Tools")

    row: ClassVar[Row]

    url: Variable = ""
    name: str = ""
    description: str = ""
    headers: Annotated[Templated, Input(type="string")] = {}
    schema: Annotated[Any, Input(type="code")] = None
    maxOutputLength: int = 2000

    async def build(self, ctx: Context) -> Tool:
        """The tool. Raises FlowError for a schema that cannot be read."""
        parameters = parameters_of(self.schema, self.row.schema)

        async def call(arguments: Mapping[str, Any]) -> ToolResult:
            request = self._request(parameters, arguments)
            return ToolResult(shortened(await response_text(await ctx.outside.fetch(request)), self.maxOutputLength))

        spec = _spec(parameters, self.row.group, chooses=not self.url)
        return FunctionTool(self.name or self.row.tool, self.description or self.row.about, spec, call)

    def _request(self, parameters: Sequence[Parameter], arguments: Mapping[str, Any]) -> FetchRequest:
        url = (self.url or str(arguments["url"])).strip()
        given = arguments.get(self.row.group) or {}
        headers, body = {name: str(value) for name, value in self.headers.items()}, b""
        if self.row.body:
            headers = {"Content-Type": "application/json", **headers}
            body = msgspec.json.encode({**getattr(self, "body", {}), **given})
        else:
            url = _placed(url, parameters, given)
        return FetchRequest(self.row.method, url, list(headers.items()), body)


def parameters_of(schema: Any, name: str) -> list[Parameter]:
    """The parameters that the input `name` declares: `{"city": {"type": "string", …}}` or a list of such with names.

    Raises FlowError when it declares something else.
    """
    if isinstance(schema, str):
        try:
            schema = msgspec.json.decode(schema) if schema.strip() else None
        except msgspec.DecodeError as error:
            raise FlowError(f"{name!r} is not JSON: {error}") from None
    if isinstance(schema, list):
        schema = {str(item.get("name") or item.get("property")): item for item in schema if isinstance(item, dict)}
    if not isinstance(schema or {}, dict) or not all(isinstance(item, dict) for item in (schema or {}).values()):
        raise FlowError(f'{name!r} does not describe parameters: write {{"city": {{"type": "string"}}}}')
    return [_parameter(key, item) for key, item in (schema or {}).items()]


def _parameter(name: str, item: Mapping[str, Any]) -> Parameter:
    kind = item.get("type")
    schema = {"type": kind if kind in _TYPES else "string", "description": str(item.get("description") or "")}
    return Parameter(name, str(item.get("in") or "query"), item.get("required") in (True, "true"), schema)


def _spec(parameters: Sequence[Parameter], group: str, *, chooses: bool) -> dict[str, Any]:
    """The JSON Schema of the tool's arguments."""
    inner: dict[str, Any] = {"type": "object"}
    if parameters:
        inner |= {"properties": {p.name: p.schema for p in parameters}, "additionalProperties": False}
        inner["required"] = [p.name for p in parameters if p.required]
    elif group == "queryParams":
        inner["additionalProperties"] = {"type": ["string", "number", "boolean"]}
    properties: dict[str, Any] = {group: inner}
    required = [group] if inner.get("required") else []
    if chooses:
        properties["url"] = {"type": "string", "description": "The whole address, with https:// in front."}
        required.append("url")
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _placed(url: str, parameters: Sequence[Parameter], given: Mapping[str, Any]) -> str:
    """The address with the values in its path and its query. Raises FlowError for a path that leads upwards."""
    head, path = _halves(url)
    path, mark, query = path.partition("?")
    in_path = {p.name for p in parameters if p.place == "path"}
    for name in in_path & given.keys():
        value = text_of(given[name])
        if value in ("", ".", ".."):
            raise FlowError(f"{name!r} cannot be {value!r}: it is a part of the address")
        place = re.compile(rf":{re.escape(name)}(?!\w)")
        filled = quote(value, safe="")
        path = (
            place.sub(lambda _, filled=filled: filled, path) if place.search(path) else f"{path.rstrip('/')}/{filled}"
        )
    rest = urlencode({n: text_of(v) for n, v in given.items() if n not in in_path and v is not None}, quote_via=quote)
    return head + path + (mark or ("?" if rest else "")) + "&".join(filter(None, (query, rest)))


def _halves(url: str) -> tuple[str, str]:
    """Scheme and host, and what follows."""
    found = re.match(r"[a-zA-Z]+://[^/?#]*", url)
    return (found[0], url[found.end() :].partition("#")[0]) if found else (url, "")


async def response_text(reply: FetchReply) -> str:
    """An answer as the model reads it. Raises FetchFailed for a status of 400 on."""
    text = await _said(reply)
    if reply.status >= 400:
        raise FetchFailed(f"{urlsplit(reply.url).hostname!r} answered {reply.status}: {shortened(text, 1000)}")
    return text


async def _said(reply: FetchReply) -> str:
    kind = content_type(reply)
    if _NO_TEXT.fullmatch(kind) or b"\0" in reply.body[:1000]:
        return f"[{kind or 'data'}, {len(reply.body)} bytes: no text]"
    return await readable(reply)


def shortened(text: str, most: int) -> str:
    """The beginning of a text; it says so when there was more."""
    return text if most <= 0 or len(text) <= most else f"{text[:most]}\n[cut here: {len(text)} characters in all]"


ROWS: Final = (
    Row(
        "requestsGet",
        "GET",
        "requests_get",
        "Reads what is at a web address.",
        "requestsGetQueryParamsSchema",
        version=2,
    ),
    Row(
        "requestsPost",
        "POST",
        "requests_post",
        "Sends data to a web address, to make or change something there.",
        "requestsPostBodySchema",
        "requestPostBody",
        2,
    ),
    Row(
        "requestsPut",
        "PUT",
        "requests_put",
        "Sends data to a web address, to put it in the place of what is there.",
        "requestsPutBodySchema",
        "requestPutBody",
    ),
    Row(
        "requestsDelete",
        "DELETE",
        "requests_delete",
        "Deletes what is at a web address.",
        "requestsDeleteQueryParamsSchema",
    ),
)


def _node(row: Row) -> type[RequestNode]:
    """The node type of a row: the same fields, under the flow's names."""
    prefix = f"requests{row.method.title()}"
    names = {name: prefix + name[0].upper() + name[1:] for name in ("url", "name", "description", "headers")}
    names |= {"maxOutputLength": f"{prefix}MaxOutputLength", "schema": row.schema}
    names |= {"body": row.body} if row.body else {}
    former = {name: names[name] for name in names if name != "schema"}  # of version 1
    former["bodySchema" if row.body else "queryParamsSchema"] = row.schema
    hints = get_type_hints(RequestNode, include_extras=True) | {"body": Annotated[Templated, Input(type="string")]}
    defaults: Mapping[str, Any] = {"maxOutputLength": 2000, "schema": None}
    made: Any = msgspec.defstruct(
        row.node,
        [
            (
                name,
                hints[name],
                msgspec.field(default_factory=dict) if name in ("headers", "body") else defaults.get(name, ""),
            )
            for name in names
        ],
        bases=(RequestNode,),
        module=__name__,
        namespace={"row": row, "former": former, "info": NodeInfo(version=row.version), "__doc__": row.about},
        tag=row.node,
        rename=names,
        frozen=True,
        kw_only=True,
    )
    return made


NODES: Final = tuple(_node(row) for row in ROWS)
