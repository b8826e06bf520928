"""The encodings that tokens are counted in. Their tables are not downloaded: an operator puts them in place."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from headrace.errors import FlowError

if TYPE_CHECKING:
    from tiktoken import Encoding

EncodingName: TypeAlias = Literal["gpt2", "r50k_base", "p50k_base", "p50k_edit", "cl100k_base"]

_TABLE: Final[dict[EncodingName, str]] = {  # those on the left cut ordinary text as the tables on the right do
    "gpt2": "r50k_base",
    "r50k_base": "r50k_base",
    "p50k_base": "p50k_base",
    "p50k_edit": "p50k_base",
    "cl100k_base": "cl100k_base",
}
_SHA256: Final = {
    "r50k_base": "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
    "p50k_base": "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
}
_FOLDER = "TIKTOKEN_CACHE_DIR"


def encoding(name: EncodingName, environ: Mapping[str, str]) -> Encoding:
    """The encoding. Raises FlowError that says which file goes where when its table is not on this machine.

    tiktoken would download a table that is missing or damaged, and hang without Internet, so the file is looked at
    first.
    """
    try:
        import tiktoken
    except ImportError:
        raise FlowError("counting tokens needs one more package: pip install 'headrace[rag]'") from None
    table = _TABLE[name]
    address = f"https://openaipublic.blob.core.windows.net/encodings/{table}.tiktoken"
    key = hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()
    folder = environ.get(_FOLDER)
    try:
        whole = bool(folder) and hashlib.sha256((Path(folder or "") / key).read_bytes()).hexdigest() == _SHA256[table]
    except OSError:
        whole = False
    if not whole:
        raise FlowError(
            f"the encoding {name!r} needs a table that is not on this machine: save {address} as {key!r} in a folder, "
            f"and name the folder in the environment variable {_FOLDER}; or use another text splitter"
        )
    return tiktoken.get_encoding(table)
