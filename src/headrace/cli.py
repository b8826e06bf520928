"""The command line: serve, import, run, chat, upsert, flows, keys; `brand` is in headrace.brand."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import wraps
from importlib.resources import files
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, ParamSpec

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TimeElapsedColumn, track
from rich.table import Column, Table

from headrace import __version__
from headrace.assembly import opened
from headrace.brand.command import brand
from headrace.engine.flow_file import read_flow
from headrace.engine.graph import coverage
from headrace.engine.ports import Upserted
from headrace.errors import FlowNotFound, HeadraceError, InvalidRequest
from headrace.events import Abort, Error, Token
from headrace.exports import flow_files, read_exports
from headrace.imports import Imported, take
from headrace.nodes import built_in
from headrace.schema import FlowRow, PredictionRequest, UpsertRequest
from headrace.settings import Settings, load
from headrace.store.store import ADMIN, Store, hash_of

if TYPE_CHECKING:
    from headrace.server.tls import Certificate

_P = ParamSpec("_P")
_ENVIRONMENT_KEY = "HEADRACE_ADMIN_KEY"
_WIDE = None if sys.stdout.isatty() else 240  # columns: what is piped is not cut
_out = Console(highlight=False, emoji=False, markup=False, width=_WIDE)
_err = Console(stderr=True, highlight=False, emoji=False, markup=False)


def _id_column() -> Column:
    return Column("id", no_wrap=True)


def _command(work: Callable[_P, Awaitable[None]]) -> Callable[_P, None]:
    """A command from a coroutine function."""

    @wraps(work)
    def command(*args: _P.args, **kwargs: _P.kwargs) -> None:
        asyncio.run(_awaited(work(*args, **kwargs)))

    return command


async def _awaited(work: Awaitable[None]) -> None:
    await work


class _Commands(click.Group):
    """Shows our own errors as one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HeadraceError as error:
            raise click.ClickException(str(error)) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="headrace")
@click.option("--data-dir", metavar="FOLDER", help="Folder for everything that the server keeps.")
@click.pass_context
def cli(ctx: click.Context, data_dir: str | None) -> None:
    """Runs LLM flows and streams every answer so that no token is lost."""
    ctx.obj = load(data_dir=data_dir)


cli.add_command(brand)


@cli.command()
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="Port to listen on.")
@click.option("--data-dir", metavar="FOLDER", help="Folder for everything that the server keeps.")
@click.option("--workers", type=int, help="Processes that serve.")
@click.option("--tls-self-signed", is_flag=True, default=None, help="Serve HTTPS; the certificate is made here.")
@click.option("--tls-cert", metavar="FILE", help="Serve HTTPS with this certificate.")
@click.option("--tls-key", metavar="FILE", help="The certificate's key.")
@click.option("--worker", is_flag=True, hidden=True)
@click.option("--demo", is_flag=True, help="Import the example flows when there are none yet.")
def serve(*, data_dir: str | None, worker: bool, demo: bool, **flags: Any) -> None:
    """Run the server."""
    parent: Settings = click.get_current_context().obj
    settings = load(data_dir=data_dir or parent.data_dir, **flags)
    from headrace.server import serve as server  # here: only this command needs granian and Litestar
    from headrace.server import tls

    certificate = tls.certificate(settings)

    async def prepare(store: Store) -> str:
        return "ready\n" if worker else await _prepared(store, settings, certificate, demo=demo)

    server.run(settings, prepare, certificate, one_of_several=worker)


async def _prepared(store: Store, settings: Settings, certificate: Certificate | None, *, demo: bool) -> str:
    """Makes the first key and the examples; returns how to begin."""
    key = await _first_key(store, settings.admin_key)
    rows = await store.flows()
    if demo and not rows:
        await _import(store, _examples())
        rows = await store.flows()
    url = _url(settings, certificate)
    lines = [f"\nHeadrace {__version__} answers at {url}   (API: {url}/docs, data: {settings.folder})"]
    if certificate:
        lines.append(f"Certificate {certificate.cert}, SHA-256 {certificate.fingerprint}")
    if key:
        lines.append(f"Admin key, shown only now: {key}")
    # The part after # never leaves the browser. Later starts do not know the key: keys are stored as hashes.
    lines.append(f"Playground: {url}/{f'#key={key}' if key else f'?flow={rows[-1].id}' if rows else ''}")
    lines += [f"  {row.id}  {row.name}" for row in rows]
    if rows:
        question = '{"question": "How do I resume a stream?", "streaming": true}'
        trusting = f" --cacert {quote(str(certificate.cert))}" if certificate and certificate.self_signed else ""
        address = f"{url}/api/v1/prediction/{rows[-1].id}"
        lines.append(f"\nAsk one:\n\ncurl -N{trusting} {address} -H 'Content-Type: application/json' -d '{question}'\n")
    return "\n".join(lines) + "\n"


def _url(settings: Settings, certificate: Certificate | None) -> str:
    """The address that works on this machine."""
    near = settings.host in ("127.0.0.1", "0.0.0.0", "::")  # noqa: S104 compared, not bound
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'https' if certificate else 'http'}://{'localhost' if near else host}:{settings.port}"


async def _first_key(store: Store, wanted: str) -> str | None:
    """Makes sure that there is an admin key; returns one that was made up here."""
    keys = await store.keys()
    if not wanted:
        return None if keys else (await store.add_key("admin", [ADMIN])).apiKey
    if await store.key(wanted) is None:
        old = next((key for key in keys if key.keyName == _ENVIRONMENT_KEY), None)
        if old:
            await store.change_key(old.id, {"hash": hash_of(wanted)})
        else:
            await store.add_key(_ENVIRONMENT_KEY, [ADMIN], wanted)
    return None


def _examples() -> list[Path]:
    return sorted(Path(str(files("headrace") / "examples")).glob("*.json"))


async def _import(store: Store, paths: list[Path]) -> Imported:
    """Stores what the files hold. All files are read before anything is written."""
    watched = track(flow_files(paths), "reading", console=_err, transient=True, disable=not _err.is_terminal)
    return await take(store, read_exports(watched))


@cli.command("import")
@click.argument("paths", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.pass_obj
@_command
async def import_(settings: Settings, paths: tuple[Path, ...]) -> None:
    """Store flows, tools and document stores: exported files, folders of them, or a builder's ExportData.json."""
    store = Store(settings.folder)
    try:
        done = await _import(store, list(paths))
    finally:
        store.close()
    _report(done)


def _report(done: Imported) -> None:
    """Says what has been imported, and what has not. A new key is written nowhere else."""
    catalog = built_in()
    table = Table("flow", _id_column(), "nodes that run", "nodes that are missing")
    for row in done.flows:
        found = coverage(read_flow(row.flowData), catalog)
        table.add_row(row.name, row.id, ", ".join(found.runs), ", ".join(found.missing) or "none")
    if done.flows:
        _out.print(table)
    for key in done.keys:
        _out.print(f"API key {key.keyName!r}, shown only now: {key.apiKey}", soft_wrap=True)
    for tool in done.tools:
        _out.print(f"tool: {tool.name}")
    for documents in done.stores:
        _out.print(f"document store: {documents}")
    for note in done.notes:
        _err.print(note, soft_wrap=True)
    for section, count in done.skipped.items():
        _err.print(f"not imported: {count} x {section}")


@cli.command()
@click.argument("flow")
@click.argument("question")
@click.option("--chat", metavar="ID", help="Continue this chat.")
@click.pass_obj
@_command
async def run(settings: Settings, flow: str, question: str, chat: str | None) -> None:
    """Ask a flow, by id or name, and stream the answer here. Needs no running server."""
    async with opened(settings) as here, here.working(heartbeat=settings.heartbeat, grace=0):
        row = await _find(here.store, flow)
        request = PredictionRequest(question=question, chatId=chat)
        run_id = await here.runs.start(await here.flows.get(row.id), request, streaming=True)
        async with aclosing(here.runs.follow(run_id)) as batches:
            async for entries in batches:
                for entry in entries:
                    _show(entry.event)
    _out.print()


@cli.command()
@click.option("--url", help="Address of the server; this machine's without it.")
@click.option(
    "--flow", "flows", metavar="[NAME=]ID", multiple=True, help="Offer this flow; may be given several times."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8501, show_default=True, help="Port to listen on.")
@click.pass_obj
def chat(settings: Settings, url: str | None, flows: tuple[str, ...], host: str, port: int) -> None:
    """Serve a page to chat with flows. Without --flow: those that HEADRACE_API_KEY may list, else this machine's."""
    try:
        from headrace.apps.chat.serve import serve as serve_chat
    except ModuleNotFoundError:
        raise InvalidRequest("the chat needs Streamlit: pip install 'headrace[streamlit]'") from None

    given = list(flows)
    if not given and not url and "HEADRACE_URL" not in os.environ and "HEADRACE_API_KEY" not in os.environ:
        given = asyncio.run(_own_flows(settings))
    if url or "HEADRACE_URL" not in os.environ:
        os.environ["HEADRACE_URL"] = url or f"http://localhost:{settings.port}"
    _out.print(f"Chat at http://{host}:{port} with the server at {os.environ['HEADRACE_URL']}", soft_wrap=True)
    serve_chat(given, settings.folder / "chat.sqlite", host, port)


async def _own_flows(settings: Settings) -> list[str]:
    """The flows in the data folder, as `chat` takes them."""
    if not settings.folder.exists():
        return []
    store = Store(settings.folder)
    try:
        return [f"{' '.join(row.name.split())}={row.id}" for row in await store.flows()]
    finally:
        store.close()


@cli.command()
@click.argument("flow")
@click.option("--store", "node", metavar="NODE", help="Id of the vector store, in a flow that has several.")
@click.pass_obj
@_command
async def upsert(settings: Settings, flow: str, node: str | None) -> None:
    """Read a flow's documents into its vector store. Needs no running server."""
    shown = Progress(
        BarColumn(),
        "{task.description}",
        TimeElapsedColumn(),
        console=_err,
        transient=True,
        disable=not _err.is_terminal,
    )
    async with opened(settings) as here:
        row = await _find(here.store, flow)
        with shown:
            bar = shown.add_task("reading", total=None)
            done = await here.upserts.run(
                await here.flows.get(row.id),
                UpsertRequest(stopNodeId=node),
                progress=lambda done: shown.update(bar, description=_counts(done)),
            )
    for failure in done.failures:
        _err.print(f"not stored: {failure}", soft_wrap=True)
    _out.print(_counts(done))
    if done.failures:
        raise click.exceptions.Exit(1)


def _counts(done: Upserted) -> str:
    counts = f"{done.numAdded} added, {done.numUpdated} updated, {done.numSkipped} unchanged, {done.numDeleted} deleted"
    return f"{counts}, {len(done.failures)} documents failed" if done.failures else counts


def _show(event: object) -> None:
    match event:
        case Token():
            _out.print(event.data, end="", soft_wrap=True)
        case Error():
            raise HeadraceError(event.data)
        case Abort():
            raise HeadraceError("the run was cancelled")
        case _:
            pass


async def _find(store: Store, wanted: str) -> FlowRow:
    found = [row for row in await store.flows() if wanted in (row.id, row.name)]
    if not found:
        raise FlowNotFound(f"there is no flow {wanted!r}: `headrace flows` lists them")
    if len(found) > 1:
        raise InvalidRequest(f"several flows are named {wanted!r}: use an id that `headrace flows` lists")
    return found[0]


@cli.command()
@click.pass_obj
@_command
async def flows(settings: Settings) -> None:
    """List the flows."""
    store = Store(settings.folder)
    try:
        rows = await store.flows()
    finally:
        store.close()
    catalog = built_in()
    table = Table("name", _id_column(), "type", "changed", "nodes that are missing")
    for row in rows:
        missing = coverage(read_flow(row.flowData), catalog).missing
        table.add_row(row.name, row.id, row.type, row.updatedDate, ", ".join(missing) or "none")
    _out.print(table)


@cli.group(invoke_without_command=True)
@click.pass_context
def keys(ctx: click.Context) -> None:
    """List API keys; `add` makes one, `remove` deletes one."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_keys)


@keys.command("list")
@click.pass_obj
@_command
async def list_keys(settings: Settings) -> None:
    """List API keys. The keys themselves are not stored."""
    store = Store(settings.folder)
    try:
        table = Table("name", _id_column(), "permissions", "made")
        for key in await store.keys():
            table.add_row(key.keyName, key.id, ", ".join(key.permissions), key.createdDate)
    finally:
        store.close()
    _out.print(table)


@keys.command("add")
@click.argument("name")
@click.option("--permission", "permissions", multiple=True, help="May be given several times; all without it.")
@click.pass_obj
@_command
async def add_key(settings: Settings, name: str, permissions: tuple[str, ...]) -> None:
    """Make an API key and show it, once."""
    store = Store(settings.folder)
    try:
        key = await store.add_key(name, permissions or [ADMIN])
    finally:
        store.close()
    _out.print(key.apiKey, soft_wrap=True)


@keys.command("remove")
@click.argument("key_id", metavar="ID")
@click.pass_obj
@_command
async def remove_key(settings: Settings, key_id: str) -> None:
    """Delete an API key."""
    store = Store(settings.folder)
    try:
        await store.delete_key(key_id)
    finally:
        store.close()
