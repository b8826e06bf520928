"""The Execute Flow node of agent flows: another flow of this server answers, inside the same run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec

from headrace.engine.agentflow.node import Accepts, AgentNode, StateUpdates, Task, message_json, spoken_name
from headrace.engine.annotations import Input, NodeInfo
from headrace.engine.chat import ModelMessage
from headrace.engine.node import FlowQuestion
from headrace.engine.references import text_of
from headrace.events import Event, Token


class ExecuteFlow(AgentNode, frozen=True, kw_only=True, tag="executeFlowAgentflow"):
    """Asks another flow of this server, in the same chat; it runs inside this run and ends with it."""

    info = NodeInfo(version=1.2, credentials=("chatflowApi",), keyless=True)

    credential: str = ""
    executeFlowSelectedFlow: Annotated[str, Input(label="Select Flow", loadMethod="listFlows")]
    executeFlowInput: Annotated[Accepts, Input(label="Input")] = ""
    executeFlowOverrideConfig: Annotated[
        dict[str, Any], msgspec.Meta(extra={"acceptVariable": True}), Input(label="Override Config")
    ] = {}
    executeFlowBaseURL: Annotated[
        str, Input(label="Base URL", unread="the flow is one of this server, and is run inside this run")
    ] = ""
    executeFlowReturnResponseAs: Annotated[
        Literal["userMessage", "assistantMessage"], Input(label="Return Response As")
    ] = "userMessage"
    executeFlowUpdateState: StateUpdates = []

    async def run(self, task: Task) -> AsyncGenerator[Sequence[Event]]:
        """Asks it, and keeps its text. Raises what the other flow raises."""
        opening = [] if task.history else [ModelMessage("user", self.executeFlowInput)]
        task.input_record = {"messages": [message_json(message) for message in opening]}
        answer = await task.run.ctx.ask_flow(await self._question(task))
        content = (answer.text if answer.json is None else text_of(answer.json)) or ""
        role = "user" if self.executeFlowReturnResponseAs == "userMessage" else "assistant"
        task.output = {"content": content}
        task.said = [*opening, ModelMessage(role, content, name=spoken_name(task.node))]
        task.update(self.executeFlowUpdateState, content)
        yield [Token(content)] if task.is_last and content else []

    async def _question(self, task: Task) -> FlowQuestion:
        fields = await task.run.ctx.secrets(self.credential) if self.credential else {}
        key = fields.get("chatflowApiKey", "").strip()
        return FlowQuestion(self.executeFlowSelectedFlow, self.executeFlowInput, self.executeFlowOverrideConfig, key)


NODES: Final = (ExecuteFlow,)
