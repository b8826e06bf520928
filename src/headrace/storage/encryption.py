"""Secrets at rest: AES-256-GCM under a key file that only its owner may read."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headrace.errors import StorageError

_NONCE = 12


class Seal:
    """Seals and opens texts. `owner` (the credential's id) is bound in, so sealed parts cannot be swapped."""

    def __init__(self, key_file: Path) -> None:
        """Reads the key file, or makes it with mode 0600."""
        self._aes = AESGCM(_key(key_file))
        self._place = key_file

    def close(self, text: bytes, owner: str) -> bytes:
        """Nonce and sealed text."""
        nonce = os.urandom(_NONCE)
        return nonce + self._aes.encrypt(nonce, text, owner.encode())

    def open(self, sealed: bytes, owner: str) -> bytes:
        """The text. Raises StorageError when it was sealed under another key."""
        try:
            return self._aes.decrypt(sealed[:_NONCE], sealed[_NONCE:], owner.encode())
        except (InvalidTag, ValueError):
            raise StorageError(
                f"credential {owner!r} was sealed under another key: restore {self._place.name} or enter it again"
            ) from None


def _key(path: Path) -> bytes:
    if not path.exists():
        _make(path)
    try:
        key = bytes.fromhex(path.read_text().strip())
    except ValueError:
        key = b""
    if len(key) != 32:
        raise StorageError(f"{path.name} does not hold a key of 32 bytes in hex: restore it from a backup")
    return key


def _make(path: Path) -> None:
    # Written aside and linked: another process sees the whole key or none, and the first one wins.
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(os.urandom(32).hex() + "\n")
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
