"""The built-in nodes, one file per family. The catalog takes their `NODES` tuples; importing has no other effect."""

from headrace.engine.catalog import Catalog, catalog
from headrace.nodes import (
    caches,
    chains,
    chat_models,
    completions,
    memory,
    moderation,
    openai_models,
    output_parsers,
    prompts,
)


def built_in() -> Catalog:
    """The catalog of all built-in and installed node types."""
    families = (openai_models, chat_models, completions, caches, prompts, memory, moderation, output_parsers, chains)
    return catalog(family.NODES for family in families)
