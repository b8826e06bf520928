"""The records of Flowise's Python SDK (PyPI `flowise` 1.0.4): same names, same parameters in the same order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headrace.schema import FileUpload, HistoryMessage, PredictionRequest


@dataclass
class IFileUpload:
    """A file that comes with a question; `data` is a data URI, or the address for type "url"."""

    data: str | None
    type: str
    name: str
    mime: str


@dataclass
class IMessage:
    """An earlier turn. Current servers read `role` and `content`; `message` and `type` are the older form."""

    message: str
    type: str
    role: str | None = None
    content: str | None = None


@dataclass
class PredictionData:
    """A question to a flow, for `create_prediction`."""

    chatflowId: str
    question: str
    overrideConfig: dict[str, Any] | None = None
    chatId: str | None = None
    streaming: bool | None = False
    history: list[IMessage] | None = None
    uploads: list[IFileUpload] | None = None


def to_request(data: PredictionData) -> PredictionRequest:
    """The body of the prediction. What is not set is left out, which servers take for null."""
    return PredictionRequest(
        question=data.question,
        streaming=True if data.streaming else None,
        chatId=data.chatId,
        overrideConfig=data.overrideConfig,
        history=[HistoryMessage(m.role, m.content, m.type, m.message) for m in data.history or []] or None,
        uploads=[FileUpload(u.type, u.name, u.mime, u.data) for u in data.uploads or []] or None,
    )
