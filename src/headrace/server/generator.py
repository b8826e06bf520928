"""Makes agent flows from sentences, for builders. Nothing is stored."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import Request, post

from headrace.documents.context import upsert_context
from headrace.engine.agentflow.generation import ChosenModel, GeneratedFlow, generated
from headrace.errors import InvalidRequest
from headrace.server.auth import local, needs


class GenerationRequest(msgspec.Struct):
    """The purpose of the flow, and the model that plans it and that its nodes then use."""

    question: str
    selectedChatModel: ChosenModel


@post(
    "/api/v1/agentflowv2-generator/generate",
    guards=[needs("chatflows:create")],
    status_code=200,
    summary="Make an agent flow from a sentence",
    tags=["flows"],
)
async def generate(request: Request[Any, Any, Any], data: GenerationRequest) -> GeneratedFlow:
    """The flow's nodes and edges, checked against the node types of this server, to be stored as `flowData`."""
    if not data.question.strip():
        raise InvalidRequest("say at $.question what the flow is for")
    here = local(request)
    ctx = await upsert_context(here.storage, here.outside, "")
    async with ctx.closing:
        return await generated(data.question, data.selectedChatModel, here.flows.catalog, ctx)


ROUTES: Final = (generate,)
