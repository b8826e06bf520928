"""OpenAPI documents: their operations, each with a JSON Schema of what it takes. Everything in them is bounded."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urljoin

import msgspec
import yaml

from headrace.engine.tool_names import free_name, tool_name
from headrace.errors import FlowError
from headrace.formats import swagger, yaml_data

MOST: Final = 128  # operations that a model is given; OpenAI takes no more tools
_BYTES: Final = 5_000_000
_DEPTH: Final = 12  # levels of one schema
_PARTS: Final = 500  # schemas within those of one operation
_VALUES: Final = 1_000_000  # of a document, what YAML's anchors repeat included
_OPERATIONS: Final = 5000
_ABOUT: Final = 1000  # characters
_METHODS: Final = ("get", "post", "put", "patch", "delete", "head", "options")
_PLACES: Final = {"path": "PathParameters", "query": "QueryParameters", "header": "HeaderParameters"}
# What a schema may say to a model; the rest, such as `xml`, is for others.
_KEPT: Final = frozenset(
    "type format description title enum const default items properties required additionalProperties anyOf oneOf allOf "
    "not minimum maximum minLength maxLength pattern minItems maxItems uniqueItems multipleOf".split()
)


class Listed(msgspec.Struct, frozen=True):
    """An operation as it stands in the document."""

    name: str
    """One of its own, which a model may call it."""
    method: str
    path: str
    item: Mapping[str, Any]
    """The path's settings for all of its operations."""
    given: Mapping[str, Any]

    @property
    def names(self) -> frozenset[str]:
        """The names by which a flow may choose it."""
        return frozenset((self.name, f"{self.method.upper()} {self.path}", f"{self.method} {self.path}"))


class Operation(msgspec.Struct, frozen=True):
    """One thing that the API can do, as a tool takes it."""

    name: str
    method: str
    path: str
    about: str
    parameters: dict[str, Any]
    form: bool = False
    """The body is a form, not JSON."""
    joined: frozenset[str] = frozenset()
    """Parameters of the query whose values are sent as one, with commas."""


class Api(msgspec.Struct, frozen=True):
    """A document: where the API is, and what it can do."""

    servers: Sequence[str]
    operations: Sequence[Operation]


def api_of(text: str | bytes, wanted: frozenset[str] = frozenset()) -> Api:
    """Reads a document, JSON or YAML, and of its operations those that are wanted; without names, all. Blocking.

    Raises FlowError for anything else than OpenAPI 3 or Swagger 2, and for more operations than a model is given.
    """
    if len(text) > _BYTES:
        raise FlowError(f"the OpenAPI document is larger than {_BYTES} bytes: leave out what the flow does not need")
    document = _loaded(text)
    if not isinstance(document, dict):
        raise FlowError("this is no OpenAPI document")
    if not swagger.is_swagger(document) and not str(document.get("openapi", "")).startswith("3"):
        raise FlowError("this is no OpenAPI document of version 3 or 2: it begins with neither 'openapi' nor 'swagger'")
    chosen = [found for found in _listed(document) if not wanted or found.names & wanted]
    if len(chosen) > MOST:
        raise FlowError(f"{len(chosen)} operations are too many for a model: choose {MOST} in 'selectedEndpoints'")
    named = swagger.servers(document) if swagger.is_swagger(document) else document.get("servers") or ()
    return Api(
        [_server(entry) for entry in named if isinstance(entry, dict)],
        [_operation(document, found) for found in chosen],
    )


def _loaded(text: str | bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        document = yaml_data.loaded(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise FlowError(f"the OpenAPI document is neither JSON nor YAML: {str(error)[:300]}") from None
    _check_size(document)
    return document


def _check_size(document: Any) -> None:
    """Raises FlowError for a document that YAML's anchors repeat until nobody could read or write it."""
    left, waiting = _VALUES, [document]
    while waiting:
        value = waiting.pop()
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        left -= len(inner)
        if left < 0:
            raise FlowError(f"the OpenAPI document has more than {_VALUES} values: its anchors repeat too much")
        waiting += inner


def _server(entry: Mapping[str, Any]) -> str:
    """A server's address with the defaults of its variables."""
    variables = entry.get("variables")
    url = str(entry.get("url") or "")
    for name, value in (variables if isinstance(variables, dict) else {}).items():
        url = url.replace(f"{{{name}}}", str(value.get("default", "")) if isinstance(value, dict) else "")
    return url


def base_of(api: Api, selected: str, link: str) -> str:
    """The API's base address. Raises FlowError when neither flow nor document name one."""
    url = urljoin(link, selected or next(iter(api.servers), ""))
    if not re.match(r"https?://", url):
        raise FlowError("the OpenAPI document names no server: choose one in 'selectedServer'")
    return url.rstrip("/")


def _listed(document: Mapping[str, Any]) -> Iterator[Listed]:
    """All operations, each with a name of its own. Raises FlowError for very many."""
    paths = document.get("paths")
    taken, numbers = set[str](), Counter[str]()
    for path, entry in (paths if isinstance(paths, dict) else {}).items():
        item = Reader(document).target(entry)
        for method in _METHODS:
            if not isinstance(item, dict) or not isinstance(given := item.get(method), dict):
                continue
            name = tool_name(str(given.get("operationId") or f"{method}_{str(path).strip('/')}"))
            numbers[name] += 1
            free = free_name(name if numbers[name] == 1 else f"{name[:54]}_{numbers[name]}", taken)
            taken.add(free)
            if len(taken) > _OPERATIONS:
                raise FlowError(f"the OpenAPI document has more than {_OPERATIONS} operations: leave some out")
            yield Listed(free, method, str(path), item, given)


def _operation(document: Mapping[str, Any], listed: Listed) -> Operation:
    reader, given = Reader(document), listed.given
    entries = [*_list(listed.item.get("parameters")), *_list(given.get("parameters"))]
    if swagger.is_swagger(document):
        given = swagger.operation(entries, given, document, reader.target)
        entries = given["parameters"]
    groups: dict[str, dict[str, Any]] = {}
    joined: set[str] = set()
    for entry in entries:
        parameter = reader.target(entry)
        if isinstance(parameter, dict) and (group := _PLACES.get(str(parameter.get("in")))):
            _add(groups.setdefault(group, _object()), parameter, reader)
            if parameter.get("explode") is False:
                joined.add(str(parameter.get("name")))
    kind, body = _body(reader.target(given.get("requestBody")))
    if body is not None:
        groups["RequestBody"] = reader.schema(body)
    required = [group for group, schema in groups.items() if schema.get("required")]
    method = listed.method.upper()
    said = given.get("description") or given.get("summary", listed.item.get("summary")) or f"{method} {listed.path}"
    return Operation(
        listed.name,
        method,
        listed.path,
        " ".join(str(said).split())[:_ABOUT],
        {**_object(), "properties": groups, "required": required},
        form=kind == "application/x-www-form-urlencoded",
        joined=frozenset(joined),
    )


def _object() -> dict[str, Any]:
    return {"type": "object", "properties": {}, "required": []}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _add(group: dict[str, Any], parameter: Mapping[str, Any], reader: Reader) -> None:
    """Adds a parameter; an operation's own one replaces that of its path."""
    name = str(parameter.get("name"))
    schema = reader.schema(parameter.get("schema") or {"type": "string"})
    if about := parameter.get("description"):
        schema = {**schema, "description": str(about)[:_ABOUT]}
    group["properties"][name] = schema
    if parameter.get("required") and name not in group["required"]:
        group["required"].append(name)


def _body(body: Any) -> tuple[str, Any]:
    """The kind of body that is sent, JSON if possible, and its schema; None when there is no body."""
    content = body.get("content") if isinstance(body, dict) else None
    if not isinstance(content, dict) or not content:
        return "", None
    kinds = [str(kind) for kind in content]
    kind = next((k for end in ("json", "x-www-form-urlencoded", "") for k in kinds if k.endswith(end)), "")
    media: Any = content[kind]
    return kind, (media.get("schema") if isinstance(media, dict) else None) or {"type": "object"}


class Reader:
    """Follows references, for one operation: in circles never, and not for ever."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document, self._left = document, _PARTS

    def target(self, value: Any, path: set[str] | None = None) -> Any:
        """The target of a reference; anything else as it is. Only references within the document are followed.

        `path` holds the references that led here, and takes the new ones; going in a circle leads nowhere.
        """
        path = set() if path is None else path
        while isinstance(value, dict) and isinstance(reference := value.get("$ref"), str):
            value = {} if reference in path else self._found(reference)
            path.add(reference)
        return value

    def _found(self, reference: str) -> Any:
        value: Any = self._document if reference.startswith("#/") else {}
        for part in reference[2:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            value = value.get(name, {}) if isinstance(value, dict) else {}
        return value

    def schema(self, value: Any, depth: int = 0, path: frozenset[str] = frozenset()) -> dict[str, Any]:
        """A schema without references. What is too deep or too much becomes an open one, which takes anything."""
        self._left -= 1
        here = set(path)
        value = self.target(value, here)
        if not isinstance(value, dict) or depth > _DEPTH or self._left <= 0:
            return {}
        inner = frozenset(here)
        kept = {
            str(name): self._part(str(name), part, depth + 1, inner) for name, part in value.items() if name in _KEPT
        }
        if value.get("nullable") is True and isinstance(kept.get("type"), str):
            kept["type"] = [kept["type"], "null"]
        return kept

    def _part(self, name: str, part: Any, depth: int, path: frozenset[str]) -> Any:
        most = max(self._left, 0)
        if name == "properties":
            named = part.items() if isinstance(part, dict) else ()
            return {str(key): self.schema(inner, depth, path) for key, inner in [*named][:most]}
        if name in ("items", "not") or (name == "additionalProperties" and isinstance(part, dict)):
            return self.schema(part, depth, path)
        if name in ("anyOf", "oneOf", "allOf"):
            return [self.schema(inner, depth, path) for inner in _list(part)[:most]]
        if isinstance(part, list):
            return [str(inner) if isinstance(inner, dict | list) else inner for inner in part[:200]]
        return part[:_ABOUT] if isinstance(part, str) else part
