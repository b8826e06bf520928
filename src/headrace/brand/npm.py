"""The npm package of a brand: thin names over `headrace-sdk`, which travels inside."""

from __future__ import annotations

import json
from importlib.metadata import version
from importlib.resources import files
from typing import Any, Final

from headrace.brand.archive import tarball
from headrace.brand.names import Names

SDK: Final = "headrace-sdk"


def branded_tarball(names: Names) -> tuple[str, bytes]:
    """File name and content."""
    about = f"Client of {names.display}: asks flows and streams their answers."
    brand = {"dependencies": {SDK: f"^{version('headrace')}"}, "bundleDependencies": [SDK]}
    texts = {
        **_package(names.npm, names.version, about, brand),
        "README.md": _readme(names),
        "dist/esm/index.js": _module(names),
        "dist/esm/index.d.ts": _types(names),
        "dist/cjs/index.js": _common(names),
        "dist/cjs/index.d.ts": _types(names),
        **{f"node_modules/{SDK}/{path}": text for path, text in _library().items()},
    }
    content = tarball({path: text.encode() for path, text in texts.items()})
    return f"{names.npm.lstrip('@').replace('/', '-')}-{names.version}.tgz", content


def _library() -> dict[str, str]:
    """The files that `npm pack` makes of the TypeScript client, without its sources."""
    made = files("headrace") / "sdk"
    texts = {
        f"dist/{kind}/{part.name}": part.read_text()
        for kind in ("esm", "cjs")
        for folder in (kind, "types")
        for part in sorted((made / folder).iterdir(), key=lambda part: part.name)
    }
    about = "Client for Headrace and Flowise servers."
    return {**_package(SDK, version("headrace"), about, {"license": "Apache-2.0"}), **texts}


def _package(name: str, its_version: str, about: str, more: dict[str, Any]) -> dict[str, str]:
    """The fields of `package.json` by which a package serves both module systems, with types for each."""

    def entry(kind: str) -> dict[str, str]:
        return {"types": f"./dist/{kind}/index.d.ts", "default": f"./dist/{kind}/index.js"}

    package: dict[str, Any] = {
        "name": name,
        "version": its_version,
        "description": about,
        "type": "module",
        "sideEffects": False,
        "engines": {"node": ">=18"},
        "files": ["dist"],
        "main": "./dist/cjs/index.js",
        "module": "./dist/esm/index.js",
        "types": "./dist/cjs/index.d.ts",
        "exports": {".": {"import": entry("esm"), "require": entry("cjs")}, "./package.json": "./package.json"},
        **more,
    }
    return {
        "package.json": json.dumps(package, indent=2) + "\n",
        "dist/cjs/package.json": '{"type": "commonjs"}\n',
    }


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
