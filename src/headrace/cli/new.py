"""`headrace new`: a project with a flow in Python, its test and a Dockerfile."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import click

from headrace.cli.terminal import out
from headrace.errors import InvalidRequest

_TEMPLATE = "new_project"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def new(folder: Path) -> None:
    """Begin a project with a flow in Python, a test and a Dockerfile, in a new FOLDER."""
    name = re.sub(r"\W+", "_", folder.name.lower()).strip("_")
    if not name.isidentifier():
        raise InvalidRequest(f"{folder.name!r} is no name for a project: begin it with a letter")
    if folder.exists() and any(folder.iterdir()):
        raise InvalidRequest(f"{str(folder)!r} is not empty: name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted(Path(str(files("headrace") / _TEMPLATE)).iterdir()):
        if source.is_file():
            target = folder / source.name.removesuffix(".txt")
            target.write_text(source.read_text().replace("PROJECT", folder.name))
            out.print(f"  {target}", soft_wrap=True)
    out.print(f"\nTry it:   cd {folder} && python -m pytest\nServe it: headrace serve {folder}/app.py", soft_wrap=True)
