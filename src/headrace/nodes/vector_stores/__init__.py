"""Nodes of the category Vector Stores."""
