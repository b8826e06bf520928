"""The secrets of API keys: how they are made up, and what is stored of them."""

from __future__ import annotations

import hashlib
import secrets


def hash_of(key: str) -> str:
    """The stored hash of an API key. A key has 256 random bits, so a fast hash is as good as a slow one."""
    return hashlib.sha256(key.encode()).hexdigest()


def made_up() -> str:
    """An API key."""
    return f"hr_{secrets.token_urlsafe(32)}"
