"""Flows that begin with a webhook: the settings of their Start node, and the checks of a call against these."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

from headrace.engine.agentflow.execution import HIDDEN
from headrace.engine.agentflow.references import resolved
from headrace.engine.annotations import Input
from headrace.engine.references import MISSING, dig
from headrace.errors import FlowError, InvalidRequest, Unauthorized

_KEYS: Final = re.compile(r"[^.\[\]]+")
_SECRET_HEADERS: Final = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})
_SIGNATURE: Final = "x-webhook-signature"
_WEBHOOK: Final = {"startInputType": "webhookTrigger"}
_SIGNED: Final = {**_WEBHOOK, "webhookEnableAuth": True}
_CHECKED: Final = {**_WEBHOOK, "webhookEnableValidation": True}
_TEXT: Final = Input(label="Custom Text", show={**_WEBHOOK, "webhookInputMode": "text"})
_LATER: Final = Input(show={**_WEBHOOK, "webhookResponseMode": "async"})


class Expected(msgspec.Struct, frozen=True, omit_defaults=True):
    """A header, a query parameter or a field of the body that a call should have."""

    name: str = ""
    required: bool = False
    type: str = "string"
    """Of a field of the body: `string`, `number`, `boolean`, `object`, or `array[…]` of one of them."""


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs of a Start node that say how its webhook is called, and how it answers."""

    webhookMethod: Annotated[
        Literal["GET", "POST", "PUT", "PATCH", "DELETE"], Input(label="HTTP Method", show=_WEBHOOK)
    ] = "POST"
    webhookContentType: Annotated[
        Literal["application/json", "application/x-www-form-urlencoded"], Input(label="Content Type", show=_WEBHOOK)
    ] = "application/json"
    webhookInputMode: Annotated[Literal["text", "none", "payload"], Input(label="Input Mode", show=_WEBHOOK)] = "text"
    webhookDefaultInput: Annotated[str, msgspec.Meta(extra={"acceptVariable": True}), _TEXT] = ""
    webhookEnableAuth: Annotated[bool, Input(label="Verify request signature", show=_WEBHOOK)] = False
    webhookSignatureHeader: Annotated[str, Input(label="Signature Header", show=_SIGNED)] = ""
    webhookSignatureType: Annotated[
        Literal["hmac-sha256", "plain-token"], Input(label="Signature Type", show=_SIGNED)
    ] = "hmac-sha256"
    webhookResponseMode: Annotated[Literal["sync", "async", "stream"], Input(label="Response Mode", show=_WEBHOOK)] = (
        "sync"
    )
    callbackUrl: Annotated[str, _LATER] = ""
    callbackSecret: Annotated[str, _LATER] = ""
    webhookEnableValidation: Annotated[bool, Input(label="Validate request shape", show=_WEBHOOK)] = False
    webhookQueryParams: Annotated[list[Expected], Input(label="Expected Query Parameters", show=_CHECKED)] = []
    webhookBodyParams: Annotated[list[Expected], Input(label="Expected Body Parameters", show=_CHECKED)] = []
    webhookHeaderParams: Annotated[list[Expected], Input(label="Expected Headers", show=_CHECKED)] = []


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a webhook. Headers have their names in small letters; `body` is MISSING where none can be read."""

    headers: Mapping[str, str]
    query: Mapping[str, Any]
    raw: bytes
    body: Any = MISSING


def webhook_of(inputs: Mapping[str, Any]) -> Webhook | None:
    """The webhook of a Start node with these inputs; None for one that begins otherwise. Raises FlowError."""
    if inputs.get("startInputType") != "webhookTrigger":
        return None
    given = {key: value for key, value in inputs.items() if value not in ("", None)}
    try:
        return msgspec.convert(given, Webhook, strict=False)
    except msgspec.ValidationError as error:
        raise FlowError(f"the webhook of the Start node is not set up: {error}") from None


def check_signature(webhook: Webhook, call: Call, secret: str | None) -> None:
    """Lets a call in that the secret signs, or that carries it. Raises Unauthorized, FlowError without a secret."""
    if secret is None:
        raise FlowError(
            "Webhook signature verification is enabled but no secret has been generated: "
            "make one with `POST /api/v1/chatflows/<flow-id>/webhook-secret`"
        )
    name = _signature_header(webhook)
    given = call.headers.get(name)
    if not given:
        raise Unauthorized(f"Missing signature header: {name}")
    wanted = secret
    if webhook.webhookSignatureType == "hmac-sha256":
        wanted, given = hmac.new(secret.encode(), call.raw, sha256).hexdigest(), given.removeprefix("sha256=")
    if not hmac.compare_digest(wanted.encode(), given.encode()):
        raise Unauthorized("Invalid webhook signature")


def check_call(webhook: Webhook, call: Call) -> None:
    """Refuses a call that lacks what the node requires, or has it of another type. Raises InvalidRequest."""
    if not webhook.webhookEnableValidation:
        return
    body = call.body if isinstance(call.body, dict) else {}
    headers = {name: name.lower() for name in _required(webhook.webhookHeaderParams)}
    _refuse_missing("headers", [name for name, key in headers.items() if key not in call.headers])
    _refuse_missing("webhook body parameters", [n for n in _required(webhook.webhookBodyParams) if body.get(n) is None])
    wrong = [
        p.name for p in webhook.webhookBodyParams if body.get(p.name) is not None and not _is(p.type, body[p.name])
    ]
    if wrong:
        raise InvalidRequest(f"Invalid type for parameter(s): {', '.join(wrong)}")
    _refuse_missing("query parameters", [n for n in _required(webhook.webhookQueryParams) if n not in call.query])


def check_callback(webhook: Webhook) -> None:
    """Raises InvalidRequest for an address that no result can be sent to."""
    if webhook.webhookResponseMode == "async" and webhook.callbackUrl:
        address = urlsplit(webhook.callbackUrl)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise InvalidRequest("Invalid callbackUrl: must be a valid http or https URL")


def payload_of(webhook: Webhook, call: Call) -> dict[str, Any]:
    """The call as `$webhook` holds it: `body`, `headers` without secrets, and `query`."""
    secret = _SECRET_HEADERS | (
        {_signature_header(webhook)} if webhook.webhookSignatureType == "plain-token" else set()
    )
    headers = {name: HIDDEN if name in secret else value for name, value in call.headers.items()}
    body = {} if call.body is MISSING else {"body": call.body}
    return {**body, "headers": headers, "query": dict(call.query)}


def question_of(webhook: Webhook, payload: Mapping[str, Any]) -> str:
    """The question that the call asks: the node's text with its references, the body as JSON, or none."""
    match webhook.webhookInputMode:
        case "text":
            return resolved(webhook.webhookDefaultInput, lambda path: found(payload, path))
        case "payload":
            return msgspec.json.encode(payload.get("body")).decode()
        case "none":
            return ""


def found(payload: Mapping[str, Any], path: str) -> Any:
    """The value at `$webhook.body.…`, `$webhook.headers.…` or `$webhook.query.…`; MISSING for anything else."""
    root, *keys = _KEYS.findall(path) or [""]
    return dig(payload, keys) if root == "$webhook" else MISSING


def _signature_header(webhook: Webhook) -> str:
    return (webhook.webhookSignatureHeader or _SIGNATURE).lower()


def _required(expected: Sequence[Expected]) -> list[str]:
    return [one.name for one in expected if one.required and one.name]


def _refuse_missing(what: str, names: Sequence[str]) -> None:
    if names:
        raise InvalidRequest(f"Missing required {what}: {', '.join(names)}")


def _is(kind: str, value: Any) -> bool:
    """True for a value of the type; forms have numbers and truth values as texts."""
    if kind.startswith("array["):
        inner = kind.removeprefix("array[").removesuffix("]")
        return isinstance(value, list) and all(_is(inner, item) for item in value)
    match kind:
        case "number":
            return not isinstance(value, bool) and (isinstance(value, int | float) or _is_number(value))
        case "boolean":
            return isinstance(value, bool) or value in ("true", "false")
        case "object":
            return isinstance(value, dict)
        case _:
            return isinstance(value, str)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
