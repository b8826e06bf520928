"""The backup that docs/operations.md describes is whole: what its table names is copied, restored, and asked."""

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from servers import serving

PAGE = Path(__file__).parents[1] / "docs" / "operations.md"


def named() -> list[str]:
    """The files and folders in the table of the page."""
    section = PAGE.read_text(encoding="utf-8").split("## Backup")[1].split("\n## ")[0]
    return [name for row in re.findall(r"(?m)^\| (`.*?) \|", section) for name in re.findall(r"`([^`]+)`", row)]


def copied(source: Path, target: Path) -> None:
    """Copies what the page names, databases with SQLite's own backup, as it says."""
    target.mkdir()
    for name in named():
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name)
        elif name.endswith(".sqlite") and (source / name).exists():
            with closing(sqlite3.connect(source / name)) as old, closing(sqlite3.connect(target / name)) as new:
                old.backup(new)
        elif (source / name).exists():
            shutil.copy2(source / name, target / name)


def test_a_server_is_restored_by_what_the_page_says(tmp_path: Path) -> None:
    first, second = tmp_path / "data", tmp_path / "restored"
    with serving(first) as server:
        flow_id = server.create_flow({"nodes": [], "edges": []})
        made = {"name": "key", "credentialName": "openAIApi", "plainDataObj": {"openAIApiKey": "sk-kept"}}
        assert server.send("POST", "/api/v1/credentials", made, admin=True).status == 200
        with closing(sqlite3.connect(first / "chat.sqlite")) as connection:
            connection.execute("CREATE TABLE kept (a)")
        for folder in ("files", "uploads", "databases"):
            (first / folder).mkdir(exist_ok=True)
            (first / folder / "kept.txt").write_text(folder)
        for name in ("tls.crt", "tls.key"):
            (first / name).write_text(name)
        copied(first, second)
        server_files = {path.name for path in first.iterdir()}
    left = {name for name in server_files - set(named()) if not name.startswith(("headrace.sqlite-", "chat.sqlite-"))}
    assert left <= {"vectors", "processes"}, "the page names every other file"
    shutil.rmtree(first)
    with serving(second) as server:
        assert flow_id in json.dumps(server.send("GET", "/api/v1/chatflows", admin=True).json)
        (credential,) = server.send("GET", "/api/v1/credentials", admin=True).json
        read = server.send("GET", f"/api/v1/credentials/{credential['id']}", admin=True)
        assert read.status == 200, read.text
        for folder in ("files", "uploads", "databases"):
            assert (second / folder / "kept.txt").read_text() == folder
