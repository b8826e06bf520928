"""Upserts of flows: what a vector store node is connected to is read, cut, embedded and stored, and written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headrace.documents.context import upsert_context
from headrace.engine import chatflow
from headrace.engine.graph import Graph, sink
from headrace.engine.inputs import fields_of
from headrace.engine.overrides import Overrides
from headrace.engine.ports import Outside, Upserted, UpsertProgress
from headrace.errors import InvalidRequest
from headrace.runtime.flows import Flow, Flows
from headrace.schema import UpsertRequest
from headrace.storage.storage import Storage
from headrace.storage.upserts import UpsertHistory


class Upserts:
    """Upserts, and the history of those before."""

    def __init__(self, flows: Flows, storage: Storage, outside: Outside) -> None:
        self._flows, self._storage, self._outside = flows, storage, outside
        self.history = UpsertHistory(storage.database)

    async def run(
        self,
        flow: Flow,
        request: UpsertRequest,
        files: Mapping[str, Sequence[str]] | None = None,
        progress: UpsertProgress = lambda _: None,
    ) -> Upserted:
        """Upserts into one vector store of the flow. Cancelling it keeps what was stored.

        `files` says for each name of an uploaded file which inputs of loaders could take it. Raises InvalidRequest,
        FlowError, ProviderError and StorageError.
        """
        catalog = self._flows.catalog
        graph = Graph(flow.file, catalog, sink(flow.file, catalog, request.stopNodeId))
        overrides = Overrides(flow.api.overrideConfig, request.overrideConfig)
        taken = {name for node in graph.order for name in overrides.of(node) if name in fields_of(catalog[node.name])}
        for name, inputs in (files or {}).items():
            if not taken.intersection(inputs):
                wanted = " or ".join(map(repr, inputs))
                raise InvalidRequest(
                    f"no loader of the flow takes {name!r}: connect one with the input {wanted}, "
                    "and let callers set that input in the flow's configuration (apiConfig.overrideConfig)"
                )
        ctx = await upsert_context(self._storage, self._outside, flow.row.id, request.chatId or "")
        ctx.variables, ctx.kept = {**ctx.variables, **overrides.variables()}, flow.kept
        done = await chatflow.upsert(graph, catalog, ctx, overrides, progress)
        await self.history.add(flow.row.id, done, graph.order)
        return done
