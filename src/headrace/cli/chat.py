"""`headrace chat`: the Streamlit page."""

from __future__ import annotations

import asyncio
import os

import click

from headrace.cli.terminal import out, storing
from headrace.errors import InvalidRequest
from headrace.installation import remedy
from headrace.settings import Settings


@click.command()
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
        raise InvalidRequest(f"the chat needs Streamlit: {remedy('streamlit')}") from None

    given = list(flows)
    if not given and not url and "HEADRACE_URL" not in os.environ and "HEADRACE_API_KEY" not in os.environ:
        given = asyncio.run(_own_flows(settings))
    if url or "HEADRACE_URL" not in os.environ:
        os.environ["HEADRACE_URL"] = url or f"http://localhost:{settings.port}"
    out.print(f"Chat at http://{host}:{port} with the server at {os.environ['HEADRACE_URL']}", soft_wrap=True)
    serve_chat(given, settings.folder / "chat.sqlite", host, port)


async def _own_flows(settings: Settings) -> list[str]:
    """The flows in the data folder, as `chat` takes them."""
    if not settings.folder.exists():
        return []
    with storing(settings) as storage:
        return [f"{' '.join(row.name.split())}={row.id}" for row in await storage.flows()]
