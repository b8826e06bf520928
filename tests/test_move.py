"""`headrace move`: everything of a data folder is on PostgreSQL afterwards, however often the copy was interrupted."""

from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from passages import BIRDS, Bags, document, opened
from places import Cluster
from servers import conversation, serving
from test_cli import headrace
from test_resume import events, frames
from upstream import Upstream
from waiting import within

from headrace.engine.ports import Search
from headrace.errors import InvalidRequest, StorageError
from headrace.migration import relocation
from headrace.storage.storage import Storage


@pytest.fixture
def url(cluster: Cluster) -> Generator[str]:
    url = cluster.migrated()
    yield url
    cluster.drop(url)


def filled(folder: Path, count: int = 9) -> Path:
    """A data folder with passages, vectors and variables."""
    with opened(folder) as library:
        within(library.collection("birds", Bags()).add([document(text, odd="a\0b") for text in BIRDS]))
    with closing(Storage(folder)) as storage:
        for number in range(count):
            within(storage.add_variable(f"v{number}", "x", "static"))
    return folder


def test_a_server_goes_on_with_what_was_moved(tmp_path: Path, url: str, upstream: Upstream) -> None:
    folder = tmp_path / "data"
    with serving(folder) as server:
        flow = server.create_flow(conversation(upstream.url))
        first = server.ask(flow, "/say one", streaming=True, chatId="c")
        server.ask(flow, "/say two \0", chatId="c")
        busy = headrace(folder, "move", "--to", url)
        assert (busy.returncode, "stop the server first" in busy.stderr) == (1, True)
        assert server.stop() == 0
    done = headrace(tmp_path / "elsewhere", "move", "--from", str(folder), "--to", url)
    assert done.returncode == 0, done.stderr
    assert "Moved and counted: " in done.stdout
    assert "4 message" in done.stdout
    with serving(folder, "--database-url", url) as server:
        run = first.headers["X-Run-Id"]
        assert frames(events(server, run, 0).body) == frames(first.body)
        assert server.ask(flow, "/count 2", chatId="c").status == 200
        stored = server.send("GET", f"/api/v1/chatmessage/{flow}", admin=True).json
        assert [message["content"] for message in stored][:4] == ["/say one", "one", "/say two \ufffd", "two \ufffd"]
        assert len(stored) == 6


def test_an_interrupted_move_goes_on_where_it_was(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = filled(tmp_path / "data")
    monkeypatch.setattr(relocation, "_ROWS", 2)
    store, left = relocation._store, 0
    stored: list[tuple[Any, ...]] = []

    def counting(c: Any, table: Any, rows: Any) -> None:
        nonlocal left
        if not left:
            raise StorageError("interrupted")
        left -= 1
        store(c, table, rows)
        stored.extend((table.name, *(row[key.name] for key in table.primary_key)) for row in rows)

    monkeypatch.setattr(relocation, "_store", counting)
    interruptions = 0
    while True:
        left = 3
        try:
            within(relocation.relocate(folder, url), 60)
            break
        except StorageError:
            interruptions += 1
    assert interruptions >= 3
    assert len(stored) == len(set(stored)), "no row is copied twice"
    with opened(folder, url) as library:
        found = within(library.collection("birds", Bags()).search(Search(text="falcon", mode="hybrid", k=1)))
        assert found[0].document.pageContent == BIRDS[0]
        where = Search(text=BIRDS[1], filter={"odd": "a\ufffdb"}, k=5)
        assert len(within(library.collection("birds", Bags()).search(where))) == 3
    with closing(Storage(folder, url)) as storage:
        assert [variable.name for variable in within(storage.variables())] == [f"v{n}" for n in range(9)]


def test_a_database_that_holds_something_else_is_refused(tmp_path: Path, url: str) -> None:
    folder = filled(tmp_path / "data", 2)
    with closing(Storage(folder, url)) as storage:
        within(storage.add_variable("other", "x", "static"))
    with pytest.raises(InvalidRequest, match="move into an empty database"):
        within(relocation.relocate(folder, url), 60)
    with pytest.raises(InvalidRequest, match="there is nothing to move"):
        within(relocation.relocate(tmp_path / "nothing", url))
