"""The nodes of agent flows."""

from headrace.nodes.agentflow import agent, conditions, human, lookup, models, scenarios, steering, tools

NODES = (
    *(*steering.NODES, *conditions.NODES, *scenarios.NODES, *models.NODES, *agent.NODES, *tools.NODES, *lookup.NODES),
    *human.NODES,
)
