"""Webhooks: calls from other systems that begin a flow, and the secrets that these sign with."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, Literal
from urllib.parse import parse_qsl

import msgspec
from litestar import Request, Response, delete, post, route
from litestar.openapi.datastructures import ResponseSpec

from headrace.engine.agentflow.webhook import (
    Call,
    Webhook,
    check_call,
    check_callback,
    check_signature,
    payload_of,
    question_of,
)
from headrace.engine.ports import FetchRequest
from headrace.engine.references import MISSING
from headrace.errors import HeadraceError, Interrupted, InvalidRequest, MediaTypeRefused, MethodRefused
from headrace.events import Prediction
from headrace.runtime.flows import Flow
from headrace.runtime.local import Local
from headrace.runtime.queue import STOPPING
from headrace.schema import HumanInput, PredictionRequest
from headrace.server.auth import check_flow_key, local, needs
from headrace.server.bodies import converted, decoded
from headrace.server.error_responses import ShownRun, run_json
from headrace.server.predictions import FlowId, flow_at, reply_of
from headrace.server.rate_limits import caller_of

_logger = logging.getLogger("headrace.webhooks")
_FORM: Final = "application/x-www-form-urlencoded"
_CALLBACK_PATIENCE: Final = 30.0  # seconds that the receiver of a result gets


class WebhookSecret(msgspec.Struct):
    """A secret, which is shown once."""

    webhookSecret: str


class AcceptedCall(ShownRun, kw_only=True):
    """A run that goes on after its caller was answered."""

    status: Literal["PROCESSING"]


class _Fields(msgspec.Struct):
    """The fields of a body that are not the sender's own."""

    chatId: str | None = None
    humanInput: HumanInput | None = None


@route(
    "/api/v1/webhook/{flow_id:str}",
    http_method=["GET", "POST", "PUT", "PATCH", "DELETE"],
    status_code=200,
    opt={"refuses": (401, 404, 405, 409, 415, 422), "streams": "too"},
    responses={
        200: ResponseSpec(Prediction, generate_examples=False, description="The answer, as JSON or as an event stream"),
        202: ResponseSpec(AcceptedCall, generate_examples=False, description="The run, which answers later"),
    },
    summary="Call a flow's webhook",
    tags=["webhooks"],
)
async def call_webhook(request: Request[Any, Any, Any], flow_id: FlowId) -> Response[Any]:
    """Begins a flow whose Start node is a webhook; the node says whether the call waits for the answer."""
    here = local(request)
    flow = await flow_at(flow_id, here)
    request.app.state.limiter.check(flow_id, caller_of(request, request.app.state.trusted), flow.api.rateLimit)
    webhook = flow.webhook
    if webhook is None:
        raise InvalidRequest("this flow does not begin with a webhook: choose that in its Start node")
    call = await _call(request)
    if webhook.webhookEnableAuth:
        check_signature(webhook, call, await here.webhook_secrets.of(flow_id))
    else:
        await check_flow_key(request, flow)
    _check_kind(request, webhook)
    fields = converted(call.body, _Fields) if isinstance(call.body, dict) else _Fields()
    if fields.humanInput is None:
        check_call(webhook, call)
    check_callback(webhook)
    if here.stopping:
        raise Interrupted(STOPPING)
    run, body = await _begin(request, flow, webhook, call, fields)
    if webhook.webhookResponseMode == "async":
        return await _accepted(here, run, webhook)
    return await reply_of(request, flow, body, run, "")


async def _begin(
    request: Request[Any, Any, Any], flow: Flow, webhook: Webhook, call: Call, fields: _Fields
) -> tuple[str, PredictionRequest]:
    here, streaming = local(request), webhook.webhookResponseMode == "stream"
    payload = payload_of(webhook, call)
    question = None if fields.humanInput else question_of(webhook, payload)
    body = PredictionRequest(
        question=question, chatId=fields.chatId, humanInput=fields.humanInput, streaming=streaming or None
    )
    run = await here.runs.start(
        flow,
        body,
        streaming=streaming,
        key=request.headers.get("idempotency-key"),
        claim=here.executions.claim if fields.humanInput else None,
        webhook=None if fields.humanInput else payload,
        chat_type="WEBHOOK",
    )
    return run, body


async def _call(request: Request[Any, Any, Any]) -> Call:
    """The call as it came. Raises InvalidRequest for a body that is not what it says."""
    raw = await request.body()
    headers = {name.lower(): value for name, value in request.headers.items()}
    kind = _kind(headers)
    body: Any = MISSING
    if raw and (kind == "application/json" or kind.endswith("+json")):
        body = decoded(raw)
    elif raw and kind == _FORM:
        body = _form(raw)
    query = {name: values[0] if len(values) == 1 else values for name, values in request.query_params.dict().items()}
    return Call(headers=headers, query=query, raw=raw, body=body)


def _form(raw: bytes) -> dict[str, Any]:
    """A form's fields; one that is called `payload` and holds JSON is the whole body, as some senders have it."""
    fields: dict[str, Any] = dict(parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True))
    try:
        payload = msgspec.json.decode(fields.get("payload", ""))
    except msgspec.DecodeError:
        return fields
    return payload if isinstance(payload, dict) else fields


def _kind(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _check_kind(request: Request[Any, Any, Any], webhook: Webhook) -> None:
    """Raises MethodRefused and MediaTypeRefused, which name what the node expects."""
    wanted = webhook.webhookMethod
    if request.method != wanted:
        raise MethodRefused(f"Method {request.method} not allowed. Expected {wanted}")
    kind = _kind(request.headers)
    if webhook.webhookEnableValidation and kind and kind != webhook.webhookContentType:
        raise MediaTypeRefused(f"Content-Type {kind} not allowed. Expected {webhook.webhookContentType}")


# Answers that come later


async def _accepted(here: Local, run: str, webhook: Webhook) -> Response[Any]:
    if webhook.callbackUrl:
        task = asyncio.create_task(_call_back(here, run, webhook))
        here.works.add(task)
        task.add_done_callback(here.works.discard)
    info = await here.runs.info(run)
    body = AcceptedCall(**msgspec.structs.asdict(run_json(info)), status="PROCESSING")
    return Response(body, status_code=202, headers={"X-Run-Id": run, "Location": info.links["self"]})


async def _call_back(here: Local, run: str, webhook: Webhook) -> None:
    """Sends the run's result to the node's address once; a receiver that is not there is only logged."""
    body = msgspec.json.encode(await _result(here, run))
    headers = [("Content-Type", "application/json")]
    if webhook.callbackSecret:
        signature = hmac.new(webhook.callbackSecret.encode(), body, sha256).hexdigest()
        headers.append(("X-Flowise-Signature", f"sha256={signature}"))
    try:
        await here.outside.fetch(FetchRequest("POST", webhook.callbackUrl, headers, body, _CALLBACK_PATIENCE))
    except HeadraceError as error:
        _logger.warning("the result of run %s could not be sent: %s", run, error)


async def _result(here: Local, run: str) -> dict[str, Any]:
    chat = (await here.runs.info(run)).chatId
    try:
        answer = await here.runs.answer(run)
    except HeadraceError as error:
        return {"status": "ERROR", "chatId": chat, "error": str(error)}
    data: Any = msgspec.to_builtins(answer)
    if answer.action:
        shown = {key: data[key] for key in ("text", "executionId", "action")}
        return {"status": "STOPPED", "chatId": chat, "data": shown}
    return {"status": "SUCCESS", "chatId": chat, "data": data}


# Secrets


@post(
    "/api/v1/chatflows/{flow_id:str}/webhook-secret",
    guards=[needs("chatflows:update")],
    status_code=200,
    opt={"refuses": (404,)},
    summary="Make a webhook's secret",
    tags=["webhooks"],
)
async def make_secret(request: Request[Any, Any, Any], flow_id: FlowId) -> WebhookSecret:
    """A new secret, shown this once; the one before is not valid any more."""
    here = local(request)
    await flow_at(flow_id, here)
    return WebhookSecret(await here.webhook_secrets.make(flow_id))


@delete(
    "/api/v1/chatflows/{flow_id:str}/webhook-secret",
    guards=[needs("chatflows:update")],
    opt={"refuses": (404,)},
    summary="Delete a webhook's secret",
    tags=["webhooks"],
)
async def delete_secret(request: Request[Any, Any, Any], flow_id: FlowId) -> None:
    """Takes the secret away: a webhook that wants signatures then refuses every call."""
    here = local(request)
    await flow_at(flow_id, here)
    await here.webhook_secrets.remove(flow_id)


ROUTES = (call_webhook, make_secret, delete_secret)
