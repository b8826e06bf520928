"""What the embedded chat reads of a flow before it asks: configuration without secrets, and what may be uploaded."""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Final

import msgspec
from litestar import Request, Response, get

from headrace.errors import Unauthorized
from headrace.runtime.flows import Flow
from headrace.server.auth import local
from headrace.server.cors import WIDGET
from headrace.server.forms import endings_for
from headrace.server.predictions import FlowId, flow_at
from headrace.settings import Settings

_PRIVATE_TYPES = ("password", "file", "folder", "credential")
_PRIVATE_NAMES = ("credential", "credentialId", "FLOWISE_CREDENTIAL_ID", "headers", "authorization", "baseOptions")
_SHARED = ("id", "name", "type", "category", "deployed", "isPublic", "createdDate", "updatedDate")
_RESTORE: Final = (files("headrace") / "server" / "embed" / "restore.js").read_bytes()
_IMAGE_TYPES = ["image/gif", "image/jpeg", "image/png", "image/webp", ""]


@get("/api/v1/public-chatbotConfig/{flow_id:str}", summary="Configuration of the chat widget", tags=["widget"])
async def chatbot_config(request: Request[Any, Any, Any], flow_id: FlowId) -> dict[str, Any]:
    """The flow's `chatbotConfig` without its origins, its nodes without secrets, and its upload rules."""
    flow = await flow_at(flow_id, local(request))
    return {
        **_public_config(flow),
        "uploads": upload_rules(flow, request.app.state.settings),
        "flowData": public_flow(flow.row.flowData),
        "isTTSEnabled": False,
    }


@get("/api/v1/public-chatflows/{flow_id:str}", summary="A flow that is public", tags=["widget"])
async def public_chatflow(request: Request[Any, Any, Any], flow_id: FlowId) -> dict[str, Any]:
    """What everybody may see of a flow with `isPublic`. Raises Unauthorized for all others."""
    flow = await flow_at(flow_id, local(request))
    if not flow.row.isPublic:
        raise Unauthorized(f"the flow {flow_id!r} is not public: `isPublic` makes it so")
    return {
        **{name: getattr(flow.row, name) for name in _SHARED},
        "flowData": public_flow(flow.row.flowData),
        "chatbotConfig": msgspec.json.encode(_public_config(flow)).decode(),
    }


def _public_config(flow: Flow) -> dict[str, Any]:
    config = msgspec.json.decode(flow.row.chatbotConfig or "{}") or {}
    shown = {key: value for key, value in config.items() if not key.startswith("allowedOrigins")}
    return _without(shown, set(_PRIVATE_NAMES))


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


def public_flow(text: str) -> str:
    """The flow's JSON text without credentials and without inputs that hold secrets or files."""
    flow: Any = msgspec.json.decode(text)
    for node in flow.get("nodes", ()):
        data = node.get("data", {})
        data.pop("credential", None)
        private = {p["name"] for p in data.get("inputParams", ()) if p.get("type") in _PRIVATE_TYPES and "name" in p}
        data["inputs"] = _without(data.get("inputs", {}), private.union(_PRIVATE_NAMES))
    return msgspec.json.encode(flow).decode()


def _without(value: Any, names: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(item, names) for key, item in value.items() if key not in names}
    return [_without(item, names) for item in value] if isinstance(value, list) else value


ROUTES = (chatbot_config, public_chatflow, widget_script, uploads)
