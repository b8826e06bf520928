"""Vectors as the database holds them: float32, little-endian."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence


def packed(vector: Sequence[float]) -> bytes:
    """A vector's bytes."""
    floats = vector if isinstance(vector, array) and vector.typecode == "f" else array("f", vector)
    if sys.byteorder == "big":
        floats = array("f", floats)
        floats.byteswap()
    return floats.tobytes()


def unpacked(data: bytes) -> Sequence[float]:
    """The vector of these bytes."""
    floats = array("f", data)
    if sys.byteorder == "big":
        floats.byteswap()
    return floats
