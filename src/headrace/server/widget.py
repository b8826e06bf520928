"""A flow's configuration for the embedded chat: no secrets, and the allowed uploads."""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Final

import msgspec
from litestar import Request, Response, get

from headrace.errors import Unauthorized
from headrace.runtime.flows import Flow
from headrace.server.auth import check_flow_key, local, may
from headrace.server.cors import WIDGET
from headrace.server.forms import endings_for
from headrace.server.predictions import FlowId, flow_at
from headrace.server.public import public_config, public_flow
from headrace.settings import Settings

_SHARED = ("id", "name", "type", "category", "deployed", "isPublic", "createdDate", "updatedDate")
_RESTORE: Final = (files("headrace") / "server" / "embed" / "restore.js").read_bytes()
_IMAGE_TYPES = ["image/gif", "image/jpeg", "image/png", "image/webp", ""]


@get("/api/v1/public-chatbotConfig/{flow_id:str}", summary="Configuration of the chat widget", tags=["widget"])
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


@get("/api/v1/public-chatflows/{flow_id:str}", summary="A flow that is public", tags=["widget"])
async def public_chatflow(request: Request[Any, Any, Any], flow_id: FlowId) -> dict[str, Any]:
    """The public part of a flow with `isPublic`. Raises Unauthorized for all others."""
    flow = await _shown_flow(request, flow_id)
    if not flow.row.isPublic:
        raise Unauthorized(f"the flow {flow_id!r} is not public: `isPublic` makes it so")
    return {
        **{name: getattr(flow.row, name) for name in _SHARED},
        "flowData": public_flow(flow.row.flowData),
        "chatbotConfig": msgspec.json.encode(public_config(flow.row.chatbotConfig)).decode(),
    }


async def _shown_flow(request: Request[Any, Any, Any], flow_id: str) -> Flow:
    """The flow, for who may see it. Raises Unauthorized."""
    flow = await flow_at(flow_id, local(request))
    if not await may(request, "chatflows:view"):
        await check_flow_key(request, flow)
    return flow


@get(WIDGET, summary="Brings back answers on pages with the chat widget", tags=["widget"])
async def widget_script() -> Response[bytes]:
    """A module with `restore`, for pages that embed the widget."""
    headers = {"Cache-Control": "max-age=300", "X-Content-Type-Options": "nosniff"}
    return Response(_RESTORE, media_type="text/javascript", headers=headers)


@get("/api/v1/chatflows-uploads/{flow_id:str}", summary="What may be uploaded", tags=["widget"])
async def uploads(request: Request[Any, Any, Any], flow_id: FlowId) -> dict[str, Any]:
    """Which files the flow takes with a question."""
    return upload_rules(await flow_at(flow_id, local(request)), request.app.state.settings)


def upload_rules(flow: Flow, settings: Settings) -> dict[str, Any]:
    """Images where a chat model of the flow takes them, files where a loader of its one vector store does."""
    images = flow.takes_images
    files = flow.file_inputs
    return {
        "isSpeechToTextEnabled": False,
        "isImageUploadAllowed": images,
        "isRAGFileUploadAllowed": bool(files),
        "imgUploadSizeAndTypes": [_rule(_IMAGE_TYPES, settings.max_image_mb)] if images else [],
        "fileUploadSizeAndTypes": [_rule(endings_for(files), settings.max_file_mb)] if files else [],
    }


def _rule(types: list[str], most: int) -> dict[str, Any]:
    return {"fileTypes": types, "maxUploadSize": most}


ROUTES = (chatbot_config, public_chatflow, widget_script, uploads)
