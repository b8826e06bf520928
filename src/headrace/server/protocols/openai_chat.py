"""OpenAI's chat completions: a flow asked as a model is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from litestar import Request, Response, post
from litestar.openapi.datastructures import ResponseSpec

from headrace.errors import InvalidRequest
from headrace.events import End, Error, Fold, Metadata, Prediction, Thinking, Token, Usage
from headrace.runtime.log import Entry
from headrace.schema import RunInfo
from headrace.server.auth import local
from headrace.server.frames import PredictionResponse, first_event_wait
from headrace.server.protocols.openai_errors import OPENAI, OPENAI_HANDLERS, error_body
from headrace.server.protocols.openai_models import model_flow
from headrace.server.protocols.openai_requests import model_name, openai_question
from headrace.server.protocols.stream import DONE, ProtocolStream, begin, frame, json, json_text, place, unix_time

_EXTRAS: Final = (
    "chatId",
    "chatMessageId",
    "executionId",
    "sourceDocuments",
    "usedTools",
    "artifacts",
    "fileAnnotations",
    "followUpPrompts",
    "action",
)


def usage_of(usage: Usage | None) -> dict[str, Any] | None:
    """Counted tokens by the names of this protocol."""
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens or 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
    }


def extras(answer: Prediction) -> dict[str, Any]:
    """Parts of an answer that the protocol has no field for: ids, sources, tools, files, a question to a person."""
    shown = {name: getattr(answer, name) for name in _EXTRAS}
    return {name: msgspec.to_builtins(value) for name, value in shown.items() if value is not None}


class ChatEncoder:
    """Makes chunks of a run's events."""

    def __init__(self, info: RunInfo, *, with_usage: bool) -> None:
        self._base = {
            "id": f"chatcmpl-{info.id}",
            "object": "chat.completion.chunk",
            "created": unix_time(info.createdDate),
            "model": info.chatflowid,
        }
        self._with_usage = with_usage
        self._begun = False
        self._fold = Fold()

    def frames(self, entry: Entry) -> Iterable[bytes]:
        """The chunks of the next event; after an error only the closing frame comes."""
        event = entry.event
        if not self._begun and not isinstance(event, Error | End):
            self._begun = True
            yield self._chunk({"role": "assistant", "content": ""})
        if isinstance(event, Token):
            yield self._chunk({"content": event.data})
            return
        self._fold.add([event])
        match event:
            case Thinking() if event.data:
                yield self._chunk({"reasoning_content": event.data})
            case Metadata() if event.data.json is not None:
                yield self._chunk({"content": json_text(event.data.json)})
            case Error():
                yield frame(error_body(500, event.data, event.code))
            case End():
                yield from self._ending()
            case _:
                pass

    def _ending(self) -> Iterable[bytes]:
        answer = self._fold.prediction
        if answer.error is None:
            yield self._chunk({}, "stop", headrace=extras(answer))
            if self._with_usage:
                yield frame({**self._base, "choices": [], "usage": usage_of(answer.usage)})
        yield DONE

    def _chunk(self, delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> bytes:
        usage = {"usage": None} if self._with_usage else {}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return frame({**self._base, "choices": [choice], **usage, **more})


class ChatAnswer(PredictionResponse):
    """Sends a run's answer as a chat completion."""

    def __init__(self, request: Request[Any, Any, Any], info: RunInfo) -> None:
        super().__init__(local(request).runs, info.id)
        self._info = info

    def body(self, prediction: Prediction) -> bytes:
        """The completion as JSON."""
        text = prediction.text if prediction.json is None else json_text(prediction.json)
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if prediction.reasonContent:
            message["reasoning_content"] = prediction.reasonContent.get("thinking")
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        return json(
            {
                "id": f"chatcmpl-{self._info.id}",
                "object": "chat.completion",
                "created": unix_time(self._info.createdDate),
                "model": self._info.chatflowid,
                "choices": [choice],
                "usage": usage_of(prediction.usage),
                "headrace": extras(prediction),
            }
        )


@post(
    "/v1/chat/completions",
    status_code=200,
    summary="Ask a flow as a model of OpenAI's is asked",
    description="`model` is the flow's id. With `stream` true the answer is an event stream, else JSON.",
    exception_handlers=OPENAI_HANDLERS,
    opt={**OPENAI, "refuses": (404, 409), "streams": "too"},
    responses={200: ResponseSpec(dict[str, Any], generate_examples=False)},
    tags=["openai"],
)
async def chat_completion(request: Request[Any, Any, Any], data: dict[str, Any]) -> Response[Any]:
    """Runs a flow. Raises InvalidRequest for what a flow cannot be asked."""
    messages = data.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("expected a list of messages at $.messages")
    if data.get("n") not in (None, 1):
        raise InvalidRequest("a flow gives one answer: leave out $.n")
    flow = await model_flow(request, model_name(data))
    streaming = data.get("stream") is True
    asked = openai_question(request, data, messages, "$.messages", _chat(data))
    info = await begin(request, flow, asked, streaming=streaming)
    if not streaming:
        return ChatAnswer(request, info)
    options = data.get("stream_options")
    encoder = ChatEncoder(info, with_usage=isinstance(options, dict) and options.get("include_usage") is True)
    return ProtocolStream(
        local(request).runs, info.id, encoder, place(request, info.id), wait=first_event_wait(request)
    )


def _chat(data: Mapping[str, Any]) -> str | None:
    """The chat that the caller names, in the metadata or as the user."""
    metadata = data.get("metadata")
    named = metadata.get("chat_id") if isinstance(metadata, dict) else None
    chat = named or data.get("user")
    return chat if isinstance(chat, str) and chat else None


ROUTES = (chat_completion,)
