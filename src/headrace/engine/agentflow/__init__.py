"""Agent flows: read, stepped through, and told as an execution."""
