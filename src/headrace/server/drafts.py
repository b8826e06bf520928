"""Predictions of drawings that are not saved: what a builder tries."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.openapi.datastructures import ResponseSpec

from headrace.events import Prediction
from headrace.runtime.flows import draft_of
from headrace.server.auth import local, needs
from headrace.server.bodies import asked, converted, decoded
from headrace.server.docs import DraftOperation
from headrace.server.predictions import FlowId, flow_at, reply_of, start_run


class _Drawn(msgspec.Struct):
    """The field of the body that predictions of stored flows do not have."""

    flowData: str


@post(
    "/api/v1/draft-prediction/{flow_id:str}",
    guards=[needs("chatflows:update")],
    status_code=200,
    opt={"refuses": (409, 412, 422), "streams": "too"},
    operation_class=DraftOperation,
    summary="Ask a drawing that is not saved",
    responses={
        200: ResponseSpec(
            Prediction, generate_examples=False, description="The answer, or with `streaming` a text/event-stream"
        ),
    },
    tags=["predictions"],
)
async def try_draft(request: Request[Any, Any, Any], flow_id: FlowId) -> Response[Any]:
    """A prediction whose body also has `flowData`: the nodes and edges that run in place of the flow's stored ones.

    Chats, settings and keys are the stored flow's; a question that the draft asks a person is answered here too.
    """
    body = await asked(request)
    drawn = converted(decoded(await request.body()), _Drawn).flowData
    draft = draft_of(await flow_at(flow_id, local(request)), drawn)
    run = await start_run(request, draft, body, streaming=body.wants_stream and draft.streams, chat_type="INTERNAL")
    return await reply_of(request, draft, body, run, "")


ROUTES = (try_draft,)
