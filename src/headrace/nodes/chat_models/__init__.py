"""Nodes of the category Chat Models."""
