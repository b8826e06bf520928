"""Writes wheels and npm's tarballs. The same content gives the same bytes, so packages can be compared."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

_WHEEL: Final = "Wheel-Version: 1.0\nGenerator: headrace\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_LONG_AGO: Final = 499162500  # npm's own date for everything: 26 October 1985


def wheel(name: str, version: str, files: Mapping[str, bytes], about: Mapping[str, bytes]) -> tuple[str, bytes]:
    """A wheel's file name and content. `name` is written as in file names; `about` goes into its dist-info folder."""
    folder = f"{name}-{version}.dist-info"
    whole = {**files, **{f"{folder}/{path}": content for path, content in {**about, "WHEEL": _WHEEL.encode()}.items()}}
    record = "".join(f"{path},{_digest(content)},{len(content)}\n" for path, content in whole.items())
    whole[f"{folder}/RECORD"] = f"{record}{folder}/RECORD,,\n".encode()
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in whole.items():
            entry = zipfile.ZipInfo(path)  # dated 1980, as far back as the format goes
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100644 << 16
            archive.writestr(entry, content)
    return f"{name}-{version}-py3-none-any.whl", target.getvalue()


def _digest(content: bytes) -> str:
    return f"sha256={urlsafe_b64encode(sha256(content).digest()).rstrip(b'=').decode()}"


def tarball(files: Mapping[str, bytes]) -> bytes:
    """A tarball for `npm install`, with the files below `package/`."""
    target = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=target, mode="wb", filename="", mtime=_LONG_AGO) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path, content in files.items():
            entry = tarfile.TarInfo(f"package/{path}")
            entry.size, entry.mode, entry.mtime = len(content), 0o644, _LONG_AGO
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()
