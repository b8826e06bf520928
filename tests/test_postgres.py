"""A server on PostgreSQL: what it refuses to begin with, and what it keeps."""

import re
import secrets
import socket
import struct
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from places import Cluster
from served import closed_port
from servers import conversation, serving
from test_cli import headrace
from upstream import Upstream
from waiting import within

from headrace.errors import StorageError
from headrace.storage.database import Database
from headrace.storage.postgres import UnusableDatabase
from headrace.storage.storage import Storage


@pytest.fixture
def url(cluster: Cluster) -> Generator[str]:
    url = cluster.made()
    yield url
    cluster.drop(url)


# Refused


def refusal(url: str) -> str:
    """What is said of a database that no server can work on."""
    with pytest.raises(UnusableDatabase) as caught:
        Database(url)
    (line,) = str(caught.value).splitlines()
    return line


@pytest.mark.parametrize(
    ("url", "said"),
    {
        "no URL": ("postgresql://[", "write postgresql://user:password@host:5432/database"),
        "another database": ("mysql://a@b/c", "write postgresql://user:password@host:5432/database"),
        "no server": ("postgresql://a:secret@127.0.0.1:{closed}/x", "check that it runs, and host, port, user"),
    }.values(),
    ids=str,
)
def test_a_url_that_leads_nowhere_is_said_in_one_line(url: str, said: str) -> None:
    line = refusal(url.format(closed=closed_port()))
    assert said in line
    assert "secret" not in line


def test_a_wrong_password_ends_the_server_with_one_line(tmp_path: Path, url: str) -> None:
    wrong = url.replace("sk-of-the-tests", "sk-wrong")
    done = headrace(tmp_path / "data", "serve", "--port", str(closed_port()), "--database-url", wrong)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert 'password authentication failed for user "guarded"' in line
    assert "sk-wrong" not in line


def test_a_user_who_may_make_no_tables_is_said_in_one_line(url: str, cluster: Cluster) -> None:
    cluster.execute("CREATE ROLE weak LOGIN PASSWORD 'sk-weak'")
    rules = cluster.folder / "pg_hba.conf"
    rules.write_text(f"local all weak scram-sha-256\n{rules.read_text()}")
    cluster.execute("SELECT pg_reload_conf()")
    line = refusal(url.replace("guarded:sk-of-the-tests", "weak:sk-weak"))
    assert "may not make tables: permission denied for schema public: make it the owner of the database" in line


def test_an_encoding_that_holds_less_than_unicode_is_refused(cluster: Cluster) -> None:
    cluster.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    assert "is encoded in LATIN1: make one with ENCODING 'UTF8'" in refusal(cluster.url("latin"))


@contextmanager
def old_server() -> Generator[int]:
    """The port of what greets like PostgreSQL 12 and then knows nothing more."""

    def message(kind: bytes, body: bytes) -> bytes:
        return kind + struct.pack("!i", len(body) + 4) + body

    def greet(listener: socket.socket) -> None:
        taken, _ = listener.accept()
        with taken:
            while (length := struct.unpack("!i", taken.recv(4))[0]) == 8:  # it asks for encryption first
                taken.recv(4)
                taken.sendall(b"N")
            taken.recv(length - 4)
            told = [b"server_version\0" + b"12.22\0", b"server_encoding\0UTF8\0", b"client_encoding\0UTF8\0"]
            hello = message(b"R", struct.pack("!i", 0)) + b"".join(message(b"S", one) for one in told)
            taken.sendall(hello + message(b"Z", b"I"))
            while taken.recv(100):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=greet, args=(listener,))
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


def test_a_server_that_is_too_old_is_refused() -> None:
    with old_server() as port:
        line = refusal(f"postgresql://a@127.0.0.1:{port}/x?sslmode=disable&gssencmode=disable")
    assert line == "PostgreSQL 12 is too old: use 14 or later"


def test_callers_are_not_told_where_a_lost_database_was(cluster: Cluster) -> None:
    url = cluster.made()
    with closing(Database(url)) as database:
        cluster.drop(url)
        with pytest.raises(StorageError) as caught:
            within(database.read(lambda c: c.exec_driver_sql("SELECT 1")))
        assert str(caught.value) == "the database did not take or give this: it cannot be reached at the moment"


# Kept


def test_the_commands_of_the_page_begin_a_server(tmp_path: Path, url: str) -> None:
    page = (Path(__file__).parents[1] / "docs" / "postgres.md").read_text()
    (lines,) = re.findall(r"```bash\n(export HEADRACE_DATABASE_URL=.*?)```", page, re.DOTALL)
    exports = dict(re.findall(r"export (\w+)=(\S+)", lines))
    assert set(exports) == {"HEADRACE_DATABASE_URL", "HEADRACE_SECRET_KEY"}
    environ = {"HEADRACE_DATABASE_URL": url, "HEADRACE_SECRET_KEY": secrets.token_hex(32)}
    assert lines.splitlines()[-1] == "headrace serve"
    with serving(tmp_path / "data", **environ) as server:
        assert server.send("GET", "/api/v1/ping").text == "pong"
    assert not (tmp_path / "data" / "secret.key").exists()


def test_servers_with_other_keys_are_refused(tmp_path: Path, url: str) -> None:
    with closing(Storage(tmp_path / "one", url)) as one:
        secret = within(one.add_credential("c", "openAIApi", {"openAIApiKey": "sk-1"}))
    with pytest.raises(UnusableDatabase, match=r"sealed with another key: put the secret\.key of the first server's"):
        Storage(tmp_path / "other", url)
    key = (tmp_path / "one" / "secret.key").read_text()
    with closing(Storage(tmp_path / "other", url, key)) as other:
        assert within(other.secrets(secret.id)) == {"openAIApiKey": "sk-1"}


def test_what_a_server_keeps_is_there_after_a_restart_and_on_another_machine(
    tmp_path: Path, url: str, upstream: Upstream
) -> None:
    key = "ab" * 32
    environ = {"HEADRACE_DATABASE_URL": url, "HEADRACE_SECRET_KEY": key}
    with serving(tmp_path / "one", **environ) as server:
        flow = server.create_flow(conversation(upstream.url))
        streamed = server.ask(flow, "/say one \0 two", streaming=True, chatId="c")
        run = streamed.headers["X-Run-Id"]
        assert server.send("GET", f"/api/v1/runs/{run}/events").body == streamed.body
        assert server.stop() == 0
    with serving(tmp_path / "two", "--database-url", url, HEADRACE_SECRET_KEY=key) as server:
        assert server.send("GET", f"/api/v1/runs/{run}/events").body == streamed.body
        stored = server.send("GET", f"/api/v1/chatmessage/{flow}", admin=True).json
        assert [message["role"] for message in stored] == ["userMessage", "apiMessage"]
        assert stored[0]["content"] == "/say one \ufffd two"
    assert not list(tmp_path.glob("*/headrace.sqlite-wal"))
    assert headrace(tmp_path / "two", "--database-url", url, "flows", HEADRACE_SECRET_KEY=key).stdout
