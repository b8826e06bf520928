"""Nodes of the category Agents."""
