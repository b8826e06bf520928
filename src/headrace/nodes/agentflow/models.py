"""Nodes of agent flows that ask a chat model: LLM and agent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Annotated, Any, ClassVar, Final, Literal, get_type_hints

import msgspec

from headrace.engine.agentflow.node import Accepts, AgentNode, StateUpdates, Task, message_json, spoken_name
from headrace.engine.annotations import Input, NodeInfo
from headrace.engine.chat import ChatRequest, ModelMessage, OutputSchema, Role
from headrace.engine.chatflow import transcript
from headrace.engine.json_extraction import extract_object
from headrace.engine.model_events import answer_text
from headrace.engine.node import Context
from headrace.engine.ports import ChatModel
from headrace.engine.reply import Reply
from headrace.errors import ProviderMalformed
from headrace.events import Event, Token
from headrace.nodes.agentflow.forms import FormField, form
from headrace.nodes.chains.conversation import images

_SUMMARY: Final = (
    "Sum up this conversation in a few sentences for somebody who takes it over. Keep names, numbers, decisions and "
    "open questions; leave out greetings.\n\n{conversation}"
)
_ROLES: Final[Mapping[str, Role]] = {
    "system": "system",
    "developer": "system",
    "assistant": "assistant",
    "user": "user",
}
_CHARACTERS_PER_TOKEN: Final = 4  # an estimate: counting would need the model's own table


class PromptMessage(msgspec.Struct, frozen=True):
    """A message that the flow's author wrote."""

    role: Literal["system", "developer", "assistant", "user", ""] = ""
    content: str = ""


Messages = Annotated[list[PromptMessage], msgspec.Meta(extra={"acceptVariable": True})]
MemoryType = Literal["allMessages", "windowSize", "conversationSummary", "conversationSummaryBuffer"]


_REMEMBERS: Final = Input(show={"enableMemory": True})


class RememberingNode(AgentNode, frozen=True, kw_only=True):
    """The shared part of all that ask a model. In a flow file every input's name begins with `prefix`."""

    prefix: ClassVar[str]

    model: ChatModel
    enableMemory: bool = False
    memoryType: Annotated[MemoryType, _REMEMBERS] = "allMessages"
    memoryWindowSize: Annotated[int, Input(label="Window Size", show={"memoryType": "windowSize"})] = 20
    memoryMaxTokenLimit: Annotated[
        int, Input(label="Max Token Limit", show={"memoryType": "conversationSummaryBuffer"})
    ] = 2000

    def reply(self, task: Task) -> Reply:
        """Takes one answer of the model."""
        return Reply(task.run.ctx, str(self.config(task).get("modelName") or ""))

    def config(self, task: Task) -> dict[str, Any]:
        """The model's inputs."""
        config = task.inputs.get(f"{self.prefix}ModelConfig")
        return config if isinstance(config, dict) else {}

    async def remembered(self, turns: list[ModelMessage], ctx: Context) -> list[ModelMessage]:
        """These turns, as far as the node remembers them."""
        match self.memoryType:
            case "allMessages":
                return turns
            case "windowSize":
                return turns[-2 * self.memoryWindowSize :] if self.memoryWindowSize > 0 else []
            case "conversationSummary":
                return [ModelMessage("assistant", await self._summary(turns, ctx))]
            case "conversationSummaryBuffer":
                kept = _newest(turns, self.memoryMaxTokenLimit * _CHARACTERS_PER_TOKEN)
                if len(kept) == len(turns):
                    return turns
                summary = await self._summary(turns[: len(turns) - len(kept)], ctx)
                return [ModelMessage("system", f"What was said before, in short: {summary}"), *kept]

    async def _summary(self, turns: Sequence[ModelMessage], ctx: Context) -> str:
        asked = _SUMMARY.replace("{conversation}", transcript(turns))
        return await answer_text(self.model, ChatRequest([ModelMessage("user", asked)]), ctx)


class ModelNode(RememberingNode, frozen=True, kw_only=True):
    """The shared part of LLM and agent."""

    messages: Messages = []
    userMessage: Annotated[Accepts, _REMEMBERS, Input(label="Input Message")] = ""
    returnResponseAs: Literal["userMessage", "assistantMessage"] = "userMessage"
    structuredOutput: Annotated[
        list[FormField], msgspec.Meta(extra={"acceptVariable": True}), Input(label="JSON Structured Output")
    ] = []
    updateState: StateUpdates = []

    async def run(self, task: Task) -> AsyncGenerator[Sequence[Event]]:
        """The model's answer: live where it is the flow's own, or else all of it at once."""
        opening = self.opening(task)
        messages = await self.conversation(task, opening)
        self.show(task, [message_json(message) for message in messages])
        schema = OutputSchema("extract", form(self.structuredOutput)) if self.structuredOutput else None
        live = self.is_live(task)
        reply = self.reply(task)
        async with aclosing(self.model.stream(ChatRequest(messages, schema=schema, facts=True))) as batches:
            async for deltas in batches:
                events = reply.take(deltas)
                if live and events:
                    yield events
        content = self.give(task, reply, opening)
        if live:
            yield reply.end()
        elif task.is_last:
            yield [Token(content)]

    def is_live(self, task: Task) -> bool:
        """True when the answer is streamed."""
        return task.is_last and self.config(task).get("streaming") not in (False, "false") and not self.structuredOutput

    def show(self, task: Task, messages: Sequence[Mapping[str, Any]]) -> None:
        """The node's input as the execution shows it."""
        task.input_record = {"messages": list(messages), **self._settings(task)}

    def give(
        self, task: Task, reply: Reply, opening: Sequence[ModelMessage], text: str = "", *, plain: bool = False
    ) -> str:
        """Leaves the answer behind, or `text` in its place, and gives its text. Raises ProviderMalformed.

        A `plain` answer has no form, and changes nothing in the flow's state.
        """
        content, found = text or reply.text, reply.kept()
        if self.structuredOutput and not plain:
            found = _form_of(content, task.node.id)
            content = msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
        task.output = {"content": content, **reply.times(), **found}
        role = "user" if self.returnResponseAs == "userMessage" else "assistant"
        task.said = [*opening, ModelMessage(role, content, name=spoken_name(task.node))]
        if not plain:
            task.update(self.updateState, content)
        return content

    def _settings(self, task: Task) -> dict[str, Any]:
        """The node's inputs that are set; its messages are shown as they were sent."""
        own = f"{self.prefix}Messages"
        return {key: value for key, value in task.inputs.items() if value not in ("", None) and key != own}

    def _written(self) -> list[ModelMessage]:
        return [ModelMessage(_ROLES[m.role], m.content) for m in self.messages if m.role and m.content]

    def opening(self, task: Task) -> list[ModelMessage]:
        """The question, which the first node to speak adds to the conversation before its answer."""
        if task.history or (task.answered and (self.enableMemory or self._written())):
            return []
        asked = [] if self.enableMemory else [m for m in self._written() if m.role == "user"]
        pictures = images(self.model, task.run.ctx)
        before = [ModelMessage("user", pictures)] if pictures else []
        return [*before, *(asked or [ModelMessage("user", task.run.progress.text)])]

    async def conversation(self, task: Task, opening: list[ModelMessage]) -> list[ModelMessage]:
        """The messages for the model."""
        messages = self._written()
        if not self.enableMemory:
            return [*messages, *(message for message in opening if message not in messages)]
        messages += await self.remembered([*task.run.past, *task.history, *opening], task.run.ctx)
        if self.userMessage:
            messages.append(ModelMessage("user", self.userMessage))
        return messages


def _newest(turns: Sequence[ModelMessage], characters: int) -> list[ModelMessage]:
    """The last turns that fit; the very last one in any case."""
    count = 0
    for number, turn in enumerate(reversed(turns)):
        count += len(turn.text)
        if count > characters and number:
            return list(turns[len(turns) - number :])
    return list(turns)


def _form_of(text: str, node: str) -> dict[str, Any]:
    try:
        return extract_object(text)
    except ValueError as error:
        raise ProviderMalformed(f"the model's answer to {node!r} is not the JSON object asked for: {error}") from None


def _declared(field: msgspec.structs.FieldInfo, hint: Any) -> Any:
    if field.required:
        return field.name, hint
    if field.default is msgspec.NODEFAULT:
        return field.name, hint, msgspec.field(default_factory=field.default_factory)
    return field.name, hint, field.default


def named(
    base: type[RememberingNode], tag: str, prefix: str, description: str, info: NodeInfo
) -> type[RememberingNode]:
    """The node type whose inputs carry the prefix: only a type's own fields can be renamed, so they come once more."""
    hints = get_type_hints(base, include_extras=True)
    fields = [_declared(field, hints[field.name]) for field in msgspec.structs.fields(base)]
    kind: Any = msgspec.defstruct(
        f"{prefix[0].upper()}{prefix[1:]}Node",
        fields,
        bases=(base,),
        module=__name__,
        namespace={"prefix": prefix, "info": info, "__doc__": description},
        tag=tag,
        rename=lambda name: f"{prefix}{name[0].upper()}{name[1:]}",
        frozen=True,
        kw_only=True,
    )
    return kind


NODES: Final = (
    named(
        ModelNode,
        "llmAgentflow",
        "llm",
        "Asks a chat model, with the conversation or without it.",
        NodeInfo(version=1.1, type="LLM"),
    ),
)
