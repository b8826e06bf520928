"""Values of the variables that flows read."""

from __future__ import annotations

import os

from headrace.schema import Variable
from headrace.store.store import Store


async def variable_values(store: Store) -> dict[str, str]:
    """Each variable's name with its text; a runtime variable is read from the environment, unset ones are ""."""
    return {variable.name: _value(variable) for variable in await store.variables()}


def _value(variable: Variable) -> str:
    return os.environ.get(variable.name, "") if variable.type == "runtime" else variable.value or ""
