"""OpenAI's Responses API: a flow's runs as responses that can be followed, resumed and cancelled."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter, QueryParameter

from headrace.errors import InvalidRequest, RunNotFound
from headrace.runtime.local import Local
from headrace.schema import RunInfo
from headrace.server.auth import check_caller, local
from headrace.server.frames import first_event_wait
from headrace.server.predictions import flow_at
from headrace.server.protocols.openai_errors import OPENAI, OPENAI_HANDLERS
from headrace.server.protocols.openai_models import model_flow
from headrace.server.protocols.openai_requests import model_name, openai_question
from headrace.server.protocols.openai_response import PREFIX, ResponseEncoder, place_after
from headrace.server.protocols.stream import ProtocolStream, begin, place

_PATIENCE = 1.0  # seconds that a run gets to end before its state is told
ResponseId = Annotated[str, Parameter(description="The response's id.")]


async def response_of(here: Local, info: RunInfo, last: int | None = None) -> dict[str, Any]:
    """A run as a response: whole when it has ended, else up to an event. Waits for the end without one."""
    encoder = ResponseEncoder(info)
    if last != 0:
        async with here.runs.reading(info.id), aclosing(here.runs.follow(info.id)) as batches:
            async for entries in batches:
                for entry in entries:
                    for _ in encoder.frames(entry):
                        pass
                if last is not None and entries and entries[-1].seq >= last:
                    break
    return encoder.response


@post(
    "/v1/responses",
    status_code=200,
    summary="Ask a flow as OpenAI's Responses API is asked",
    description="`model` is the flow's id. With `stream` true the answer is an event stream, else JSON; with "
    "`background` true it comes at once, and is followed by its id.",
    exception_handlers=OPENAI_HANDLERS,
    opt={**OPENAI, "refuses": (404, 409), "streams": "too"},
    responses={200: ResponseSpec(dict[str, Any], generate_examples=False)},
    tags=["openai"],
)
async def create_response(request: Request[Any, Any, Any], data: dict[str, Any]) -> Response[Any]:
    """Runs a flow. Raises InvalidRequest for what a flow cannot be asked, RunNotFound for an unknown response."""
    here = local(request)
    flow = await model_flow(request, model_name(data))
    chat = await _chat(request, data, flow.row.id)
    asked = openai_question(request, data, _input(data), "$.input", chat)
    streaming = data.get("stream") is True
    info = await begin(request, flow, asked, streaming=streaming)
    if streaming:
        return ProtocolStream(
            here.runs, info.id, ResponseEncoder(info), place(request, info.id), wait=first_event_wait(request)
        )
    if data.get("background") is True:
        return Response({**ResponseEncoder(info).response, "background": True}, headers={"X-Run-Id": info.id})
    return Response(await response_of(here, info), headers={"X-Run-Id": info.id})


def _input(data: Mapping[str, Any]) -> list[Any]:
    """The messages of a request; a text is one of the user's."""
    found = data.get("input")
    if isinstance(found, str):
        return [{"role": "user", "content": found}]
    if not isinstance(found, list) or not found:
        raise InvalidRequest("expected a text or a list of messages at $.input")
    return [item for item in found if not (isinstance(item, dict) and item.get("type") in ("reasoning", "mcp_call"))]


async def _chat(request: Request[Any, Any, Any], data: Mapping[str, Any], flow_id: str) -> str | None:
    """The chat that goes on: of the response before, or the one that is named."""
    if (previous := data.get("previous_response_id")) is not None:
        info = await _readable(request, str(previous))
        if info.chatflowid != flow_id:
            raise RunNotFound(f"this flow has no response {previous!r}")
        return info.chatId
    named = data.get("conversation")
    chat = named.get("id") if isinstance(named, dict) else named
    if chat is not None and not isinstance(chat, str):
        raise InvalidRequest("expected the id of a chat at $.conversation")
    return chat or None


async def _readable(request: Request[Any, Any, Any], response_id: str) -> RunInfo:
    """The response's run, for a caller who may read its flow. Raises RunNotFound, Unauthorized, OriginRefused."""
    here = local(request)
    if not response_id.startswith(PREFIX):
        raise RunNotFound(f"there is no response {response_id!r}")
    info = await here.runs.info(response_id.removeprefix(PREFIX))
    await check_caller(request, await flow_at(info.chatflowid, here))
    return info


@get(
    "/v1/responses/{response_id:str}",
    summary="A response, or what follows of its stream",
    exception_handlers=OPENAI_HANDLERS,
    opt={**OPENAI, "streams": "too"},
    responses={200: ResponseSpec(dict[str, Any], generate_examples=False)},
    tags=["openai"],
)
async def read_response(
    request: Request[Any, Any, Any],
    response_id: ResponseId,
    stream: bool = False,
    after: Annotated[int, QueryParameter(name="starting_after", description="The last event's number.")] = -1,
) -> Response[Any]:
    """The response so far as JSON; with `stream` its events after a number, the same bytes as at first."""
    here, info = local(request), await _readable(request, response_id)
    if stream:
        have = max(place(request, info.id), place_after(after))
        return ProtocolStream(here.runs, info.id, ResponseEncoder(info), have)
    return Response(await response_of(here, info, info.lastSeq))


@post(
    "/v1/responses/{response_id:str}/cancel",
    status_code=200,
    summary="Stop a response",
    exception_handlers=OPENAI_HANDLERS,
    opt=OPENAI,
    tags=["openai"],
)
async def cancel_response(request: Request[Any, Any, Any], response_id: ResponseId) -> dict[str, Any]:
    """Closes the connection to the model; the response is `cancelled`. After the end nothing changes."""
    here, info = local(request), await _readable(request, response_id)
    await here.runs.cancel(info.id)
    info = await here.runs.settled(info.id, _PATIENCE)
    return await response_of(here, info, info.lastSeq)


ROUTES = (create_response, read_response, cancel_response)
