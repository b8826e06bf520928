"""The Python package of a brand, which is thin names over `headrace`, and `headrace` itself as a wheel again."""

from __future__ import annotations

from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Final

import headrace
from headrace.brand.archive import wheel
from headrace.brand.names import Names

RESERVED: Final = {*headrace.__all__, "headrace"}
_PACKAGE: Final = Path(__file__).parents[1]


def branded_wheel(names: Names) -> tuple[str, bytes]:
    """File name and content."""
    files = {f"{names.module}/__init__.py": _source(names).encode(), f"{names.module}/py.typed": b""}
    about = {"METADATA": _metadata(names).encode()}
    return wheel(names.file, names.version, files, about)


def own_wheel() -> tuple[str, bytes]:
    """File name and content of a wheel of this installation, for those who have no registry with it."""
    here = distribution("headrace")
    paths = [path for path in sorted(_PACKAGE.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    files = {f"headrace/{path.relative_to(_PACKAGE).as_posix()}": path.read_bytes() for path in paths}
    return wheel("headrace", here.version, files, _about(here))


def _about(here: Distribution) -> dict[str, bytes]:
    texts = {name: here.read_text(name) for name in ("METADATA", "entry_points.txt")}
    about = {name: text.encode() for name, text in texts.items() if text}
    for file in here.files or []:
        if "licenses" in file.parts:
            about["/".join(file.parts[file.parts.index("licenses") :])] = file.read_binary()
    return about


def compatible(version: str) -> str:
    """The versions of `headrace` that a package made with this one works with: below 1.0 each minor one may differ."""
    major, minor, *_ = version.split(".")
    return f"<{major}.{int(minor) + 1},>={version}" if major == "0" else f"<{int(major) + 1},>={version}"


def _source(names: Names) -> str:
    display = names.display.replace("\\", "\\\\").replace('"', '\\"')
    return f'''"""Client of {display}."""

from headrace import *  # noqa: F403 everything that the library has
from headrace import AsyncHeadrace, Headrace

__version__ = "{names.version}"


class {names.cls}(Headrace):
    """A connection to a {display} server. Safe to share between threads.

    `base_url` defaults to the environment's {names.variables}_URL, then to {names.base_url};
    `api_key` to {names.variables}_API_KEY, then to none. The other arguments are those of `headrace.Headrace`.
    """

    default_url = "{names.base_url}"
    variables = "{names.variables}"


class Async{names.cls}(AsyncHeadrace):
    """`{names.cls}` for asyncio, with the same arguments."""

    default_url = "{names.base_url}"
    variables = "{names.variables}"
'''


def _metadata(names: Names) -> str:
    return f"""Metadata-Version: 2.1
Name: {names.name}
Version: {names.version}
Summary: Client of {names.display}: asks flows and streams their answers.
Requires-Python: >=3.11
Requires-Dist: headrace{compatible(distribution("headrace").version)}
Classifier: Typing :: Typed
Description-Content-Type: text/markdown

# {names.name}

Client of {names.display}: asks flows and streams their answers.

```python
from {names.module} import {names.cls}, PredictionData

client = {names.cls}()  # {names.base_url}
for chunk in client.create_prediction(PredictionData(chatflowId="<flow-id>", question="Hello", streaming=True)):
    print(chunk)
```
"""
