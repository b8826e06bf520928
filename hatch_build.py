"""Puts the built TypeScript library into wheels, so that `headrace brand` has it there; only if it was built."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SDK = "sdk/typescript"
PARTS = ("package.json", "README.md", "LICENSE", "src", "dist")


class TypeScriptLibrary(BuildHookInterface):
    """For the target "wheel"."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Adds the files; an editable installation finds them in the checkout."""
        if version != "editable" and (Path(self.root) / SDK / "dist").is_dir():
            build_data["force_include"] |= {f"{SDK}/{part}": f"headrace/brand/sdk/{part}" for part in PARTS}
