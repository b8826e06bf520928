"""The `headrace` command."""

from __future__ import annotations

import sys

from headrace.installation import remedy


def main() -> None:
    """Runs the command line, or says which extra brings it."""
    try:
        from headrace.cli import cli
    except ModuleNotFoundError as error:
        sys.exit(f"the headrace command needs {error.name!r}: {remedy('server')}")
    cli()


if __name__ == "__main__":
    main()
