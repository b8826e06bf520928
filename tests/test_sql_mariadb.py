"""A real MariaDB that flows may read, where one is installed (`apt-get install mariadb-server`)."""

import os
import shutil
import subprocess
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest
from test_sql_servers import on_a_port
from waiting import eventually, left, within

from headrace.engine.ports import SqlDatabase
from headrace.errors import FlowError
from headrace.providers import sql_servers
from headrace.providers.databases import Databases

pytest.importorskip("pymysql", reason="MySQL's driver is not installed")
TABLES = """
    CREATE DATABASE chain; CREATE DATABASE other; CREATE USER reader@'%' IDENTIFIED BY 'word';
    GRANT ALL ON *.* TO reader@'%'; CREATE TABLE other.customer (name text); USE chain;
    CREATE TABLE customer (id int PRIMARY KEY, name text); CREATE TABLE `Order` (customer int, amount decimal(5, 1));
    CREATE TABLE secret (word text); INSERT INTO secret VALUES ('sesame');
    INSERT INTO customer VALUES (1, 'Ada'), (2, 'Grace'); INSERT INTO `Order` VALUES (1, 10), (1, 5.5);
"""


def program(name: str) -> str:
    """Where the program is, or a skipped test."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    return found or pytest.skip("MariaDB is not installed, so the SQL chain is not tested on one")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    folder = tmp_path_factory.mktemp("maria")
    data, place, user = f"--datadir={folder}/data", folder / "socket", f"--user={os.environ.get('USER', 'root')}"
    made = [program("mariadb-install-db"), "--no-defaults", data, "--skip-test-db", user]
    subprocess.run([*made, "--auth-root-authentication-method=normal"], check=True, capture_output=True, timeout=60)
    command = [program("mariadbd"), "--no-defaults", data, f"--socket={place}", "--skip-networking", user]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            ask = [program("mariadb"), "--no-defaults", f"--socket={place}", "--user=root"]
            eventually(lambda: subprocess.run([*ask, "-e", "SELECT 1"], capture_output=True).returncode == 0)
            subprocess.run(ask, input=TABLES.encode(), check=True, timeout=10)
            with on_a_port(str(place)) as port:
                yield f"mysql://reader:word@127.0.0.1:{port}/chain"
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def databases() -> Generator[Databases]:
    with closing(Databases(Path("/nowhere"), "127.0.0.1")) as databases:
        yield databases


@pytest.fixture
def database(databases: Databases, address: str) -> SqlDatabase:
    return databases.open("mysql", address)


@pytest.fixture(scope="module")
def narrow(databases: Databases, address: str) -> SqlDatabase:
    """The database, narrowed to two tables."""
    database = databases.open("mysql", address)
    within(database.describe(["customer", "Order"], [], 0))
    return database


def test_tables_are_described_as_they_must_be_written(database: SqlDatabase) -> None:
    text = within(database.describe([], ["secret"], 1))
    assert "CREATE TABLE customer (\n  id INTEGER,\n  name TEXT,\n  PRIMARY KEY (id)\n)" in text
    assert "rows of customer:\nid,name\n1,Ada" in text
    assert "CREATE TABLE `Order`" in text
    assert "secret" not in text


READ = [
    ("SELECT name FROM customer WHERE name LIKE 'A%' OR name = '%s'", "name\nAda"),
    ("SELECT SUM(o.amount) AS total FROM customer c JOIN `Order` o ON o.customer = c.id", "total\n15.5"),
    ("WITH secret AS (SELECT name FROM customer) SELECT COUNT(*) AS n FROM secret", "n\n2"),
    ("SELECT name FROM customer WHERE id IN (SELECT customer FROM `Order`)", "name\nAda"),
    ("SELECT DATE_FORMAT('2024-05-01', '%Y') AS y", "y\n2024"),
]


@pytest.mark.parametrize(("statement", "found"), READ)
def test_statements_read_alike_with_and_without_chosen_tables(
    database: SqlDatabase, narrow: SqlDatabase, statement: str, found: str
) -> None:
    assert within(database.query(statement)) == within(narrow.query(statement)) == found


OTHERS = r"""
SELECT * FROM secret
TABLE secret
SELECT * FROM `Secret`
SELECT * FROM chain.secret
SELECT * FROM other.customer
SELECT name FROM customer UNION SELECT word FROM secret
SELECT (SELECT word FROM secret)
SELECT authentication_string FROM mysql.user
SELECT * FROM information_schema.tables
SELECT @@datadir
SELECT BENCHMARK(9, 1)
EXPLAIN SELECT * FROM secret
SHOW TABLES
""".strip().split("\n")


@pytest.mark.parametrize("statement", OTHERS)
def test_other_tables_cannot_be_read(narrow: SqlDatabase, statement: str) -> None:
    with pytest.raises(FlowError, match="only reading the tables of the description"):
        within(narrow.query(statement))


@pytest.mark.parametrize("comment", ["/*! UNION SELECT 1, word FROM secret */", "/*M! , (SELECT word FROM secret) */"])
def test_what_only_the_server_takes_for_a_statement_does_not_reach_it(narrow: SqlDatabase, comment: str) -> None:
    assert "sesame" not in within(narrow.query(f"SELECT * FROM customer {comment}"))


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM customer", "WITH x AS (SELECT 1) DELETE FROM customer", "SELECT 1; DROP TABLE customer",
        "SELECT * FROM customer FOR UPDATE", "ANALYZE DELETE FROM customer", "EXPLAIN DELETE FROM customer",
        "SELECT * FROM customer INTO OUTFILE '/tmp/customers'", "SELECT LOAD_FILE('/etc/passwd')", "SHOW GRANTS",
    ],
)  # fmt: skip
def test_nothing_is_written_and_no_file_is_read(database: SqlDatabase, statement: str) -> None:
    with pytest.raises(FlowError):
        within(database.query(statement))
    assert within(database.query("SELECT COUNT(*) AS n FROM customer")) == "n\n2"


@pytest.mark.parametrize("limit", ["", " LIMIT 90000000"])
def test_of_very_many_rows_only_those_are_fetched_that_are_told(database: SqlDatabase, limit: str) -> None:
    text = within(database.query(f"SELECT seq FROM seq_1_to_100000000{limit}"))
    assert text.endswith("\n200\n[only the first 200 rows]")


def test_a_statement_has_its_time_on_the_server(
    monkeypatch: pytest.MonkeyPatch, databases: Databases, address: str
) -> None:
    monkeypatch.setitem(sql_servers._BEGIN, "mariadb", ("SET max_statement_time = 0.05", "START TRANSACTION READ ONLY"))
    with pytest.raises(FlowError, match="took longer than"):
        within(
            databases.open("mysql", address).query(
                "SELECT * FROM seq_1_to_10000000 a, seq_1_to_10000000 b LIMIT 1 OFFSET 9999999999"
            )
        )


@pytest.mark.parametrize("work", ["SLEEP(9)", "BENCHMARK(2000000000, MD5('x'))"])
def test_a_statement_that_nobody_waits_for_is_stopped(database: SqlDatabase, work: str) -> None:
    waiting = f"SELECT COUNT(*) AS n FROM information_schema.processlist WHERE info LIKE 'SELECT {work[:5]}%'"

    async def running() -> bool:
        return await database.query(waiting) == "n\n1"

    within(left(database.query(f"SELECT {work}"), running), 8)
    assert not within(running())
