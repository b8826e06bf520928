"""Chat models of this server: two built-in ones that need no key, and one that falls back on others."""

from __future__ import annotations

from headrace.engine.annotations import NodeInfo
from headrace.engine.node import Context, Node
from headrace.engine.ports import ChatModel
from headrace.providers.arithmetic import ArithmeticChat
from headrace.providers.extractive import ExtractiveChat
from headrace.providers.fallback import FallbackChat


class ChatExtractive(Node, frozen=True, kw_only=True, tag="chatExtractive"):
    """The built-in model: quotes its context, needs no key and no network."""

    sentences: int = 3

    async def build(self, ctx: Context) -> ChatModel:
        """The model itself."""
        return ExtractiveChat(self.sentences)


class ChatArithmetic(Node, frozen=True, kw_only=True, tag="chatArithmetic"):
    """The built-in model for tools: knows arithmetic and questions about date and time by their words; needs no key."""

    async def build(self, ctx: Context) -> ChatModel:
        """The model itself."""
        return ArithmeticChat()


class ChatFallback(Node, frozen=True, kw_only=True, tag="chatFallback"):
    """Asks the first of its models, and the next one when that fails before its first word."""

    info = NodeInfo(streams=False)

    models: list[ChatModel]

    async def build(self, ctx: Context) -> ChatModel:
        """The models as one."""
        return FallbackChat(self.models)


NODES = (ChatExtractive, ChatArithmetic, ChatFallback)
