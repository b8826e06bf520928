"""The Human Input node of agent flows: the flow stops until a person has said whether it goes on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated, Any, Final, Literal

from headrace.engine.agentflow.node import Accepts, AgentNode, Task, message_json
from headrace.engine.annotations import Input, NodeInfo, Output
from headrace.engine.chat import ChatRequest, ModelMessage
from headrace.engine.ports import ChatModel
from headrace.engine.reply import Reply
from headrace.errors import FlowError
from headrace.events import Event, Token
from headrace.schema import HumanInput

_DESCRIPTION: Final = "Do you want to proceed?"
_PROMPT: Final = (
    "Sum up the conversation so far, repeat the assistant's last message word for word, and ask the user whether to "
    "proceed or what to change."
)


_DYNAMIC: Final = Input(show={"humanInputDescriptionType": "dynamic"})


class HumanInputNode(AgentNode, frozen=True, kw_only=True, tag="humanInputAgentflow"):
    """Asks a person, and goes on at `proceed` (0) or `reject` (1)."""

    info = NodeInfo(outputs=(Output("proceed", "Proceed"), Output("reject", "Reject")))

    humanInputDescriptionType: Literal["fixed", "dynamic"] = "fixed"
    humanInputDescription: Annotated[Accepts, Input(show={"humanInputDescriptionType": "fixed"})] = ""
    humanInputModel: Annotated[ChatModel | None, _DYNAMIC] = None
    humanInputModelPrompt: Annotated[Accepts, _DYNAMIC, Input(label="Prompt")] = _PROMPT
    humanInputEnableFeedback: bool = True

    async def run(self, task: Task) -> AsyncGenerator[Sequence[Event]]:
        """The question, with which the flow stops; or the answer's output. Raises FlowError without a model to ask."""
        if task.answer:
            self._answer(task, task.answer)
            yield []
            return
        heard = [*task.run.past, *task.history]
        task.input_record = {
            "messages": [message_json(message) for message in heard],
            "humanInputEnableFeedback": self.humanInputEnableFeedback,
        }
        if self.humanInputDescriptionType == "dynamic":
            async with aclosing(self._worded(task, heard)) as batches:
                async for events in batches:
                    yield events
        else:
            last = f"{heard[-1].text}\n\n" if heard else ""
            task.output = {"content": f"{last}{self.humanInputDescription or _DESCRIPTION}"}
            yield [Token(task.output["content"])]
        task.said = [ModelMessage("assistant", task.output["content"])]
        task.ask()

    async def _worded(self, task: Task, heard: Sequence[ModelMessage]) -> AsyncGenerator[Sequence[Event]]:
        """The question in the words of a model, as they come."""
        if self.humanInputModel is None:
            raise FlowError(f"{task.node.id!r} asks in the words of a model: choose one")
        reply = Reply(task.run.ctx, "")
        request = ChatRequest([*heard, ModelMessage("user", self.humanInputModelPrompt)])
        async with aclosing(self.humanInputModel.stream(request)) as batches:
            async for deltas in batches:
                if events := reply.take(deltas):
                    yield events
        task.output = {"content": reply.text}

    def _answer(self, task: Task, answer: HumanInput) -> None:
        given: dict[str, Any] = {
            "type": answer.type,
            "startNodeId": answer.startNodeId or task.node.id,
            "feedback": answer.feedback,
        }
        given = {key: value for key, value in given.items() if value is not None}
        text = answer.feedback or answer.type
        heard = [message_json(message) for message in (*task.run.past, *task.history)]
        task.input_record = {**given, "messages": [*heard, {"role": "user", **({"content": text} if text else {})}]}
        feedback = {"feedback": answer.feedback} if answer.feedback and self.humanInputEnableFeedback else {}
        about = {"startNodeId": given["startNodeId"], **feedback}
        task.taken = "0" if answer.proceeds else "1"
        conditions = [
            {"type": kind, **about, "isFulfilled": answer.proceeds is (kind == "proceed")}
            for kind in ("proceed", "reject")
        ]
        task.output = {**({"content": text} if text else {}), "conditions": conditions}
        task.said = [ModelMessage("user", answer.feedback)] if answer.feedback else []


NODES: Final = (HumanInputNode,)
