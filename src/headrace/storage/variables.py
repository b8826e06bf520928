"""Values of the variables that flows read."""

from __future__ import annotations

import os

from headrace.schema import Variable
from headrace.storage.storage import Storage


async def variable_values(storage: Storage) -> dict[str, str]:
    """Each variable's name with its text; a runtime variable is read from the environment, unset ones are ""."""
    return {variable.name: _value(variable) for variable in await storage.variables()}


def _value(variable: Variable) -> str:
    return os.environ.get(variable.name, "") if variable.type == "runtime" else variable.value or ""
