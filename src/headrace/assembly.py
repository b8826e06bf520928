"""Wires one process from its settings: store, providers, nodes, runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from msgspec import UNSET

from headrace.documents.library import DocumentLibrary
from headrace.engine.ports import FetchRequest, Outside
from headrace.errors import StorageError
from headrace.nodes import built_in
from headrace.providers.databases import Databases
from headrace.providers.fetch import Fetcher, FetchLimits
from headrace.providers.guard import Allowed
from headrace.providers.http import ProviderHttp, ProviderLimits
from headrace.python_flow import PythonFlow
from headrace.retrieval.parser_processes import kept_warm
from headrace.runtime.backend import Backend
from headrace.runtime.durable import DurableLog
from headrace.runtime.durable_registry import DurableRegistry
from headrace.runtime.local import Local
from headrace.runtime.log import Retention
from headrace.runtime.python_flows import PythonFlows
from headrace.runtime.queue import LocalQueue
from headrace.sandbox.sandbox import Sandbox
from headrace.settings import Settings
from headrace.storage.presence import FilePresence
from headrace.storage.process_rows import ProcessRow
from headrace.storage.storage import Storage

_LARGEST_DOCUMENT = 256 * 1024 * 1024  # bytes of a page or file from the web


def backend_on(storage: Storage) -> Backend:
    """The backend of this process: the database, and a queue of its own. Blocking. Raises StorageError.

    The one place that says which backend runs stand on.
    """
    at_file = isinstance(storage.database.place, Path)
    presence = FilePresence(storage.folder) if at_file else ProcessRow(storage.database)
    log = DurableLog(storage.database, presence)
    return Backend(log, LocalQueue(), DurableRegistry(storage.database, presence, log, storage.seal))


@asynccontextmanager
async def opened(settings: Settings, flows: Sequence[PythonFlow] = ()) -> AsyncGenerator[Local]:
    """The data folder with everything that runs flows on it; not yet working. Raises InvalidRequest.

    `flows` are functions that are flows, besides those that the settings name.
    """
    fetcher = Fetcher(Allowed(settings.allowed_hosts), FetchLimits(total=settings.fetch_timeout))
    sandbox = Sandbox()
    databases = Databases(settings.folder, settings.allowed_databases)
    http = ProviderHttp(
        ProviderLimits(
            connect=settings.provider_connect_timeout,
            read=settings.provider_read_timeout,
            attempts=settings.provider_attempts,
        )
    )

    async def run_script(code: str, values: Mapping[str, Any]) -> Any:
        value = (await sandbox.run(code, values, fetcher.fetch)).value
        return None if value is UNSET else value

    async def read_page(url: str, headers: Mapping[str, str]) -> AsyncGenerator[bytes]:
        request = FetchRequest("GET", url, list(headers.items()))
        async with aclosing(fetcher.download(request, _LARGEST_DOCUMENT)) as parts:
            async for part in parts:
                yield part

    storage = await asyncio.to_thread(Storage, settings.folder, settings.database_url, settings.secret_key)
    try:
        retention = Retention(settings.keep_log_hours, settings.keep_log_mb * 1024 * 1024)
        catalog = built_in()
        library = DocumentLibrary(storage.database, settings.folder, catalog, read_page)
        programs = [line.strip() for line in settings.mcp_commands.split(";") if line.strip()]
        outside = Outside(http, fetcher.fetch, run_script, fetcher.reach, library, programs, databases.open)
        python = PythonFlows(settings.python_flows, flows)
        await asyncio.to_thread(python.load)
        await python.store(storage)
        backend = await asyncio.to_thread(backend_on, storage)
        try:
            async with kept_warm():
                yield Local(storage, backend, catalog, outside, retention, library, python)
        finally:
            with suppress(StorageError):  # then the others see it after a moment
                await asyncio.to_thread(backend.registry.close)
    finally:
        databases.close()
        await sandbox.close()
        await http.close()
        await asyncio.to_thread(storage.close)
