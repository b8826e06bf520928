"""What the database keeps of upserts and of failures: a bounded part, and how many there were."""

import json
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest
from documents import add_loader, done, file, filled_store, insert, new_store, process, send, store_of
from servers import Server
from sqlalchemy import func, select
from sqlalchemy import insert as inserting
from waiting import within

from headrace.engine.ports import LoadFailure, Upserted
from headrace.events import Document
from headrace.schema import FlowRow
from headrace.storage.storage import Storage, timestamp
from headrace.storage.tables import upsert_history
from headrace.storage.upserts import UpsertHistory

MANY = 1500


@pytest.fixture
def storage(tmp_path: Path) -> Generator[Storage]:
    with closing(Storage(tmp_path / "data")) as storage:
        yield storage


async def flow(storage: Storage) -> str:
    return (await storage.add_flow(FlowRow("", "x", '{"nodes": []}'))).id


def test_of_a_flows_upserts_the_newest_thousand_are_kept(storage: Storage) -> None:
    async def scenario() -> None:
        history = UpsertHistory(storage.database)
        own, other = await flow(storage), await flow(storage)
        rows = [
            {"id": f"{key}-{n}", "chatflowid": key, "result": "{}", "flowData": "[]", "date": timestamp(n)}
            for key in (own, other)
            for n in range(MANY)
        ]
        await storage.database.write(lambda c: c.execute(inserting(upsert_history), rows))
        newest = await history.add(own, Upserted(numAdded=1), ())
        kept = [row.id for row in await history.of(own)]
        assert kept == [*(f"{own}-{n}" for n in range(MANY - 999, MANY)), newest.id]
        assert len(await history.of(other)) == MANY

    within(scenario())


def test_a_row_of_the_history_stays_small_and_counts_everything(storage: Storage) -> None:
    async def scenario() -> None:
        history = UpsertHistory(storage.database)
        key = await flow(storage)
        failures = [LoadFailure("https://example.com/" + "x" * 100_000, "read", "no " * 100_000) for _ in range(MANY)]
        texts = [Document("A wren. " * 1000, {"source": str(n)}) for n in range(MANY)]
        row = await history.add(key, Upserted(numAdded=MANY, addedDocs=texts, failures=failures), ())
        assert (row.result["numAdded"], row.result["numFailed"], len(row.result["failures"])) == (MANY, MANY, 100)
        assert [one["metadata"]["source"] for one in row.result["addedDocs"]] == ["0", "1"]
        size = select(func.length(upsert_history.c.result))
        assert await storage.database.read(lambda c: c.execute(size).scalar_one()) < 150_000
        small = await history.add(key, Upserted(addedDocs=[Document("A wren.") for _ in range(MANY)]), ())
        assert len(small.result["addedDocs"]) == 100

    within(scenario())


def test_the_history_of_a_document_store_tells_each_upsert_and_goes_with_it(server: Server):
    storage, loader = filled_store(server)
    done(insert(server, storage, docId=loader))
    path = f"/api/v1/upsert-history/{storage}"
    first, second = server.send("GET", path, admin=True).json
    assert [row["result"]["numAdded"] for row in (first, second)] == [3, 0]
    assert [part["name"] for part in first["flowData"]] == ["SQLiteRecordManager", "memoryVectorStore"]
    assert (first["chatflowid"], first["result"]["addedDocs"]) == (storage, [])
    for permissions, status in ((["chatflows:view"], 403), (["chatflows:view", "documentStores:view"], 200)):
        made = server.send("POST", "/api/v1/apikey", {"keyName": "k", "permissions": permissions}, admin=True)
        assert server.send("GET", path, None, {"Authorization": f"Bearer {made.json['apiKey']}"}).status == status
    gone = server.send("PATCH", "/api/v1/upsert-history", {"ids": [first["id"]]}, admin=True)
    assert gone.json == {"raw": [], "affected": 1}
    assert server.send("GET", path, admin=True).json == [second]
    done(send(server, "DELETE", f"store/{storage}"))
    assert server.send("GET", path, admin=True).status == 404


def test_a_loader_names_its_first_failures_and_counts_all(server: Server) -> None:
    storage = new_store(server)
    bad = [file(b"\xff", f"{n}.txt") for n in range(150)]
    loader = add_loader(
        server, storage, kind="textFile", config={"txtFile": json.dumps([*bad, file("The Wren.", "good.txt")])}
    )
    page = done(process(server, storage, loader))
    assert (page["count"], page["file"]["failed"]) == (1, 150)
    assert [one["source"] for one in page["file"]["failures"]] == [f"{n}.txt" for n in range(100)]
    (told,) = done(send(server, "POST", f"refresh/{storage}"))
    assert (told["numFailed"], len(told["failures"]), told["numAdded"]) == (150, 100, 1)
    done(process(server, storage, loader, loaderConfig={"txtFile": file("The Wren.", "good.txt")}))
    (now,) = store_of(server, storage)["loaders"]
    assert (now["failed"], now["failures"]) == (0, [])
    done(insert(server, storage))
