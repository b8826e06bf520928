"""Files of chats: those of the history are given back, and attachments are read for their caller."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import Parameter, QueryParameter

from headrace.errors import BodyTooLarge, Interrupted, InvalidRequest
from headrace.retrieval.files import File, to_base64
from headrace.retrieval.folder import parse_for
from headrace.retrieval.loading import FileDocuments, Finish, texts_of
from headrace.retrieval.parser_processes import ATTACHMENT
from headrace.retrieval.text_decoding import text_documents
from headrace.runtime.flows import Flow
from headrace.schema import Attachment, is_id
from headrace.server.auth import OF_A_FLOW, check_caller, local
from headrace.server.disconnect import while_there
from headrace.server.docs import AttachmentOperation
from headrace.server.files import check_size
from headrace.server.forms import Form, FormFile, is_form, read_form
from headrace.server.predictions import FlowId, flow_at
from headrace.server.rate_limits import caller_of
from headrace.settings import Settings


@get(
    "/api/v1/get-upload-file",
    opt={**OF_A_FLOW, "refuses": (404,), "sends": ("application/octet-stream",)},
    summary="A file of a chat",
    tags=["files"],
)
async def read_file(
    request: Request[Any, Any, Any],
    flow_id: Annotated[str, QueryParameter(name="chatflowId", description="The flow's id.")],
    chat_id: Annotated[str, QueryParameter(name="chatId", description="The chat's id.")],
    name: Annotated[str, QueryParameter(name="fileName", description="As the chat history names it.")],
) -> Response[bytes]:
    """The file as it was sent, to be saved rather than shown."""
    return await _file(request, flow_id, chat_id, name)


class Wanted(msgspec.Struct):
    """A file of a chat."""

    chatflowId: str
    chatId: str
    fileName: str


@post(
    "/api/v1/openai-assistants-file/download",
    status_code=200,
    opt={**OF_A_FLOW, "refuses": (404,), "sends": ("application/octet-stream",)},
    summary="A file that an answer names",
    tags=["files"],
)
async def download(request: Request[Any, Any, Any], data: Wanted) -> Response[bytes]:
    """The same as a POST: the chat widget's buttons for the files of an answer."""
    return await _file(request, data.chatflowId, data.chatId, data.fileName)


async def _file(request: Request[Any, Any, Any], flow_id: str, chat_id: str, name: str) -> Response[bytes]:
    here = local(request)
    flow = await flow_at(flow_id, here)
    await check_caller(request, flow)
    content = await here.uploads.read(flow.row.id, chat_id, name)
    plain = "".join(sign if (sign.isascii() and sign.isalnum()) or sign in "-_. " else "_" for sign in name)
    headers = {"Content-Disposition": f'attachment; filename="{plain}"', "X-Content-Type-Options": "nosniff"}
    return Response(content, media_type="application/octet-stream", headers=headers)


@post(
    "/api/v1/attachments/{flow_id:str}/{chat_id:str}",
    status_code=200,
    opt={**OF_A_FLOW, "refuses": (422,)},
    summary="Read files for a question",
    description="A multipart form with `files`; the texts go back to the server as uploads of the type `file:full`.",
    operation_class=AttachmentOperation,
    tags=["files"],
)
async def attach(
    request: Request[Any, Any, Any],
    flow_id: FlowId,
    chat_id: Annotated[str, Parameter(description="The chat's id, a UUID.")],
) -> list[Attachment]:
    """Reads each file as what its ending says; nothing is stored."""
    flow = await flow_at(flow_id, local(request))
    await check_caller(request, flow)
    request.app.state.limiter.check(flow_id, caller_of(request, request.app.state.trusted), flow.api.rateLimit)
    if not flow.chatbot.fullFileUpload.status:
        raise InvalidRequest("file upload is not enabled for this flow: turn it on in its configuration")
    if not is_id(chat_id):
        raise InvalidRequest(f"{chat_id[:80]!r} is not the id of a chat: use a UUID")
    if not is_form(request):
        raise InvalidRequest("send the files as a multipart form, each in a part named 'files'")
    form = await read_form(request)
    if local(request).stopping:
        raise Interrupted("the server is stopping; send the files again in a moment")
    return await while_there(request, _attachments(form, flow, request.app.state.settings))


async def _attachments(form: Form, flow: Flow, settings: Settings) -> list[Attachment]:
    """Raises BodyTooLarge when the files say much more than they have bytes."""
    found: list[Attachment] = []
    for file in form.files:
        found.append(await _attachment(file, flow, settings, form.fields))
        if sum(len(one.content) for one in found) > max(ATTACHMENT.output, 2 * sum(one.size for one in found)):
            raise BodyTooLarge(f"the files up to {file.name!r} hold more text than a question can: send fewer")
    return found


async def _attachment(file: FormFile, flow: Flow, settings: Settings, fields: dict[str, str]) -> Attachment:
    allowed = flow.chatbot.fullFileUpload.types
    if file.mime.partition(";")[0] not in allowed:
        raise InvalidRequest(
            f"the file {file.name!r} has the type {file.mime!r}, and the flow takes {', '.join(allowed) or 'none'}"
        )
    check_size(file.name, file.mime, len(file.content), settings)
    if fields.get("base64") in ("true", "1"):
        text = await asyncio.to_thread(to_base64, file.content)
    else:
        text = await _text(file)
    return Attachment(file.name, file.mime, len(file.content), text)


async def _text(file: FormFile) -> str:
    parse = parse_for(file.name) or text_documents
    return await texts_of(FileDocuments([(File(file.name, file.content), parse)], Finish(), "attachment", ATTACHMENT))


ROUTES = (read_file, download, attach)
