"""Multi-agent flows: agents that work in steps on one conversation and one state."""
