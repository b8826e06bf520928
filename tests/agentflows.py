"""Agent flows that tests put on a server, and what their streams say."""

import json
from typing import Any

from servers import Reply

Flow = dict[str, Any]
SHOWN: Flow = {"type": "AGENTFLOW", "apiConfig": json.dumps({"showInternals": True})}
"""Columns of an agent flow that shows everybody what its nodes are told and give."""


def node(kind: str, number: int = 0, *, label: str = "", inside: str | None = None, **inputs: Any) -> Flow:
    """A node as the builder exports it; `kind` without "Agentflow"."""
    name = f"{kind}Agentflow"
    key = f"{name}_{number}"
    data = {"id": key, "name": name, "label": label or f"{kind} {number}", "category": "Agent Flows", "inputs": inputs}
    canvas = {"id": key, "type": "iteration" if kind == "iteration" else "agentFlow", "data": data}
    return {**canvas, "parentNode": inside} if inside else canvas


def start(**inputs: Any) -> Flow:
    return node("start", startInputType=inputs.pop("startInputType", "chatInput"), **inputs)


def llm(base: str, number: int = 0, *, message: str = "", config: Flow | None = None, **rest: Any) -> Flow:
    """An LLM node that remembers, with an own message."""
    settings = {"modelName": "gpt-4o-mini", "basepath": base, "streaming": True, **(config or {})}
    inputs: Flow = {"llmEnableMemory": True, "llmUserMessage": message, "llmModelConfig": settings}
    return node("llm", number, **{"llmModel": "chatOpenAI", **inputs, **rest})


def reply(message: str, number: int = 0, **rest: Any) -> Flow:
    return node("directReply", number, directReplyMessage=message, **rest)


def condition(*conditions: Flow, number: int = 0) -> Flow:
    return node("condition", number, conditions=list(conditions))


def contains(text: str) -> Flow:
    return {"type": "string", "value1": "{{ question }}", "operation": "contains", "value2": text}


def flow(*nodes: Flow, arrows: str) -> Flow:
    """`arrows` is `start_0 llm_0, condition_0:1 directReply_0`: from, its output where it has several, and to."""
    edges: list[Flow] = []
    for arrow in filter(None, map(str.strip, arrows.split(","))):
        source, target = (part.replace("_", "Agentflow_") for part in arrow.split())
        source, _, output = source.partition(":")
        handle = f"{source}-output-{output or source.rpartition('_')[0]}"
        edges.append({"source": source, "target": target, "sourceHandle": handle, "targetHandle": target})
    return {"nodes": list(nodes), "edges": edges}


def steps(answer: Reply) -> list[str]:
    """The nodes of a stream in the order they ended, as `name_0 STATUS`; those that finished by name alone."""
    told = [event["data"] for event in answer.events if event["event"] == "nextAgentFlow"]
    ended = [(one["nodeId"].replace("Agentflow", ""), one["status"]) for one in told if one["status"] != "INPROGRESS"]
    return [name if status == "FINISHED" else f"{name} {status}" for name, status in ended]


def executed(answer: Reply) -> list[Flow]:
    """What the last event about executed nodes says, or the JSON answer."""
    if "data:" not in answer.text[:400]:
        return answer.json["agentFlowExecutedData"]
    return [event["data"] for event in answer.events if event["event"] == "agentFlowExecutedData"][-1]


def said(answer: Reply) -> str:
    return "".join(event["data"] for event in answer.events if event["event"] == "token")
