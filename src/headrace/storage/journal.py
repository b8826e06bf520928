"""Runs and their events in the database: the statements, each a function over a connection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from math import inf
from struct import pack, unpack
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, bindparam, delete, exists, func, insert, select, update

from headrace.events import End, Error, Token, decode, encode
from headrace.schema import RunInfo
from headrace.storage import executions
from headrace.storage.dialect import Rows
from headrace.storage.tables import run, run_events, run_order

_EVENTS = Rows(
    run_events, {"run": "text", "first": "int8", "count": "int8", "data": "bytea", "times": "bytea", "compact": "bool"}
)
_LOST = 1_000_000
"""Numbers left free where a crash cut a run off: a reader may have had events that went with the last group, and must
still find the ending after them."""
_INFO = [column for column in run.c if column.name in RunInfo.__struct_fields__]
# Statements that every run needs are made once: making one costs several times what SQLite takes to carry it out.
_ADD_RUN = insert(run).from_select(
    [column.name for column in run.c],
    select(*(bindparam(column.name, None, column.type) for column in run.c)).where(
        ~exists().where(run.c.id == bindparam("id"))
    ),
)
_END_RUN = (
    update(run)
    .where(run.c.id == bindparam("ended"))
    .values(
        {column.name: bindparam(column.name) for column in _INFO if column.name != "id"}
        | {"size": bindparam("size"), "job": None}
    )
)


_NO_TERMS = {"watched": False, "idempotencyKey": None, "requestHash": None, "job": None}


class Piece(NamedTuple):
    """Events that follow each other, on their way into the database: one event a line."""

    run: str
    first: int
    events: int
    data: bytes
    times: bytes | None = None


class Snapshot(msgspec.Struct):
    """Consecutive tokens joined into one: their text, and the number of characters of each."""

    text: str
    lengths: list[int]


def add_run(c: Connection, info: RunInfo, owner: str, **more: Any) -> None:
    """Stores a run that begins; does nothing when it is stored already. Raises IntegrityError for a used key."""
    c.execute(_ADD_RUN, _begun(info, owner) | more)


def add_runs(c: Connection, infos: Sequence[RunInfo], owner: str) -> None:
    """Stores runs that begin, but those that are stored already."""
    c.execute(_ADD_RUN, [_begun(info, owner) for info in infos])


def _begun(info: RunInfo, owner: str) -> dict[str, Any]:
    return {**_row(info), "owner": owner, "size": 0, "crashes": 0, **_NO_TERMS}


def end_runs(c: Connection, ended: Sequence[tuple[RunInfo, int]]) -> None:
    """Stores how runs ended, each with the bytes of its events."""
    c.execute(_END_RUN, [{**_row(info), "ended": info.id, "size": size} for info, size in ended])


def add_pieces(c: Connection, pieces: Sequence[Piece]) -> None:
    """Stores events of any runs."""
    _EVENTS.insert(c, [(*piece, False) for piece in pieces])


def events_after(
    c: Connection, run_id: str, after: int, most: int = 200, most_bytes: float = 256 * 1024
) -> list[tuple[int, bytes]]:
    """Numbers and JSON of events after number `after`: those of at most `most` rows, and of no more once these have so
    many bytes."""
    rows = c.execute(
        select(run_events)
        .where(run_events.c.run == run_id, run_events.c.first + run_events.c.count > after + 1)
        .order_by(run_events.c.first)
        .limit(most)
    )
    found: list[tuple[int, bytes]] = []
    size = 0
    for row in rows:
        if size >= most_bytes:
            break
        size += len(row.data)
        lines = [_rest(row.data, row.first, after)] if row.compact else row.data.split(b"\n")
        first = row.first + row.count - 1 if row.compact else row.first
        found += [(seq, line) for seq, line in enumerate(lines, first) if seq > after]
    rows.close()
    return found


def _rest(data: bytes, first: int, after: int) -> bytes:
    """One token with what a reader has not had of a snapshot."""
    snapshot = msgspec.json.decode(data, type=Snapshot)
    had = sum(snapshot.lengths[: max(0, after - first + 1)])
    return encode(Token(snapshot.text[had:]))


def times_between(c: Connection, run_id: str, first: int, last: int) -> dict[int, int]:
    """The times at which events were written, by number, as far as known."""
    columns = run_events.c.first, run_events.c.count, run_events.c.times
    rows = c.execute(
        select(*columns).where(
            run_events.c.run == run_id, run_events.c.first + run_events.c.count > first, run_events.c.first <= last
        )
    )
    found: dict[int, int] = {}
    for row in rows:
        times = unpack(f"<{len(row.times or b'') // 4}I", row.times or b"")
        found |= enumerate(times, row.first + row.count - len(times))
    return {seq: at for seq, at in found.items() if first <= seq <= last}


def info_of(c: Connection, run_id: str) -> RunInfo | None:
    """A run's state; `lastSeq` counts the stored events."""
    row = c.execute(select(*_INFO).where(run.c.id == run_id)).mappings().first()
    if row is None:
        return None
    info = _info(row)
    if info.state == "running":
        info.lastSeq = _last_seq(c, run_id)
    return info


def _last_seq(c: Connection, run_id: str) -> int:
    last = select(func.max(run_events.c.first + run_events.c.count - 1)).where(run_events.c.run == run_id)
    return c.execute(last).scalar_one() or 0


def chat_runs(c: Connection, flow: str, chat: str) -> list[RunInfo]:
    """The runs of a chat, newest first."""
    statement = select(*_INFO).where(run.c.chatflowid == flow, run.c.chatId == chat)
    return [_info(row) for row in c.execute(statement.order_by(run.c.createdDate.desc()).limit(100)).mappings()]


def session_runs(c: Connection, flow: str, session: str, but: str) -> list[str]:
    """Ids of the runs of a session that go on, oldest first, without the one given."""
    statement = select(run.c.id).where(
        run.c.chatflowid == flow, run.c.sessionId == session, run.c.state == "running", run.c.id != but
    )
    return list(c.execute(statement.order_by(run.c.createdDate)).scalars())


def keyed_run(c: Connection, flow: str, key: str) -> tuple[str, str, str | None] | None:
    """Id, digest of the request and error code of the run that an Idempotency-Key of a flow stands for."""
    statement = select(run.c.id, run.c.requestHash, run.c.code).where(
        run.c.chatflowid == flow, run.c.idempotencyKey == key
    )
    row = c.execute(statement).first()
    return None if row is None else (row[0], row[1], row[2])


def free_key(c: Connection, run_id: str) -> None:
    """Takes the Idempotency-Key off a run."""
    c.execute(update(run).where(run.c.id == run_id).values(idempotencyKey=None))


class Owner(NamedTuple):
    """The process that has a run which goes on, and whether it wants to know of readers."""

    id: str
    watched: bool


def owner_of(c: Connection, run_id: str) -> Owner | None:
    """The owner of a run that goes on."""
    row = c.execute(select(run.c.owner, run.c.watched).where(run.c.id == run_id, run.c.state == "running")).first()
    return None if row is None else Owner(row[0], bool(row[1]))


def add_order(c: Connection, owner: str, run_id: str, kind: str) -> None:
    """Asks the owner of a run for something."""
    c.execute(insert(run_order), {"owner": owner, "run": run_id, "kind": kind})


def any_order(c: Connection, owner: str) -> bool:
    """True when there are orders for this process."""
    return c.execute(select(run_order.c.number).where(run_order.c.owner == owner).limit(1)).first() is not None


def take_orders(c: Connection, owner: str) -> list[tuple[str, Any]]:
    """Run and kind of every order for this process, once."""
    rows = c.execute(select(run_order).where(run_order.c.owner == owner).order_by(run_order.c.number)).all()
    if rows:
        c.execute(delete(run_order).where(run_order.c.number.in_([row.number for row in rows])))
    return [(row.run, row.kind) for row in rows]


def owners(c: Connection) -> list[str]:
    """Processes that have runs which go on."""
    return list(c.execute(select(run.c.owner).where(run.c.state == "running").distinct()).scalars())


def lost_runs(c: Connection, owner: str, ids: Sequence[str]) -> set[str]:
    """Those of these runs that another process has taken over."""
    statement = select(run.c.id).where(run.c.id.in_(ids), run.c.owner != owner)
    return set(c.execute(statement).scalars())


class Taken(NamedTuple):
    """A run that another process goes on with: its state, the bytes of its events, and its sealed job."""

    info: RunInfo
    size: int
    job: bytes


def take_runs(c: Connection, owner: str, heir: str, most_crashes: int) -> list[Taken]:
    """Makes the runs of a process that is gone another one's, as far as they have a job."""
    mine = (run.c.owner == owner, run.c.state == "running", run.c.job.is_not(None), run.c.crashes < most_crashes)
    found = {row.id: row.job for row in c.execute(select(run.c.id, run.c.job).where(*mine))}
    for run_id in found:
        c.execute(update(run).where(run.c.id == run_id).values(owner=heir, crashes=run.c.crashes + 1))
        c.execute(update(run_order).where(run_order.c.run == run_id).values(owner=heir))
    infos = [(info, job) for run_id, job in found.items() if (info := info_of(c, run_id))]
    return [Taken(info, _size(c, info.id), job) for info, job in infos]


def step_done(c: Connection, run_id: str) -> None:
    """Notes that a run has got further since its process died."""
    c.execute(update(run).where(run.c.id == run_id, run.c.crashes > 0).values(crashes=0))


def _size(c: Connection, run_id: str) -> int:
    size = select(func.sum(func.length(run_events.c.data))).where(run_events.c.run == run_id)
    return c.execute(size).scalar_one() or 0


def interrupt_runs(c: Connection, owner: str, heir: str, error: Error, now: str, most_crashes: int) -> int:
    """Closes the other runs of a process that is gone with `error` and `end`, and makes them another one's; says how
    many."""
    ending = encode(error) + b"\n" + encode(End())
    mine = (run.c.owner == owner, run.c.state == "running", run.c.job.is_(None) | (run.c.crashes >= most_crashes))
    ids = list(c.execute(select(run.c.id).where(*mine)).scalars())
    for run_id in ids:
        first = _last_seq(c, run_id) + _LOST + 1
        add_pieces(c, [Piece(run_id, first, 2, ending)])
        values = {"state": "failed", "error": error.data, "code": error.code, "endedDate": now, "owner": heir}
        values |= {"lastSeq": first + 1, "size": _size(c, run_id), "job": None}
        c.execute(update(run).where(run.c.id == run_id).values(values))
    executions.interrupt(c, ids, now)
    c.execute(delete(run_order).where(run_order.c.owner == owner))
    return len(ids)


def compactable(c: Connection, ended_before: str, keep_bytes: int) -> list[str]:
    """Ended runs whose events are older than wanted, or over the bytes that may be kept, oldest first."""
    ended = select(run.c.id, run.c.endedDate, run.c.size).where(run.c.endedDate.is_not(None), run.c.size > 0)
    rows = c.execute(ended.order_by(run.c.endedDate.desc())).all()
    found: list[str] = []
    kept = 0
    for row in rows:
        kept += row.size
        if row.endedDate < ended_before or kept > keep_bytes:
            found.append(row.id)
    return found[::-1]


def compact(c: Connection, run_id: str) -> None:
    """Makes one text of all tokens that follow each other; every number stays valid."""
    if not c.execute(select(run.c.size).where(run.c.id == run_id)).scalar():
        return  # another process was faster; the lengths of tokens that are one already would be lost
    entries = events_after(c, run_id, 0, 1_000_000_000, inf)
    events = [(seq - place, seq, data, decode(data)) for place, (seq, data) in enumerate(entries)]
    times = times_between(c, run_id, 1, entries[-1][0]) if entries else {}
    c.execute(delete(run_events).where(run_events.c.run == run_id))
    for (_, is_token), group in groupby(events, key=lambda item: (item[0], type(item[3]) is Token)):
        row = _compacted(run_id, [item[1:] for item in group], is_token=is_token)
        shown = range(row["first"] + (row["count"] - 1 if is_token else 0), row["first"] + row["count"])
        known = all(seq in times for seq in shown)
        c.execute(insert(run_events), {**row, "times": _packed([times[seq] for seq in shown]) if known else None})
    c.execute(update(run).where(run.c.id == run_id).values(size=0))


def _compacted(run_id: str, group: list[tuple[int, bytes, Any]], *, is_token: bool) -> dict[str, Any]:
    texts = [event.data for _, _, event in group] if is_token else []
    data = (
        msgspec.json.encode(Snapshot("".join(texts), [len(text) for text in texts]))
        if is_token
        else b"\n".join(data for _, data, _ in group)
    )
    return {"run": run_id, "first": group[0][0], "count": len(group), "compact": is_token, "data": data}


def remove_old(c: Connection, ended_before: str) -> int:
    """Forgets runs that ended before; says how many."""
    old = select(run.c.id).where(run.c.endedDate < ended_before)
    c.execute(delete(run_events).where(run_events.c.run.in_(old)))
    return c.execute(delete(run).where(run.c.endedDate < ended_before)).rowcount


def pieces_of(run_id: str, first: int, data: Iterable[bytes], times: Sequence[int] = ()) -> Piece:
    """Events, and when each was written, as one row."""
    lines = list(data)
    return Piece(run_id, first, len(lines), b"\n".join(lines), _packed(times) if times else None)


def _packed(times: Sequence[int]) -> bytes:
    return pack(f"<{len(times)}I", *times)


def _row(info: RunInfo) -> dict[str, Any]:
    values = msgspec.structs.asdict(info)
    values["usage"] = None if info.usage is None else msgspec.json.encode(info.usage).decode()
    return values


def _info(row: Any) -> RunInfo:
    values = {str(name): value for name, value in row.items() if value is not None}
    if "usage" in values:
        values["usage"] = msgspec.json.decode(values["usage"])
    return msgspec.convert(values, RunInfo)
