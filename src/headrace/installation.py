"""How Headrace is installed today, said once: from a checkout, since no package index has it under this name."""

from __future__ import annotations


def command(*extras: str) -> str:
    """The command that installs it with these extras, in the folder of the checkout."""
    return f"pip install '.[{','.join(extras)}]'" if extras else "pip install ."


def remedy(*extras: str) -> str:
    """The same with the place, for messages that miss a package of these extras."""
    return f"{command(*extras)} in the checkout of Headrace"
