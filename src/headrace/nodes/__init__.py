"""The built-in nodes, one file per family. The catalog takes their `NODES` tuples; importing has no other effect."""

from headrace.engine.catalog import Catalog, catalog
from headrace.nodes import (
    agentflow,
    agents,
    api_chains,
    caches,
    chains,
    chat_models,
    completions,
    document_stores,
    documents,
    embeddings,
    mcp,
    memory,
    moderation,
    openai_models,
    openapi_toolkit,
    output_parsers,
    prompts,
    record_managers,
    redis_memory,
    request_tools,
    rerankers,
    retrieval_chains,
    retrievers,
    routing_chains,
    scraper,
    scripts,
    search_tools,
    served_stores,
    splitters,
    sql,
    tools,
    vector_stores,
)

TOOLS = (tools, search_tools, request_tools, scraper, openapi_toolkit, mcp)
"""The families of tools."""


def built_in() -> Catalog:
    """The catalog of all built-in and installed node types."""
    models = (openai_models, chat_models, completions, caches)
    memories = (memory, redis_memory)
    answering = (chains, routing_chains, sql, api_chains, agents)
    stores = (vector_stores, served_stores, record_managers, retrievers, rerankers)
    retrieval = (documents, document_stores, splitters, embeddings, *stores, retrieval_chains)
    chained = (prompts, *memories, moderation, output_parsers, *retrieval, *TOOLS, scripts, *answering)
    families = (*models, *chained, agentflow)
    return catalog(family.NODES for family in families)
