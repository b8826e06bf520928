"""Everything that is kept, as typed rows. What predictions need of it is read once and kept in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar
from uuid import uuid4

import msgspec
from sqlalchemy import Boolean, Table, bindparam, case, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from headrace.errors import FlowNotFound, InvalidRequest, NotFound, StorageError
from headrace.schema import (
    ApiKey,
    CredentialRow,
    CustomTool,
    FlowRow,
    MemoryMessage,
    Message,
    Variable,
)
from headrace.storage import shared_seal, tables
from headrace.storage.database import Database
from headrace.storage.dialect import lacks_parent
from headrace.storage.encryption import Seal
from headrace.storage.key_secrets import hash_of, made_up
from headrace.storage.rows import MessageFilter, column, conditions, memory_message, record

_T = TypeVar("_T")
_HISTORY = (
    select(*(tables.message.c[name] for name in ("role", "content", "fileUploads", "chatId")))
    .add_columns(case((bindparam("tools", type_=Boolean), tables.message.c.usedTools)))
    .where(tables.message.c.chatflowid == bindparam("flow"), tables.message.c.sessionId == bindparam("session"))
    .order_by(tables.message.c.position)
)
_ADD_MESSAGE = insert(tables.message)
_REVISION = select(tables.revision.c.number)
ADMIN = "*"
"""The permission that includes all others."""


def timestamp(seconds: float | None = None) -> str:
    """A time as Flowise writes it: ISO 8601, UTC, milliseconds, `Z`."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


class Storage:
    """The data folder with its `secret.key`, and the database: `headrace.sqlite` in it, or PostgreSQL."""

    def __init__(self, folder: Path, url: str = "", secret: str = "") -> None:
        """Opens the folder and the database, making what is missing. Blocking.

        `secret` is the key in place of the file's. Raises StorageError, UnusableDatabase.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._seal = Seal(folder / "secret.key", secret)
            self._database = Database(url or folder / "headrace.sqlite")
        except OSError as error:
            raise StorageError(f"the data folder {str(folder)!r} cannot be used: {error.strerror}") from None
        if url:
            try:
                shared_seal.check(self._database, self._seal)
            except StorageError:
                self._database.close()
                raise
        self.folder, self._revision, self._seen = folder, 0, -1
        self._looking = asyncio.Lock()
        self._flows: dict[str, FlowRow] = {}
        self._secrets: dict[str, Mapping[str, str]] = {}
        self._variables: list[Variable] | None = None
        self._keys: dict[str, ApiKey] | None = None

    def close(self) -> None:
        """Writes what is waiting, then closes the file."""
        self._database.close()

    @property
    def seal(self) -> Seal:
        """The seal of this folder's key."""
        return self._seal

    @property
    def database(self) -> Database:
        """The database itself, for what is not a row of flows or messages."""
        return self._database

    @property
    def revision(self) -> int:
        """Another number after every change of a flow, a credential, a variable or a key that `refresh` has seen."""
        return self._revision

    async def refresh(self) -> None:
        """Forgets what is kept in memory if anyone, in any process, has changed it. Call it once a request.

        Reads nothing as long as nobody has committed anything; those who come together read once. Raises StorageError.
        """
        if self._database.version() == self._seen:
            return
        async with self._looking:
            version = self._database.version()  # before the read: a later change makes it another one again
            if version == self._seen:
                return
            number = await self._database.read(lambda c: c.execute(_REVISION).scalar_one())
            self._seen = version
            if number != self._revision:
                self._revision = number
                self._flows, self._secrets = {}, {}
                self._variables = self._keys = None

    # Flows

    async def flow(self, flow_id: str) -> FlowRow:
        """The flow; the same object until something changes. Raises FlowNotFound."""
        kept = self._flows  # a change during the read puts another one in its place
        if found := kept.get(flow_id):
            return found
        row = await self._one(tables.flow, flow_id, FlowRow)
        if row is None:
            raise FlowNotFound(f"there is no flow {flow_id!r} on this server")
        kept[flow_id] = row
        return row

    async def flows(self, kind: str | None = None) -> list[FlowRow]:
        """All flows, newest change first, of one type or of all."""
        statement = select(tables.flow).order_by(tables.flow.c.updatedDate.desc(), tables.flow.c.name)
        if kind:
            statement = statement.where(tables.flow.c.type == kind)
        return await self._database.scan(lambda c: [record(row, FlowRow) for row in c.execute(statement).mappings()])

    async def add_flow(self, row: FlowRow) -> FlowRow:
        """Stores a new flow; an empty id gets one, empty dates are now. Raises InvalidRequest when the id is taken."""
        new = msgspec.structs.replace(row, id=row.id or str(uuid4()), **_dates(row))
        await self._insert(tables.flow, msgspec.structs.asdict(new), f"there is a flow with the id {new.id!r} already")
        return new

    async def change_flow(self, flow_id: str, changes: Mapping[str, Any]) -> FlowRow:
        """Stores changed columns. Raises FlowNotFound."""
        values = {**changes, "updatedDate": timestamp()}
        await self._changed(tables.flow, flow_id, values, FlowNotFound(f"there is no flow {flow_id!r} on this server"))
        return await self.flow(flow_id)

    async def delete_flow(self, flow_id: str) -> None:
        """Deletes the flow with its messages. Raises FlowNotFound."""
        await self._delete(tables.flow, flow_id, FlowNotFound(f"there is no flow {flow_id!r} on this server"))

    # Credentials

    async def secrets(self, credential_id: str) -> Mapping[str, str]:
        """The fields of a credential. Raises NotFound."""
        kept = self._secrets
        if (found := kept.get(credential_id)) is not None:
            return found
        statement = select(tables.credential.c.sealed).where(tables.credential.c.id == credential_id)
        sealed = await self._database.read(lambda c: c.execute(statement).scalar_one_or_none())
        if sealed is None:
            raise NotFound(f"there is no credential {credential_id!r}")
        opened = msgspec.json.decode(self._seal.open(sealed, credential_id), type=dict[str, str])
        kept[credential_id] = opened
        return opened

    async def credentials(self) -> list[CredentialRow]:
        """All credentials without their secrets."""
        table = tables.credential
        statement = select(table).order_by(table.c.name)
        return await self._database.read(
            lambda c: [record(row, CredentialRow) for row in c.execute(statement).mappings()]
        )

    async def credential(self, credential_id: str) -> CredentialRow:
        """One credential without its secrets. Raises NotFound."""
        row = await self._one(tables.credential, credential_id, CredentialRow)
        if row is None:
            raise NotFound(f"there is no credential {credential_id!r}")
        return row

    async def add_credential(self, name: str, kind: str, fields: Mapping[str, str]) -> CredentialRow:
        """Seals and stores a credential."""
        now = timestamp()
        row = CredentialRow(str(uuid4()), name, kind, now, now)
        sealed = self.sealed(fields, row.id)
        await self._insert(tables.credential, {**msgspec.structs.asdict(row), "sealed": sealed}, "")
        return row

    def sealed(self, fields: Mapping[str, str], credential_id: str) -> bytes:
        """A credential's fields as the database holds them."""
        return self._seal.close(msgspec.json.encode(fields), credential_id)

    async def change_credential(self, credential_id: str, name: str, fields: Mapping[str, str]) -> CredentialRow:
        """Renames a credential and seals these fields in place of its old ones. Raises NotFound."""
        values = {
            "name": name,
            "sealed": self.sealed(fields, credential_id),
            "updatedDate": timestamp(),
        }
        missing = NotFound(f"there is no credential {credential_id!r}")
        await self._changed(tables.credential, credential_id, values, missing)
        return await self.credential(credential_id)

    async def delete_credential(self, credential_id: str) -> None:
        """Deletes a credential. Raises NotFound."""
        await self._delete(tables.credential, credential_id, NotFound(f"there is no credential {credential_id!r}"))

    # Variables

    async def variables(self) -> list[Variable]:
        """All variables by name."""
        if self._variables is not None:
            return self._variables
        seen, statement = self._revision, select(tables.variable).order_by(tables.variable.c.name)
        found = await self._database.read(lambda c: [record(row, Variable) for row in c.execute(statement).mappings()])
        if seen == self._revision:
            self._variables = found
        return found

    async def add_variable(
        self, name: str, value: str | None, kind: Literal["static", "runtime"], created: str = "", updated: str = ""
    ) -> Variable:
        """Stores a variable; without dates it is from now. Raises InvalidRequest when the name is taken."""
        new = Variable(str(uuid4()), name, value, kind, created, updated)
        new = msgspec.structs.replace(new, **_dates(new))
        await self._insert(tables.variable, msgspec.structs.asdict(new), f"there is a variable {name!r} already")
        return new

    async def change_variable(self, variable_id: str, changes: Mapping[str, Any]) -> Variable:
        """Stores changed columns. Raises NotFound."""
        missing = NotFound(f"there is no variable {variable_id!r}")
        await self._changed(tables.variable, variable_id, {**changes, "updatedDate": timestamp()}, missing)
        row = await self._one(tables.variable, variable_id, Variable)
        assert row
        return row

    async def delete_variable(self, variable_id: str) -> None:
        """Deletes a variable. Raises NotFound."""
        await self._delete(tables.variable, variable_id, NotFound(f"there is no variable {variable_id!r}"))

    # Tools

    async def tool(self, tool_id: str) -> CustomTool:
        """A tool that somebody wrote. Raises NotFound."""
        row = await self._one(tables.tool, tool_id, CustomTool)
        if row is None:
            raise NotFound(f"there is no tool {tool_id!r} on this server")
        return row

    async def tools(self) -> list[CustomTool]:
        """All tools by name."""
        statement = select(tables.tool).order_by(tables.tool.c.name)
        return await self._database.read(lambda c: [record(row, CustomTool) for row in c.execute(statement).mappings()])

    async def add_tool(self, tool: CustomTool) -> CustomTool:
        """Stores a new tool; an empty id gets one, empty dates are now. Raises InvalidRequest when the id is taken."""
        new = msgspec.structs.replace(tool, id=tool.id or str(uuid4()), **_dates(tool))
        await self._insert(tables.tool, msgspec.structs.asdict(new), f"there is a tool with the id {new.id!r} already")
        return new

    async def change_tool(self, tool_id: str, changes: Mapping[str, Any]) -> CustomTool:
        """Stores changed columns. Raises NotFound."""
        missing = NotFound(f"there is no tool {tool_id!r} on this server")
        await self._changed(tables.tool, tool_id, {**changes, "updatedDate": timestamp()}, missing)
        return await self.tool(tool_id)

    async def delete_tool(self, tool_id: str) -> None:
        """Deletes a tool. Raises NotFound."""
        await self._delete(tables.tool, tool_id, NotFound(f"there is no tool {tool_id!r} on this server"))

    # API keys

    async def key(self, token: str) -> ApiKey | None:
        """The key that a caller holds, if there is one."""
        found = self._keys
        if found is None:
            seen, statement = self._revision, select(tables.api_key)
            rows = await self._database.read(lambda c: c.execute(statement).mappings().all())
            found = {row["hash"]: record(row, ApiKey) for row in rows}
            if seen == self._revision:
                self._keys = found
        return found.get(hash_of(token))

    async def keys(self) -> list[ApiKey]:
        """All keys, without the keys themselves."""
        statement = select(tables.api_key).order_by(tables.api_key.c.createdDate)
        return await self._database.read(lambda c: [record(row, ApiKey) for row in c.execute(statement).mappings()])

    async def add_key(
        self, name: str, permissions: Sequence[str], token: str | None = None, *, key_id: str | None = None
    ) -> ApiKey:
        """Makes a key, or stores a given one; the answer is the only place that ever holds the key itself."""
        token = token or made_up()
        key = ApiKey(key_id or str(uuid4()), name, list(permissions), timestamp(), token)
        text = msgspec.json.encode(key.permissions).decode()
        values = {"id": key.id, "keyName": name, "hash": hash_of(token), "createdDate": key.createdDate}
        await self._insert(tables.api_key, {**values, "permissions": text}, "this key exists already")
        return key

    async def change_key(self, key_id: str, changes: Mapping[str, Any]) -> None:
        """Stores changed columns; the key itself is changed by its `hash`. Raises NotFound."""
        values = {k: v if isinstance(v, str) else msgspec.json.encode(v).decode() for k, v in changes.items()}
        await self._changed(tables.api_key, key_id, values, NotFound(f"there is no API key {key_id!r}"))

    async def rotate_key(self, key_id: str) -> str:
        """Gives a key another secret, and returns that: the only place that ever holds it. Raises NotFound."""
        secret = made_up()
        await self.change_key(key_id, {"hash": hash_of(secret)})
        return secret

    async def delete_key(self, key_id: str) -> None:
        """Deletes a key. Raises NotFound, and InvalidRequest while a flow is bound to it."""
        await self._delete(tables.api_key, key_id, NotFound(f"there is no API key {key_id!r}"))

    # Messages

    async def history(self, flow_id: str, session_id: str, *, tools: bool = False) -> list[MemoryMessage]:
        """The turns of a session, oldest first; `tools` asks for the used tools too."""
        values = {"flow": flow_id, "session": session_id, "tools": tools}
        return await self._database.read(lambda c: [memory_message(*row) for row in c.execute(_HISTORY, values)])

    async def messages(self, flow_id: str, wanted: MessageFilter, *, newest_first: bool = False) -> list[Message]:
        """Messages of a flow in the order they were stored."""
        position = tables.message.c.position
        statement = select(tables.message).where(*conditions(flow_id, wanted))
        statement = statement.order_by(position.desc() if newest_first else position)
        return await self._database.scan(lambda c: [record(row, Message) for row in c.execute(statement).mappings()])

    async def add_messages(self, rows: Sequence[Message]) -> None:
        """Stores messages, all or none. Raises FlowNotFound when their flow has been deleted."""
        values = [{key: column(key, item) for key, item in msgspec.structs.asdict(row).items()} for row in rows]
        try:
            await self._database.write(lambda c: c.execute(_ADD_MESSAGE, values))
        except IntegrityError as error:
            if not lacks_parent(error):
                raise
            raise FlowNotFound("the flow was deleted during the run: its messages are gone") from None

    async def has_message(self, message_id: str) -> bool:
        """True when the message is stored."""
        statement = select(tables.message.c.id).where(tables.message.c.id == message_id)
        return await self._database.read(lambda c: c.execute(statement).first() is not None)

    async def delete_messages(self, flow_id: str, wanted: MessageFilter) -> int:
        """Deletes messages of a flow and says how many."""
        statement = delete(tables.message).where(*conditions(flow_id, wanted))
        return await self._database.write(lambda c: c.execute(statement).rowcount)

    # What all tables share

    async def _one(self, table: Table, row_id: str, kind: type[_T]) -> _T | None:
        statement = select(table).where(table.c.id == row_id)
        row = await self._database.read(lambda c: c.execute(statement).mappings().one_or_none())
        return None if row is None else record(row, kind)

    async def _insert(self, table: Table, values: Mapping[str, Any], taken: str) -> None:
        try:
            await self._database.write(lambda c: c.execute(insert(table), values))
        except IntegrityError as error:
            raise InvalidRequest(_violation(error, taken)) from None
        await self.refresh()

    async def _changed(self, table: Table, row_id: str, values: Mapping[str, Any], missing: NotFound) -> None:
        statement = update(table).where(table.c.id == row_id).values(**values)
        try:
            count = await self._database.write(lambda c: c.execute(statement).rowcount)
        except IntegrityError as error:
            raise InvalidRequest(_violation(error, "this name is taken")) from None
        if not count:
            raise missing
        await self.refresh()

    async def _delete(self, table: Table, row_id: str, missing: NotFound) -> None:
        statement = delete(table).where(table.c.id == row_id)
        try:
            count = await self._database.write(lambda c: c.execute(statement).rowcount)
        except IntegrityError:
            raise InvalidRequest("a flow is bound to this key: take the key off the flow first") from None
        if not count:
            raise missing
        await self.refresh()


def _dates(row: FlowRow | CustomTool | Variable) -> dict[str, str]:
    now = timestamp()
    return {"createdDate": row.createdDate or now, "updatedDate": row.updatedDate or row.createdDate or now}


def _violation(error: IntegrityError, taken: str) -> str:
    return "there is no API key with this apikeyid" if lacks_parent(error) else taken
