"""Cohere's chat models."""

from __future__ import annotations

from typing import Annotated, ClassVar

from headrace.engine.annotations import Input, NodeInfo
from headrace.engine.node import Context, Node
from headrace.engine.ports import Cache, ChatModel
from headrace.nodes.accounts import account
from headrace.nodes.caches import cached
from headrace.nodes.providers import COHERE, Provider
from headrace.providers.cohere import CohereChat
from headrace.providers.endpoint import Endpoint, set_values


class ChatCohere(Node, frozen=True, kw_only=True, tag="chatCohere"):
    """Cohere's Command models."""

    info = NodeInfo(label="Cohere", version=3, credentials=("cohereApi",))

    provider: ClassVar[Provider] = COHERE

    credential: str = ""
    cache: Cache | None = None
    modelName: Annotated[str, Input(loadMethod="listModels")] = "command-r7b-12-2024"
    temperature: float | None = 0.7
    seed: int | None = None
    streaming: bool = True

    async def build(self, ctx: Context) -> ChatModel:
        """The model's adapter. Raises FlowError without a key."""
        where = await account(ctx, COHERE, credential=self.credential)
        endpoint = Endpoint(ctx.http, f"{where.base}/v2/chat", {"Authorization": f"Bearer {where.key}"}, where.key)
        options = set_values({"model": self.modelName, "temperature": self.temperature, "seed": self.seed})
        return cached(self.cache, CohereChat(endpoint, options), endpoint.url, options)


NODES = (ChatCohere,)
