"""The display of one answer, built from its run's events."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from headrace.events import (
    Abort,
    Action,
    Artifacts,
    CalledTools,
    Document,
    End,
    Error,
    Event,
    Metadata,
    NextAgentFlow,
    RunMetadata,
    SourceDocuments,
    Thinking,
    Token,
    UsedTool,
    UsedTools,
)


class AnswerState(msgspec.Struct, frozen=True, omit_defaults=True):
    """One answer so far. `seq` is the number of the last event in it; as JSON it is kept.

    It never changes, since one thread reads the events while another, or two in turn, draw what there is.
    """

    text: str = ""
    thinking: str = ""
    seconds: int | None = None
    """How long the model thought, once it is done."""
    steps: dict[str, str] = {}
    """Nodes of an agent flow by their labels, each with its state."""
    called: list[UsedTool] = []
    """Tools that have not answered yet."""
    tools: list[UsedTool] = []
    sources: list[Document] = []
    artifacts: list[dict[str, Any]] = []
    follow_ups: list[str] = []
    action: dict[str, Any] | None = None
    """The question of a flow that waits for its visitor."""
    message: str | None = None
    """Id under which the answer can be rated."""
    error: str | None = None
    aborted: bool = False
    seq: int = 0
    ended: bool = False

    def after(self, event: Event, seq: int) -> AnswerState:
        """The answer with the next event, which has this number."""
        return replace(self, seq=seq, **self._news(event))

    def _news(self, event: Event) -> dict[str, Any]:
        match event:
            case Token():
                return {"text": self.text + event.data}
            case Thinking():
                seconds = self.seconds if event.duration is None else (self.seconds or 0) + event.duration
                return {"thinking": self.thinking + event.data, "seconds": seconds}
            case NextAgentFlow():
                label = event.data.get("nodeLabel") or event.data.get("nodeId")
                return {"steps": {**self.steps, str(label): str(event.data.get("status", ""))}}
            case CalledTools():
                return {"called": event.data}
            case UsedTools():
                return {"tools": event.data, "called": []}
            case SourceDocuments():
                return {"sources": event.data}
            case Action():
                return {"action": event.data}
            case Artifacts():
                return {"artifacts": event.data}
            case Metadata():
                return _about(event.data)
            case Error():
                return {"error": event.data}
            case Abort():
                return {"aborted": True}
            case End():
                return {"ended": True, "called": []}
            case _:
                return {}


def _about(about: RunMetadata) -> dict[str, Any]:
    found: dict[str, Any] = {"message": about.chatMessageId, "follow_ups": prompts(about.followUpPrompts)}
    if about.text is not None:
        found["text"] = about.text
    elif about.json is not None:
        found["text"] = f"```json\n{msgspec.json.format(msgspec.json.encode(about.json)).decode()}\n```"
    return found


def prompts(text: str | None) -> list[str]:
    """The questions in `followUpPrompts`: a list as a JSON text, which may be encoded twice."""
    value: Any = text
    try:
        while isinstance(value, str):
            value = msgspec.json.decode(value)
    except msgspec.DecodeError:
        return []
    return [item for item in value if isinstance(item, str) and item.strip()] if isinstance(value, list) else []
