"""References inside a flow's inputs: `{{question}}`, `{{$vars.name}}`, `{{node_0.data.instance}}` and their kin.

Every text is replaced in one pass, so a value that itself looks like a reference stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

_REFERENCE = re.compile(r"\{\{([^{}\s]+)\}\}")
_INSTANCE = re.compile(r"\{\{([^{}\s.]+)\.data\.instance[^{}\s]*\}\}")
MISSING: Any = object()
"""Stands for what a reference does not find; null is found nowhere either."""


def text_of(value: Any) -> str:
    """A JSON value inside a text: texts as they are, everything else as compact JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=repr).decode()


def is_dangling(value: Any) -> bool:
    """True for a reference that nothing replaced: its node is not in the flow, or did not run."""
    return isinstance(value, str) and _INSTANCE.fullmatch(value.strip()) is not None


def node_ids(value: Any) -> set[str]:
    """Ids of the nodes that an input refers to."""
    if isinstance(value, str):
        return set(_INSTANCE.findall(value))
    if isinstance(value, (list, dict)):
        items = value.values() if isinstance(value, dict) else value
        return set().union(*map(node_ids, items))
    return set()


class Scope:
    """The values that references find: the run's own, and those of the nodes before this one."""

    def __init__(self, texts: Mapping[str, str], flow: Mapping[str, Any], variables: Mapping[str, str]) -> None:
        self.built: dict[str, object] = {}
        self._texts = texts  # question, chat_history, file_attachment: only in inputs that accept variables
        self._roots: dict[str, Mapping[str, Any]] = {"$flow": flow, "$vars": variables}

    def resolve(self, value: Any, *, accepts_variables: bool, into_template: bool = False) -> Any:
        """The input with its references replaced; into a template, braces go doubled, so that they stay braces.

        An input that is one reference to a node becomes what that node built, unless it accepts variables: there
        everything becomes text. What cannot be resolved stays as it is.
        """
        if isinstance(value, str):
            return self._text(value, accepts_variables, into_template) if "{{" in value else value
        if isinstance(value, list):
            return [self.resolve(item, accepts_variables=accepts_variables) for item in value]
        if isinstance(value, dict):
            return {key: self.resolve(item, accepts_variables=accepts_variables) for key, item in value.items()}
        return value

    def _text(self, value: str, accepts_variables: bool, into_template: bool) -> Any:
        whole = _REFERENCE.fullmatch(value)
        if whole and not accepts_variables and not into_template:
            found = self._find(whole[1], accepts_variables)
            return value if found is MISSING else found

        def replaced(match: re.Match[str]) -> str:
            found = self._find(match[1], accepts_variables)
            if found is MISSING:
                return match[0]
            text = text_of(found)
            return text.replace("{", "{{").replace("}", "}}") if into_template else text

        return _REFERENCE.sub(replaced, value)

    def _find(self, path: str, accepts_variables: bool) -> Any:
        if path in self._texts:
            return self._texts[path] if accepts_variables else MISSING
        root, *keys = path.split(".")
        if root in self._roots:
            return dig(self._roots[root], keys)
        if root in self.built and keys[:2] == ["data", "instance"]:
            return dig(self.built[root], keys[2:])
        return MISSING


def dig(value: Any, keys: Sequence[str]) -> Any:
    """The value at a path, through JSON texts too; MISSING when it leads nowhere or to null."""
    for key in keys:
        if isinstance(value, str) and value.startswith("{"):
            value = _parsed(value)
        if isinstance(value, Mapping):
            value = value.get(key, MISSING)
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return MISSING
    return MISSING if value is None else value


def _parsed(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text
