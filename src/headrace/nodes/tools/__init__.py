"""Nodes of the categories Tools and Tools (MCP)."""
