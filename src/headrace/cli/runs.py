"""`headrace run` and `headrace upsert`: what a flow does, without a server."""

from __future__ import annotations

import logging
from contextlib import aclosing

import click
from rich.progress import BarColumn, Progress, TimeElapsedColumn

from headrace.assembly import opened
from headrace.cli.terminal import command, err, find, out
from headrace.engine.ports import Upserted
from headrace.errors import HeadraceError
from headrace.events import Abort, Error, Token
from headrace.schema import PredictionRequest, UpsertRequest
from headrace.settings import Settings


@click.command()
@click.argument("flow")
@click.argument("question")
@click.option("--chat", metavar="ID", help="Continue this chat.")
@click.pass_obj
@command
async def run(settings: Settings, flow: str, question: str, chat: str | None) -> None:
    """Ask a flow, by id or name, and stream the answer here. Needs no running server."""
    logging.getLogger("headrace.runs").setLevel(logging.ERROR)  # why a run failed is told below
    async with opened(settings) as here, here.working(heartbeat=settings.heartbeat, grace=0):
        row = await find(here.storage, flow)
        request = PredictionRequest(question=question, chatId=chat)
        run_id = await here.runs.start(await here.flows.get(row.id), request, streaming=True)
        async with aclosing(here.runs.follow(run_id)) as batches:
            async for entries in batches:
                for entry in entries:
                    _show(entry.event)
    out.print()


@click.command()
@click.argument("flow")
@click.option("--store", "node", metavar="NODE", help="Id of the vector store, in a flow that has several.")
@click.pass_obj
@command
async def upsert(settings: Settings, flow: str, node: str | None) -> None:
    """Read a flow's documents into its vector store. Needs no running server."""
    shown = Progress(
        BarColumn(),
        "{task.description}",
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
    async with opened(settings) as here:
        row = await find(here.storage, flow)
        with shown:
            bar = shown.add_task("reading", total=None)
            done = await here.upserts.run(
                await here.flows.get(row.id),
                UpsertRequest(stopNodeId=node),
                progress=lambda done: shown.update(bar, description=_counts(done)),
            )
    for failure in done.failures:
        err.print(f"not stored: {failure}", soft_wrap=True)
    out.print(_counts(done))
    if done.failures:
        raise click.exceptions.Exit(1)


def _counts(done: Upserted) -> str:
    counts = f"{done.numAdded} added, {done.numUpdated} updated, {done.numSkipped} unchanged, {done.numDeleted} deleted"
    return f"{counts}, {len(done.failures)} documents failed" if done.failures else counts


def _show(event: object) -> None:
    match event:
        case Token():
            out.print(event.data, end="", soft_wrap=True)
        case Error():
            raise HeadraceError(event.data)
        case Abort():
            raise HeadraceError("the run was cancelled")
        case _:
            pass
