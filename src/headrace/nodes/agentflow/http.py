"""The HTTP node of agent flows: one request, through the guard that all requests of flows go through."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple
from urllib.parse import urlencode

import aiohttp
import msgspec

from headrace.engine.agentflow.execution import public
from headrace.engine.agentflow.node import Accepts, AgentNode, Task
from headrace.engine.annotations import Input, NodeInfo
from headrace.engine.ports import FetchReply, FetchRequest
from headrace.engine.references import text_of
from headrace.engine.richtext import markdown
from headrace.errors import FlowError
from headrace.events import Event
from headrace.retrieval.files import files_of

_TYPES: Final = {
    "json": "application/json",
    "raw": "text/plain",
    "xWwwFormUrlencoded": "application/x-www-form-urlencoded",
}


class Pair(msgspec.Struct, frozen=True):
    """A header, a query parameter or a field of a form."""

    key: str = ""
    value: Any = ""


_Pairs = Annotated[list[Pair], msgspec.Meta(extra={"acceptVariable": True})]


class HttpNode(AgentNode, frozen=True, kw_only=True, tag="httpAgentflow"):
    """Makes one HTTP request. Every status counts as an answer."""

    info = NodeInfo(
        label="HTTP", version=1.1, type="HTTP", credentials=("httpBasicAuth", "httpBearerToken", "httpApiKey")
    )

    credential: str = ""
    method: Literal["GET", "POST", "PUT", "DELETE", "PATCH"] = "GET"
    url: Annotated[Accepts, Input(label="URL")]
    headers: _Pairs = []
    queryParams: Annotated[_Pairs, Input(label="Query Params")] = []
    bodyType: Literal["json", "raw", "formData", "xWwwFormUrlencoded"] | None = None
    body: Annotated[
        Any,
        msgspec.Meta(extra={"acceptVariable": True, "late": True}),
        Input(type="string", show={"bodyType": ".+"}),
    ] = ""
    """A text, or the fields of a form. A value that is a data URI is sent as the file that it holds."""
    responseType: Literal["json", "text", "arraybuffer", "base64"] | None = None

    async def run(self, task: Task) -> AsyncGenerator[Sequence[Event]]:
        """Makes the request. Raises FetchRefused for an address that flows may not reach, and FetchFailed."""
        task.input_record = {"http": self._request_json(task)}
        kind, body = await self._body(task)
        headers = [(pair.key, text_of(pair.value)) for pair in self.headers if pair.key]
        if kind and not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("Content-Type", kind))
        headers += (await self._authorization(task)).items()
        reply = await task.run.ctx.outside.fetch(FetchRequest(self.method, self._address(), headers, body))
        task.output = {"http": self._answer(reply)}
        yield []

    def _request_json(self, task: Task) -> dict[str, Any]:
        """The request as the execution shows it."""
        pairs = {"headers": self.headers, "queryParams": self.queryParams}
        return {
            "method": self.method,
            "url": public(self.url),
            **{name: public(msgspec.to_builtins(given)) for name, given in pairs.items()},
            "bodyType": self.bodyType or "",
            "body": task.inputs.get("body", ""),
            "responseType": self.responseType or "",
        }

    def _address(self) -> str:
        url = self.url.strip()
        query = urlencode([(pair.key, text_of(pair.value)) for pair in self.queryParams if pair.key])
        head, mark, fragment = url.partition("#")
        return head + (("&" if "?" in head else "?") + query if query else "") + mark + fragment

    async def _body(self, task: Task) -> tuple[str, bytes]:
        """The body's media type and its bytes. Raises FlowError for one that is not of its type."""
        place, given = task.node.id, self.body
        match self.bodyType:
            case None:
                return "", b""
            case "json":
                return _TYPES["json"], _json(given, task)
            case "raw":
                text = text_of(task.resolve(given))
                file = _file(text)
                return (file.kind, file.content) if file else (_TYPES["raw"], text.encode())
            case "xWwwFormUrlencoded":
                fields = [(pair.key, text_of(pair.value)) for pair in _fields(task.resolve(given), place)]
                return _TYPES["xWwwFormUrlencoded"], urlencode(fields).encode()
            case "formData":
                return await _form(_fields(task.resolve(given), place))

    async def _authorization(self, task: Task) -> Mapping[str, str]:
        """The header of the node's credential. Raises NotFound for a credential that is not here."""
        if not self.credential and not task.node.credential:
            return {}
        fields = await task.run.ctx.secrets(self.credential or task.node.credential or "")
        if "basicAuthUsername" in fields:
            return {"Authorization": _basic(fields["basicAuthUsername"], fields.get("basicAuthPassword", ""))}
        if "token" in fields:
            return {"Authorization": f"Bearer {fields['token'].strip()}"}
        if key := fields.get("key"):
            return {key: fields.get("value", "").strip()}
        raise FlowError(
            f"the credential of {task.node.id!r} is none for HTTP: choose a basic, bearer or key credential"
        )

    def _answer(self, reply: FetchReply) -> dict[str, Any]:
        status = HTTPStatus(reply.status).phrase if reply.status in HTTPStatus._value2member_map_ else ""
        headers = {name.lower(): value for name, value in reply.headers}
        return {"data": self._data(reply), "status": reply.status, "statusText": status, "headers": headers}

    def _data(self, reply: FetchReply) -> Any:
        if self.responseType in ("arraybuffer", "base64"):
            return base64.b64encode(reply.body).decode()
        text = reply.body.decode("utf-8", "replace")
        if self.responseType == "text":
            return text
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            return text


def _json(given: Any, task: Task) -> bytes:
    """A JSON body. Its references are put into its texts, so that quotes in a value cannot break it."""
    if not isinstance(given, str):
        return msgspec.json.encode(task.resolve(given))
    text = markdown(given)
    try:
        return msgspec.json.encode(task.resolve(msgspec.json.decode(text))) if text.strip() else b""
    except msgspec.DecodeError:
        pass  # a reference may stand where a number or an object belongs
    try:
        return msgspec.json.encode(msgspec.json.decode(text_of(task.resolve(given))))
    except msgspec.DecodeError as error:
        raise FlowError(f"the body of {task.node.id!r} is not JSON: {error}") from None


def _fields(given: Any, place: str) -> list[Pair]:
    """The fields of a form, which may be a list, an object or the JSON text of either."""
    try:
        found = msgspec.json.decode(given) if isinstance(given, str) and given.strip() else given or []
        pairs = [{"key": key, "value": value} for key, value in found.items()] if isinstance(found, dict) else found
        return [pair for pair in msgspec.convert(pairs, list[Pair]) if pair.key]
    except msgspec.MsgspecError:
        raise FlowError(f"the body of {place!r} is a form: give it a list of keys and values") from None


async def _form(pairs: Sequence[Pair]) -> tuple[str, bytes]:
    """A form of several parts, files among them."""
    form = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
    for pair in pairs:
        text = text_of(pair.value)
        if file := _file(text):
            form.add_field(pair.key, file.content, filename=file.name, content_type=file.kind)
        else:
            form.add_field(pair.key, text)
    body = form()
    return str(body.headers["Content-Type"]), await body.as_bytes()


class _File(NamedTuple):
    name: str
    kind: str
    content: bytes


def _file(text: str) -> _File | None:
    """The file of a data URI. Raises FlowError for one that is damaged."""
    if not (text.startswith("data:") and "," in text):
        return None
    (file,) = files_of(text, Path())
    kind = text[len("data:") : text.index(",")].partition(";")[0]
    with file.open() as opened:
        return _File(file.name, kind or "application/octet-stream", opened.read())


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


NODES: Final = (HttpNode,)
