"""Records of requests, answers and stored rows. Field names are Flowise's."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from mimetypes import guess_type
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self
from uuid import UUID

import msgspec

from headrace.events import Usage

Role = Literal["userMessage", "apiMessage"]


def is_id(value: object) -> bool:
    """True for a UUID, the id of flows, chats, document stores and loaders. Ids become names of folders."""
    try:
        UUID(str(value))
    except ValueError:
        return False
    return True


class FileUpload(msgspec.Struct, omit_defaults=True):
    """A file that comes with a question; `data` is a data URI, or the address for type "url"."""

    type: str
    name: str = ""
    mime: str = ""
    data: str | None = None

    @classmethod
    def from_path(cls, path: str | PathLike[str], *, mime: str | None = None, type: str | None = None) -> Self:  # noqa: A002
        """The file at a path, read now, as `from_bytes` makes it. Raises OSError."""
        file = Path(path)
        return cls.from_bytes(file.read_bytes(), file.name, mime=mime, type=type)

    @classmethod
    def from_bytes(cls, data: bytes, name: str, *, mime: str | None = None, type: str | None = None) -> Self:  # noqa: A002
        """A file with these bytes.

        Without `mime` the name's ending decides. Without `type` a picture is a "file", sound is "audio", UTF-8 text is
        "file:full", which stands in front of the question, and anything else "file:rag", which is upserted for its
        chat. Raises UnicodeDecodeError for a "file:full" that is no UTF-8.
        """
        mime = mime or guess_type(name)[0] or "application/octet-stream"
        kind = type or _upload_type(mime, data)
        if kind == "file:full":
            return cls(kind, name, mime, data.decode())
        return cls(kind, name, mime, f"data:{mime};base64,{b64encode(data).decode()}")


def _upload_type(mime: str, data: bytes) -> str:
    family = mime.partition("/")[0]
    if family in ("image", "audio"):
        return "file" if family == "image" else "audio"
    try:
        text = "\0" not in data.decode()
    except UnicodeDecodeError:
        text = False
    return "file:full" if text else "file:rag"


class Attachment(msgspec.Struct):
    """The text of a file, or with the field `base64` its bytes."""

    name: str
    mimeType: str
    size: int
    content: str


class HistoryMessage(msgspec.Struct, omit_defaults=True):
    """An earlier turn that the caller sends along. Flowise's older form `{type, message}` carries no content."""

    role: str | None = None
    content: str | None = None
    type: str | None = None
    message: str | None = None

    @classmethod
    def user(cls, text: str) -> Self:
        """A turn of the user."""
        return cls("userMessage", text)

    @classmethod
    def assistant(cls, text: str) -> Self:
        """A turn of the flow."""
        return cls("apiMessage", text)


class ContinueFor(msgspec.Struct, frozen=True):
    """Go on for so many seconds after the last reader has left."""

    continueFor: float


class HumanInput(msgspec.Struct, frozen=True, omit_defaults=True):
    """A person's answer to an agent flow that waits for one."""

    type: str | None = None
    """`proceed`; anything else is a no."""
    startNodeId: str | None = None
    """The node that has asked, if the answer shall be for no other one."""
    feedback: str | None = None

    @property
    def proceeds(self) -> bool:
        """True when the answer is yes."""
        return self.type == "proceed"


class PredictionRequest(msgspec.Struct, omit_defaults=True):
    """Body of a prediction. Absent and null mean the same."""

    question: Any = None
    """Normally a text; any other JSON value is passed to the model as JSON text, as Flowise does."""
    streaming: bool | str | None = None
    chatId: str | None = None
    overrideConfig: dict[str, Any] | None = None
    history: list[HistoryMessage] | None = None
    uploads: list[FileUpload] | None = None
    leadEmail: str | None = None
    form: dict[str, Any] | None = None
    action: dict[str, Any] | None = None
    humanInput: HumanInput | None = None
    """The answer to an agent flow that has stopped to ask for one."""
    background: bool | None = None
    """Answer at once with the run's links instead of waiting for it."""
    onDisconnect: Literal["continue", "cancel"] | ContinueFor | None = None
    """The run's fate when its last reader leaves; unset, the flow's setting counts."""

    @property
    def wants_stream(self) -> bool:
        """True when the caller asked for events, with true or "true"."""
        return self.streaming is True or self.streaming == "true"


class UpsertRequest(msgspec.Struct, omit_defaults=True):
    """Body of an upsert. `stopNodeId` names the vector store in a flow that has several."""

    stopNodeId: str | None = None
    overrideConfig: dict[str, Any] | None = None
    chatId: str | None = None
    """Only this chat finds what is upserted."""


class NodeData(msgspec.Struct, kw_only=True):
    """A node's data in a flow file. `inputs` are loose: "" means not set, numbers may be texts."""

    id: str
    name: str
    label: str = ""
    category: str = ""
    inputs: dict[str, Any] = {}
    inputParams: list[dict[str, Any]] = []
    outputs: dict[str, Any] | None = None
    credential: str | None = None


class FlowNode(msgspec.Struct):
    """A node on the canvas."""

    id: str
    data: NodeData
    type: str = "customNode"
    parentNode: str | None = None
    """The iteration that it lies in."""


class FlowEdge(msgspec.Struct):
    """An arrow on the canvas: `source` comes before `target`."""

    source: str
    target: str
    sourceHandle: str | None = None
    """`<node>-output-<name>`: the output that it begins at."""


class FlowFile(msgspec.Struct):
    """A flow as the builder exports it."""

    nodes: list[FlowNode]
    edges: list[FlowEdge] = []


class FlowRow(msgspec.Struct):
    """A stored flow. The configuration columns are JSON texts, as Flowise has them."""

    id: str
    name: str
    flowData: str
    type: str = "CHATFLOW"
    workspaceId: str | None = None
    deployed: bool | None = False
    isPublic: bool | None = False
    """Headrace's answers have no null for these two, Flowise's do."""
    apikeyid: str | None = None
    chatbotConfig: str | None = None
    apiConfig: str | None = None
    analytic: str | None = None
    speechToText: str | None = None
    textToSpeech: str | None = None
    followUpPrompts: str | None = None
    category: str | None = None
    mcpServerConfig: str | None = None
    createdDate: str = ""
    updatedDate: str = ""


class Message(msgspec.Struct):
    """A stored chat message. `createdDate` is ISO 8601 in UTC with milliseconds."""

    id: str
    role: Role
    chatflowid: str
    content: str
    chatId: str
    sessionId: str
    createdDate: str
    executionId: str | None = None
    sourceDocuments: Any = None
    usedTools: Any = None
    fileAnnotations: Any = None
    agentReasoning: Any = None
    reasonContent: Any = None
    fileUploads: Any = None
    artifacts: Any = None
    action: Any = None
    chatType: str = "EXTERNAL"
    memoryType: str | None = None
    leadEmail: str | None = None
    followUpPrompts: str | None = None
    aborted: bool | None = None
    """The run was cancelled; the content is what had been said until then."""


Rating = Literal["THUMBS_UP", "THUMBS_DOWN"]


class Feedback(msgspec.Struct):
    """A visitor's rating of an answer; flow and chat are the message's."""

    id: str
    chatflowid: str
    chatId: str
    messageId: str
    rating: Rating
    content: str | None
    createdDate: str


class Lead(msgspec.Struct):
    """A lead: the contact details of a visitor of a chat."""

    id: str
    chatflowid: str
    chatId: str
    name: str | None = None
    email: str | None = None
    phone: str | None = None
    createdDate: str = ""


class MemoryMessage(msgspec.Struct, frozen=True):
    """A stored message's text and role."""

    role: Role
    content: str
    uploads: Sequence[FileUpload] = ()
    chat: str = ""
    """Whose folder the uploads are in."""
    tools: Sequence[dict[str, Any]] = ()
    """The tools that were used for it, as `usedTools` has them; only where they are asked for."""


class ExecutionRow(msgspec.Struct):
    """A stored execution of an agent flow; `executionData` and `action` are JSON texts, as Flowise has them."""

    id: str
    agentflowId: str
    sessionId: str
    state: str
    executionData: str
    createdDate: str
    updatedDate: str
    action: str | None = None
    isPublic: bool | None = None
    stoppedDate: str | None = None
    workspaceId: str | None = None


RunState = Literal["running", "finished", "failed", "cancelled"]


class RunFacts(msgspec.Struct, omit_defaults=True):
    """The facts about a run. Dates are ISO 8601 in UTC; `lastSeq` is the number of its newest event."""

    id: str
    chatflowid: str
    chatId: str
    sessionId: str
    chatMessageId: str
    state: RunState
    createdDate: str
    lastSeq: int
    endedDate: str | None = None
    usage: Usage | None = None
    error: str | None = None
    code: str | None = None


class RunInfo(RunFacts, omit_defaults=True):
    """A run's state. Dates are ISO 8601 in UTC; `lastSeq` is the number of its newest event."""

    @property
    def links(self) -> dict[str, str]:
        """Paths of the run itself, of its events, and to cancel it."""
        here = f"/api/v1/runs/{self.id}"
        return {"self": here, "events": f"{here}/events", "cancel": f"{here}/cancel"}


class Variable(msgspec.Struct):
    """A value that flows read as `{{$vars.name}}`; type "runtime" reads the server's environment instead."""

    id: str
    name: str
    value: str | None = None
    type: Literal["static", "runtime"] = "static"
    createdDate: str = ""
    updatedDate: str = ""


class CustomTool(msgspec.Struct, kw_only=True):
    """A tool that somebody wrote. `schema` is a JSON text, a list of its arguments; `func` is JavaScript."""

    id: str = ""
    name: str
    description: str = ""
    color: str = ""
    iconSrc: str | None = None
    schema: str | None = None
    func: str | None = None
    createdDate: str = ""
    updatedDate: str = ""


class CredentialRow(msgspec.Struct):
    """A stored credential without its secret part."""

    id: str
    name: str
    credentialName: str
    createdDate: str = ""
    updatedDate: str = ""


class ApiKey(msgspec.Struct, omit_defaults=True):
    """A key's public part; `apiKey` is the key itself and is shown only once, when it is made."""

    id: str
    keyName: str
    permissions: list[str]
    createdDate: str = ""
    apiKey: str | None = None


class Look(msgspec.Struct, frozen=True):
    """The look of the server's pages: accents on light and on dark ground, and whether there is a logo."""

    name: str
    color: str
    darkColor: str
    logo: str | None = None
