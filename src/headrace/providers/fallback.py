"""Several models as one: the next is asked when one fails before its first word."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from headrace.engine.chat import ChatRequest, Delta
from headrace.engine.ports import ChatModel, Images
from headrace.errors import ProviderError, ProviderFiltered
from headrace.providers.response_parser import says_something


class FallbackChat:
    """Implements `headrace.engine.ports.ChatModel`. `models` are asked in their order; there must be one."""

    images: Images

    def __init__(self, models: Sequence[ChatModel]) -> None:
        self._models = models
        self.images = next((model for model in models if model.images != "refused"), models[0]).images

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[Delta]]:
        """See ChatModel. Raises what the last model raises; a filter's refusal counts as an answer."""
        *first, last = self._models
        for model in first:
            begun = False
            try:
                async with aclosing(model.stream(request)) as batches:
                    async for deltas in batches:
                        begun = begun or says_something(deltas)
                        yield deltas
                    return
            except ProviderError as error:
                if begun or isinstance(error, ProviderFiltered):
                    raise
        async with aclosing(last.stream(request)) as batches:
            async for deltas in batches:
                yield deltas
