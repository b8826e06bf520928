"""An MCP server whose tools are flows: JSON-RPC over HTTP, without sessions, for clients of 2025 and of 2026-07-28.

A client of 2026 says its version in a header of every request and cancels by closing the response; one of 2025
initializes first, and what it leaves goes on. The endpoints are not in the OpenAPI document, which has no words for
JSON-RPC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.exceptions import HTTPException
from litestar.params import Parameter

from headrace import __version__
from headrace.errors import HeadraceError, NotFound, Unauthorized
from headrace.events import End, Fold, Prediction
from headrace.runtime.log import Entry
from headrace.schema import PredictionRequest
from headrace.server.auth import local
from headrace.server.error_responses import on_exception
from headrace.server.protocols.mcp_tools import FlowTool, tools_of
from headrace.server.protocols.stream import ProtocolStream, begin, json, json_text, place

_MODERN: Final = "2026-07-28"
_LEGACY: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
_KEEP: Final = 60_000  # milliseconds that a client may keep a list of tools
_PARSE, _INVALID, _METHOD, _PARAMS = -32700, -32600, -32601, -32602
_VERSION, _MISMATCH, _UNAUTHORIZED, _REFUSED = -32022, -32020, -32001, -32000
_STATUS: Final = {_PARSE: 400, _INVALID: 400, _VERSION: 400, _MISMATCH: 400}
FlowId = Annotated[str, Parameter(description="The flow's id.")]


class RpcError(Exception):
    """A request that is answered with an error of the protocol."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code, self.data = code, data


def _error(code: int, message: str, request_id: Any = None, data: Any = None) -> dict[str, Any]:
    error = {"code": code, "message": message, **({"data": data} if data is not None else {})}
    return {"jsonrpc": "2.0", "error": error, "id": request_id}


class Call(msgspec.Struct, frozen=True):
    """A request of the protocol; `id` is None for a notification, which gets no answer."""

    id: str | int | None
    method: str
    params: Mapping[str, Any]
    modern: bool

    def result(self, **fields: Any) -> dict[str, Any]:
        """The answer to it."""
        fields = {"resultType": "complete", **fields} if self.modern else fields
        return {"result": fields, "jsonrpc": "2.0", "id": self.id}


def _message(data: Mapping[str, Any]) -> bytes:
    return b"event: message\ndata: %b\n\n" % json(data)


class CallEncoder:
    """Makes notifications of progress and the result of a tool's call of a run's events."""

    def __init__(self, call: Call) -> None:
        meta = call.params.get("_meta")
        self._call, self._fold = call, Fold()
        self._progress = meta.get("progressToken") if isinstance(meta, Mapping) else None

    def frames(self, entry: Entry) -> Iterable[bytes]:
        """The frames of the next event of the run."""
        self._fold.add([entry.event])
        if isinstance(entry.event, End):
            yield _message(called(self._call, self._fold.prediction))
        elif self._progress is not None:
            event = entry.event
            text = event.data if isinstance(event.data, str) else ""
            params = {"progressToken": self._progress, "progress": entry.seq, "message": text}
            yield _message({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})


def called(call: Call, answer: Prediction) -> dict[str, Any]:
    """The result of a tool's call: the answer's text, or the error's."""
    if answer.error:
        return call.result(content=[{"type": "text", "text": answer.error.data}], isError=True)
    if answer.aborted:
        return call.result(content=[{"type": "text", "text": "the run was cancelled"}], isError=True)
    text = answer.text if answer.json is None else json_text(answer.json)
    structured = {"structuredContent": answer.json} if isinstance(answer.json, dict) else {}
    return call.result(content=[{"type": "text", "text": text or ""}], **structured)


async def _read(request: Request[Any, Any, Any]) -> Call:
    """The request. Raises RpcError for anything else, and for a version that is not served."""
    try:
        body = msgspec.json.decode(await request.body())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RpcError(_PARSE, "the body is not JSON") from None
    if not isinstance(body, dict) or body.get("jsonrpc") != "2.0" or not isinstance(body.get("method"), str):
        raise RpcError(_INVALID, "the body must be one JSON-RPC request or notification")
    number, params = body.get("id"), body.get("params")
    if "id" in body and (isinstance(number, bool) or not isinstance(number, str | int)):
        raise RpcError(_INVALID, "the id of a request must be a text or a whole number")
    version = request.headers.get("mcp-protocol-version", "")
    if version and version not in (*_LEGACY, _MODERN):
        supported = {"supported": [_MODERN, *reversed(_LEGACY)], "requested": version}
        raise RpcError(_VERSION, f"the protocol version {version!r} is not served", supported)
    told = request.headers.get("mcp-method", body["method"])
    if told != body["method"]:
        raise RpcError(_MISMATCH, f"the header Mcp-Method says {told!r}, and the body {body['method']!r}")
    return Call(number, body["method"], params if isinstance(params, dict) else {}, version == _MODERN)


async def _answer(request: Request[Any, Any, Any], flow_id: str | None) -> Response[Any]:
    call: Call | None = None
    try:
        call = await _read(request)
        tools = await tools_of(request, flow_id)
        if call.id is None:
            return Response(None, status_code=202)
        if call.method == "tools/call":
            return await _call(request, call, tools)
        return _reply(request, _tools_json(call, tools))
    except RpcError as error:
        return Response(
            _error(error.code, str(error), call.id if call else None, error.data),
            status_code=_STATUS.get(error.code, 404 if call and call.modern and error.code == _METHOD else 200),
        )


def _tools_json(call: Call, tools: list[FlowTool]) -> dict[str, Any]:
    """The answer to everything but a tool's call. Raises RpcError."""
    server = {"name": tools[0].name if len(tools) == 1 else "headrace", "version": __version__}
    match call.method:
        case "initialize":
            wanted = call.params.get("protocolVersion")
            version = wanted if wanted in _LEGACY else _LEGACY[-1]
            return call.result(protocolVersion=version, capabilities={"tools": {}}, serverInfo=server)
        case "server/discover":
            kept = {"ttlMs": _KEEP, "cacheScope": "private"}
            return call.result(supportedVersions=[_MODERN], capabilities={"tools": {}}, serverInfo=server, **kept)
        case "ping":
            return {"result": {}, "jsonrpc": "2.0", "id": call.id}
        case "tools/list":
            kept = {"ttlMs": _KEEP, "cacheScope": "private"} if call.modern else {}
            return call.result(tools=[tool.described for tool in tools], **kept)
        case _:
            raise RpcError(_METHOD, f"there is no method {call.method!r}")


def _streams(request: Request[Any, Any, Any]) -> bool:
    return "text/event-stream" in request.headers.get("accept", "")


def _reply(request: Request[Any, Any, Any], data: dict[str, Any]) -> Response[Any]:
    if _streams(request):
        return Response(_message(data), media_type="text/event-stream")
    return Response(data)


async def _call(request: Request[Any, Any, Any], call: Call, tools: list[FlowTool]) -> Response[Any]:
    tool = next((tool for tool in tools if tool.name == call.params.get("name")), None)
    if tool is None:
        raise RpcError(_PARAMS, f"there is no tool {call.params.get('name')!r}")
    arguments = call.params.get("arguments") or {}
    if not isinstance(arguments, dict):
        raise RpcError(_PARAMS, "expected an object at $.params.arguments")
    cancels = call.modern or request.query_params.get("onDisconnect") == "cancel"
    asked = PredictionRequest(onDisconnect="cancel" if cancels else None)
    if tool.form:
        if not isinstance(arguments.get("form"), dict):
            raise RpcError(_PARAMS, "expected an object at $.params.arguments.form")
        asked.form = arguments["form"]
    elif not isinstance(arguments.get("question"), str):
        raise RpcError(_PARAMS, "expected a text at $.params.arguments.question")
    else:
        asked.question = arguments["question"]
        asked.form = {name: value for name, value in arguments.items() if name != "question"} or None
    try:
        info = await begin(request, tool.flow, asked, streaming=True, admitted=True, chat_type="MCP")
        if _streams(request):
            encoder = CallEncoder(call)
            return ProtocolStream(local(request).runs, info.id, encoder, place(request, info.id))
        return Response(called(call, await local(request).runs.answer(info.id)))
    except Unauthorized:
        raise
    except HeadraceError as error:
        failed = call.result(content=[{"type": "text", "text": str(error)}], isError=True)
        return _reply(request, failed)


def _on_error(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    if isinstance(error, HeadraceError):
        code = _UNAUTHORIZED if isinstance(error, Unauthorized | NotFound) else _REFUSED
        return Response(_error(code, str(error)), status_code=error.status)
    if isinstance(error, HTTPException):
        return Response(_error(_INVALID, error.detail), status_code=error.status_code)
    reply = on_exception(request, error)
    return Response(_error(-32603, reply.content["message"]), status_code=reply.status_code)


_HANDLERS: Final[Any] = dict.fromkeys((HeadraceError, HTTPException, Exception), _on_error)
_ONE: Final = ["/api/v1/mcp/{flow_id:str}", "/mcp/{flow_id:str}"]


@post("/mcp", status_code=200, include_in_schema=False, exception_handlers=_HANDLERS)
async def all_flows(request: Request[Any, Any, Any]) -> Response[Any]:
    """Answers a JSON-RPC request; a tool's call streams its progress."""
    return await _answer(request, None)


@post(_ONE, status_code=200, include_in_schema=False, exception_handlers=_HANDLERS)
async def one_flow(request: Request[Any, Any, Any], flow_id: FlowId) -> Response[Any]:
    """Answers a JSON-RPC request; a tool's call streams its progress."""
    return await _answer(request, flow_id)


@get(["/mcp", *_ONE], include_in_schema=False, exception_handlers=_HANDLERS)
async def listen() -> Response[Any]:
    """Refused: the server tells nothing on its own."""
    return _no_session()


@delete(["/mcp", *_ONE], status_code=200, include_in_schema=False, exception_handlers=_HANDLERS)
async def leave() -> Response[Any]:
    """Refused: there are no sessions to end."""
    return _no_session()


def _no_session() -> Response[Any]:
    message = "Session termination is not supported in stateless mode."
    return Response(_error(_REFUSED, message), status_code=405, headers={"Allow": "POST"})


ROUTES = (all_flows, one_flow, listen, leave)
