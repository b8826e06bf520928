"""The built-in nodes, one file per family. The catalog takes their `NODES` tuples; importing has no other effect."""

from headrace.engine.catalog import Catalog, catalog
from headrace.nodes import (
    agents,
    caches,
    chains,
    chat_models,
    completions,
    memory,
    moderation,
    openai_models,
    output_parsers,
    prompts,
    scripts,
    tools,
)


def built_in() -> Catalog:
    """The catalog of all built-in and installed node types."""
    models = (openai_models, chat_models, completions, caches)
    families = (*models, prompts, memory, moderation, output_parsers, tools, scripts, chains, agents)
    return catalog(family.NODES for family in families)
