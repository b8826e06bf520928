"""Work on document stores that is killed, left, or done twice at once."""

import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from documents import SMALL, add_loader, done, insert, new_store, numbered, process, send, store_of, texts
from passages import opened
from servers import KEY, Server, serving
from uploads import counts, form
from waiting import eventually, within

from headrace.documents.library import DocumentLibrary
from headrace.documents.stores import Loader, StoreRow
from headrace.engine.ports import LoadFailure
from headrace.errors import Conflict, NotFound
from headrace.events import Document


@pytest.mark.parametrize(("step", "lines"), [("SYNCING", 4_000), ("UPSERTING", 3_000)])
def test_a_killed_upsert_goes_on_without_doubles_and_without_gaps(tmp_path: Path, step: str, lines: int):
    folder = tmp_path / "data"
    body = form({"splitter": json.dumps(SMALL)}, [("birds.txt", "".join(numbered(lines)).encode(), "text/plain")])
    with serving(folder) as first, ThreadPoolExecutor(1) as thread:
        store = new_store(first, embeddingConfig={"name": "hashedEmbeddings"})
        reply = thread.submit(send, first, "POST", f"upsert/{store}", *body)

        def at_work() -> bool:
            now = store_of(first, store)
            begun = any(loader["processed"] for loader in now["loaders"])
            return now["status"] == step and (begun if step == "SYNCING" else bool(now["progress"]["numAdded"]))

        eventually(at_work)
        first.stop(signal.SIGKILL)
        with pytest.raises(OSError, match=r"Remote|reset|closed"):
            reply.result(20)
    with serving(folder) as second:
        now = store_of(second, store)
        assert (now["status"], [loader["totalChunks"] for loader in now["loaders"]]) == (
            "STALE", [0 if step == "SYNCING" else lines]
        )  # fmt: skip
        again = send(second, "POST", f"upsert/{store}", *body)
        added, _, skipped, deleted = counts(again)
        assert (added + skipped, deleted) == (lines, 0)
        assert bool(skipped) == (step == "UPSERTING")
        now = store_of(second, store)
        assert (now["status"], [loader["totalChunks"] for loader in now["loaders"]]) == ("UPSERTED", [lines])
        assert counts(send(second, "POST", f"upsert/{store}", *body)) == (0, 0, lines, 0)


def test_a_caller_who_leaves_stops_the_processing_and_the_chunks_stay(server: Server):
    store = new_store(server)
    loader = add_loader(server, store, "The Wren is small.")
    done(process(server, store, loader))
    body = json.dumps({"storeId": store, "loaderConfig": {"text": "".join(numbered(60_000))}}).encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as caller:
        head = {"Host": "x", "Authorization": f"Bearer {KEY}", "Content-Length": str(len(body))}
        written = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        path = f"/api/v1/document-store/loader/process/{loader}"
        caller.sendall(f"POST {path} HTTP/1.1\r\nContent-Type: application/json\r\n{written}\r\n".encode() + body)
        eventually(lambda: store_of(server, store)["loaders"][0]["processed"] > 1)
    eventually(lambda: store_of(server, store)["status"] == "STALE")
    (told,) = store_of(server, store)["loaders"]
    assert (told["status"], told["totalChunks"], told["failures"][0]["reason"]) == ("STALE", 1, "it was interrupted")
    assert texts(server, store) == ["The Wren is small."]
    assert done(process(server, store, loader))["count"] == 60_000


def test_of_two_that_process_a_loader_the_later_one_counts(server: Server):
    store = new_store(server)
    loader = add_loader(server, store, "".join(numbered(3_000)))
    with ThreadPoolExecutor(2) as threads:
        replies = list(threads.map(lambda _: process(server, store, loader), range(2)))
    assert {reply.status for reply in replies} <= {200, 409}
    assert any(reply.status == 200 for reply in replies)
    now = store_of(server, store)
    assert (now["status"], now["totalChunks"]) == ("SYNC", 3_000)
    assert counts(insert(server, store)) == (3_000, 0, 0, 0)


def test_a_server_that_stops_interrupts_an_upsert_which_goes_on_later(tmp_path: Path):
    folder = tmp_path / "data"
    with serving(folder) as first, ThreadPoolExecutor(1) as thread:
        store = new_store(first, embeddingConfig={"name": "hashedEmbeddings"})
        done(process(first, store, add_loader(first, store, "".join(numbered(3_000)))))
        reply = thread.submit(insert, first, store)
        eventually(lambda: (store_of(first, store)["progress"] or {}).get("numAdded"))
        assert first.stop() == 0
        assert (reply.result(20).status, reply.result().json["code"]) == (503, "interrupted")
    with serving(folder) as second:
        assert store_of(second, store)["status"] == "STALE"
        added, _, skipped, _ = counts(insert(second, store))
        assert (added + skipped, bool(added), bool(skipped)) == (3_000, True, True)


def test_what_changes_a_vector_store_comes_one_after_the_other(server: Server):
    store = new_store(server, embeddingConfig={"name": "hashedEmbeddings"})
    kept, gone = (add_loader(server, store, "".join(numbered(count))) for count in (1_500, 700))
    for loader in (kept, gone):
        done(process(server, store, loader))
    with ThreadPoolExecutor(4) as threads:
        both = [threads.submit(insert, server, store) for _ in range(2)]
        eventually(lambda: store_of(server, store)["status"] == "UPSERTING")
        deleted = threads.submit(send, server, "DELETE", f"loader/{store}/{gone}")
        assert [reply.result(30).status for reply in (*both, deleted)] == [200] * 3
    assert store_of(server, store)["status"] == "UPSERTED"
    assert counts(insert(server, store)) == (0, 0, 1_500, 0)


def test_only_the_newest_attempt_finishes_and_an_older_one_disturbs_nothing(tmp_path: Path):
    async def work(library: DocumentLibrary) -> None:
        chunks, stores = library.chunks, library.stores
        await stores.add(StoreRow(id="s", name="s"))
        await stores.put_loader(Loader(id="l", storeId="s", loaderId="plainText"))
        first = await chunks.begin("s", "l", "me")
        await chunks.add(first, 1, [Document("old")])
        second = await chunks.begin("s", "l", "me")
        await chunks.add(second, 1, [Document("new")])
        with pytest.raises(Conflict):
            await chunks.add(first, 2, [Document("old")])
        with pytest.raises(Conflict):
            await chunks.finish(first, [])
        await chunks.fail(first, [LoadFailure("x", "processed", "too late")])
        await chunks.finish(second, [])
        (loader,) = (await stores.get("s")).loaders
        assert (loader.status, loader.totalChunks, loader.failures) == ("SYNC", 1, [])
        assert [chunk.pageContent for chunk in (await chunks.page("s", "l", 1))[0]] == ["new"]
        third = await chunks.begin("s", "l", "me")
        await chunks.finish(third, [LoadFailure(f"{n}.pdf", "read", "it is no PDF") for n in range(1_500)])
        assert (await stores.get("s")).loaders[0].failed == 1_500
        await chunks.add(fourth := await chunks.begin("s", "l", "me"), 1, [Document("new")])
        await chunks.finish(fourth, [])
        fifth = await chunks.begin("s", "l", "me")
        await stores.put_loader(Loader(id="l", storeId="s", loaderId="plainText", fingerprint="another"))
        with pytest.raises(Conflict):
            await chunks.finish(fifth, [])
        await chunks.fail(await chunks.begin("s", "l", "me"), [])
        assert (await chunks.page("s", None, 1))[1] == 1
        await stores.delete_loader("s", "l")
        with pytest.raises(NotFound):
            await chunks.begin("s", "l", "me")

    with opened(tmp_path / "data") as library:
        within(work(library))
