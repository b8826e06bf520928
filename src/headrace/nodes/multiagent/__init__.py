"""The nodes of multi-agent flows."""

from headrace.nodes.multiagent import agents, conditions, functions, memory, steering, supervisor

NODES = (*steering.NODES, *agents.NODES, *conditions.NODES, *functions.NODES, *supervisor.NODES, *memory.NODES)
