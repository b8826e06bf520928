"""Wires one process from its settings: store, providers, nodes, runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from headrace.nodes import built_in
from headrace.providers.http import Limits, ProviderHttp
from headrace.runtime.durable import Retention
from headrace.runtime.local import Local
from headrace.settings import Settings
from headrace.store.store import Store


@asynccontextmanager
async def opened(settings: Settings) -> AsyncGenerator[Local]:
    """The data folder with everything that runs flows on it; not yet working."""
    store = await asyncio.to_thread(Store, settings.folder)
    http = ProviderHttp(
        Limits(
            connect=settings.provider_connect_timeout,
            read=settings.provider_read_timeout,
            attempts=settings.provider_attempts,
        )
    )
    try:
        yield Local(store, built_in(), http, Retention(settings.keep_log_hours, settings.keep_log_mb * 1024 * 1024))
    finally:
        await http.close()
        await asyncio.to_thread(store.close)
