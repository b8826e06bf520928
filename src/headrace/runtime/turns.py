"""The turn of a run as the chat history has it: the question, and the answer."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

import msgspec

from headrace.engine.agentflow.node import filled
from headrace.engine.references import text_of
from headrace.events import Prediction, RunMetadata
from headrace.runtime.flows import Flow, FlowInPython
from headrace.runtime.queue import Job
from headrace.schema import FileUpload, Message, PredictionRequest
from headrace.storage.storage import timestamp


def turn_rows(
    job: Job, flow: Flow, metadata: RunMetadata, answer: Prediction, files: Sequence[FileUpload], *, aborted: bool
) -> list[Message]:
    """The messages to store of a run: its question and its answer."""
    asked = Message(
        id=str(uuid4()),
        role="userMessage",
        chatflowid=job.flow,
        content=_asked(job.request, in_python=isinstance(flow, FlowInPython)),
        chatId=job.chat,
        sessionId=job.session,
        createdDate=timestamp(job.received),
        executionId=metadata.executionId,
        chatType=job.chat_type,
        memoryType=metadata.memoryType,
        leadEmail=job.request.leadEmail,
        fileUploads=msgspec.to_builtins(files) or None,
    )
    answered = msgspec.structs.replace(
        asked,
        id=job.message,
        role="apiMessage",
        content=_content(answer, metadata),
        createdDate=timestamp(),
        action=metadata.action,
        reasonContent=answer.reasonContent,
        sourceDocuments=answer.sourceDocuments,
        usedTools=answer.usedTools,
        agentReasoning=answer.agentReasoning,
        fileAnnotations=answer.fileAnnotations,
        artifacts=answer.artifacts,
        leadEmail=None,
        followUpPrompts=metadata.followUpPrompts,
        fileUploads=None,
        aborted=aborted or None,
    )
    return [asked, answered]


def _content(answer: Prediction, metadata: RunMetadata) -> str:
    """The answer as the chat history shows it; a value stands in a block of code."""
    if metadata.json is None:
        return answer.text or "" if metadata.text is None else metadata.text
    return f"```json\n{msgspec.json.format(msgspec.json.encode(metadata.json), indent=2).decode()}\n```"


def _asked(request: PredictionRequest, *, in_python: bool) -> str:
    """The user's text as the chat history shows it: a form, but for flows in Python that were asked a question too."""
    if request.form and not (in_python and request.question):
        return filled(request.form)
    if answer := request.humanInput:
        return answer.feedback or text_of(request.question or " ")
    return "" if request.question is None else text_of(request.question)
