"""Secrets at rest: AES-256-GCM under a key file that only its owner may read."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headrace.errors import StorageError

_NONCE = 12


class Seal:
    """Seals and opens texts. `owner` (the credential's id) is bound in, so sealed parts cannot be swapped."""

    def __init__(self, key_file: Path, given: str = "") -> None:
        """Takes the key that is given in hexadecimal, or that of the file, which is made with mode 0600 if need be.

        Raises StorageError for what is no key.
        """
        key = _parsed(given, "HEADRACE_SECRET_KEY") if given else _key(key_file)
        self._aes = AESGCM(key)
        self._place = key_file
        self.digest = hashlib.sha256(b"headrace seal" + key).hexdigest()
        """Stands for the key and says nothing of it."""

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
    return _parsed(path.read_text(), path.name)


def _parsed(text: str, place: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != 32:
        raise StorageError(f"{place} does not hold a key of 32 bytes in hex: restore it from a backup")
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
