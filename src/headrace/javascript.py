"""JavaScript that is made from TypeScript and kept in the package: the client, and the studio.

So neither pages nor branded packages need Node; tests hold the kept files to their sources.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

LIBRARY: Final = "src/headrace/sdk"
STUDIO: Final = "src/headrace/server/studio"


def library(root: Path) -> dict[Path, str]:
    """The TypeScript client as JavaScript, and its types; nothing where its compiler is not installed."""
    compiler = root / "sdk/typescript/node_modules/.bin/tsc"
    if not compiler.exists():
        return {}
    made: dict[Path, str] = {}
    for kind in ("esm", "cjs"):
        with TemporaryDirectory() as folder:
            project = root / f"sdk/typescript/tsconfig.{kind}.json"
            _run("the TypeScript client", compiler, "-p", project, "--outDir", folder, "--sourceMap", "false", cwd=root)
            for path in sorted(Path(folder).iterdir()):  # both kinds have the same types
                made[root / LIBRARY / (kind if path.suffix == ".js" else "types") / path.name] = path.read_text()
    return made


def studio(root: Path) -> dict[Path, str]:
    """The studio's page, program and style; nothing where its tools are not installed."""
    tools = root / "studio/node_modules/.bin/vite"
    if not tools.exists():
        return {}
    with TemporaryDirectory() as folder:
        _run("the studio", tools, "build", "--outDir", folder, cwd=root / "studio")
        return {root / STUDIO / path.name: path.read_text() for path in sorted(Path(folder).iterdir())}


def _run(made: str, *command: str | Path, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)  # noqa: S603 our own tools
    if done.returncode:
        sys.exit(f"{made} cannot be built:\n{done.stdout}{done.stderr}")
