"""Multi agents: a supervisor who decides on the next worker after each step, and workers who report to it."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated, Any, Final

from headrace.engine.agent import Agent
from headrace.engine.annotations import Additional, Input, NodeInfo
from headrace.engine.chat import ChatRequest, ModelMessage, ToolSpec
from headrace.engine.conversation import Conversation
from headrace.engine.json_extraction import extract_object
from headrace.engine.model_answer import ModelAnswer, arguments_object, arguments_of
from headrace.engine.model_events import ModelEvents, answer_text
from headrace.engine.multiagent.node import MULTI, Opening, StepNode, StepTask
from headrace.engine.multiagent.state import resolved
from headrace.engine.node import Template, Templated
from headrace.engine.ports import ChatModel, Tool
from headrace.errors import FlowError, ProviderMalformed
from headrace.nodes.multiagent.speaking import seen, used, worked
from headrace.nodes.multiagent.steering import refused
from headrace.nodes.prompts import filled

_FINISH: Final = "FINISH"
_ROUTE: Final = "route"
_PROMPT: Final = (
    "You lead a team of these workers: {team_members}. Read the user's request and what the workers have reported, and "
    "name the worker who is to act next. Each of them works on its part and reports back to you. Answer FINISH as soon "
    "as the request is met, and take as few steps as you can."
)
_WHO: Final = "Who acts next in this conversation, or is the request met? Choose one of these: {choices}"
_TEAM: Final = (
    "\nWork on your own part with the tools that you have, and ask nobody for clarification: the other members of the "
    "team do their parts. The team: {team_members}."
)
_SUMMARY: Final = (
    "The team has finished. Write the answer to the user's request from all that the workers have reported: complete, "
    "without repetition, and without a word about the team."
)


def _route(choices: list[str]) -> ToolSpec:
    """The tool that the supervisor's model has to call."""
    properties = {
        "reasoning": {"type": "string"},
        "next": {"type": "string", "enum": choices},
        "instructions": {"type": "string", "description": "The part of the task that the next worker is to do."},
    }
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return ToolSpec(_ROUTE, "Names the worker who acts next.", schema)


class Supervisor(Opening, frozen=True, kw_only=True, tag="supervisor"):
    """Leads a team of workers: decides who acts next, until the request is met."""

    info = NodeInfo(version=3, category=MULTI)
    title = "supervisorName"

    supervisorName: str = "Supervisor"
    supervisorPrompt: Additional[Template] = _PROMPT
    model: Annotated[ChatModel, Input(label="Tool Calling Chat Model")]
    summarization: Additional[bool] = False
    recursionLimit: Additional[int] = 100

    @property
    def most(self) -> int:
        """The number of steps, the supervisor's own included."""
        return max(self.recursionLimit, 1)

    async def work(self, task: StepTask) -> None:
        """Names the next worker, or ends the run with the last worker's result or a summary of all."""
        if not task.run.progress.executed and await refused(self, task):
            return
        team = {task.speaker(node.id): output for output, node in task.ways.items()}
        choices = [_FINISH, *team]
        found = await self._decision(task, list(team), choices)
        task.taken = team.get(found["next"], _FINISH)
        members = ", ".join(team)
        await task.change({"next": found["next"], "instructions": found["instructions"], "team_members": members})
        task.say([], told=[])
        if found["next"] == _FINISH:
            task.output["answer"] = await self._answer(task)

    async def _decision(self, task: StepTask, team: list[str], choices: list[str]) -> dict[str, str]:
        first = filled(self.supervisorPrompt, {"team_members": ", ".join(team)})
        last = _WHO.format(choices=", ".join(choices))
        messages = [
            ModelMessage("system", first),
            *seen(self.model, task.messages),
            ModelMessage("user", last),
        ]
        request = ChatRequest(messages, [_route(choices)], choice=_ROUTE)
        turn, events = ModelAnswer(), ModelEvents(task.run.ctx)
        async with aclosing(self.model.stream(request)) as batches:
            async for deltas in batches:
                turn.add(deltas)
                events.events(deltas)
        found = _arguments(turn, task.title)
        if found.get("next") not in choices:
            known = ", ".join(choices)
            raise ProviderMalformed(f"{task.title!r} has named no worker that is there: there are {known}")
        return {"next": str(found["next"]), "instructions": str(found.get("instructions") or "")}

    async def _answer(self, task: StepTask) -> str:
        """The last worker's words, or a summary; "" where nobody has worked."""
        if not self.summarization or len(task.history) < 2:
            return task.history[-1].text if len(task.history) > 1 else ""
        asked = [*seen(self.model, task.messages), ModelMessage("user", _SUMMARY)]
        return await answer_text(self.model, ChatRequest(asked), task.run.ctx)


def _arguments(turn: ModelAnswer, title: str) -> dict[str, Any]:
    """The arguments of the call; a model that writes them as text is understood."""
    for call in turn.calls:
        return arguments_object(arguments_of(call), {})
    try:
        return extract_object(turn.text)
    except ValueError:
        raise FlowError(
            f"{title!r} needs a model that calls tools, and its model has called none: connect another one"
        ) from None


class Worker(StepNode, frozen=True, kw_only=True, tag="worker"):
    """Works on its part of a supervisor's task, with tools of its own."""

    info = NodeInfo(version=2, category=MULTI)
    title = "workerName"

    workerName: str
    workerPrompt: Template = ""
    tools: list[Tool] = []
    supervisor: Annotated[str, Input(type="Supervisor")] = ""
    model: Annotated[ChatModel | None, Input(label="Tool Calling Chat Model")] = None
    promptValues: Annotated[Templated, Input(list=True, label="Format Prompt Values")] = {}
    maxIterations: int | None = None

    async def work(self, task: StepTask) -> None:
        """Answers in the conversation, and gives the word back to the supervisor."""
        model = self.model or task.run.opening.model
        agent = Agent(task.run.ctx, model, self.tools, max_iterations=self.maxIterations)
        flow = task.flow()
        team = str(task.state.get("team_members", ""))
        values = {name: resolved(value, flow) for name, value in self.promptValues.items()} | {"team_members": team}
        system = ModelMessage("system", filled(self.workerPrompt, values) + _TEAM.format(team_members=team))
        await worked(agent, Conversation([system, *seen(model, task.messages)]), task)
        text = agent.verdict or agent.talk.rounds[-1].message.text
        found = {name: values for name, values in used(agent.talk.uses).items() if values}
        task.say([ModelMessage("user", text, name=task.name)], told=[text], **found)
        task.back_to = task.first


NODES = (Supervisor, Worker)
