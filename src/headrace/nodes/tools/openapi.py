"""The operations of an OpenAPI document as tools: requests through the guard, or the flow's script in the sandbox."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote, urlencode

import msgspec

from headrace.engine.annotations import Additional, Input, NodeInfo
from headrace.engine.node import Context, Node
from headrace.engine.ports import FetchRequest, Tool, ToolResult
from headrace.engine.references import text_of
from headrace.errors import FetchFailed, FlowError
from headrace.formats.openapi import Api, Operation, api_of, base_of
from headrace.nodes.tools.function import FunctionTool
from headrace.nodes.tools.requests import response_text
from headrace.retrieval.files import files_of
from headrace.retrieval.library import library
from headrace.retrieval.parser_processes import result

_KEPT: Final = 8  # documents, of a flow
_GROUPS: Final = ("PathParameters", "QueryParameters", "HeaderParameters", "RequestBody")


class OpenAPIToolkit(Node, frozen=True, kw_only=True, tag="openAPIToolkit"):
    """Each operation of an API as a tool. `customCode` reads `$url`, `$options` and the arguments by group."""

    info = NodeInfo(version=2.1, category="Tools")
    former = {"yamlFile": "openApiFile"}

    inputType: Literal["file", "link"] = "file"
    openApiFile: Annotated[str, Input(type="file", fileType=".yaml,.json", show={"inputType": "file"})] = ""
    openApiLink: Annotated[str, Input(show={"inputType": "link"})] = ""
    selectedServer: Annotated[str, Input(loadMethod="listServers")] = ""
    selectedEndpoints: Annotated[list[str], Input(loadMethod="listEndpoints")] = []
    """Operation ids, or `GET /path`; without any, all."""
    returnDirect: bool = False
    headers: Additional[dict[str, Any]] = {}
    removeNulls: bool = False
    customCode: Annotated[str, Input(type="code", additionalParams=True)] = ""

    async def build(self, ctx: Context) -> list[Tool]:
        """The tools. Raises FlowError for a document that cannot be used, or with too many operations."""
        api = await self.api(ctx)
        if not api.operations:
            raise FlowError("the OpenAPI document has none of the operations in 'selectedEndpoints': choose them again")
        base = base_of(api, self.selectedServer, self.openApiLink if self.inputType == "link" else "")
        return [self._tool(ctx, base, operation) for operation in api.operations]

    async def api(self, ctx: Context) -> Api:
        """The API that the document describes, with the chosen operations alone. Raises FlowError."""
        text = await self._document(ctx)
        return await known(ctx.kept.setdefault("openapi", {}), text, frozenset(self.selectedEndpoints))

    async def _document(self, ctx: Context) -> bytes:
        if self.inputType == "link":
            reply = await ctx.outside.fetch(FetchRequest("GET", self.openApiLink.strip()))
            if reply.status >= 400:
                raise FetchFailed(f"the OpenAPI document cannot be had: its server answered {reply.status}")
            return reply.body
        if not self.openApiFile:
            raise FlowError("the OpenAPI toolkit has no document: upload it into 'openApiFile'")
        return await asyncio.to_thread(_read, self.openApiFile, library(ctx).files / ctx.flow)

    def _tool(self, ctx: Context, base: str, operation: Operation) -> Tool:
        async def call(arguments: Mapping[str, Any]) -> ToolResult:
            given: Any = _without_nulls(arguments) if self.removeNulls else arguments
            groups = {name: given.get(name) or {} for name in _GROUPS}
            request = self._request(base, operation, groups)
            if not self.customCode.strip():
                return ToolResult(await response_text(await ctx.outside.fetch(request)))
            options = {"method": request.method, "headers": dict(request.headers)}
            options |= {"body": request.body.decode()} if request.body else {}
            value = await ctx.run_script(self.customCode, {**groups, "url": request.url, "options": options})
            return ToolResult("" if value is None else text_of(value))

        spec = operation.parameters
        return FunctionTool(operation.name, operation.about, spec, call, return_direct=self.returnDirect)

    def _request(self, base: str, operation: Operation, groups: Mapping[str, Any]) -> FetchRequest:
        kind = "application/x-www-form-urlencoded" if operation.form else "application/json"
        given = {str(name): text_of(value) for name, value in groups["HeaderParameters"].items()}
        # The flow's own headers last: a model must not put another key in their place.
        own = {name: str(value) for name, value in self.headers.items()}
        headers = {
            "Content-Type": kind,
            **{n: v for n, v in given.items() if n.lower() not in map(str.lower, own)},
            **own,
        }
        body = b""
        if (sent := groups["RequestBody"]) and operation.method not in ("GET", "HEAD"):
            body = urlencode(sent, doseq=True).encode() if operation.form else msgspec.json.encode(sent)
        return FetchRequest(operation.method, base + _path(operation, groups), list(headers.items()), body)


async def known(read: dict[Any, Api], text: bytes, wanted: frozenset[str] = frozenset()) -> Api:
    """The document, read once: that may take a second. Only a few are kept, since a link's may change."""
    key = (await asyncio.to_thread(hashlib.sha256, text)).digest(), wanted
    if key not in read:
        read[key] = await result(partial(_apis, text, wanted), Api)
        while len(read) > _KEPT:
            read.pop(next(iter(read)))
    return read[key]


def _apis(text: bytes, wanted: frozenset[str]) -> Iterator[Api]:
    """The document, as the work of a child process."""
    yield api_of(text, wanted)


def _read(value: str, folder: Path) -> bytes:
    """The uploaded file, the first one if there are several. Raises FlowError."""
    file, *_ = files_of(value, folder)
    try:
        with file.open() as opened:
            return opened.read()
    except OSError:
        raise FlowError(f"the file {file.name!r} is not there: upload it again in the builder") from None


def _path(operation: Operation, groups: Mapping[str, Any]) -> str:
    """The operation's path with the arguments in it. Raises FlowError for one that is missing or leads upwards."""

    def filled(found: re.Match[str]) -> str:
        value = text_of(groups["PathParameters"].get(found[1], ""))
        if value in ("", ".", ".."):
            raise FlowError(f"the path parameter {found[1]!r} cannot be {value!r}")
        return quote(value, safe="")

    path = re.sub(r"\{([^{}]+)\}", filled, operation.path)
    pairs = [
        (name, text_of(one))
        for name, value in groups["QueryParameters"].items()
        if value is not None
        for one in _values(name, value, operation)
    ]
    return path + ("?" + urlencode(pairs, quote_via=quote) if pairs else "")


def _values(name: str, value: Any, operation: Operation) -> list[Any]:
    if not isinstance(value, list):
        return [value]
    return [",".join(map(text_of, value))] if name in operation.joined and value else value


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value if inner is not None] if isinstance(value, list) else value


NODES = (OpenAPIToolkit,)
