"""The built-in nodes, one file per family. The catalog takes their `NODES` tuples; importing has no other effect."""

from headrace.engine.catalog import Catalog, catalog
from headrace.nodes import chains, chat_models, memory, prompts


def built_in() -> Catalog:
    """The catalog of all built-in and installed node types."""
    return catalog((chat_models.NODES, prompts.NODES, memory.NODES, chains.NODES))
