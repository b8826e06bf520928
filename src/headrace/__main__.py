"""The `headrace` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line, or says which extra brings it."""
    try:
        from headrace.cli import cli
    except ModuleNotFoundError as error:
        sys.exit(f"the headrace command needs {error.name!r}: pip install 'headrace[server]'")
    cli()


if __name__ == "__main__":
    main()
