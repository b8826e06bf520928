"""A flow's configuration for the embedded chat: no secrets, and the allowed uploads."""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Final

import msgspec
from litestar import Request, Response, get

from headrace.errors import Unauthorized
from headrace.runtime.flows import Flow
from headrace.server.auth import OF_A_FLOW, check_flow_key, local, may
from headrace.server.cors import WIDGET
from headrace.server.forms import endings_for
from headrace.server.predictions import FlowId, flow_at
from headrace.server.public import PublicFlow, public_config, public_flow, shown_in_public
from headrace.settings import Settings

_RESTORE: Final = (files("headrace") / "server" / "embed" / "restore.js").read_bytes()
_IMAGE_TYPES = ["image/gif", "image/jpeg", "image/png", "image/webp", ""]


@get(
    "/api/v1/public-chatbotConfig/{flow_id:str}",
    opt=OF_A_FLOW,
    summary="Configuration of the chat widget",
    tags=["widget"],
)
async def chatbot_config(request: Request[Any, Any, Any], flow_id: FlowId) -> dict[str, Any]:
    """A flow's configuration for pages: looks and prompts of the chat, the drawing, the form, the upload rules.

    A flow that is bound to a key shows them to who has it, or may read flows.
    """
    flow = await _shown_flow(request, flow_id)
    return {
        **public_config(flow.row.chatbotConfig),
        "uploads": upload_rules(flow, request.app.state.settings),
        "flowData": public_flow(flow.row.flowData),
        "isTTSEnabled": False,
    }


@get("/api/v1/public-chatflows/{flow_id:str}", opt=OF_A_FLOW, summary="A flow that is public", tags=["widget"])
async def public_chatflow(request: Request[Any, Any, Any], flow_id: FlowId) -> PublicFlow:
    """The public part of a flow with `isPublic`. Raises Unauthorized for all others."""
    flow = await _shown_flow(request, flow_id)
    if not flow.row.isPublic:
        raise Unauthorized(f"the flow {flow_id!r} is not public: `isPublic` makes it so")
    config = msgspec.json.encode(public_config(flow.row.chatbotConfig)).decode()
    return msgspec.structs.replace(shown_in_public(flow.row), chatbotConfig=config)


async def _shown_flow(request: Request[Any, Any, Any], flow_id: str) -> Flow:
    """The flow, for who may see it. Raises Unauthorized."""
    flow = await flow_at(flow_id, local(request))
    if not await may(request, "chatflows:view"):
        await check_flow_key(request, flow)
    return flow


@get(
    WIDGET,
    opt={"sends": ("text/javascript",)},
    summary="Brings back answers on pages with the chat widget",
    tags=["widget"],
)
async def widget_script() -> Response[bytes]:
    """A module with `restore`, for pages that embed the widget."""
    headers = {"Cache-Control": "max-age=300", "X-Content-Type-Options": "nosniff"}
    return Response(_RESTORE, media_type="text/javascript", headers=headers)


@get(
    "/api/v1/chatflows-uploads/{flow_id:str}", opt={"refuses": (422,)}, summary="What may be uploaded", tags=["widget"]
)
async def uploads(request: Request[Any, Any, Any], flow_id: FlowId) -> UploadRules:
    """Which files the flow takes with a question."""
    return upload_rules(await flow_at(flow_id, local(request)), request.app.state.settings)


class UploadRule(msgspec.Struct):
    """Types of files, as the chat widget compares them, and the most that one may have, in MiB."""

    fileTypes: list[str]
    maxUploadSize: int


class UploadRules(msgspec.Struct, kw_only=True):
    """The files that a flow takes with a question."""

    isSpeechToTextEnabled: bool = False
    isImageUploadAllowed: bool
    isRAGFileUploadAllowed: bool
    imgUploadSizeAndTypes: list[UploadRule]
    fileUploadSizeAndTypes: list[UploadRule]


def upload_rules(flow: Flow, settings: Settings) -> UploadRules:
    """Images where a chat model of the flow takes them, files where a loader of its one vector store does."""
    images = flow.takes_images
    files = flow.file_inputs
    return UploadRules(
        isImageUploadAllowed=images,
        isRAGFileUploadAllowed=bool(files),
        imgUploadSizeAndTypes=[UploadRule(_IMAGE_TYPES, settings.max_image_mb)] if images else [],
        fileUploadSizeAndTypes=[UploadRule(endings_for(files), settings.max_file_mb)] if files else [],
    )


ROUTES = (chatbot_config, public_chatflow, widget_script, uploads)
