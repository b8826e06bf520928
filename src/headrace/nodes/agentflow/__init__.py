"""The nodes of agent flows."""

from headrace.nodes.agentflow import agent, conditions, human, models, steering, tools

NODES = (*steering.NODES, *conditions.NODES, *models.NODES, *agent.NODES, *tools.NODES, *human.NODES)
