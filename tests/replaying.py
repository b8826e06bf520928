"""The recordings' own replay tool, without two kinds of value: estimated token counts and built-in tools' descriptions.

The recorder's model library estimates with a table that must be downloaded; the recordings' README calls all of
`responseMetadata` not comparable. Tools describe themselves in words of their own here.

    python tests/replaying.py FOLDER --url ... SCENARIO...
"""

import runpy
import sys
from typing import Any


def main() -> None:
    folder = sys.argv.pop(1)
    sys.path.insert(0, folder)
    import normalise  # type: ignore[import-not-found]  # lies in the folder

    walk = normalise.Masks.walk

    def comparable(self: Any, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            unlike = "description" if "toolNode" in value else "estimatedTokenUsage"
            value = {name: item for name, item in value.items() if name != unlike}
        return walk(self, value, key)

    normalise.Masks.walk = comparable
    runpy.run_path(f"{folder}/replay.py", run_name="__main__")


if __name__ == "__main__":
    main()
