"""OpenAI's requests, read as questions to a flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from litestar import Request

from headrace.errors import InvalidRequest
from headrace.schema import PredictionRequest
from headrace.server.protocols.messages import question

_CHAT_HEADER: Final = "x-chat-id"
_SETTINGS: Final = {
    "temperature": "temperature",
    "top_p": "topP",
    "max_tokens": "maxTokens",
    "max_completion_tokens": "maxTokens",
    "max_output_tokens": "maxTokens",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
}
"""Settings of a request, and the inputs of nodes that they stand for."""


def openai_question(
    request: Request[Any, Any, Any], fields: Mapping[str, Any], messages: Sequence[Any], place: str, chat: str | None
) -> PredictionRequest:
    """The question of a request whose messages stand at `place`. Raises InvalidRequest."""
    if fields.get("tools") and fields.get("tool_choice") != "none":
        raise InvalidRequest("a flow uses its own tools: leave out $.tools")
    told = fields.get("instructions")
    return question(
        messages,
        place,
        chat=request.headers.get(_CHAT_HEADER) or chat,
        instructions=told if isinstance(told, str) else "",
        settings={ours: fields[theirs] for theirs, ours in _SETTINGS.items() if fields.get(theirs) is not None},
    )


def model_name(fields: Mapping[str, Any]) -> str:
    """The model that a request names. Raises InvalidRequest."""
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("say at $.model which flow is asked: its id")
    return model
