"""`headrace serve`: prepares the data folder, says how to begin, and runs the server."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from headrace import __version__
from headrace.cli.imports import take_files
from headrace.settings import Settings, load
from headrace.storage.storage import Storage

if TYPE_CHECKING:
    from headrace.server.tls import Certificate


@click.command()
@click.argument("flows", nargs=-1, metavar="[FLOWS]...")
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="Port to listen on.")
@click.option("--data-dir", metavar="FOLDER", help="Folder for everything that the server keeps.")
@click.option("--database-url", metavar="URL", help="PostgreSQL database in place of the data folder's own.")
@click.option("--workers", type=int, help="Processes that serve.")
@click.option("--tls-self-signed", is_flag=True, default=None, help="Serve HTTPS; the certificate is made here.")
@click.option("--tls-cert", metavar="FILE", help="Serve HTTPS with this certificate.")
@click.option("--tls-key", metavar="FILE", help="The certificate's key.")
@click.option("--worker", is_flag=True, hidden=True)
@click.option("--demo", is_flag=True, help="Import the example flows when there are none yet.")
def serve(
    *, data_dir: str | None, database_url: str | None, worker: bool, demo: bool, flows: tuple[str, ...], **flags: Any
) -> None:
    """Run the server.

    FLOWS are flows in Python: files, folders, or modules as `package.module` or `package.module:name`. Their code runs
    with the server's rights. It is read again when it changes.
    """
    parent: Settings = click.get_current_context().obj
    places = {"data_dir": data_dir or parent.data_dir, "database_url": database_url or parent.database_url}
    settings = load(**places, flows=",".join(flows) or None, **flags)
    from headrace.server import serve as server  # here: only this command needs granian and Litestar

    certificate = _certificate(settings)

    async def prepare(storage: Storage) -> str:
        return "ready\n" if worker else await _prepared(storage, settings, certificate, demo=demo)

    server.run(settings, prepare, certificate, one_of_several=worker)


def _certificate(settings: Settings) -> Certificate | None:
    """The certificate of the settings. Only for TLS is what reads certificates loaded."""
    if not (settings.tls_self_signed or settings.tls_cert or settings.tls_key):
        return None
    from headrace.server import tls

    return tls.certificate(settings)


async def _prepared(storage: Storage, settings: Settings, certificate: Certificate | None, *, demo: bool) -> str:
    """Makes the first key and the examples; returns how to begin."""
    from headrace.server.admin_key import keep_admin_key

    key, replaced = await keep_admin_key(storage, settings.admin_key)
    rows = await storage.flows()
    if demo and not rows:
        await take_files(storage, _examples())
        rows = await storage.flows()
    url = _url(settings, certificate)
    lines = [f"\nHeadrace {__version__} answers at {url}   (API: {url}/docs, data: {settings.folder})"]
    if certificate:
        lines.append(f"Certificate {certificate.cert}, SHA-256 {certificate.fingerprint}")
    if key:
        lines.append(f"Admin key, shown only now: {key}")
    elif replaced:
        lines.append("The admin key of the first start works no more: HEADRACE_ADMIN_KEY has taken its place.")
    elif not settings.admin_key:
        lines.append(f"Lost the admin key? {_rotation(settings)} makes it anew.")
    # The part after # never leaves the browser. Later starts do not know the key: keys are stored as hashes.
    lines.append(f"Playground: {url}/{f'#key={key}' if key else f'?flow={rows[-1].id}' if rows else ''}")
    lines.append(f"Studio: {url}/studio{f'#key={key}' if key else ''}")
    lines += [f"  {row.id}  {row.name}" for row in rows]
    if rows:
        question = '{"question": "How do I resume a stream?", "streaming": true}'
        trusting = f" --cacert {quote(str(certificate.cert))}" if certificate and certificate.self_signed else ""
        address = f"{url}/api/v1/prediction/{rows[-1].id}"
        lines.append(f"\nAsk one:\n\ncurl -N{trusting} {address} -H 'Content-Type: application/json' -d '{question}'\n")
    return "\n".join(lines) + "\n"


def _rotation(settings: Settings) -> str:
    """The command that gives the key of the first start another secret, for the shell that started the server."""
    folder = "" if settings.data_dir == Settings().data_dir else f" --data-dir {quote(settings.data_dir)}"
    # A module that is run with -m has its file's path for its name.
    program = f"{quote(sys.executable)} -m headrace" if sys.argv[0].endswith(".py") else quote(sys.argv[0])
    return f"`{program}{folder} keys rotate admin`"


def _url(settings: Settings, certificate: Certificate | None) -> str:
    """The address that works on this machine."""
    near = settings.host in ("127.0.0.1", "0.0.0.0", "::")  # noqa: S104 compared, not bound
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'https' if certificate else 'http'}://{'localhost' if near else host}:{settings.port}"


def _examples() -> list[Path]:
    return sorted(Path(str(files("headrace") / "examples")).glob("*.json"))
