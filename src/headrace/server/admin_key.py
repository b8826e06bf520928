"""The admin key of a data folder: made at the first start, or chosen by the operator."""

from __future__ import annotations

from typing import Final, NamedTuple

from headrace.errors import InvalidRequest
from headrace.schema import ApiKey
from headrace.settings import variable
from headrace.storage.key_secrets import hash_of
from headrace.storage.storage import ADMIN, Storage

_CHOSEN: Final = variable("admin_key")  # the variable, and the name of the key that it holds
_MADE: Final = "admin"
_CHARACTERS, _DIFFERENT = 16, 8  # that a chosen key must have at least


class AdminKey(NamedTuple):
    """The change that a start made."""

    made: str | None = None
    """A key that was made up: the only place that holds it."""
    replaced: bool = False
    """The key of the first start works no more: the operator has chosen one."""


async def keep_admin_key(storage: Storage, chosen: str) -> AdminKey:
    """Makes sure that there is an admin key: the one that the operator has chosen, or any. Raises InvalidRequest for a
    chosen one that could be guessed."""
    keys = await storage.keys()
    if not chosen:
        return AdminKey() if keys else AdminKey((await storage.add_key(_MADE, [ADMIN])).apiKey)
    if len(chosen) < _CHARACTERS or len(set(chosen)) < _DIFFERENT:
        raise InvalidRequest(
            f"{_CHOSEN} could be guessed: use at least {_CHARACTERS} characters, {_DIFFERENT} of them different, "
            "such as `openssl rand -hex 24` prints"
        )
    if await storage.key(chosen) is not None:
        return AdminKey()
    earlier = next((key for key in keys if key.keyName == _CHOSEN), None)
    first = keys[0] if keys and _of_first_start(keys[0]) else None
    if replaced := earlier or first:  # it stays the same row: flows that are bound to it stay bound
        await storage.change_key(replaced.id, {"keyName": _CHOSEN, "hash": hash_of(chosen)})
    else:
        await _add(storage, chosen)
    return AdminKey(replaced=bool(first and not earlier))


async def _add(storage: Storage, chosen: str) -> None:
    try:
        await storage.add_key(_CHOSEN, [ADMIN], chosen)
    except InvalidRequest:  # another server that begins at this moment was first
        await storage.refresh()
        if await storage.key(chosen) is None:
            raise


def _of_first_start(key: ApiKey) -> bool:
    return key.keyName == _MADE and key.permissions == [ADMIN]
