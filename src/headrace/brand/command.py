"""`headrace brand`: writes a brand's packages and, for the server's pages, its brand file."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from shlex import quote

import click
import msgspec

from headrace.brand import look, npm, python
from headrace.brand.names import Names, checked
from headrace.errors import InvalidRequest


@click.command()
@click.option("--name", required=True, help="What `pip install` takes; npm's package is called <name>-sdk.")
@click.option("--class", "cls", required=True, help="The client's class; TypeScript's is called <class>Client.")
@click.option("--out", default=".", metavar="FOLDER", type=click.Path(path_type=Path), help="Where the files go.")
@click.option("--base-url", default="http://localhost:3000", help="Where the clients go when nobody says where.")
@click.option("--version", "version_", metavar="VERSION", help="Version of the packages; Headrace's without it.")
@click.option("--npm-name", help="Another name for npm's package, such as @acme/flows.")
@click.option("--display-name", help="The brand in texts and on pages; the class without it.")
@click.option("--color", help="The pages' accent, such as '#0b6e99'.")
@click.option("--dark-color", help="The same on dark ground.")
@click.option("--logo", metavar="FILE", type=click.Path(path_type=Path), help="A picture for the pages.")
def brand(
    *,
    name: str,
    cls: str,
    out: Path,
    base_url: str,
    version_: str | None,
    npm_name: str | None,
    display_name: str | None,
    color: str | None,
    dark_color: str | None,
    logo: Path | None,
) -> None:
    """Build Python and npm packages that are thin names over Headrace's clients, and a brand file for the pages."""
    names = Names(
        name=name,
        cls=cls,
        npm=npm_name or f"{name}-sdk",
        version=version_ or version("headrace"),
        base_url=base_url.rstrip("/"),
        display=display_name or cls,
    )
    checked(names, python.RESERVED)
    shown = _look(names.display, color, dark_color, logo)
    packages = [python.own_wheel(), python.branded_wheel(names), npm.branded_tarball(names)]
    pages = _pages(shown, logo) if display_name or color or dark_color or logo else []
    _write(out, [*packages, *pages])
    _say(out, [file for file, _ in packages], [file for file, _ in pages])
    if names.npm != names.npm.lower():
        click.echo(f"npm installs {names.npm!r} from its file, but publishes no new name with capitals.", err=True)


def _look(name: str, color: str | None, dark_color: str | None, logo: Path | None) -> look.Brand:
    plain = look.Brand()
    return look.checked(
        look.Brand(
            name=name,
            color=color or plain.color,
            darkColor=dark_color or "",
            logo=f"logo{logo.suffix.lower()}" if logo else "",
        )
    )


def _pages(shown: look.Brand, logo: Path | None) -> list[tuple[str, bytes]]:
    written = {field: value for field, value in msgspec.to_builtins(shown).items() if value}
    file = msgspec.json.format(msgspec.json.encode(written), indent=2) + b"\n"
    return [(look.FILE, file), *([(shown.logo, look.read_logo(logo).content)] if logo else [])]


def _write(out: Path, files: list[tuple[str, bytes]]) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        for file, content in files:
            (out / file).write_bytes(content)
    except OSError as error:
        raise InvalidRequest(f"cannot write to {str(out)!r}: {error.strerror}") from None


def _say(out: Path, packages: list[str], pages: list[str]) -> None:
    library, python_package, npm_package = (quote(str(out / file)) for file in packages)
    click.echo(f"pip install {library} {python_package}")
    click.echo(f"npm install {npm_package if npm_package[0] in './' else f'./{npm_package}'}")
    if pages:
        click.echo(f"For the server's pages, put into its data folder: {', '.join(str(out / file) for file in pages)}")
