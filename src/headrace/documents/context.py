"""The context that nodes get when documents are loaded or upserted outside a run."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from uuid import uuid4

from headrace.engine.node import Context, FlowQuestion
from headrace.engine.ports import Outside
from headrace.errors import FlowError
from headrace.events import Prediction
from headrace.schema import MemoryMessage
from headrace.storage.session_notes import SessionNotes
from headrace.storage.storage import Storage
from headrace.storage.variables import variable_values


async def upsert_context(storage: Storage, outside: Outside, flow: str, chat: str = "") -> Context:
    """The context of nodes outside a run. They keep things under `flow`, the id of a flow or of a document store."""

    async def no_history(*, tools: bool = False) -> Sequence[MemoryMessage]:
        return ()

    async def no_flows(asked: FlowQuestion) -> Prediction:
        raise FlowError(f"an upsert asks no other flow, and so not {asked.flow!r}")

    return Context(
        run=secrets.token_hex(16),
        flow=flow,
        chat=chat,
        session=chat,
        message=str(uuid4()),
        question="",
        variables=await variable_values(storage),
        history=no_history,
        notes=SessionNotes(storage.database, flow, chat),
        secrets=storage.secrets,
        saved_tool=storage.tool,
        outside=outside,
        ask_flow=no_flows,
    )
