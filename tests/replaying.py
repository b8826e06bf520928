"""The recordings' own replay tool, without one value: the token counts that the recorder's model library estimates.

They come from a table that must be downloaded; the recordings' README calls all of `responseMetadata` not comparable.

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

    def without_estimates(self: Any, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            value = {name: item for name, item in value.items() if name != "estimatedTokenUsage"}
        return walk(self, value, key)

    normalise.Masks.walk = without_estimates
    runpy.run_path(f"{folder}/replay.py", run_name="__main__")


if __name__ == "__main__":
    main()
