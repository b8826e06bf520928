"""Nodes of the category Document Loaders."""
