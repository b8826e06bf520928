"""Opens what Flowise has encrypted: the form that `openssl enc -aes-256-cbc -md md5` reads too."""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from headrace.errors import InvalidRequest

_MARK: Final = b"Salted__"
_HELD_BY_AWS: Final = "FlowiseCredential_"


def held_by_aws(text: str) -> bool:
    """True for the name of a secret in AWS Secrets Manager, which stands where the encrypted fields would."""
    return text.startswith(_HELD_BY_AWS)


def passphrases(content: str) -> Sequence[str]:
    """The key that a file or variable holds; an editor may have put a line end behind it."""
    return list(dict.fromkeys((content, content.strip())))


def opened(text: str, keys: Sequence[str]) -> dict[str, Any]:
    """The fields under the first key that fits. Raises InvalidRequest when none does, or the text is damaged."""
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        raise InvalidRequest("its encrypted fields are damaged: they are not base64") from None
    salt, sealed = data[8:16], data[16:]
    if data[:8] != _MARK or not sealed or len(sealed) % 16:
        raise InvalidRequest("its encrypted fields are damaged: a part of them is missing")
    for key in keys:
        if (fields := _fields(_derived(key.encode(), salt), sealed)) is not None:
            return fields
    raise InvalidRequest("it cannot be decrypted with this key")


def _derived(passphrase: bytes, salt: bytes) -> bytes:
    """Key (32 bytes) and initial vector (16), as OpenSSL's EVP_BytesToKey makes them of MD5 in one round."""
    block, made = b"", b""
    while len(made) < 48:
        block = hashlib.md5(block + passphrase + salt, usedforsecurity=False).digest()
        made += block
    return made[:48]


def _fields(derived: bytes, sealed: bytes) -> dict[str, Any] | None:
    """The form has no checksum: padding and JSON say whether the key was the right one."""
    decryptor = Cipher(algorithms.AES(derived[:32]), modes.CBC(derived[32:])).decryptor()
    unpadder = padding.PKCS7(128).unpadder()
    padded = decryptor.update(sealed) + decryptor.finalize()
    try:
        return msgspec.json.decode(unpadder.update(padded) + unpadder.finalize(), type=dict[str, Any])
    except (ValueError, msgspec.DecodeError):
        return None
