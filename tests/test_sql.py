"""The SQL chain: it answers from a database, never changes one, and reads no file that it should not."""

import asyncio
import json
import sqlite3
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from servers import Server, chat_model, flow, node, serving
from upstream import Upstream

from headrace.errors import FlowError
from headrace.nodes.chains.sql import statement_of
from headrace.providers.databases import FOLDER, Databases

SCRIPT = """
    CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, note BLOB);
    CREATE TABLE salary (name TEXT, amount INTEGER);
    CREATE INDEX by_name ON customer (name);
    CREATE VIEW names AS SELECT name FROM customer;
    INSERT INTO customer (name, note) VALUES ('Ada', x'00ff'), ('Grace, "G"', NULL), ('/say There are three.', NULL);
    INSERT INTO salary VALUES ('Ada', 100);
"""


def filled(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCRIPT)
    return path


@pytest.fixture
def databases(tmp_path: Path) -> Generator[Databases]:
    filled(tmp_path / "data" / FOLDER / "shop.db")
    found = Databases(tmp_path / "data")
    yield found
    found.close()


def asked(databases: Databases, statement: str, **shown: list[str]) -> str:
    async def run() -> str:
        database = databases.open("sqlite", "shop.db")
        if shown:
            await database.describe(shown.get("include", []), shown.get("ignore", []), 0)
        return await database.query(statement)

    return asyncio.run(run())


def test_rows_are_read_as_lines_with_commas(databases: Databases) -> None:
    told = asked(databases, "SELECT name, note FROM customer ORDER BY id LIMIT 2")
    assert told == 'name,note\nAda,[2 bytes]\n"Grace, ""G""",NULL'
    assert asked(databases, "SELECT name FROM names WHERE name = 'x'") == "name\n[no rows]"
    counted = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT sum(i) s FROM n"
    assert asked(databases, counted) == "s\n6"


def test_a_database_is_described_with_some_of_its_rows(databases: Databases) -> None:
    async def run(include: list[str], ignore: list[str], rows: int) -> str:
        return await databases.open("sqlite", "shop.db").describe(include, ignore, rows)

    whole = asyncio.run(run([], [], 1))
    assert "CREATE TABLE customer" in whole
    assert "/* rows of salary:\nname,amount\nAda,100\n[only the first" not in whole
    assert "Ada,100" in whole
    assert "Grace" not in whole
    assert "salary" not in asyncio.run(run(["customer"], [], 3))
    assert "salary" not in asyncio.run(run([], ["salary"], 0))
    with pytest.raises(FlowError, match="no table 'nope'"):
        asyncio.run(run(["nope"], [], 0))


WRITES = [
    "DELETE FROM customer",
    "UPDATE salary SET amount = 0",
    "INSERT INTO salary VALUES ('x', 1)",
    "REPLACE INTO salary VALUES ('x', 1)",
    "WITH x AS (SELECT 1) DELETE FROM customer",
    "DROP TABLE customer",
    "CREATE TABLE t (a)",
    "CREATE TEMP TABLE t (a)",
    "CREATE TEMP VIEW v AS SELECT 1",
    "ALTER TABLE customer ADD COLUMN x",
    "ATTACH DATABASE '/etc/passwd' AS x",
    "ATTACH ':memory:' AS x",
    "DETACH main",
    "VACUUM",
    "VACUUM INTO '/tmp/headrace-copy.db'",
    "REINDEX",
    "ANALYZE",
    "PRAGMA writable_schema = ON",
    "PRAGMA query_only = OFF",
    "PRAGMA journal_mode = DELETE",
    "SELECT * FROM pragma_database_list",
    "SELECT load_extension('x')",
    "BEGIN IMMEDIATE",
    "SAVEPOINT x",
    "CREATE VIRTUAL TABLE t USING fts5(a)",
    "SELECT 1; DELETE FROM customer",
]


@pytest.mark.parametrize("statement", WRITES)
def test_a_statement_that_does_more_than_read_is_refused(databases: Databases, tmp_path: Path, statement: str) -> None:
    path = tmp_path / "data" / FOLDER / "shop.db"
    before = path.read_bytes()
    with pytest.raises(FlowError):
        asked(databases, statement)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["shop.db"]


LONG_SEARCH = "SELECT instr(printf('%.*c', 9000000, 'a'), printf('%.*c', 4500000, 'a') || 'b')"
EXHAUSTING = {
    "a query without end": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "a huge value": "SELECT length(zeroblob(900000000))",
    "a long statement": f"SELECT {'1+' * 40000}1",
    "a function without end": LONG_SEARCH,
    "no text": "SELECT '\ud800'",
    "a deep one": "SELECT " + "(" * 5000 + "1" + ")" * 5000,
}


@pytest.mark.parametrize("statement", EXHAUSTING.values(), ids=EXHAUSTING.keys())
def test_a_statement_without_measure_is_ended(
    databases: Databases, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    monkeypatch.setattr("headrace.providers.databases.SECONDS", 0.5)
    with pytest.raises(FlowError, match=r"took longer|does not take"):
        asked(databases, statement)


def test_many_rows_are_cut(databases: Databases) -> None:
    rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
    assert asked(databases, rows).endswith("\n200\n[only the first 200 rows]")
    assert len(asked(databases, f"SELECT printf('%.5000d', i) FROM ({rows})")) < 25_000


OTHERS = [
    "SELECT * FROM salary",
    "SELECT count(*) FROM salary",
    "SELECT (SELECT max(amount) FROM salary)",
    "SELECT name FROM customer UNION SELECT amount FROM salary",
    "SELECT name FROM customer WHERE EXISTS (SELECT 1 FROM salary)",
    "SELECT name FROM customer ORDER BY (SELECT amount FROM salary)",
    "SELECT name FROM customer LIMIT (SELECT amount FROM salary)",
    "SELECT c.name FROM customer c JOIN salary s ON s.name = c.name",
    "SELECT * FROM (SELECT * FROM salary) AS names",
    "VALUES ((SELECT amount FROM salary))",
    "WITH x AS (SELECT * FROM salary) SELECT * FROM x",
    "WITH x AS MATERIALIZED (SELECT * FROM salary) SELECT * FROM x",
    "WITH names AS (SELECT amount FROM salary) SELECT * FROM names",
    "WITH names AS (SELECT amount FROM salary) SELECT * FROM names, main.names",
    "WITH 'names' AS (SELECT amount FROM salary) SELECT * FROM [names]",
    "WITH customer AS (SELECT amount FROM salary) SELECT * FROM customer",
    "WITH salary AS (SELECT * FROM main.salary) SELECT * FROM salary",
    "WITH RECURSIVE x AS (SELECT amount FROM salary UNION SELECT amount FROM x) SELECT * FROM x",
    'SELECT * FROM "SALARY"',
    "SELECT * FROM `salary`",
    "SELECT * FROM [salary]",
    "SELECT * FROM 'salary'",
    "SELECT * FROM main.salary",
    "SELECT * FROM pay",
    "SELECT * FROM Été",
    "EXPLAIN SELECT * FROM salary",
    "EXPLAIN QUERY PLAN SELECT * FROM salary",
    "SELECT sql FROM sqlite_master",
    "SELECT sql FROM sqlite_schema",
    "SELECT sql FROM temp.sqlite_schema",
    "SELECT * FROM pragma_table_info('salary')",
    "SELECT * FROM pragma_table_list",
    "SELECT * FROM sqlite_dbpage",
    "SELECT * FROM json_each('[1]')",
]


@pytest.mark.parametrize(
    "shown", [{"ignore": ["salary", "pay", "Été", "json_each"]}, {"include": ["customer", "names", "été"]}]
)
@pytest.mark.parametrize("statement", OTHERS)
def test_a_table_that_the_flow_leaves_out_cannot_be_read(
    databases: Databases, tmp_path: Path, statement: str, shown: dict[str, list[str]]
) -> None:
    with closing(sqlite3.connect(tmp_path / "data" / FOLDER / "shop.db")) as connection:
        connection.executescript(
            "CREATE VIEW pay AS SELECT amount FROM salary; CREATE TABLE Été (a); CREATE TABLE été (a);"
            "CREATE TABLE json_each (a);"
        )
    refused = r"only tables of the description|does not take the statement: (circular|near|vtable)"
    with pytest.raises(FlowError, match=refused):
        asked(databases, statement, **shown)


def test_chosen_tables_and_views_are_read_in_every_way(databases: Databases, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "data" / FOLDER / "shop.db")) as connection:
        connection.executescript(
            "CREATE VIEW paid AS SELECT n.name, amount FROM names n JOIN salary s ON s.name = n.name;"
            "CREATE VIRTUAL TABLE told USING fts5(said); INSERT INTO told VALUES ('the mill turns'), ('a wheel');"
        )
    chosen = {"include": ["paid", "names", "told"]}
    assert asked(databases, "SELECT name FROM Names WHERE name = 'Ada'", **chosen) == "name\nAda"
    assert asked(databases, "SELECT * FROM paid", **chosen) == "name,amount\nAda,100"  # by a view of a view
    assert asked(databases, "WITH p AS (SELECT amount a FROM paid) SELECT a FROM p", **chosen) == "a\n100"
    assert asked(databases, "WITH salary AS (SELECT 7 AS a) SELECT a FROM salary", **chosen) == "a\n7"
    assert asked(databases, "SELECT said FROM told WHERE told MATCH 'wheel'", **chosen) == "said\na wheel"
    assert asked(databases, "SELECT said FROM told WHERE told MATCH 'mill'") == "said\nthe mill turns"
    assert asked(databases, "SELECT value FROM json_each('[5]')", **chosen) == "value\n5"
    assert asked(databases, "SELECT sum(value) AS n FROM (SELECT 1 AS value UNION ALL SELECT 2)", **chosen) == "n\n3"


def test_cancelling_stops_the_statement(databases: Databases) -> None:
    async def run() -> None:
        database = databases.open("sqlite", "shop.db")
        for _ in range(2):  # twice as many as run at once: each must make room again
            tasks = [asyncio.ensure_future(database.query(LONG_SEARCH)) for _ in range(4)]
            await asyncio.wait(tasks, timeout=0.1)
            for task in tasks:
                task.cancel()
            await asyncio.wait_for(asyncio.wait(tasks), 5)
            assert all(task.cancelled() for task in tasks)
        assert await asyncio.wait_for(database.query("SELECT 1 AS one"), 5) == "one\n1"

    asyncio.run(run())


def test_files_outside_of_the_folder_are_refused(tmp_path: Path) -> None:
    data, other = tmp_path / "data", filled(tmp_path / "other" / "x.db")
    filled(data / FOLDER / "shop.db")
    filled(data / "headrace.sqlite")
    (data / FOLDER / "link.db").symlink_to(other)
    (data / FOLDER / "own.db").symlink_to(data / "headrace.sqlite")
    with closing(Databases(data)) as databases:
        for address in (
            str(other),
            "../headrace.sqlite",
            "link.db",
            "own.db",
            f"sqlite:///{other}",
            "/etc/passwd",
            "~",
        ):
            with pytest.raises(FlowError, match="may not read"):
                databases.open("sqlite", address)
        with pytest.raises(FlowError, match="there is no database"):
            databases.open("sqlite", "missing.db")
    with closing(Databases(data, f"{other.parent}, {data}")) as databases:
        assert databases.open("sqlite", str(other)).dialect == "SQLite"
        with pytest.raises(FlowError, match="may not read"):
            databases.open("sqlite", "../headrace.sqlite")


@pytest.mark.parametrize(
    ("kind", "address", "reason"),
    [
        ("postgres", "postgresql://u:sesame@db.internal/x", "may not reach 'db.internal:5432'"),
        ("postgres", "postgresql://u:sesame@allowed/x?host=evil", "may not set 'host'"),
        ("mysql", "mysql://u:sesame@allowed/x?local_infile=1", "may not set 'local_infile'"),
        ("postgres", "sesame", "is no address"),
        ("mssql", "mssql://u:sesame@allowed/x", "no read-only transactions"),
        ("sqlite", " ", "has no database"),
    ],
)
def test_servers_that_the_operator_has_not_allowed_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, address: str, reason: str
) -> None:
    monkeypatch.setattr("headrace.providers.sql_servers.find_spec", lambda name: True)
    with closing(Databases(tmp_path, "allowed")) as databases, pytest.raises(FlowError, match=reason) as caught:
        databases.open(kind, address)
    assert "sesame" not in str(caught.value).replace("'sesame'", "")


def test_a_server_without_a_driver_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.providers.sql_servers.find_spec", lambda name: None)
    with pytest.raises(FlowError, match="pip install psycopg"), closing(Databases(tmp_path, "allowed")) as databases:
        databases.open("postgres", "postgresql://u@allowed/x")


@pytest.mark.parametrize(
    "said",
    [
        "SELECT 1", "SELECT 1;", "```sql\nSELECT 1\n```", "Here it is:\n```\nSELECT 1;\n```\nIt reads one.",
        "SQLQuery: SELECT 1\nSQLResult: 1\nAnswer: 1", "```sql\nSQL: SELECT 1```",
    ],
)  # fmt: skip
def test_the_statement_is_found_in_what_models_write(said: str) -> None:
    assert statement_of(said) == "SELECT 1"


def test_a_statement_is_found_in_whatever_a_model_says() -> None:
    assert statement_of("```sql\nSELECT 'SQL: ' || a FROM b\n```") == "SELECT 'SQL: ' || a FROM b"
    assert statement_of("SELECT 1" + "\n" * 200_000 + "FROM a").startswith("SELECT 1")
    assert statement_of("```" + "\n" * 200_000 + "SELECT 1```") == "SELECT 1"


def chain(base: str, **inputs: Any) -> dict[str, Any]:
    wired = {"model": "{{chatOpenAI_0.data.instance}}", "database": "sqlite", "url": "shop.db"}
    return flow(chat_model(base), node("sqlDatabaseChain", "Chains", **{**wired, **inputs}))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    folder = tmp_path_factory.mktemp("shop") / "data"
    filled(folder / FOLDER / "shop.db")
    with serving(folder) as server:
        yield server


def test_a_question_is_answered_from_the_database_in_streamed_words(shop: Server, upstream: Upstream) -> None:
    flow_id = shop.create_flow(chain(upstream.url, topK="7"))
    question = "/say SELECT name FROM customer ORDER BY id DESC LIMIT 1"
    stream = shop.ask(flow_id, question, streaming=True)
    assert stream.kinds == ["start", "token", "metadata", "end"]
    write, say = ([message["content"] for message in request.body["messages"]] for request in upstream.requests)
    assert "SQLite" in write[0]
    assert "7 rows" in write[0]
    assert "CREATE TABLE customer" in write[0]
    assert "What it gave:\nname\n/say There are three.\n" in say[0]
    assert shop.ask(flow_id, question).json["text"] == "SELECT name FROM customer ORDER BY id DESC LIMIT 1"


def test_a_statement_that_fails_goes_back_to_the_model_with_the_reason(shop: Server, upstream: Upstream) -> None:
    flow_id = shop.create_flow(chain(upstream.url))
    reply = shop.ask(flow_id, "/say DELETE FROM customer")
    assert (reply.status, reply.json["code"]) == (502, "provider_malformed")
    assert len(upstream.requests) == 3
    last = upstream.requests[-1].body["messages"]
    assert [message["role"] for message in last] == ["user", "assistant", "user", "assistant", "user"]
    assert "only reading is allowed" in last[2]["content"]


def test_a_prompt_of_the_flow_asks_for_the_statement(shop: Server, upstream: Upstream) -> None:
    prompt = "{dialect} {top_k} {{x}}\n{table_info}\n/say SELECT 1 AS one\n{input}"
    flow_id = shop.create_flow(chain(upstream.url, customPrompt=prompt, includesTables="salary"))
    shop.ask(flow_id, "How much?")
    asked = upstream.requests[0].body["messages"][0]["content"]
    assert asked.startswith("SQLite 10 {x}\nCREATE TABLE salary")
    assert "customer" not in asked
    assert "one\n1" in json.dumps(upstream.requests[1].body).replace("\\n", "\n")


def test_a_flow_cannot_name_any_file_of_the_server(shop: Server, upstream: Upstream) -> None:
    reply = shop.ask(shop.create_flow(chain(upstream.url, url="../headrace.sqlite")), "Who has a key?")
    assert (reply.status, reply.json["code"]) == (422, "flow_error")
    assert "may not read" in reply.json["message"]
    assert not upstream.requests
