"""`headrace backup` and `headrace restore`: the data folder as one file, and back."""

from __future__ import annotations

from pathlib import Path

import click

from headrace import __version__
from headrace.cli.terminal import Refused, err, out
from headrace.errors import InvalidRequest
from headrace.settings import Settings, variable
from headrace.storage.backup import BrokenBackup, Contents, back_up
from headrace.storage.backup import restore as put_back

_ELSEWHERE = ("brand", "tls_cert", "tls_key")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.pass_obj
def backup(settings: Settings, file: Path, *, force: bool) -> None:
    """Write everything in the data folder into FILE, a .tar.gz archive. Servers may go on working."""
    if settings.database_url:
        raise InvalidRequest("the database is on PostgreSQL: save it with pg_dump, and copy the data folder's files")
    contents = back_up(settings.folder, file, __version__, force=force)
    out.print(f"{file}: {_amount(contents)}. It holds keys and secrets: keep it as safe as the server.", soft_wrap=True)
    for name in _ELSEWHERE:
        path = getattr(settings, name)
        if path and not Path(path).resolve().is_relative_to(settings.folder.resolve()):
            err.print(f"not in it, for it lies outside of the data folder: {path} ({variable(name)})", soft_wrap=True)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Put the data folder aside if it is not empty.")
@click.pass_obj
def restore(settings: Settings, file: Path, *, force: bool) -> None:
    """Put the backup in FILE in the place of the data folder. Stop the server first."""
    try:
        contents, old = put_back(file, settings.folder, force=force)
    except BrokenBackup as error:
        raise Refused(f"{str(file)!r} is no whole backup, and nothing was changed: {error}") from None
    out.print(f"{settings.folder}: {_amount(contents)}, as of {contents.created}", soft_wrap=True)
    if old:
        out.print(f"The old data folder is now {old}: remove it when you do not need it.", soft_wrap=True)


def _amount(contents: Contents) -> str:
    count = len(contents.files)
    return f"{count} file{'s' if count > 1 else ''}, {contents.size / 1024 / 1024:.1f} MiB"
