"""Flows with their settings. Whoever was bound to a key stays bound, also where the source does not have that key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from headrace.errors import InvalidRequest
from headrace.imports import Imported, bind
from headrace.migration import kinds
from headrace.migration.moving import Moving, utf8
from headrace.migration.placing import Target
from headrace.migration.report import Tally
from headrace.migration.sources import Row, Wanted
from headrace.schema import ApiKey
from headrace.store import tables

_FLOWS: Final = Target(tables.flow)


async def move_flows(moving: Moving, own: Mapping[str, str]) -> None:
    """Moves flows; `own` has the ids of the keys here by their ids there."""
    tally = moving.report.tally("flows")
    keys = {key.id: key for key in await moving.store.keys()}
    async for rows in moving.rows(Wanted("chat_flow", "createdDate")):
        for row in rows:
            await _move(moving, tally, row, own, keys)


async def _move(moving: Moving, tally: Tally, row: Row, own: Mapping[str, str], keys: dict[str, ApiKey]) -> None:
    try:
        flow, notes = kinds.flow(utf8(row))
    except InvalidRequest as error:
        moving.unreadable(tally, row, str(error))
        return
    done = Imported()
    if flow.apikeyid and flow.apikeyid in own:
        flow.apikeyid = own[flow.apikeyid]
    else:
        await bind(moving.store, flow, keys, done)
    await moving.place(tally, _FLOWS, [msgspec.structs.asdict(flow)])
    moving.report.notes += [*done.notes, *notes]
    moving.report.keys += done.keys
    moving.report.flows.append(flow)
