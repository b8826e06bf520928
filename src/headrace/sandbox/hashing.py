"""Hashing and packing for scripts, in their own process. It imports nothing of Headrace; every result is bounded."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import zlib
from collections.abc import Callable
from typing import Any

HASHES = {
    "md5": "md5",
    "sha1": "sha1",
    "sha224": "sha224",
    "sha256": "sha256",
    "sha384": "sha384",
    "sha512": "sha512",
} | {
    **{f"sha3-{bits}": f"sha3_{bits}" for bits in (224, 256, 384, 512)},
    "blake2b512": "blake2b",
    "blake2s256": "blake2s",
}
"""Node's names, and Python's."""
_LARGEST = 16 * 1024 * 1024  # bytes of what is unpacked, or derived from a password
_WINDOWS = {"deflate": 15, "deflateRaw": -15, "gzip": 31, "inflate": 15, "inflateRaw": -15, "gunzip": 31, "unzip": 47}


def answer(operation: str, text: str) -> str:
    """The result in base64 behind an `o`, or behind an `x` what is wrong. Never raises."""
    try:
        return "o" + base64.b64encode(_OPERATIONS[operation](json.loads(text))).decode()
    except (ValueError, TypeError, OverflowError, MemoryError, zlib.error) as error:
        return f"x{error or 'there is not enough memory'}"


def _digest(given: dict[str, Any]) -> bytes:
    data, name = base64.b64decode(given["data"]), HASHES[given["algorithm"]]
    if given["key"] is None:
        return hashlib.new(name, data, usedforsecurity=False).digest()
    return hmac.new(base64.b64decode(given["key"]), data, name).digest()


def _derived(given: dict[str, Any]) -> bytes:
    if given["length"] > _LARGEST:
        raise ValueError(f"a key of more than {_LARGEST} bytes")
    password, salt = base64.b64decode(given["password"]), base64.b64decode(given["salt"])
    name = HASHES[given["algorithm"]]
    return hashlib.pbkdf2_hmac(name, password, salt, given["iterations"], given["length"])


def _packed(operation: str) -> Callable[[dict[str, Any]], bytes]:
    def pack(given: dict[str, Any]) -> bytes:
        packing = zlib.compressobj(given["level"], wbits=_WINDOWS[operation])
        return packing.compress(base64.b64decode(given["data"])) + packing.flush()

    return pack


def _unpacked(operation: str) -> Callable[[dict[str, Any]], bytes]:
    def unpack(given: dict[str, Any]) -> bytes:
        unpacking, data = zlib.decompressobj(_WINDOWS[operation]), base64.b64decode(given["data"])
        found = unpacking.decompress(data, _LARGEST)
        if unpacking.unconsumed_tail:
            raise ValueError(f"it unpacks to more than {_LARGEST} bytes")
        if not unpacking.eof:
            raise ValueError("unexpected end of file")
        return found

    return unpack


_OPERATIONS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "digest": _digest,
    "derive": _derived,
    "crc32": lambda given: zlib.crc32(base64.b64decode(given["data"]), given["level"]).to_bytes(4, "big"),
    **{operation: _packed(operation) for operation in ("deflate", "deflateRaw", "gzip")},
    **{operation: _unpacked(operation) for operation in ("inflate", "inflateRaw", "gunzip", "unzip")},
}
OPERATIONS = frozenset(_OPERATIONS)


def warm() -> None:
    """Loads what is loaded at a first use, while files can still be read."""
    for name in HASHES:
        answer("digest", json.dumps({"algorithm": name, "data": "", "key": ""}))
    derived = {"password": "", "salt": "", "iterations": 1, "length": 1, "algorithm": "sha1"}
    answer("derive", json.dumps(derived))
