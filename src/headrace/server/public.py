"""The parts of a flow that everybody may see: what the chat widget and the pages need, and nothing else of it.

These are lists of what is shown. Whatever else stands in a flow (prompts, code, headers, keys, addresses) is not.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from headrace.schema import FlowRow

Shape = dict[str, Any] | list[Any] | None
"""The shown part of a JSON value: fields by name, `*` for every name; a list's elements; None for a plain value."""

_BUBBLE: Final[Shape] = dict.fromkeys(("backgroundColor", "textColor", "showAvatar", "avatarSrc"))
_LEADS: Final[Shape] = dict.fromkeys(("status", "title", "name", "email", "phone", "successMessage"))
_CONFIG: Final[Shape] = {
    **dict.fromkeys(
        """title titleAvatarSrc titleBackgroundColor titleTextColor showTitle showAgentMessages welcomeMessage
        errorMessage backgroundColor backgroundImage fontSize poweredByTextColor renderHTML sourceDocsTitle
        displayName""".split()
    ),
    "starterPrompts": {"*": {"prompt": None}},
    "starterPromptFontSize": None,
    "chatFeedback": {"status": None},
    "followUpPrompts": {"status": None},
    "leads": _LEADS,
    "fullFileUpload": {"status": None, "allowedUploadFileTypes": None},
    "userMessage": _BUBBLE,
    "botMessage": _BUBBLE,
    "textInput": dict.fromkeys(("placeholder", "backgroundColor", "textColor", "sendButtonColor", "maxChars")),
    "footer": dict.fromkeys(("text", "textColor", "company", "companyLink")),
}
_FORM: Final[Shape] = {
    "startInputType": None,
    "formTitle": None,
    "formDescription": None,
    "formInputTypes": [{"type": None, "label": None, "name": None, "addOptions": [{"option": None}]}],
}
_PLACE: Final[Shape] = {"x": None, "y": None}
_NODE: Final[Shape] = {
    **dict.fromkeys(("id", "type", "width", "height", "parentNode", "extent")),
    "position": _PLACE,
    "positionAbsolute": _PLACE,
    "data": dict.fromkeys(("id", "name", "label", "category", "type", "color", "version")),
}
_EDGE: Final[Shape] = dict.fromkeys(("id", "source", "target", "sourceHandle", "targetHandle", "type"))
_TOOL_NAME: Final = re.compile(r"[A-Za-z_][\w-]{0,63}")


class PublicFlow(msgspec.Struct, kw_only=True):
    """The public part of a flow. `chatbotConfig` is a JSON text of `public_config`."""

    id: str
    name: str
    type: str
    category: str | None
    deployed: bool | None
    isPublic: bool | None
    createdDate: str
    updatedDate: str
    flowData: str
    chatbotConfig: str | UnsetType = UNSET


def shown_in_public(row: FlowRow) -> PublicFlow:
    """The flow without its configuration."""
    names = ("id", "name", "type", "category", "deployed", "isPublic", "createdDate", "updatedDate")
    return PublicFlow(**{name: getattr(row, name) for name in names}, flowData=public_flow(row.flowData))


def public_config(text: str | None) -> dict[str, Any]:
    """The `chatbotConfig` that pages are given."""
    return _public_value(_decoded(text), _CONFIG) or {}


def public_flow(text: str) -> str:
    """The flow's drawing as JSON text, with the form that it begins with."""
    flow = _decoded(text)
    nodes = [_node(node) for node in flow.get("nodes") or () if isinstance(node, dict)]
    return msgspec.json.encode({"nodes": nodes, "edges": _public_value(flow.get("edges"), [_EDGE]) or []}).decode()


def _node(node: dict[str, Any]) -> dict[str, Any]:
    shown = _public_value(node, _NODE) or {}
    data = node.get("data")
    inputs = data.get("inputs") if isinstance(data, dict) else None
    if isinstance(inputs, dict):
        shown["data"]["inputs"] = _inputs(shown["data"].get("name"), inputs)
    return shown


def _inputs(node: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    if node == "startAgentflow":
        return _public_value(inputs, _FORM) or {}
    name = inputs.get("name")  # events call the tool so, and the drawing lights it by that name
    return {"name": name} if isinstance(name, str) and _TOOL_NAME.fullmatch(name) else {}


def _public_value(value: Any, shape: Shape) -> Any:
    """The part of a value that a shape leaves; None where the value has another shape."""
    if shape is None:
        return value if isinstance(value, str | int | float | bool) else None
    if isinstance(shape, list):
        return [_public_value(item, shape[0]) for item in value] if isinstance(value, list) else None
    if not isinstance(value, dict):
        return None
    names = value if "*" in shape else shape
    found = {name: _public_value(value[name], shape.get(name, shape.get("*"))) for name in names if name in value}
    return {name: item for name, item in found.items() if item is not None}


def _decoded(text: str | None) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text or "{}")
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}
