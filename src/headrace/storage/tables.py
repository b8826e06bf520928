"""The tables. The schema itself is made by the migrations; a test holds both together."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    false,
)

metadata = MetaData()

flow = Table(
    "flow",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("flowData", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("workspaceId", Text),
    Column("deployed", Boolean),
    Column("isPublic", Boolean),
    Column("apikeyid", Text, ForeignKey("api_key.id", ondelete="RESTRICT")),
    Column("chatbotConfig", Text),
    Column("apiConfig", Text),
    Column("analytic", Text),
    Column("speechToText", Text),
    Column("textToSpeech", Text),
    Column("followUpPrompts", Text),
    Column("category", Text),
    Column("mcpServerConfig", Text),
    Column("createdDate", Text, nullable=False),
    Column("updatedDate", Text, nullable=False),
)

credential = Table(
    "credential",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("credentialName", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("createdDate", Text, nullable=False),
    Column("updatedDate", Text, nullable=False),
)

variable = Table(
    "variable",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("value", Text),
    Column("type", Text, nullable=False),
    Column("createdDate", Text, nullable=False),
    Column("updatedDate", Text, nullable=False),
)

tool = Table(
    "tool",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("color", Text, nullable=False),
    Column("iconSrc", Text),
    Column("schema", Text),
    Column("func", Text),
    Column("createdDate", Text, nullable=False),
    Column("updatedDate", Text, nullable=False),
)

api_key = Table(
    "api_key",
    metadata,
    Column("id", Text, primary_key=True),
    Column("keyName", Text, nullable=False),
    Column("permissions", Text, nullable=False),
    Column("hash", Text, nullable=False, unique=True),
    Column("createdDate", Text, nullable=False),
)

key_use = Table(
    "key_use",
    metadata,
    Column("key", Text, ForeignKey("api_key.id", ondelete="CASCADE"), primary_key=True),
    Column("date", Text, nullable=False),
)
"""When each key was used last. A table of its own: a change of `api_key` empties every process's cache of keys."""

message = Table(
    "message",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("chatflowid", Text, ForeignKey("flow.id", ondelete="CASCADE"), nullable=False),
    Column("content", Text, nullable=False),
    Column("chatId", Text, nullable=False),
    Column("sessionId", Text, nullable=False),
    Column("createdDate", Text, nullable=False),
    Column("executionId", Text),
    Column("sourceDocuments", Text),
    Column("usedTools", Text),
    Column("fileAnnotations", Text),
    Column("agentReasoning", Text),
    Column("reasonContent", Text),
    Column("fileUploads", Text),
    Column("artifacts", Text),
    Column("action", Text),
    Column("chatType", Text, nullable=False),
    Column("memoryType", Text),
    Column("leadEmail", Text),
    Column("followUpPrompts", Text),
    Column("aborted", Boolean),
    Index("message_session", "chatflowid", "sessionId", "position"),
    Index("message_chat", "chatflowid", "chatId", "position"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("messageId", Text, ForeignKey("message.id", ondelete="CASCADE"), nullable=False, unique=True),
    Column("rating", Text, nullable=False),
    Column("content", Text),
    Column("createdDate", Text, nullable=False),
)

lead = Table(
    "lead",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("chatflowid", Text, ForeignKey("flow.id", ondelete="CASCADE"), nullable=False),
    Column("chatId", Text, nullable=False),
    Column("name", Text),
    Column("email", Text),
    Column("phone", Text),
    Column("createdDate", Text, nullable=False),
    Index("lead_flow", "chatflowid", "position"),
)

revision = Table("revision", metadata, Column("number", Integer, primary_key=True))
"""One row, counted up by triggers on flow, credential, variable and api_key: says when to read them anew."""

run = Table(
    "run",
    metadata,
    Column("id", Text, primary_key=True),
    Column("chatflowid", Text, nullable=False),
    Column("chatId", Text, nullable=False),
    Column("sessionId", Text, nullable=False),
    Column("chatMessageId", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("createdDate", Text, nullable=False),
    Column("endedDate", Text),
    Column("lastSeq", Integer, nullable=False),
    Column("usage", Text),
    Column("error", Text),
    Column("code", Text),
    Column("owner", Text, nullable=False),
    Column("watched", Boolean, nullable=False),
    Column("size", Integer, nullable=False),
    Column("idempotencyKey", Text),
    Column("requestHash", Text),
    Column("job", LargeBinary),
    Column("crashes", Integer, nullable=False, server_default="0"),
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
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("run", Text, nullable=False),
    Column("agentflowId", Text, ForeignKey("flow.id", ondelete="CASCADE"), nullable=False),
    Column("sessionId", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("executionData", Text, nullable=False),
    Column("action", Text),
    Column("isPublic", Boolean),
    Column("createdDate", Text, nullable=False),
    Column("updatedDate", Text, nullable=False),
    Column("stoppedDate", Text),
    Column("workspaceId", Text),
    Column("progress", Text),
    Column("flowData", Text),
    Column("job", LargeBinary),
    Index("execution_session", "agentflowId", "sessionId", "position"),
    Index("execution_run", "run"),
)
"""Executions of agent flows. `run` is the run that goes on with it, or was the last one to; `progress` and `flowData`
are where it is and the flow as it was, until nothing can go on from there."""

webhook_secret = Table(
    "webhook_secret",
    metadata,
    Column("flow", Text, ForeignKey("flow.id", ondelete="CASCADE"), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)

schedule = Table(
    "schedule",
    metadata,
    Column("id", Text, primary_key=True),
    Column("chatflowid", Text, ForeignKey("flow.id", ondelete="CASCADE"), nullable=False, unique=True),
    Column("cronExpression", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("endDate", Text),
    Column("enabled", Boolean, nullable=False),
    Column("lastRunAt", Text),
    Column("nextRunAt", Text),
    Column("createdDate", Text, nullable=False),
    Column("updatedDate", Text, nullable=False),
)
"""The schedule that a flow begins by. Whoever moves `nextRunAt` on has the right to that run."""

firing = Table(
    "firing",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("scheduleRecordId", Text, nullable=False),
    Column("chatflowid", Text, ForeignKey("flow.id", ondelete="CASCADE"), nullable=False),
    Column("run", Text),
    Column("executionId", Text),
    Column("status", Text, nullable=False),
    Column("error", Text),
    Column("elapsedTimeMs", Integer),
    Column("scheduledAt", Text, nullable=False),
    Column("createdDate", Text, nullable=False),
    Index("firing_flow", "chatflowid", "position"),
    Index("firing_status", "status"),
)
"""The times that schedules came to: the run of each, or the reason for which there was none."""

run_events = Table(
    "run_events",
    metadata,
    Column("run", Text, primary_key=True),
    Column("first", Integer, primary_key=True),
    Column("count", Integer, nullable=False),
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
    Column("chatflowid", Text, ForeignKey("flow.id", ondelete="CASCADE"), primary_key=True),
    Column("sessionId", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("text", Text, nullable=False),
)
"""Notes of memories on a session. A trigger deletes a session's notes when one of its messages is deleted."""

run_order = Table(
    "run_order",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("owner", Text, nullable=False),
    Column("run", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Index("run_order_owner", "owner"),
)
"""Orders of other processes to the owner of a run."""


def _history(name: str, owner: str) -> Table:
    return Table(
        name,
        metadata,
        Column("position", Integer, primary_key=True, autoincrement=True),
        Column("id", Text, nullable=False, unique=True),
        Column("chatflowid", Text, ForeignKey(f"{owner}.id", ondelete="CASCADE"), nullable=False),
        *(Column(column, Text, nullable=False) for column in ("result", "flowData", "date")),
        Index(f"{name}_flow", "chatflowid", "position"),
    )


upsert_history = _history("upsert_history", "flow")
store_upsert_history = _history("store_upsert_history", "document_store")
"""The same of document stores, whose ids are in the column that has the flows'."""

document_store = Table(
    "document_store",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("status", Text, nullable=False),
    Column("vectorStoreConfig", Text),
    Column("embeddingConfig", Text),
    Column("recordManagerConfig", Text),
    Column("version", Integer, nullable=False),
    Column("owner", Text),
    Column("progress", Text),
    Column("createdDate", Text, nullable=False),
    Column("updatedDate", Text, nullable=False),
)
"""`version` counts changes of the chunks, `owner` is the process that upserts them, `progress` what that has done."""

document_loader = Table(
    "document_loader",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("storeId", Text, ForeignKey("document_store.id", ondelete="CASCADE"), nullable=False),
    Column("loaderId", Text, nullable=False),
    Column("loaderName", Text, nullable=False),
    Column("loaderConfig", Text, nullable=False),
    Column("splitterId", Text, nullable=False),
    Column("splitterName", Text, nullable=False),
    Column("splitterConfig", Text, nullable=False),
    Column("credential", Text),
    Column("files", Text, nullable=False),
    Column("folder", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("totalChunks", Integer, nullable=False),
    Column("totalChars", Integer, nullable=False),
    Column("failures", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("processed", Integer, nullable=False),
    Column("owner", Text),
    Column("stored", Boolean, nullable=False, server_default=false()),
    Column("failed", Integer, nullable=False, server_default="0"),
    Index("document_loader_store", "storeId", "position"),
)
"""`attempt` numbers the times that it was processed, `generation` is the one whose chunks count, `processed` how many
chunks the newest has, `owner` the process at it; `folder` holds its files, `fingerprint` stands for all of it. `stored`
says whether the vector store has its chunks as they are, `failed` how many documents failed, of which `failures` names
the first."""

document_chunk = Table(
    "document_chunk",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("docId", Text, ForeignKey("document_loader.id", ondelete="CASCADE"), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("chunkNo", Integer, nullable=False),
    Column("pageContent", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Index("document_chunk_loader", "docId", "generation", "chunkNo"),
)
"""Chunks of document stores. Those of another generation than their loader's are no longer or not yet there."""

upsert_record = Table(
    "upsert_record",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("tableName", Text, nullable=False),
    Column("namespace", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("docId", Text, nullable=False),
    Column("seen", Float, nullable=False),
    Index("upsert_record_key", "tableName", "namespace", "key", unique=True),
    Index("upsert_record_source", "tableName", "namespace", "source", "seen"),
)
"""Record managers' records of passages in vector stores on other servers; `seen` orders the upserts."""
