"""Runs: their logs, their queue, their recorder and the worker."""
