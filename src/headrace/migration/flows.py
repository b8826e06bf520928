"""Moves flows with their settings. A flow that was bound to a key stays bound, even when the source lacks the key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from headrace.errors import InvalidRequest
from headrace.imports import Imported, bind
from headrace.migration import row_kinds
from headrace.migration.context import MoveContext, utf8
from headrace.migration.merge import Target
from headrace.migration.report import Tally
from headrace.migration.sources import Row, Wanted
from headrace.schema import ApiKey
from headrace.storage import tables

_FLOWS: Final = Target(tables.flow)


async def move_flows(context: MoveContext, own: Mapping[str, str]) -> None:
    """Moves flows; `own` has the ids of the keys here by their ids there."""
    tally = context.report.tally("flows")
    keys = {key.id: key for key in await context.storage.keys()}
    async for rows in context.rows(Wanted("chat_flow", "createdDate")):
        for row in rows:
            await _move(context, tally, row, own, keys)


async def _move(context: MoveContext, tally: Tally, row: Row, own: Mapping[str, str], keys: dict[str, ApiKey]) -> None:
    try:
        flow, notes = row_kinds.flow(utf8(row))
    except InvalidRequest as error:
        context.unreadable(tally, row, str(error))
        return
    done = Imported()
    if flow.apikeyid and flow.apikeyid in own:
        flow.apikeyid = own[flow.apikeyid]
    else:
        await bind(context.storage, flow, keys, done)
    await context.merge_rows(tally, _FLOWS, [msgspec.structs.asdict(flow)])
    context.report.notes += [*done.notes, *notes]
    context.report.keys += done.keys
    context.report.flows.append(flow)
