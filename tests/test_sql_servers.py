"""Database servers that flows may read: a real PostgreSQL, and what may not be read on it."""

import socket
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from waiting import left, within

from headrace.engine.ports import SqlDatabase
from headrace.errors import FlowError
from headrace.providers.databases import Databases
from headrace.vectors.postgres import Place

psycopg = pytest.importorskip("psycopg", reason="PostgreSQL's driver is not installed")
TABLES = """
    CREATE TABLE customer (id int PRIMARY KEY, name text); CREATE TABLE "Order" (id int, customer int, amount numeric);
    CREATE TABLE secret (word text); CREATE SCHEMA other;
    CREATE VIEW secret_view AS SELECT word FROM secret; CREATE TABLE other.customer (name text);
    INSERT INTO customer VALUES (1, 'Ada'), (2, 'Grace'); INSERT INTO "Order" VALUES (1, 1, 10), (2, 1, 5.5);
    INSERT INTO secret VALUES ('sesame'); CREATE TABLE "SECRET" (word text); INSERT INTO "SECRET" VALUES ('sesame');
"""


@contextmanager
def on_a_port(path: str) -> Generator[int]:
    """A port of this machine that leads to a socket in a folder, since flows can name only hosts."""
    listener = socket.create_server(("127.0.0.1", 0))
    opened: list[socket.socket] = [listener]
    threads: list[threading.Thread] = []

    def start(work: Callable[..., None], *args: Any) -> None:
        threads.append(threading.Thread(target=work, args=args))
        threads[-1].start()

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.socket(socket.AF_UNIX)
                opened.extend((client, server))
                server.connect(path)
                start(copy, client, server)
                start(copy, server, client)

    start(accept)
    try:
        yield listener.getsockname()[1]
    finally:
        for each in opened:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in threads:
            thread.join(10)


@pytest.fixture(scope="module")
def address(database: Place) -> Generator[str]:
    account = {"host": database.host, "user": database.user, "password": database.password, "autocommit": True}
    with psycopg.connect(dbname=database.database, **account) as connection:
        connection.execute("CREATE DATABASE chain")
    with psycopg.connect(dbname="chain", **account) as connection:
        connection.execute(TABLES)
    with on_a_port(f"{database.host}/.s.PGSQL.5432") as port:
        yield f"postgresql://{database.user}:{database.password}@127.0.0.1:{port}/chain"


@pytest.fixture(scope="module")
def databases() -> Generator[Databases]:
    with closing(Databases(Path("/nowhere"), "127.0.0.1")) as databases:
        yield databases


@pytest.fixture(scope="module")
def narrow(databases: Databases, address: str) -> SqlDatabase:
    """The database, narrowed to two tables."""
    database = databases.open("postgres", address)
    within(database.describe(["customer", "Order"], [], 0))
    return database


def test_tables_are_described_and_read(databases: Databases, address: str) -> None:
    database = databases.open("postgres", address)
    text = within(database.describe([], ["secret", "SECRET", "secret_view"], 1))
    assert "CREATE TABLE customer (\n  id INTEGER,\n  name TEXT,\n  PRIMARY KEY (id)\n)" in text
    assert "rows of customer:\nid,name\n1,Ada" in text
    assert 'CREATE TABLE "Order"' in text
    assert "secret" not in text.lower()
    assert within(database.query("SELECT name FROM customer WHERE name LIKE 'A%'")) == "name\nAda"
    with pytest.raises(FlowError, match="secret is none of them"):
        within(database.query("SELECT * FROM secret"))


def test_a_statement_that_nobody_waits_for_is_stopped(databases: Databases, address: str) -> None:
    waiting = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event = 'PgSleep'"

    database = databases.open("postgres", address)

    async def running() -> bool:
        return await database.query(waiting) == "n\n1"

    within(left(database.query("SELECT pg_sleep(9)"), running), 8)
    assert not within(running())


def test_of_very_many_rows_only_those_are_fetched_that_are_told(databases: Databases, address: str) -> None:
    text = within(databases.open("postgres", address).query("SELECT generate_series(1, 1000000000) AS n"))
    assert text.endswith("\n200\n[only the first 200 rows]")


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM customer", "WITH gone AS (DELETE FROM customer RETURNING id) SELECT * FROM gone",
        "SELECT 1; DROP TABLE customer", "SELECT * INTO copy FROM customer", "COPY customer TO PROGRAM 'id'",
        "SELECT nextval('x')",
    ],
)  # fmt: skip
def test_nothing_is_written(databases: Databases, address: str, statement: str) -> None:
    database = databases.open("postgres", address)
    with pytest.raises(FlowError):
        within(database.query(statement))
    assert within(database.query("SELECT count(*) FROM customer")) == "count\n2"


OTHERS = r"""
SELECT * FROM secret
TABLE secret
SELECT * FROM ONLY secret
SELECT * FROM "secret"
SELECT * FROM SECRET
SELECT * FROM public.secret
SELECT * FROM other.customer
SELECT (SELECT word FROM secret)
SELECT name FROM customer WHERE name IN (SELECT word FROM secret)
SELECT name FROM customer UNION SELECT word FROM secret
SELECT 1 ORDER BY (SELECT word FROM secret)
SELECT * FROM secret, (WITH secret AS (SELECT 1) SELECT * FROM secret) x
SELECT ARRAY(SELECT word FROM secret)
WITH x AS (SELECT * FROM secret) SELECT * FROM x
SELECT * FROM customer, LATERAL (SELECT * FROM secret) s
SELECT EXISTS(TABLE secret)
SELECT count(*) FILTER (WHERE EXISTS (SELECT 1 FROM secret)) FROM customer
SELECT CASE WHEN (SELECT count(*) FROM secret) > 0 THEN 1 END
SELECT query_to_xml('select * from secret', true, true, '')
SELECT table_to_xml('secret', true, true, '')
SELECT pg_catalog.query_to_xml('TABLE secret', true, true, '')
SELECT * FROM xmltable('/a' PASSING query_to_xml('TABLE secret', true, true, '') COLUMNS x text)
SELECT pg_read_file('/etc/passwd')
SELECT * FROM pg_ls_dir('.')
SELECT * FROM ROWS FROM (pg_ls_dir('.')) x
SELECT lo_get(1)
SELECT dblink('x', 'y')
SELECT current_setting('data_directory')
SELECT pg_sleep(1)
SELECT rolpassword FROM pg_authid
SELECT * FROM pg_catalog.pg_shadow
SELECT * FROM pg_stat_activity
SELECT * FROM information_schema.tables
SELECT name FROM "Customer"
SHOW data_directory
EXPLAIN SELECT * FROM secret
SELECT 1 /*
SELECT 'secret'::regclass, * FROM secret s
SELECT * FROM customer NATURAL JOIN secret
SELECT * FROM (VALUES ((SELECT word FROM secret))) v
SELECT U&"\0073ecret".word FROM U&"\0073ecret"
VALUES ((SELECT word FROM secret))
WITH SECRET AS (SELECT 1) SELECT * FROM "SECRET"
WITH "SECRET" AS (SELECT 1) SELECT * FROM secret
WITH secret AS (SELECT * FROM secret) SELECT * FROM secret
WITH x AS (SELECT * FROM secret), secret AS (SELECT 1) SELECT * FROM x
WITH x AS MATERIALIZED (TABLE secret) SELECT * FROM x
SELECT * FROM (SELECT 1) AS secret WHERE EXISTS (SELECT * FROM secret)
SELECT * FROM generate_series(1, 2) AS secret, LATERAL (SELECT * FROM secret) s
SELECT 1 LIMIT (SELECT count(*) FROM secret)
SELECT DISTINCT ON ((SELECT word FROM secret)) 1
SELECT sum(1) OVER (ORDER BY (SELECT max(word) FROM secret))
SELECT * FROM customer TABLESAMPLE SYSTEM ((SELECT count(*) FROM secret))
SELECT * FROM (customer CROSS JOIN secret)
SELECT other.sum(1)
SELECT ts_stat('SELECT word FROM secret')
SELECT * FROM cursor_to_xml('x', 1, true, true, '')
SELECT word FROM secret_view
""".strip().split("\n")
READ = [
    ("SELECT name FROM customer ORDER BY id", "name\nAda\nGrace"),
    ("select NAME from Customer where id = 1", "name\nAda"),
    ('SELECT sum(o.amount) AS all FROM customer c JOIN "Order" o ON o.customer = c.id', "all\n15.5"),
    ("WITH secret AS (SELECT name FROM customer) SELECT count(*) FROM secret", "count\n2"),
    ('SELECT name FROM (SELECT * FROM customer WHERE id IN (SELECT customer FROM "Order")) x', "name\nAda"),
    ("WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 3) SELECT max(n) FROM t", "max\n3"),
    ("SELECT to_char(date '2024-05-01', 'YYYY') AS y, date_part('month', date '2024-05-01') AS m", "y,m\n2024,5"),
    ("SELECT string_agg(name, ', ' ORDER BY id) AS names FROM customer -- all of them", 'names\n"Ada, Grace"'),
    ("SELECT 'it''s' || E'\\'' || $$ FROM secret $$ AS t FROM customer LIMIT 1", "t\nit's' FROM secret "),
    ("SELECT * FROM generate_series(1, 2) AS n", "n\n1\n2"),
    ("WITH Most AS (SELECT max(id) AS id FROM customer) SELECT * FROM MOST", "id\n2"),
    ("SELECT name, rank() OVER (ORDER BY id DESC) FROM customer LIMIT 1", "name,rank\nGrace,1"),
]


@pytest.mark.parametrize(("statement", "found"), READ)
def test_ordinary_statements_read_the_chosen_tables(narrow: SqlDatabase, statement: str, found: str) -> None:
    assert within(narrow.query(statement)) == found


@pytest.mark.parametrize("statement", OTHERS)
def test_other_tables_cannot_be_read(narrow: SqlDatabase, statement: str) -> None:
    with pytest.raises(FlowError) as caught:
        within(narrow.query(statement))
    assert "sesame" not in str(caught.value)


def test_the_package_that_finds_tables_is_named(
    databases: Databases, address: str, narrow: SqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "headrace.providers.sql_statements", None)
    with pytest.raises(FlowError, match=r"pip install '.\[sql\]'"):
        within(narrow.query("SELECT 1"))
    assert within(databases.open("postgres", address).query("SELECT 1 AS one")) == "one\n1"
