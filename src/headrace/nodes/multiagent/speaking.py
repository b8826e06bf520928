"""The shared part of steps that ask a model: their prompts, the conversation that it reads, and their updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias
from uuid import uuid4

import msgspec

from headrace.engine.agent import Agent, Quiet, described
from headrace.engine.annotations import Additional, Code, Input
from headrace.engine.chat import ChatRequest, ModelMessage, OutputSchema, ToolCall
from headrace.engine.conversation import Conversation, ToolUse
from headrace.engine.json_extraction import extract_object
from headrace.engine.model_answer import arguments_object, arguments_of
from headrace.engine.model_events import ModelEvents, answer_text
from headrace.engine.multiagent.node import StepNode, StepTask
from headrace.engine.multiagent.state import resolved
from headrace.engine.node import Template, Templated
from headrace.engine.ports import ChatModel, ToolResult
from headrace.errors import FlowError, ProviderMalformed
from headrace.events import UsedTool
from headrace.nodes.agentflow.forms import FormField, form
from headrace.nodes.multiagent.steering import Before
from headrace.nodes.prompts import filled, history_messages

APPROVAL: Final = "These tools are about to be used: {tools}. Ask the user to allow it."
_DENIED: Final = (
    "The user has not allowed {name}, so it was not used. Say that you have understood, do nothing further, and ask "
    "for other questions."
)
_TYPES: Final = {
    "String": "string",
    "String Array": "stringArray",
    "Number": "number",
    "Boolean": "boolean",
    "Enum": "enum",
}


class Update(msgspec.Struct, frozen=True):
    """A key of the state and the value that it gets, such as `$flow.output.content`."""

    key: str = ""
    value: Any = ""


class Answered(msgspec.Struct, frozen=True):
    """A value of a structured output, as builders' tables have it."""

    key: str = ""
    type: str = "String"
    enumValues: str = ""
    description: str = ""


Tab: TypeAlias = Annotated[Additional[str], Input(type="tabs")]
Updates: TypeAlias = Annotated[list[Update], Input(type="datagrid")]


class Updating(NamedTuple):
    """How a step changes the state with what it gives: by a table, or by a script that returns an object."""

    tab: str
    """The one of both that counts; "" for the table."""
    table: Sequence[Update]
    script: str

    async def updates(self, task: StepTask, output: Any) -> dict[str, Any]:
        """The values that the state gets. Raises FlowError when the script returns no object, and ScriptError."""
        if not self.tab.startswith("updateStateMemoryCode"):
            flow = task.flow(output)
            return {one.key: resolved(one.value, flow) for one in self.table if one.key}
        return await returned(self.script, task, output) if self.script.strip() else {}


async def returned(code: str, task: StepTask, output: Any = None) -> dict[str, Any]:
    """The object that a script returns, for the state. Raises FlowError and ScriptError."""
    flow = task.flow(output)
    given = {key: flow[key] for key in ("state", "output", "input") if key in flow}
    found = await task.run.ctx.run_script(code, {}, **given)
    if not isinstance(found, dict):
        raise FlowError(f"the code of {task.title!r} must return an object with the keys of the state that change")
    return found


class PromptingStep(StepNode, frozen=True, kw_only=True):
    """A step that asks a model, with its prompts around the conversation."""

    sequentialNode: Before = []
    systemMessagePrompt: Additional[Template] = ""
    messageHistory: Annotated[Additional[str], Input(type="code", label="Prepend Messages History")] = ""
    conversationHistorySelection: Annotated[
        Additional[Literal["user_question", "last_message", "all_messages", "empty"]],
        Input(label="Conversation History"),
    ] = "all_messages"
    humanMessagePrompt: Additional[Template] = ""
    model: ChatModel | None = None
    promptValues: Annotated[Templated, Input(list=True, label="Format Prompt Values")] = {}

    def asked(self, task: StepTask) -> ChatModel:
        """The model: its own, or the flow's."""
        return self.model or task.run.opening.model

    async def conversation(self, task: StepTask) -> list[ModelMessage]:
        """The messages for the model. Raises FlowError for a variable without a value."""
        flow = task.flow()
        values = {name: resolved(value, flow) for name, value in self.promptValues.items()}
        first = filled(self.systemMessagePrompt, values)
        before = [ModelMessage("system", first)] if first else []
        if self.messageHistory.strip():
            given = await task.run.ctx.run_script(self.messageHistory, {})
            before += history_messages(given if isinstance(given, list) else [given])
        last = filled(self.humanMessagePrompt, values)
        after = [ModelMessage("user", last)] if last else []
        return [*before, *seen(self.asked(task), self._selected(task)), *after]

    def _selected(self, task: StepTask) -> list[ModelMessage]:
        match self.conversationHistorySelection:
            case "user_question":
                return [ModelMessage("user", task.run.text)]
            case "last_message":
                return task.messages[-1:]
            case "empty":
                return []
            case "all_messages":
                return task.messages


class SpeakingStep(PromptingStep, frozen=True, kw_only=True):
    """One that adds what it says to the conversation, and changes the state with it."""

    updateStateMemory: Tab = "updateStateMemoryUI"
    selectedUpdateStateMemoryTab: str = ""
    updateStateMemoryUI: Updates = []
    updateStateMemoryCode: Code[str] = ""

    async def change(self, task: StepTask, output: Any) -> None:
        """Changes the state with what the step gives."""
        how = Updating(self.selectedUpdateStateMemoryTab, self.updateStateMemoryUI, self.updateStateMemoryCode)
        await task.change(await how.updates(task, output))


class Approving(msgspec.Struct, frozen=True):
    """The question that stops a run before its tools are used, and its two buttons."""

    prompt: str
    approve: str
    reject: str

    async def ask(self, task: StepTask, talk: Conversation, model: ChatModel) -> None:
        """Stops the flow: a person says whether the calls that wait in the conversation may go on."""
        pending = [UsedTool(call.name, arguments_object(arguments_of(call), {}), "") for call in talk.waiting]
        tools = msgspec.json.encode(pending).decode()
        prompt = (self.prompt or APPROVAL).replace("{tools}", tools)
        asked = await answer_text(model, ChatRequest([ModelMessage("user", prompt)]), task.run.ctx)
        mapping = {"approve": self.approve or "Yes", "reject": self.reject or "No"}
        buttons = [{"type": f"{kind}-button", "label": label} for kind, label in mapping.items()]
        calls = [described(call) for call in talk.waiting]
        task.action = {"id": str(uuid4()), "mapping": {**mapping, "toolCalls": calls}, "elements": buttons}
        task.talk = talk
        task.output |= {"content": asked, "answer": asked, "pending": msgspec.to_builtins(pending)}


def denied(talk: Conversation) -> Conversation:
    """The conversation with its waiting calls answered by a no."""
    last = talk.rounds[-1]
    told = zip(last.message.calls, last.uses, strict=False)
    return talk.answered([use or _denial(call) for call, use in told])


def _denial(call: ToolCall) -> ToolUse:
    return ToolUse(call, ToolResult(_DENIED.format(name=call.name)))


def seen(model: ChatModel, messages: Sequence[ModelMessage]) -> list[ModelMessage]:
    """The messages as a model takes them: without pictures where it refuses them."""
    if model.images != "refused":
        return list(messages)
    return [m if isinstance(m.content, str) else msgspec.structs.replace(m, content=m.text) for m in messages]


async def worked(agent: Agent, talk: Conversation, task: StepTask) -> None:
    """Lets an agent work on the conversation; what it says is told when its step has ended."""
    async with aclosing(agent.work(talk, Quiet(ModelEvents(task.run.ctx)))) as batches:
        async for _ in batches:
            pass


def used(uses: Sequence[ToolUse]) -> dict[str, Any]:
    """The tools that were used, and what they found, as clients are told."""
    found: dict[str, Any] = {
        "usedTools": [use.event for use in uses if use.event],
        "sourceDocuments": [document for use in uses for document in use.result.documents],
        "artifacts": [artifact for use in uses for artifact in use.result.artifacts],
    }
    return found


async def structured(
    model: ChatModel, messages: Sequence[ModelMessage], fields: Sequence[Answered], task: StepTask
) -> dict[str, Any]:
    """The model's answer as an object with these values. Raises FlowError, ProviderError and ProviderMalformed."""
    wanted = [FormField(one.key, _type(one, task), one.enumValues, "", one.description) for one in fields]
    schema = OutputSchema("extract", form(wanted))
    text = await answer_text(model, ChatRequest(messages, schema=schema), task.run.ctx)
    try:
        return extract_object(text)
    except ValueError as error:
        raise ProviderMalformed(
            f"the model's answer to {task.title!r} is not the JSON object asked for: {error}"
        ) from None


def _type(one: Answered, task: StepTask) -> Any:
    if one.type not in _TYPES:
        known = ", ".join(_TYPES)
        raise FlowError(
            f"{task.title!r}: the structured output {one.key!r} has the type {one.type!r}; known are {known}"
        )
    return _TYPES[one.type]


def as_json(value: Mapping[str, Any]) -> str:
    """An object as the text of a message."""
    return msgspec.json.encode(value).decode()
