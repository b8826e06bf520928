"""Nodes of the category Chains."""
