"""Multi-agent flows that tests put on a server, models that speak in them by script, and what their streams say."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from provider import Answer, Provider, Seen
from servers import Reply, chat_model, node
from test_agent_templates import Turn, openai

Flow = dict[str, Any]
TEAM: Flow = {"type": "MULTIAGENT", "apiConfig": json.dumps({"showInternals": True})}
"""Columns of a multi-agent flow that shows everybody what its agents say to each other."""
MODEL = "{{chatOpenAI_0.data.instance}}"
_MULTI = ("supervisor", "worker")


def step(name: str, number: int = 0, **inputs: Any) -> Flow:
    """A step; `name` is its node's."""
    one = node(name, "Multi Agents" if name in _MULTI else "Sequential Agents", number, label=name, **inputs)
    if "promptValues" in inputs:
        one["data"]["inputParams"] = [{"name": "promptValues", "acceptVariable": True}]
    return one


def begin(**inputs: Any) -> Flow:
    return step("seqStart", model=MODEL, **inputs)


def agent(name: str, number: int = 0, **inputs: Any) -> Flow:
    """An agent whose system message is its name."""
    return step("seqAgent", number, agentName=name, **{"systemMessagePrompt": name, **inputs})


def llm(name: str, number: int = 0, **inputs: Any) -> Flow:
    """An LLM node whose system message is its name."""
    return step("seqLLMNode", number, llmNodeName=name, **{"systemMessagePrompt": name, **inputs})


def state(*keys: Flow, **inputs: Any) -> Flow:
    return step("seqState", stateMemoryUI=json.dumps(list(keys)), **inputs)


def table(**values: str) -> str:
    """Updates of the state as builders' tables have them."""
    return json.dumps([{"key": key, "value": value} for key, value in values.items()])


def when(variable: str, operation: str, value: str, output: str) -> Flow:
    return {"variable": variable, "operation": operation, "value": value, "output": output}


def condition(*rows: Flow, number: int = 0, **inputs: Any) -> Flow:
    return step("seqCondition", number, conditionUI=json.dumps(rows), **inputs)


def flow(base: str, *nodes: Flow, arrows: str) -> Flow:
    """`arrows` is `seqStart_0 seqAgent_0, seqCondition_0:again seqLoop_0`; other edges follow from inputs."""
    every = [chat_model(base), *nodes]
    edges: list[Flow] = []
    for arrow in filter(None, map(str.strip, arrows.split(","))):
        source, target = arrow.split()
        source, _, output = source.partition(":")
        handle = f"{source}-output-{output or source.rpartition('_')[0]}-Any"
        edges.append({"source": source, "target": target, "sourceHandle": handle})
    for target in every:
        text = json.dumps(target["data"]["inputs"])
        edges += [{"source": n["id"], "target": target["id"]} for n in every if f"{{{{{n['id']}.data" in text]
    return {"nodes": every, "edges": edges}


class Cast:
    """The models of a flow: each conversation is answered by the script of its system message, turn by turn.

    A text in place of a list of turns is said again and again.
    """

    def __init__(self, provider: Provider, **parts: str | Sequence[Turn] | Callable[[Seen], Turn]) -> None:
        provider.seen = []
        provider.answer = self.answer
        self.provider = provider
        self.parts: dict[str, Any] = {
            name: list(part) if isinstance(part, list) else part for name, part in parts.items()
        }

    def answer(self, seen: Seen) -> Answer:
        part = self.parts[self.role(seen)]
        if isinstance(part, str):
            return openai(Turn(part))
        return openai(part.pop(0) if isinstance(part, list) else part(seen))

    def role(self, seen: Seen) -> str:
        first = seen.body["messages"][0]
        return first["content"].split()[0] if first["role"] == "system" else "nobody"

    def told(self, role: str) -> list[list[tuple[str, str]]]:
        """Roles and texts of the conversations that this part was given, without its system message."""
        mine = [seen.body["messages"] for seen in self.provider.seen if self.role(seen) == role]
        return [[(one["role"], one["content"]) for one in each if one["role"] != "system"] for each in mine]


def reasoning(answer: Reply) -> list[Mapping[str, Any]]:
    """The steps that a stream or a JSON answer tells of."""
    if "data:" not in answer.text[:400]:
        return answer.json["agentReasoning"]
    return [event["data"] for event in answer.events if event["event"] == "agentReasoning"][-1]


def spoke(answer: Reply) -> list[tuple[str, list[str]]]:
    """Who said what."""
    return [(one["agentName"], one["messages"]) for one in reasoning(answer)]
