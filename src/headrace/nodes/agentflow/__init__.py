"""The nodes of agent flows."""

from headrace.nodes.agentflow import (
    agent,
    conditions,
    flows,
    functions,
    http,
    human,
    lookup,
    models,
    scenarios,
    steering,
    tools,
)

NODES = (
    *(*steering.NODES, *conditions.NODES, *scenarios.NODES, *models.NODES, *agent.NODES, *tools.NODES, *lookup.NODES),
    *(*human.NODES, *http.NODES, *functions.NODES, *flows.NODES),
)
