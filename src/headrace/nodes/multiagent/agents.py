"""Steps of sequential agents that ask a model: the agent with its tools, the LLM node, and the tool node behind one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from headrace.engine.agent import Agent
from headrace.engine.annotations import Additional, Code, Input, NodeInfo
from headrace.engine.chat import ChatRequest, ModelMessage
from headrace.engine.conversation import Conversation, Round, ToolUse
from headrace.engine.model_events import answer_text
from headrace.engine.multiagent.node import StepNode, StepTask
from headrace.engine.ports import Tool
from headrace.errors import FlowError
from headrace.nodes.multiagent.speaking import (
    APPROVAL,
    Answered,
    Approving,
    SpeakingStep,
    Tab,
    Updates,
    Updating,
    as_json,
    denied,
    structured,
    used,
    worked,
)


class SeqAgent(SpeakingStep, frozen=True, kw_only=True, tag="seqAgent"):
    """An agent with tools. It speaks as a user, so that the next model answers it."""

    info = NodeInfo(label="Agent", version=4.1, type="Agent")
    title = "agentName"

    agentName: str
    tools: list[Tool] = []
    interrupt: Annotated[bool, Input(label="Require Approval")] = False
    approvalPrompt: Additional[str] = APPROVAL
    approveButtonText: Additional[str] = "Yes"
    rejectButtonText: Additional[str] = "No"
    maxIterations: Additional[int | None] = None

    async def work(self, task: StepTask) -> None:
        """Works until it has answered, or stops before it uses tools that a person has to allow."""
        model = self.asked(task)
        asking = [tool.spec.name for tool in self.tools] if self.interrupt else []
        agent = Agent(task.run.ctx, model, self.tools, max_iterations=self.maxIterations, asking=asking)
        talk = Conversation(await self.conversation(task))
        if task.talk:
            talk = task.talk if task.answer and task.answer.proceeds else denied(task.talk)
        await worked(agent, talk, task)
        if agent.talk.waiting:
            task.say([], told=[agent.talk.rounds[-1].message.text])
            buttons = Approving(self.approvalPrompt, self.approveButtonText, self.rejectButtonText)
            await buttons.ask(task, agent.talk, model)
        else:
            await self._answer(task, agent)

    async def _answer(self, task: StepTask, agent: Agent) -> None:
        text = agent.verdict or agent.talk.rounds[-1].message.text
        found = used(agent.talk.uses)
        if not self.interrupt:  # which tells of all kinds, others only of those that there are
            found = {name: values for name, values in found.items() if values}
        elif not agent.talk.uses:
            found = {}
        await self.change(task, {"content": text, **msgspec.to_builtins(found)})
        answer = ModelMessage("user", text, name=task.name, uses=msgspec.to_builtins(found.get("usedTools", [])))
        before = agent.talk.messages[len(agent.talk.opening) :] if self.interrupt and agent.talk.uses else []
        kept = before[:-1] if before and not before[-1].calls and before[-1].role == "assistant" else before
        task.say([*kept, answer], told=[text], **found)


class SeqLLMNode(SpeakingStep, frozen=True, kw_only=True, tag="seqLLMNode"):
    """Asks a model. It may ask for the tools of the tool nodes behind it, or answer with a JSON object."""

    info = NodeInfo(label="LLM Node", version=4.1, type="LLMNode")
    title = "llmNodeName"

    llmNodeName: Annotated[str, Input(label="Name")]
    llmStructuredOutput: Annotated[
        Additional[list[Answered]], Input(type="datagrid", label="JSON Structured Output")
    ] = []

    async def work(self, task: StepTask) -> None:
        """The model's answer, or its wish to use tools."""
        tools = await _tools_behind(task)
        messages = await self.conversation(task)
        if tools:
            agent = Agent(task.run.ctx, self.asked(task), list(tools.values()), asking=tools)
            await worked(agent, Conversation(messages), task)
            message = agent.talk.rounds[-1].message
            task.taken = await _wanted(task, agent.talk) if agent.talk.waiting else ""
            await self._say(task, message, {})
        elif self.llmStructuredOutput:
            found = await structured(self.asked(task), messages, self.llmStructuredOutput, task)
            await self._say(task, ModelMessage("assistant", as_json(found)), found)
        else:
            text = await answer_text(self.asked(task), ChatRequest(messages), task.run.ctx)
            await self._say(task, ModelMessage("assistant", text), {})

    async def _say(self, task: StepTask, message: ModelMessage, output: Mapping[str, Any]) -> None:
        await self.change(task, {"content": message.text, **output})
        task.say([msgspec.structs.replace(message, name=task.name)], told=[message.text])


class SeqToolNode(StepNode, frozen=True, kw_only=True, tag="seqToolNode"):
    """Uses the tools that the LLM node before it has asked for."""

    info = NodeInfo(label="Tool Node", version=2.1, type="ToolNode")
    title = "toolNodeName"

    tools: list[Tool] = []
    llmNode: Annotated[str, Input(type="LLMNode", label="LLM Node")] = ""
    toolNodeName: Annotated[str, Input(label="Name")]
    interrupt: Annotated[bool, Input(label="Require Approval")] = False
    approvalPrompt: Additional[str] = APPROVAL
    approveButtonText: Additional[str] = "Yes"
    rejectButtonText: Additional[str] = "No"
    updateStateMemory: Tab = "updateStateMemoryUI"
    selectedUpdateStateMemoryTab: str = ""
    updateStateMemoryUI: Updates = []
    updateStateMemoryCode: Code[str] = ""

    async def work(self, task: StepTask) -> None:
        """Uses them, once a person has allowed it where that is wanted. Raises FlowError when none is asked for."""
        model, talk = task.run.opening.model, task.talk or _asked(task)
        agent = Agent(task.run.ctx, model, self.tools)
        if self.interrupt and task.answer is None:
            buttons = Approving(self.approvalPrompt, self.approveButtonText, self.rejectButtonText)
            await buttons.ask(task, talk, model)
        else:
            await agent.use(denied(talk) if task.answer and not task.answer.proceeds else talk)
            await self._say(task, agent.talk.uses)

    async def _say(self, task: StepTask, uses: Sequence[ToolUse]) -> None:
        given = [_tool_json(use) for use in uses]
        how = Updating(self.selectedUpdateStateMemoryTab, self.updateStateMemoryUI, self.updateStateMemoryCode)
        await task.change(await how.updates(task, given))
        said = [ModelMessage("tool", use.result.text, answers=use.call) for use in uses]
        task.say(said, told=[message.text for message in said], **used(uses))


def _tool_json(use: ToolUse) -> dict[str, Any]:
    """A use of a tool as the flow's updates of the state read it."""
    about = {"tool": use.call.name, "toolInput": use.event.toolInput if use.event else {}}
    found = {"sourceDocuments": use.result.documents, "artifacts": use.result.artifacts}
    return {**about, "toolOutput": use.result.text, "content": use.result.text, **msgspec.to_builtins(found)}


def _asked(task: StepTask) -> Conversation:
    """The newest calls of the conversation, which wait."""
    for message in reversed(task.messages):
        if message.calls:
            return Conversation((), [Round(message, [None] * len(message.calls))])
    raise FlowError(f"{task.title!r} has no tool to use: connect it to the LLM node that asks for its tools")


async def _tools_behind(task: StepTask) -> dict[str, Tool]:
    """The tools of the tool nodes that the step leads to, by name."""
    nodes = [await task.beside(node.id) for node in task.ways.values() if node.name == "seqToolNode"]
    return {tool.spec.name: tool for node in nodes if isinstance(node, SeqToolNode) for tool in node.tools}


async def _wanted(task: StepTask, talk: Conversation) -> str:
    """The tool node that has the first tool that is asked for."""
    wanted = talk.waiting[0].name
    for output, node in task.ways.items():
        record = await task.beside(node.id) if node.name == "seqToolNode" else None
        if isinstance(record, SeqToolNode) and any(tool.spec.name == wanted for tool in record.tools):
            return output
    raise FlowError(f"no tool node behind {task.title!r} has the tool {wanted!r}")


NODES = (SeqAgent, SeqLLMNode, SeqToolNode)
