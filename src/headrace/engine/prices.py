"""The cost of a call by a small table of list prices."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from importlib.resources import files
from typing import Final

import msgspec

from headrace.events import Usage

_TABLE: Final = "prices.json"
"""For each model the dollars for a million tokens, in and out: https://openai.com/api/pricing and its like."""


@cache
def _prices() -> dict[str, tuple[float, float]]:
    data = files("headrace.engine").joinpath(_TABLE).read_bytes()
    return msgspec.json.decode(data, type=dict[str, tuple[float, float]])


def known_models() -> Collection[str]:
    """The names of the models whose price is known."""
    return _prices().keys()


def cost(model: str, usage: Usage) -> dict[str, float]:
    """Dollars of a call, as executions show them; nothing for a model whose price is not known."""
    price = _prices().get(model)
    if price is None:
        return {}
    one, two = (round(dollars / 1e6, 15) for dollars in price)
    paid, earned = usage.input_tokens * one, usage.output_tokens * two
    return {
        "input_cost": paid or 0,
        "output_cost": earned or 0,
        "total_cost": paid + earned or 0,
        "base_input_cost": one,
        "base_output_cost": two,
    }
