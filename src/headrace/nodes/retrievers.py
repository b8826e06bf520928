"""Retrievers: they search a store and refine the passages for the model."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

import msgspec

from headrace.engine.annotations import DOCUMENT_OUTPUTS, STORE_OUTPUTS, Additional, Input, NodeInfo
from headrace.engine.chat import ChatRequest, ModelMessage
from headrace.engine.concurrency import gather_some
from headrace.engine.model_events import answer_text
from headrace.engine.node import Context, Node
from headrace.engine.ports import ChatModel, Embeddings, Retriever, Search, SearchMode, VectorStore
from headrace.errors import FlowError
from headrace.events import Document
from headrace.retrieval.embedded.searcher import FUSION
from headrace.retrieval.refinement import Finder, alike, fused, lines_of
from headrace.retrieval.retriever import NarrowedStore, StoreRetriever, depth, narrowed

Query: TypeAlias = Annotated[str, msgspec.Meta(extra={"acceptVariable": True})]

_VARIANTS: Final = (
    "A search engine compares passages with a question by meaning, and misses those that put it in other words. "
    "Write {count} other ways to ask the question below, each on a line of its own, and nothing else.\n\n"
    "Question: {question}"
)
_NOTHING: Final = "NOTHING_RELEVANT"
_EXTRACT: Final = (
    "Copy out of the passage, word for word, the sentences that help to answer the question, and write nothing else. "
    f"If no sentence helps, write {_NOTHING}.\n\nQuestion: {{question}}\n\nPassage:\n{{passage}}"
)
_PASSAGES: Final = {
    "websearch": "Write a passage of a web page that answers the question.",
    "scifact": "Write a paragraph of a scientific paper that supports or refutes the claim.",
    "arguana": "Write a passage that argues against the following passage.",
    "trec-covid": "Write a paragraph of a scientific paper on medicine that answers the question.",
    "fiqa": "Write a passage of an article on finance that answers the question.",
    "dbpedia-entity": "Write a passage of an encyclopedia that answers the question.",
    "trec-news": "Write a passage of a news article about the topic.",
    "mr-tydi": "Write a passage in the question's own language that answers it.",
}
PromptKey: TypeAlias = Literal[
    "websearch", "scifact", "arguana", "trec-covid", "fiqa", "dbpedia-entity", "trec-news", "mr-tydi"
]


async def _model_text(ctx: Context, model: ChatModel, prompt: str, **values: str) -> str:
    """Asks the model with the prompt, each `{name}` in it replaced once."""
    text = re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), prompt)
    return await answer_text(model, ChatRequest([ModelMessage("user", text)]), ctx)


class VectorStoreRetriever(Node, frozen=True, kw_only=True, tag="vectorStoreRetriever"):
    """Searches a vector store: by vectors, words (`lexical`), both (`hybrid`), or for different passages (`mmr`)."""

    info = NodeInfo(category="Retrievers")

    vectorStore: VectorStore
    name: str = ""
    description: str = ""
    topK: int | None = None
    searchType: SearchMode = "similarity"
    scoreThreshold: float | None = None
    filter: dict[str, Any] = {}
    """Conditions on metadata, such as `{"source": "a.txt"}` or `{"page": {"$gte": 3}}`."""
    fetchK: int = 20
    diversity: float = 0.5

    async def build(self, ctx: Context) -> StoreRetriever:
        """The retriever."""
        search = Search(
            text="",
            k=depth(self.vectorStore, self.topK),
            mode=self.searchType,
            filter=self.filter,
            threshold=self.scoreThreshold,
            fetch=self.fetchK,
            diversity=self.diversity,
        )
        return StoreRetriever(self.vectorStore, search, self.name, self.description)


class MultiQueryRetriever(Node, frozen=True, kw_only=True, tag="multiQueryRetriever"):
    """Has a model put the question in other words, searches with all of them, and joins what is found."""

    vectorStore: VectorStore
    model: Annotated[ChatModel, Input(type="BaseLanguageModel")]
    modelPrompt: str = _VARIANTS
    """`{question}` is the question, `{count}` how many others are wanted; one a line is read."""

    variants: ClassVar[int] = 3

    async def build(self, ctx: Context) -> Retriever:
        """The retriever."""
        return self._over(ctx, StoreRetriever(self.vectorStore, Search(text="", k=depth(self.vectorStore))))

    def _over(self, ctx: Context, store: StoreRetriever) -> Finder:
        async def find(query: str) -> list[Document]:
            said = await _model_text(ctx, self.model, self.modelPrompt, question=query, count=str(self.variants))
            return fused(await gather_some(store.find, [query, *lines_of(said, self.variants)]))

        return Finder(find, lambda condition: self._over(ctx, store.narrowed(condition)))


class Refining(Node, frozen=True, kw_only=True):
    """A retriever whose output may also be what it finds, for `query` or else for the run's question."""

    info = NodeInfo(category="Retrievers", outputs=(STORE_OUTPUTS[0], *DOCUMENT_OUTPUTS))

    query: Query = ""
    output: str = ""

    async def build(self, ctx: Context) -> object:
        """The retriever, or for the outputs `document` and `text` what it finds."""
        retriever = self._finder(ctx)
        if self.output not in ("document", "text"):
            return retriever
        found = await retriever.find(self.query or ctx.question)
        if self.output == "text":
            return "\n".join(document.pageContent for document in found)
        return [{"pageContent": document.pageContent, "metadata": document.metadata} for document in found]

    def _finder(self, ctx: Context) -> Finder:
        return Finder(lambda query: self._find(ctx, query), lambda condition: self._narrowed(condition)._finder(ctx))

    def _narrowed(self, condition: Mapping[str, Any]) -> Refining:
        """The same over a part of what it searches."""
        base: Retriever | None = getattr(self, "baseRetriever", None)
        if base is not None:
            return msgspec.structs.replace(self, baseRetriever=narrowed(base, condition))
        store: VectorStore = getattr(self, "vectorStore")  # noqa: B009  # one or the other, in each kind
        return msgspec.structs.replace(self, vectorStore=NarrowedStore(store, condition))

    @abstractmethod
    async def _find(self, ctx: Context, query: str) -> list[Document]: ...


class LLMFilterRetriever(Refining, frozen=True, kw_only=True, tag="llmFilterRetriever"):
    """Has a model copy out of each passage what bears on the question; passages without any are left out."""

    info = NodeInfo(type="LLMFilterRetriever")

    baseRetriever: Annotated[Retriever, Input(type="VectorStoreRetriever")]
    model: Annotated[ChatModel, Input(type="BaseLanguageModel")]

    async def _find(self, ctx: Context, query: str) -> list[Document]:
        async def kept(document: Document) -> str:
            said = await _model_text(ctx, self.model, _EXTRACT, question=query, passage=document.pageContent)
            return "" if _NOTHING in said else said.strip()

        found = await self.baseRetriever.find(query)
        texts = await gather_some(kept, found)
        return [Document(text, one.metadata) for text, one in zip(texts, found, strict=True) if text]


class EmbeddingsFilterRetriever(Refining, frozen=True, kw_only=True, tag="embeddingsFilterRetriever"):
    """Keeps of the passages the `k` nearest to the question whose cosine with it is at least `similarityThreshold`."""

    baseRetriever: Annotated[Retriever, Input(type="VectorStoreRetriever")]
    embeddings: Embeddings
    similarityThreshold: float | None = 0.8
    k: Additional[int] = 20

    async def _find(self, ctx: Context, query: str) -> list[Document]:
        found = await self.baseRetriever.find(query)
        return await alike(self.embeddings, query, found, self.similarityThreshold, self.k)


class SimilarityThresholdRetriever(Refining, frozen=True, kw_only=True, tag="similarityThresholdRetriever"):
    """Gives every passage that is similar enough, at most `maxK`. One search finds all, so `kIncrement` is unused."""

    info = NodeInfo(label="Similarity Score Threshold Retriever", version=2)

    vectorStore: VectorStore
    minSimilarityScore: float = 80
    """Per cent."""
    maxK: Additional[int] = 20
    kIncrement: Additional[int] = 2

    async def _find(self, ctx: Context, query: str) -> list[Document]:
        search = Search(text="", k=self.maxK, threshold=self.minSimilarityScore / 100)
        return await StoreRetriever(self.vectorStore, search).find(query)


class RRFRetriever(Refining, frozen=True, kw_only=True, tag="RRFRetriever"):
    """Asks in `queryCount` other ways too, and ranks by reciprocal ranks what all of them find."""

    info = NodeInfo(label="Reciprocal Rank Fusion Retriever")

    baseRetriever: Annotated[Retriever, Input(type="VectorStoreRetriever")]
    model: Annotated[ChatModel, Input(type="BaseLanguageModel")]
    queryCount: Additional[int] = 4
    topK: Additional[int | None] = None
    """As many as the longest of the rankings, when it is not set."""
    c: Additional[int] = FUSION

    async def _find(self, ctx: Context, query: str) -> list[Document]:
        said = await _model_text(ctx, self.model, _VARIANTS, question=query, count=str(self.queryCount))
        rankings = await gather_some(self.baseRetriever.find, [query, *lines_of(said, self.queryCount)])
        return fused(rankings, self.c)[: self.topK or max(map(len, rankings))]


class HydeRetriever(Refining, frozen=True, kw_only=True, tag="HydeRetriever"):
    """Has a model write a passage that would answer the question, and searches for passages like it."""

    info = NodeInfo(label="HyDE Retriever", version=3)

    model: Annotated[ChatModel, Input(type="BaseLanguageModel")]
    vectorStore: VectorStore
    promptKey: PromptKey = "websearch"
    customPrompt: Additional[str] = ""
    """In place of the chosen one; `{question}` is the question."""
    topK: Additional[int] = 4

    async def _find(self, ctx: Context, query: str) -> list[Document]:
        prompt = self.customPrompt or f"{_PASSAGES[self.promptKey]} Write nothing else.\n\n{{question}}"
        imagined = (await _model_text(ctx, self.model, prompt, question=query)).strip()
        return await StoreRetriever(self.vectorStore, Search(text="", k=self.topK)).find(imagined or query)


class CustomRetriever(Refining, frozen=True, kw_only=True, tag="customRetriever"):
    """Puts each passage into a form: `{{context}}` is its text, `{{metadata.source}}` a value of its metadata."""

    vectorStore: VectorStore
    resultFormat: str = "{{context}}\nSource: {{metadata.source}}"
    topK: Additional[int | None] = None

    async def _find(self, ctx: Context, query: str) -> list[Document]:
        search = Search(text="", k=depth(self.vectorStore, self.topK))
        found = await StoreRetriever(self.vectorStore, search).find(query)
        return [Document(_formed(self.resultFormat, one), one.metadata) for one in found]


def _formed(form: str, document: Document) -> str:
    """The form with the passage in it. Raises FlowError for a name that stands for nothing."""

    def value(found: re.Match[str]) -> str:
        root, *keys = found[1].split(".")
        if root == "context" and not keys:
            return document.pageContent
        if root != "metadata" or not keys:
            raise FlowError(f"the result format has no {found[0]!r}: use {{{{context}}}} or {{{{metadata.<key>}}}}")
        here: Any = document.metadata
        for key in keys:
            here = here.get(key) if isinstance(here, dict) else None
        return "" if here is None else here if isinstance(here, str) else msgspec.json.encode(here).decode()

    return re.sub(r"\{\{\s*([\w.$-]+)\s*\}\}", value, form)


NODES = (
    VectorStoreRetriever,
    MultiQueryRetriever,
    LLMFilterRetriever,
    EmbeddingsFilterRetriever,
    SimilarityThresholdRetriever,
    RRFRetriever,
    HydeRetriever,
    CustomRetriever,
)
