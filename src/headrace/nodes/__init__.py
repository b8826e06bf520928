"""The built-in nodes: a folder for each large category of the builder, a file for each family.

The catalog takes the files' `NODES` tuples; importing has no other effect.
"""

from itertools import chain

from headrace.engine.catalog import Catalog, catalog
from headrace.nodes import (
    agentflow,
    caches,
    completions,
    document_stores,
    embeddings,
    memory,
    moderation,
    multiagent,
    output_parsers,
    prompts,
    record_managers,
    redis_memory,
    rerankers,
    retrievers,
    splitters,
    utilities,
)
from headrace.nodes.agents.agents import NODES as AGENTS
from headrace.nodes.agents.tables import NODES as TABLE_AGENTS
from headrace.nodes.chains.api import NODES as API_CHAINS
from headrace.nodes.chains.conversation import NODES as CONVERSATION_CHAINS
from headrace.nodes.chains.engines import NODES as ENGINES
from headrace.nodes.chains.retrieval import NODES as RETRIEVAL_CHAINS
from headrace.nodes.chains.routing import NODES as ROUTING_CHAINS
from headrace.nodes.chains.sql import NODES as SQL_CHAINS
from headrace.nodes.chains.synthesizers import NODES as SYNTHESIZERS
from headrace.nodes.chat_models.anthropic import NODES as ANTHROPIC_MODELS
from headrace.nodes.chat_models.bedrock import NODES as BEDROCK_MODELS
from headrace.nodes.chat_models.cohere import NODES as COHERE_MODELS
from headrace.nodes.chat_models.google import NODES as GOOGLE_MODELS
from headrace.nodes.chat_models.local import NODES as LOCAL_MODELS
from headrace.nodes.chat_models.ollama import NODES as OLLAMA_MODELS
from headrace.nodes.chat_models.openai_models import NODES as OPENAI_MODELS
from headrace.nodes.document_loaders.files import NODES as FILE_LOADERS
from headrace.nodes.document_loaders.manual import NODES as MANUAL_LOADERS
from headrace.nodes.document_loaders.web import NODES as WEB_LOADERS
from headrace.nodes.tools.custom import NODES as CUSTOM_TOOLS
from headrace.nodes.tools.flows import NODES as FLOW_TOOLS
from headrace.nodes.tools.local import NODES as LOCAL_TOOLS
from headrace.nodes.tools.mcp import NODES as MCP_TOOLS
from headrace.nodes.tools.mcp_servers import NODES as READY_MCP_TOOLS
from headrace.nodes.tools.openapi import NODES as OPENAPI_TOOLS
from headrace.nodes.tools.requests import NODES as REQUEST_TOOLS
from headrace.nodes.tools.retriever import NODES as RETRIEVER_TOOLS
from headrace.nodes.tools.scraper import NODES as SCRAPER_TOOLS
from headrace.nodes.tools.search import NODES as SEARCH_TOOLS
from headrace.nodes.vector_stores.chroma import NODES as CHROMA_STORES
from headrace.nodes.vector_stores.elasticsearch import NODES as ELASTICSEARCH_STORES
from headrace.nodes.vector_stores.embedded import NODES as EMBEDDED_STORES
from headrace.nodes.vector_stores.milvus import NODES as MILVUS_STORES
from headrace.nodes.vector_stores.pinecone import NODES as PINECONE_STORES
from headrace.nodes.vector_stores.postgres import NODES as POSTGRES_STORES
from headrace.nodes.vector_stores.qdrant import NODES as QDRANT_STORES
from headrace.nodes.vector_stores.redis import NODES as REDIS_STORES
from headrace.nodes.vector_stores.weaviate import NODES as WEAVIATE_STORES

_MODELS = (
    OPENAI_MODELS,
    ANTHROPIC_MODELS,
    GOOGLE_MODELS,
    OLLAMA_MODELS,
    COHERE_MODELS,
    BEDROCK_MODELS,
    LOCAL_MODELS,
    completions.NODES,
    caches.NODES,
)
_LOADERS = (FILE_LOADERS, WEB_LOADERS, MANUAL_LOADERS, document_stores.NODES, splitters.NODES, embeddings.NODES)
_STORES = (
    EMBEDDED_STORES,
    PINECONE_STORES,
    POSTGRES_STORES,
    QDRANT_STORES,
    CHROMA_STORES,
    ELASTICSEARCH_STORES,
    WEAVIATE_STORES,
    REDIS_STORES,
    MILVUS_STORES,
    record_managers.NODES,
    retrievers.NODES,
    rerankers.NODES,
)
_PARTS = (prompts.NODES, memory.NODES, redis_memory.NODES, moderation.NODES, output_parsers.NODES, utilities.NODES)
TOOLS = (
    LOCAL_TOOLS,
    FLOW_TOOLS,
    CUSTOM_TOOLS,
    RETRIEVER_TOOLS,
    SEARCH_TOOLS,
    REQUEST_TOOLS,
    SCRAPER_TOOLS,
    OPENAPI_TOOLS,
    MCP_TOOLS,
    READY_MCP_TOOLS,
)
"""The families of tools."""
_ANSWERING = (
    CONVERSATION_CHAINS,
    RETRIEVAL_CHAINS,
    ENGINES,
    SYNTHESIZERS,
    ROUTING_CHAINS,
    SQL_CHAINS,
    API_CHAINS,
    AGENTS,
    TABLE_AGENTS,
)


def built_in() -> Catalog:
    """The catalog of all built-in and installed node types."""
    return catalog(chain(_MODELS, _LOADERS, _STORES, _PARTS, TOOLS, _ANSWERING, (agentflow.NODES, multiagent.NODES)))
