"""The npm package of a brand: thin names over `headrace-sdk`, which travels inside where this installation has it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from headrace.brand.archive import tarball
from headrace.brand.names import Names

SDK: Final = "headrace-sdk"
_HERE: Final = Path(__file__)
# A released wheel holds the built library; a checkout has it once it was built.
_PLACES: Final = (_HERE.parent / "sdk", _HERE.parents[3] / "sdk" / "typescript")


def library() -> Path | None:
    """The folder of the built library, if this installation has one."""
    return next((place for place in _PLACES if (place / "dist" / "esm" / "index.js").exists()), None)


def branded_tarball(names: Names, library: Path | None) -> tuple[str, bytes]:
    """File name and content. Without `library` npm fetches it when the package is installed."""
    about: dict[str, Any] = {"version": version("headrace")}
    if library:
        about = json.loads((library / "package.json").read_text())
    texts = {
        "package.json": json.dumps(_package(names, about["version"], bundled=library is not None), indent=2) + "\n",
        "README.md": _readme(names),
        "dist/esm/index.js": _module(names),
        "dist/esm/index.d.ts": _types(names),
        "dist/cjs/index.js": _common(names),
        "dist/cjs/index.d.ts": _types(names),
        "dist/cjs/package.json": '{"type": "commonjs"}\n',
    }
    files = {path: text.encode() for path, text in texts.items()}
    if library:
        files |= {f"node_modules/{SDK}/{path}": content for path, content in _packed(library, about["files"])}
    return f"{names.npm.lstrip('@').replace('/', '-')}-{names.version}.tgz", tarball(files)


def _packed(library: Path, listed: list[str]) -> Iterator[tuple[str, bytes]]:
    """What `npm pack` takes of the library."""
    for name in ("package.json", "README.md", "LICENSE", *listed):
        place = library / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file():
                yield path.relative_to(library).as_posix(), path.read_bytes()


def _package(names: Names, library: str, *, bundled: bool) -> dict[str, Any]:
    def entry(kind: str) -> dict[str, str]:
        return {"types": f"./dist/{kind}/index.d.ts", "default": f"./dist/{kind}/index.js"}

    package: dict[str, Any] = {
        "name": names.npm,
        "version": names.version,
        "description": f"Client of {names.display}: asks flows and streams their answers.",
        "type": "module",
        "sideEffects": False,
        "engines": {"node": ">=18"},
        "files": ["dist"],
        "main": "./dist/cjs/index.js",
        "module": "./dist/esm/index.js",
        "types": "./dist/cjs/index.d.ts",
        "exports": {".": {"import": entry("esm"), "require": entry("cjs")}, "./package.json": "./package.json"},
        "dependencies": {SDK: f"^{library}"},
    }
    return {**package, "bundleDependencies": [SDK]} if bundled else package


def _class(names: Names, parent: str) -> str:
    url = json.dumps(names.base_url)
    return f"""class {names.cls}Client extends {parent} {{
  constructor(options = {{}}) {{
    super({{ ...options, baseUrl: options.baseUrl || {url} }});
  }}
}}
"""


def _module(names: Names) -> str:
    return f"""import {{ HeadraceClient }} from "{SDK}";

export * from "{SDK}";

export {_class(names, "HeadraceClient")}"""


def _common(names: Names) -> str:
    return f"""const sdk = require("{SDK}");

{_class(names, "sdk.HeadraceClient")}
module.exports = {{ ...sdk, {names.cls}Client }};
"""


def _types(names: Names) -> str:
    display = names.display.replace("*/", "* /")
    return f"""import {{ HeadraceClient, type HeadraceClientOptions }} from "{SDK}";

export * from "{SDK}";

/** How a client is set up; `baseUrl` is {names.base_url} when absent. */
export type {names.cls}ClientOptions = HeadraceClientOptions;

/** A connection to a {display} server. It holds no resources, and may serve any number of calls at once. */
export declare class {names.cls}Client extends HeadraceClient {{
  constructor(options?: {names.cls}ClientOptions);
}}
"""


def _readme(names: Names) -> str:
    return f"""# {names.npm}

Client of {names.display}: asks flows and streams their answers.

```typescript
import {{ {names.cls}Client }} from '{names.npm}'

const client = new {names.cls}Client() // {names.base_url}
const prediction = await client.createPrediction({{ chatflowId: '<flow-id>', question: 'Hello', streaming: true }})
for await (const chunk of prediction) {{
  console.log(chunk)
}}
```
"""
