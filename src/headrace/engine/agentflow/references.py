"""References in an agent flow's inputs: `{{ question }}`, `{{ $flow.state.key }}`, `{{ llmAgentflow_0.output.title }}`.

Every text is replaced in one pass, so a value that itself looks like a reference stays as it is; so does what cannot
be resolved.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from headrace.engine.agentflow.node import AgentRun, Loops
from headrace.engine.chat import ModelMessage
from headrace.engine.chatflow import flow_values, transcript
from headrace.engine.references import MISSING, dig, text_of
from headrace.engine.richtext import markdown

_REFERENCE: Final = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")
_KEYS: Final = re.compile(r"[^.\[\]]+")


def resolved(value: Any, find: Callable[[str], Any]) -> Any:
    """The input with its references replaced, rich text as Markdown. `find` gives MISSING for what it does not know."""

    def replaced(match: re.Match[str]) -> str:
        found = find(match[1].replace("\\_", "_"))  # as the editor escapes underscores
        return match[0] if found is MISSING else text_of(found)

    if isinstance(value, str):
        text = markdown(value)
        return _REFERENCE.sub(replaced, text) if "{{" in text else text
    if isinstance(value, list):
        return [resolved(item, find) for item in value]
    if isinstance(value, dict):
        return {key: resolved(item, find) for key, item in value.items()}
    return value


class Mentions:
    """The values that references of one level find: the run's own, and the outputs of nodes."""

    def __init__(self, run: AgentRun, history: Sequence[ModelMessage], loops: Loops, item: Any = MISSING) -> None:
        self._run, self._history, self._loops, self._item = run, history, loops, item

    def resolve(self, value: Any, *, output: Any = None) -> Any:
        """The input with its references replaced; `output` is what the node itself has given."""
        return resolved(value, lambda path: self._find(path, output))

    def _find(self, path: str, output: Any) -> Any:
        root, *keys = _KEYS.findall(path) or [""]
        if not keys and (value := self._text(root)) is not None:
            return value
        match root:
            case "output" if output is not None:
                return dig(output, keys)
            case "$form":
                return dig(self._run.form, keys)
            case "$webhook":
                return MISSING if self._run.webhook is None else dig(self._run.webhook, keys)
            case "$vars":
                return dig(self._run.ctx.variables, keys)
            case "$iteration":
                return MISSING if self._item is MISSING else dig(self._item, keys)
            case "$flow":
                return dig(self._flow(), keys)
            case _:
                return self._node_output(root, keys)

    def _text(self, name: str) -> str | None:
        run = self._run
        match name:
            case "question":
                return "" if run.form else run.text
            case "file_attachment":
                return run.progress.attached
            case "chat_history":
                return transcript(run.past)
            case "runtime_messages_length":
                return str(len(self._history))
            case "loop_count":
                return str(self._loops.gone_back)
            case "current_date_time":
                return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            case _:
                return None

    def _flow(self) -> Mapping[str, Any]:
        return {**flow_values(self._run.ctx, self._run.past), "state": self._run.state, "input": self._run.text}

    def _node_output(self, node: str, keys: list[str]) -> Any:
        given = self._run.last_output(node)
        if given is None:
            return MISSING
        said = "content" if "content" in given or "http" not in given else "http"  # an HTTP node says what it was sent
        return dig(given, keys[1:] if keys[:1] == ["output"] else [said, *keys])
