"""The tables. The schema itself is made by the migrations; a test holds both together."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Table,
    false,
)

from headrace.storage.dialect import NUMBER, TEXT

metadata = MetaData()

flow = Table(
    "flow",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("flowData", TEXT, nullable=False),
    Column("type", TEXT, nullable=False),
    Column("workspaceId", TEXT),
    Column("deployed", Boolean),
    Column("isPublic", Boolean),
    Column("apikeyid", TEXT, ForeignKey("api_key.id", ondelete="RESTRICT")),
    *(Column(name, TEXT) for name in ("chatbotConfig", "apiConfig", "analytic", "speechToText", "textToSpeech")),
    *(Column(name, TEXT) for name in ("followUpPrompts", "category", "mcpServerConfig")),
    Column("createdDate", TEXT, nullable=False),
    Column("updatedDate", TEXT, nullable=False),
)

credential = Table(
    "credential",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("credentialName", TEXT, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("createdDate", TEXT, nullable=False),
    Column("updatedDate", TEXT, nullable=False),
)

variable = Table(
    "variable",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("name", TEXT, nullable=False, unique=True),
    Column("value", TEXT),
    Column("type", TEXT, nullable=False),
    Column("createdDate", TEXT, nullable=False),
    Column("updatedDate", TEXT, nullable=False),
)

tool = Table(
    "tool",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("description", TEXT, nullable=False),
    Column("color", TEXT, nullable=False),
    Column("iconSrc", TEXT),
    Column("schema", TEXT),
    Column("func", TEXT),
    Column("createdDate", TEXT, nullable=False),
    Column("updatedDate", TEXT, nullable=False),
)

api_key = Table(
    "api_key",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("keyName", TEXT, nullable=False),
    Column("permissions", TEXT, nullable=False),
    Column("hash", TEXT, nullable=False, unique=True),
    Column("createdDate", TEXT, nullable=False),
)

key_use = Table(
    "key_use",
    metadata,
    Column("key", TEXT, ForeignKey("api_key.id", ondelete="CASCADE"), primary_key=True),
    Column("date", TEXT, nullable=False),
)
"""When each key was used last. A table of its own: a change of `api_key` empties every process's cache of keys."""

message = Table(
    "message",
    metadata,
    Column("position", NUMBER, primary_key=True, autoincrement=True),
    Column("id", TEXT, nullable=False, unique=True),
    Column("role", TEXT, nullable=False),
    Column("chatflowid", TEXT, ForeignKey("flow.id", ondelete="CASCADE"), nullable=False),
    Column("content", TEXT, nullable=False),
    Column("chatId", TEXT, nullable=False),
    Column("sessionId", TEXT, nullable=False),
    Column("createdDate", TEXT, nullable=False),
    Column("executionId", TEXT),
    Column("sourceDocuments", TEXT),
    Column("usedTools", TEXT),
    Column("fileAnnotations", TEXT),
    Column("agentReasoning", TEXT),
    Column("reasonContent", TEXT),
    Column("fileUploads", TEXT),
    Column("artifacts", TEXT),
    Column("action", TEXT),
    Column("chatType", TEXT, nullable=False),
    Column("memoryType", TEXT),
    Column("leadEmail", TEXT),
    Column("followUpPrompts", TEXT),
    Column("aborted", Boolean),
    Index("message_session", "chatflowid", "sessionId", "position"),
    Index("message_chat", "chatflowid", "chatId", "position"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("position", NUMBER, primary_key=True, autoincrement=True),
    Column("id", TEXT, nullable=False, unique=True),
    Column("messageId", TEXT, ForeignKey("message.id", ondelete="CASCADE"), nullable=False, unique=True),
    Column("rating", TEXT, nullable=False),
    Column("content", TEXT),
    Column("createdDate", TEXT, nullable=False),
)

lead = Table(
    "lead",
    metadata,
    Column("position", NUMBER, primary_key=True, autoincrement=True),
    Column("id", TEXT, nullable=False, unique=True),
    Column("chatflowid", TEXT, ForeignKey("flow.id", ondelete="CASCADE"), nullable=False),
    Column("chatId", TEXT, nullable=False),
    Column("name", TEXT),
    Column("email", TEXT),
    Column("phone", TEXT),
    Column("createdDate", TEXT, nullable=False),
    Index("lead_flow", "chatflowid", "position"),
)

revision = Table("revision", metadata, Column("number", NUMBER, primary_key=True))
"""One row, counted up by triggers on flow, credential, variable and api_key: says when to read them anew."""

run = Table(
    "run",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("chatflowid", TEXT, nullable=False),
    Column("chatId", TEXT, nullable=False),
    Column("sessionId", TEXT, nullable=False),
    Column("chatMessageId", TEXT, nullable=False),
    Column("state", TEXT, nullable=False),
    Column("createdDate", TEXT, nullable=False),
    Column("endedDate", TEXT),
    Column("lastSeq", NUMBER, nullable=False),
    Column("usage", TEXT),
    Column("error", TEXT),
    Column("code", TEXT),
    Column("owner", TEXT, nullable=False),
    Column("watched", Boolean, nullable=False),
    Column("size", NUMBER, nullable=False),
    Column("idempotencyKey", TEXT),
    Column("requestHash", TEXT),
    Column("job", LargeBinary),
    Column("crashes", NUMBER, nullable=False, server_default="0"),
    Index("run_chat", "chatflowid", "chatId"),
    Index("run_session", "chatflowid", "sessionId", "state"),
    Index("run_state", "state", "endedDate"),
    Index("run_ended", "endedDate", "size"),
    Index("run_idempotency", "chatflowid", "idempotencyKey", unique=True),
)
"""`owner` is the process that runs it, `watched` whether that process wants to know of readers, `size` the bytes of its
events that retention counts (0 once they are compacted). `job` is sealed, and there while another process may go on
with the run; `crashes` counts how often one had to since the last step."""

execution = Table(
    "execution",
    metadata,
    Column("position", NUMBER, primary_key=True, autoincrement=True),
    Column("id", TEXT, nullable=False, unique=True),
    Column("run", TEXT, nullable=False),
    Column("agentflowId", TEXT, ForeignKey("flow.id", ondelete="CASCADE"), nullable=False),
    Column("sessionId", TEXT, nullable=False),
    Column("state", TEXT, nullable=False),
    Column("executionData", TEXT, nullable=False),
    Column("action", TEXT),
    Column("isPublic", Boolean),
    Column("createdDate", TEXT, nullable=False),
    Column("updatedDate", TEXT, nullable=False),
    Column("stoppedDate", TEXT),
    Column("workspaceId", TEXT),
    Column("progress", TEXT),
    Column("flowData", TEXT),
    Column("job", LargeBinary),
    Index("execution_session", "agentflowId", "sessionId", "position"),
    Index("execution_run", "run"),
)
"""Executions of agent flows. `run` is the run that goes on with it, or was the last one to; `progress` and `flowData`
are where it is and the flow as it was, until nothing can go on from there."""

execution_step = Table(
    "execution_step",
    metadata,
    Column("execution", TEXT, ForeignKey("execution.id", ondelete="CASCADE"), primary_key=True),
    Column("place", NUMBER, primary_key=True),
    Column("data", TEXT, nullable=False),
)
"""The executed nodes of executions in progress, whose own `executionData` is an empty list until they end."""

webhook_secret = Table(
    "webhook_secret",
    metadata,
    Column("flow", TEXT, ForeignKey("flow.id", ondelete="CASCADE"), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)

schedule = Table(
    "schedule",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("chatflowid", TEXT, ForeignKey("flow.id", ondelete="CASCADE"), nullable=False, unique=True),
    *(Column(name, TEXT, nullable=False) for name in ("cronExpression", "timezone")),
    Column("endDate", TEXT),
    Column("enabled", Boolean, nullable=False),
    *(Column(name, TEXT) for name in ("lastRunAt", "nextRunAt")),
    *(Column(name, TEXT, nullable=False) for name in ("createdDate", "updatedDate")),
)
"""The schedule that a flow begins by. Whoever moves `nextRunAt` on has the right to that run."""

firing = Table(
    "firing",
    metadata,
    Column("position", NUMBER, primary_key=True, autoincrement=True),
    Column("id", TEXT, nullable=False, unique=True),
    Column("scheduleRecordId", TEXT, nullable=False),
    Column("chatflowid", TEXT, ForeignKey("flow.id", ondelete="CASCADE"), nullable=False),
    *(Column(name, TEXT) for name in ("run", "executionId")),
    Column("status", TEXT, nullable=False),
    Column("error", TEXT),
    Column("elapsedTimeMs", NUMBER),
    *(Column(name, TEXT, nullable=False) for name in ("scheduledAt", "createdDate")),
    Index("firing_flow", "chatflowid", "position"),
    Index("firing_status", "status"),
)
"""The times that schedules came to: the run of each, or the reason for which there was none."""

run_events = Table(
    "run_events",
    metadata,
    Column("run", TEXT, primary_key=True),
    Column("first", NUMBER, primary_key=True),
    Column("count", NUMBER, nullable=False),
    Column("compact", Boolean, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("times", LargeBinary),
)
"""Events `first` to `first + count - 1` of a run: JSON, one event a line; or, compact, one piece of text for all.

`times` says when they were written, in milliseconds after the run was opened, four bytes (little-endian) for each;
compact, only that of the last.
"""

note = Table(
    "note",
    metadata,
    Column("chatflowid", TEXT, ForeignKey("flow.id", ondelete="CASCADE"), primary_key=True),
    Column("sessionId", TEXT, primary_key=True),
    Column("name", TEXT, primary_key=True),
    Column("text", TEXT, nullable=False),
)
"""Notes of memories on a session. A trigger deletes a session's notes when one of its messages is deleted."""

run_order = Table(
    "run_order",
    metadata,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("owner", TEXT, nullable=False),
    Column("run", TEXT, nullable=False),
    Column("kind", TEXT, nullable=False),
    Index("run_order_owner", "owner"),
)
"""Orders of other processes to the owner of a run."""

process = Table(
    "process",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("seen", DateTime(timezone=True), nullable=False),
)
"""Processes on one PostgreSQL, and when each gave a sign of life last, by the database's clock."""

seal = Table("seal", metadata, Column("digest", TEXT, primary_key=True))
"""One row on PostgreSQL: stands for the key that all servers seal secrets with."""


def _history(name: str, owner: str) -> Table:
    return Table(
        name,
        metadata,
        Column("position", NUMBER, primary_key=True, autoincrement=True),
        Column("id", TEXT, nullable=False, unique=True),
        Column("chatflowid", TEXT, ForeignKey(f"{owner}.id", ondelete="CASCADE"), nullable=False),
        *(Column(column, TEXT, nullable=False) for column in ("result", "flowData", "date")),
        Index(f"{name}_flow", "chatflowid", "position"),
    )


upsert_history = _history("upsert_history", "flow")
store_upsert_history = _history("store_upsert_history", "document_store")
"""The same of document stores, whose ids are in the column that has the flows'."""

document_store = Table(
    "document_store",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("description", TEXT),
    Column("status", TEXT, nullable=False),
    Column("vectorStoreConfig", TEXT),
    Column("embeddingConfig", TEXT),
    Column("recordManagerConfig", TEXT),
    Column("version", NUMBER, nullable=False),
    Column("owner", TEXT),
    Column("progress", TEXT),
    Column("createdDate", TEXT, nullable=False),
    Column("updatedDate", TEXT, nullable=False),
)
"""`version` counts changes of the chunks, `owner` is the process that upserts them, `progress` what that has done."""

document_loader = Table(
    "document_loader",
    metadata,
    Column("position", NUMBER, primary_key=True, autoincrement=True),
    Column("id", TEXT, nullable=False, unique=True),
    Column("storeId", TEXT, ForeignKey("document_store.id", ondelete="CASCADE"), nullable=False),
    Column("loaderId", TEXT, nullable=False),
    Column("loaderName", TEXT, nullable=False),
    Column("loaderConfig", TEXT, nullable=False),
    Column("splitterId", TEXT, nullable=False),
    Column("splitterName", TEXT, nullable=False),
    Column("splitterConfig", TEXT, nullable=False),
    Column("credential", TEXT),
    Column("files", TEXT, nullable=False),
    Column("folder", TEXT, nullable=False),
    Column("fingerprint", TEXT, nullable=False),
    Column("status", TEXT, nullable=False),
    Column("totalChunks", NUMBER, nullable=False),
    Column("totalChars", NUMBER, nullable=False),
    Column("failures", TEXT, nullable=False),
    Column("attempt", NUMBER, nullable=False),
    Column("generation", NUMBER, nullable=False),
    Column("processed", NUMBER, nullable=False),
    Column("owner", TEXT),
    Column("stored", Boolean, nullable=False, server_default=false()),
    Column("failed", NUMBER, nullable=False, server_default="0"),
    Index("document_loader_store", "storeId", "position"),
)
"""`attempt` numbers the times that it was processed, `generation` is the one whose chunks count, `processed` how many
chunks the newest has, `owner` the process at it; `folder` holds its files, `fingerprint` stands for all of it. `stored`
says whether the vector store has its chunks as they are, `failed` how many documents failed, of which `failures` names
the first."""

document_chunk = Table(
    "document_chunk",
    metadata,
    Column("position", NUMBER, primary_key=True, autoincrement=True),
    Column("id", TEXT, nullable=False, unique=True),
    Column("docId", TEXT, ForeignKey("document_loader.id", ondelete="CASCADE"), nullable=False),
    Column("generation", NUMBER, nullable=False),
    Column("chunkNo", NUMBER, nullable=False),
    Column("pageContent", TEXT, nullable=False),
    Column("metadata", TEXT, nullable=False),
    Index("document_chunk_loader", "docId", "generation", "chunkNo"),
)
"""Chunks of document stores. Those of another generation than their loader's are no longer or not yet there."""

upsert_record = Table(
    "upsert_record",
    metadata,
    Column("position", NUMBER, primary_key=True, autoincrement=True),
    Column("tableName", TEXT, nullable=False),
    Column("namespace", TEXT, nullable=False),
    Column("key", TEXT, nullable=False),
    Column("source", TEXT, nullable=False),
    Column("docId", TEXT, nullable=False),
    Column("seen", Float, nullable=False),
    Index("upsert_record_key", "tableName", "namespace", "key", unique=True),
    Index("upsert_record_source", "tableName", "namespace", "source", "seen"),
)
"""Record managers' records of passages in vector stores on other servers; `seen` orders the upserts."""
