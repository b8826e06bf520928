"""Every event of a prediction's stream: one tagged union, its encoding, and the fold that makes the answer of it.

Wire form: `{"event": <kind>, "data": <payload>}` plus sibling keys for what today's clients do not expect.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import msgspec

from headrace.surrogates import all_whole


class Document(msgspec.Struct, omit_defaults=True):
    """A passage that an answer rests on."""

    pageContent: str
    # A factory that msgspec does not know, so that empty metadata is sent: readers look into it unasked.
    metadata: dict[str, Any] = msgspec.field(default_factory=lambda: {})  # noqa: PIE807
    id: str | None = None


class UsedTool(msgspec.Struct, omit_defaults=True):
    """One call of a tool: what it was asked, what it answered, and why it failed if it did."""

    tool: str
    toolInput: Any
    toolOutput: Any
    error: str | None = None


class Usage(msgspec.Struct, omit_defaults=True):
    """Tokens as the provider counted them; `estimated` when the run was cancelled before it told them."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    estimated: bool | None = None


class Base(msgspec.Struct, frozen=True, tag_field="event", omit_defaults=True):
    """The base of all kinds, with the tag field `event`."""


class Start(Base, frozen=True, tag="start"):
    """The first chunk of the model; `token` repeats it, so it must not be rendered."""

    data: Any


class Token(Base, frozen=True, tag="token"):
    """Text to append to the answer."""

    data: str


class Thinking(Base, frozen=True, tag="thinking"):
    """Reasoning text; the closing one has empty data and a duration in seconds."""

    data: str
    duration: int | None = None


class SourceDocuments(Base, frozen=True, tag="sourceDocuments"):
    """The passages that a vector store returned; replaces earlier ones."""

    data: list[Document]


class UsedTools(Base, frozen=True, tag="usedTools"):
    """The tools that were called, after they ran; replaces earlier ones."""

    data: list[UsedTool]


class CalledTools(Base, frozen=True, tag="calledTools"):
    """The tools that the model asks for, before they run."""

    data: list[UsedTool]


class ToolName(Base, frozen=True, tag="tool"):
    """The name of the tool that an assistant works with."""

    data: str


class Artifacts(Base, frozen=True, tag="artifacts"):
    """Files and pictures that the run made: `[{type, data}]`."""

    data: list[dict[str, Any]]


class FileAnnotations(Base, frozen=True, tag="fileAnnotations"):
    """Files that the answer cites: `[{filePath, fileName}]`."""

    data: list[dict[str, Any]]


class AgentReasoning(Base, frozen=True, tag="agentReasoning"):
    """All steps of a multi-agent run so far."""

    data: list[dict[str, Any]]


class NextAgent(Base, frozen=True, tag="nextAgent"):
    """The label of the agent whose turn it is."""

    data: str


class AgentFlowEvent(Base, frozen=True, tag="agentFlowEvent"):
    """State of an agent flow's run: INPROGRESS, FINISHED, STOPPED, ERROR or TERMINATED."""

    data: str


class NextAgentFlow(Base, frozen=True, tag="nextAgentFlow"):
    """State of one node: `{nodeId, nodeLabel, status, error?}`."""

    data: dict[str, Any]


class AgentFlowExecutedData(Base, frozen=True, tag="agentFlowExecutedData"):
    """All executed nodes of an agent flow so far."""

    data: list[dict[str, Any]]


class Action(Base, frozen=True, tag="action"):
    """A question to the human: `{id, mapping, elements, data?}`."""

    data: dict[str, Any]


class UsageMetadata(Base, frozen=True, tag="usageMetadata"):
    """Tokens that a node of an agent flow used."""

    data: dict[str, Any]


class AgentTrace(Base, frozen=True, tag="agent_trace"):
    """A step of an agent: `{step, tool?, input?, output?, event?, data?, runId, parentRunId}`."""

    data: dict[str, Any]


class Metadata(Base, frozen=True, tag="metadata"):
    """The ids that an answer belongs to; comes after the last token and before `end`."""

    data: RunMetadata


class SpeechStart(Base, frozen=True, tag="tts_start"):
    """Speech begins: `{chatMessageId, format}`."""

    data: dict[str, Any]


class SpeechData(Base, frozen=True, tag="tts_data"):
    """A piece of speech: `{chatMessageId, audioChunk}` (base64)."""

    data: dict[str, Any]


class SpeechEnd(Base, frozen=True, tag="tts_end"):
    """Speech is complete: `{chatMessageId}`."""

    data: dict[str, Any]


class SpeechAbort(Base, frozen=True, tag="tts_abort"):
    """Speech was stopped: `{chatMessageId}`."""

    data: dict[str, Any]


class Abort(Base, frozen=True, tag="abort"):
    """The run was cancelled; `end` follows. `usage` is what the run cost until then."""

    data: str
    usage: Usage | None = None


class Error(Base, frozen=True, tag="error"):
    """The run failed; `end` follows. `code` is one of `headrace.errors`, `retryAfter` seconds to wait, if known."""

    data: str
    code: str | None = None
    retryable: bool | None = None
    retryAfter: float | None = None


class End(Base, frozen=True, tag="end", omit_defaults=False):
    """The last event of every stream."""

    data: str = "[DONE]"


class Unknown(msgspec.Struct, frozen=True):
    """An event of a kind, or with a payload, that this version does not know; survives a round trip."""

    event: str
    fields: dict[str, Any]

    @property
    def data(self) -> Any:
        """The payload, or None."""
        return self.fields.get("data")


class RunMetadata(msgspec.Struct, omit_defaults=True):
    """Payload of `metadata`."""

    chatId: str | None = None
    chatMessageId: str | None = None
    question: Any = None
    form: dict[str, Any] | None = None
    sessionId: str | None = None
    memoryType: str | None = None
    followUpPrompts: str | None = None
    flowVariables: dict[str, Any] | None = None
    action: dict[str, Any] | None = None
    executionId: str | None = None
    agentFlowExecutedData: list[dict[str, Any]] | None = None
    """All executed nodes, where they have changed since the last event of that name."""
    usage: Usage | None = None
    json: Any = None
    """The answer of a flow that answers with a value in place of text."""
    text: str | None = None
    """The answer's text, where it is not all tokens: what an agent says before it uses a tool is no part of it."""
    fields: dict[str, Any] | None = None
    """More keys of the JSON answer, from a function that ends the flow."""


Known: TypeAlias = (
    Start
    | Token
    | Thinking
    | SourceDocuments
    | UsedTools
    | CalledTools
    | ToolName
    | Artifacts
    | FileAnnotations
    | AgentReasoning
    | NextAgent
    | AgentFlowEvent
    | NextAgentFlow
    | AgentFlowExecutedData
    | Action
    | UsageMetadata
    | AgentTrace
    | Metadata
    | SpeechStart
    | SpeechData
    | SpeechEnd
    | SpeechAbort
    | Abort
    | Error
    | End
)
Event: TypeAlias = Known | Unknown

TERMINAL: Final = (Error, Abort, End)
"""Kinds that only the recorder writes."""


class Prediction(msgspec.Struct, omit_defaults=True):
    """The whole answer: what a stream folds to, what a JSON prediction returns, what the chat history keeps."""

    text: str | None = None
    json: Any = None
    """The answer of a flow with a structured output, in place of `text`."""
    sourceDocuments: list[Document] | None = None
    usedTools: list[UsedTool] | None = None
    artifacts: list[dict[str, Any]] | None = None
    fileAnnotations: list[dict[str, Any]] | None = None
    question: Any = None
    form: dict[str, Any] | None = None
    chatId: str | None = None
    chatMessageId: str | None = None
    executionId: str | None = None
    agentFlowExecutedData: list[dict[str, Any]] | None = None
    agentReasoning: list[dict[str, Any]] | None = None
    action: dict[str, Any] | None = None
    followUpPrompts: str | None = None
    isStreamValid: bool | None = None
    sessionId: str | None = None
    memoryType: str | None = None
    flowVariables: dict[str, Any] | None = None
    reasonContent: dict[str, Any] | None = None
    usage: Usage | None = None
    fields: dict[str, Any] | None = None
    """More keys of the JSON answer; there they stand beside the others."""
    error: Error | None = None
    aborted: bool | None = None


_decoder = msgspec.json.Decoder(Known)
_encode = msgspec.json.Encoder().encode


def decode(data: bytes | str) -> Event:
    """The event that a frame's data holds.

    Raises msgspec.DecodeError when `data` is not a JSON object with a text `event`; a kind or payload that is not
    known gives `Unknown`.
    """
    try:
        return _decoder.decode(data)
    except msgspec.ValidationError:
        fields = msgspec.json.decode(data, type=dict[str, Any])
        kind = fields.pop("event", None)
        if not isinstance(kind, str):
            raise msgspec.ValidationError("an event needs a text `event`") from None
        return Unknown(kind, fields)


def encode(event: Event) -> bytes:
    """The event as JSON on one line.

    `data:` inside a text is written `data\\u003a`, which any JSON parser reads back: the published Python SDK of
    Flowise deletes every literal `data:` of a line. Outside of texts the sequence cannot occur.
    """
    value = {"event": event.event, **event.fields} if type(event) is Unknown else event
    try:
        data = _encode(value)
    except UnicodeEncodeError:  # half a surrogate pair, which UTF-8 has no form for
        data = _encode(all_whole(msgspec.to_builtins(value)))
    return data.replace(b"data:", b"data\\u003a") if b"data:" in data else data


class Fold:
    """Takes the events of one stream, in any portions, and gives the answer so far."""

    def __init__(self) -> None:
        self._prediction = Prediction()
        self._text: list[str] = []
        self._thinking: list[str] = []

    def add(self, events: Iterable[Event]) -> None:
        """Takes the next events in."""
        for event in events:
            if type(event) is Token:  # by far the most frequent one
                self._text.append(event.data)
            else:
                self._take(event)

    def _take(self, event: Event) -> None:
        answer = self._prediction
        match event:
            case SourceDocuments():
                answer.sourceDocuments = event.data
            case UsedTools():
                answer.usedTools = event.data
            case Artifacts():
                answer.artifacts = event.data
            case FileAnnotations():
                answer.fileAnnotations = event.data
            case AgentReasoning():
                answer.agentReasoning = event.data
            case AgentFlowExecutedData():
                answer.agentFlowExecutedData = event.data
            case Action():
                answer.action = event.data
            case Thinking():
                self._thinking.append(event.data)
                if event.duration is not None:
                    answer.reasonContent = {"thinking": "".join(self._thinking), "thinkingDuration": event.duration}
            case Metadata():
                if event.data.text is not None:
                    self._text = [event.data.text]
                for name in RunMetadata.__struct_fields__:
                    if (value := getattr(event.data, name)) is not None:
                        setattr(answer, name, value)
            case Error():
                answer.error = event
            case Abort():
                answer.aborted = True
                answer.usage = event.usage or answer.usage
            case _:
                pass  # progress that leaves no trace in the answer

    @property
    def prediction(self) -> Prediction:
        """The answer so far; its text is "" before the first token, and None beside a value in place of text."""
        self._prediction.text = None if self._prediction.json is not None else "".join(self._text)
        return self._prediction


def fold(events: Iterable[Event]) -> Prediction:
    """The answer that a stream amounts to: `fold(stream) == JSON answer == stored message`."""
    answer = Fold()
    answer.add(events)
    return answer.prediction
