"""Rerankers: a provider's model reads question and passages together and puts them in order. One row each."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from headrace.engine.annotations import Additional, Input, NodeInfo, options
from headrace.engine.node import Context
from headrace.engine.ports import HttpCall, Retriever
from headrace.errors import ProviderMalformed
from headrace.events import Document
from headrace.nodes.accounts import account
from headrace.nodes.providers import COHERE, JINA, Provider
from headrace.nodes.retrievers import Refining
from headrace.providers.json_answers import loose_answer
from headrace.providers.lenient_json import LenientDecoder


class _Ranked(msgspec.Struct):
    index: int = -1
    relevance_score: float | None = None
    score: float | None = None

    @property
    def relevance(self) -> float:
        """The score, under either name."""
        return (self.score or 0.0) if self.relevance_score is None else self.relevance_score


class _Ranking(msgspec.Struct):
    """Voyage calls the list `data`, the others `results`."""

    results: list[_Ranked] | None = None
    data: list[_Ranked] | None = None

    @property
    def ranked(self) -> list[_Ranked] | None:
        """Those with a place in the list of passages."""
        found = self.results or self.data or self.results
        return None if found is None else [one for one in found if one.index >= 0]


_RANKINGS: Final = LenientDecoder(_Ranking)


class Reranker(msgspec.Struct, frozen=True):
    """A provider's endpoint and what it calls the number of passages to give back."""

    provider: Provider
    path: str
    most: Literal["top_n", "top_k"]


_COHERE: Final = Reranker(COHERE, "/v1/rerank", "top_n")
_VOYAGE: Final = Reranker(
    Provider("Voyage AI", "Cohere", "https://api.voyageai.com", "voyageAIApi"), "/v1/rerank", "top_k"
)
_JINA: Final = Reranker(JINA, "/v1/rerank", "top_n")


class _Reranking(Refining, frozen=True, kw_only=True):
    """Passages that the model has no place for are left out; the score is added as `relevance_score`."""

    baseRetriever: Annotated[Retriever, Input(type="VectorStoreRetriever")]
    credential: str = ""

    async def _ranked(self, ctx: Context, query: str, row: Reranker, most: int | None, **body: Any) -> list[Document]:
        at = await account(ctx, row.provider, credential=self.credential)
        found = await self.baseRetriever.find(query)
        body |= {"query": query, "documents": [one.pageContent for one in found]}
        if most:
            body[row.most] = min(most, len(found))
        call = HttpCall(
            f"{at.base}{row.path}",
            {"Content-Type": "application/json", "Authorization": f"Bearer {at.key}"},
            msgspec.json.encode(body),
            at.key,
        )
        if not found:
            return []
        ranking = await loose_answer(ctx.http, call, _RANKINGS, lambda ranking: ranking.ranked is not None)
        return _sorted(found, ranking.ranked or [], row)


def _sorted(found: list[Document], ranked: list[_Ranked], row: Reranker) -> list[Document]:
    ranked = sorted(ranked, key=lambda one: -one.relevance)
    if any(one.index >= len(found) for one in ranked):
        raise ProviderMalformed(f"{row.provider.label} ranked a passage that it was not given")
    return [
        Document(found[one.index].pageContent, {**found[one.index].metadata, "relevance_score": one.relevance})
        for one in ranked
    ]


class CohereRerankRetriever(_Reranking, frozen=True, kw_only=True, tag="cohereRerankRetriever"):
    """Cohere's reranker. `COHERE_BASE_URL` names another address for all flows."""

    info = NodeInfo(type="Cohere Rerank Retriever", credentials=("cohereApi",))

    model: Annotated[str, Input(options=options("rerank-v3.5", "rerank-english-v3.0", "rerank-multilingual-v3.0"))] = (
        "rerank-v3.5"
    )
    topK: Additional[int | None] = None
    maxChunksPerDoc: Additional[int | None] = 10

    async def _find(self, ctx: Context, query: str) -> list[Document]:
        more = {"max_chunks_per_doc": self.maxChunksPerDoc} if self.maxChunksPerDoc else {}
        return await self._ranked(ctx, query, _COHERE, self.topK, model=self.model, **more)


class VoyageAIRerankRetriever(_Reranking, frozen=True, kw_only=True, tag="voyageAIRerankRetriever"):
    """Voyage's reranker. `VOYAGEAI_BASE_URL` names another address for all flows."""

    info = NodeInfo(label="Voyage AI Rerank Retriever", credentials=("voyageAIApi",))

    model: Annotated[str, Input(options=options("rerank-lite-1", "rerank-lite-2", "rerank-1", "rerank-2"))] = (
        "rerank-lite-1"
    )
    topK: Additional[int | None] = None

    async def _find(self, ctx: Context, query: str) -> list[Document]:
        return await self._ranked(ctx, query, _VOYAGE, self.topK, model=self.model)


class JinaRerankRetriever(_Reranking, frozen=True, kw_only=True, tag="JinaRerankRetriever"):
    """Jina's reranker. `JINA_BASE_URL` names another address for all flows."""

    info = NodeInfo(label="Jina AI Rerank Retriever", credentials=("jinaAIApi",))

    model: Annotated[str, Input(options=options("jina-reranker-v2-base-multilingual", "jina-colbert-v2"))] = (
        "jina-reranker-v2-base-multilingual"
    )
    topN: Additional[int] = 4

    async def _find(self, ctx: Context, query: str) -> list[Document]:
        return await self._ranked(ctx, query, _JINA, self.topN, model=self.model)


NODES = (CohereRerankRetriever, VoyageAIRerankRetriever, JinaRerankRetriever)
