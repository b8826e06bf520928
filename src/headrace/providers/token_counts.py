"""Token counts in OpenAI's words, which many providers use: fractions, texts and negative numbers among them."""

from __future__ import annotations

import msgspec

from headrace.events import Usage


class _Details(msgspec.Struct, gc=False):
    cached_tokens: float | None = None
    reasoning_tokens: float | None = None


class TokenCount(msgspec.Struct, gc=False):
    """A count as it comes; `input_tokens` and `output_tokens` are what gateways to other providers say."""

    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    total_tokens: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None

    @property
    def says(self) -> bool:
        """It counts something; some servers end with a count of nothing."""
        return bool(self.prompt_tokens or self.completion_tokens or self.input_tokens or self.output_tokens)

    @property
    def usage(self) -> Usage:
        """The count as Headrace has it."""
        prompt, completion = self.prompt_tokens_details, self.completion_tokens_details
        return usage_of(
            self.prompt_tokens or self.input_tokens,
            self.completion_tokens or self.output_tokens,
            self.total_tokens,
            prompt.cached_tokens if prompt else None,
            completion.reasoning_tokens if completion else None,
        )


def usage_of(
    read: float | None,
    said: float | None,
    total: float | None = None,
    cached: float | None = None,
    reasoning: float | None = None,
) -> Usage:
    """Usage in whole tokens; without a total it is the sum."""
    counted = whole_number(read), whole_number(said)
    return Usage(
        *counted,
        whole_number(total) or sum(counted),
        None if cached is None else whole_number(cached),
        None if reasoning is None else whole_number(reasoning),
    )


def whole_number(count: float | None) -> int:
    """A count that cannot be negative."""
    return max(0, int(count or 0))
