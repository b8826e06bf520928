"""Finds the tables that a statement reads, by parsing it: database servers cannot be asked before they read.

What runs is written anew from what was understood, so that a server understands nothing else. In doubt it is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

import sqlglot
from sqlglot import errors, exp
from sqlglot.optimizer.normalize_identifiers import normalize_identifiers
from sqlglot.optimizer.scope import traverse_scope

from headrace.errors import FlowError

# Functions that the parser does not know by itself. All others are refused: some read tables or files by name.
_FUNCTIONS: Final = frozenset(
    "age date_part isfinite justify_days justify_hours justify_interval make_date make_interval statement_timestamp "
    "regexp_matches regexp_split_to_array regexp_split_to_table regexp_count string_to_array array_to_string "
    "array_position array_remove cardinality num_nulls btrim to_number div mod scale trunc gcd lcm log10 "
    "width_bucket json_array_elements json_array_elements_text jsonb_array_elements jsonb_array_elements_text "
    "json_build_object jsonb_build_object json_agg jsonb_agg jsonb_pretty json_typeof jsonb_typeof to_json to_jsonb "
    "row_to_json json_unquote json_length json_pretty timestampdiff period_diff makedate maketime sec_to_time "
    "time_to_sec microsecond dayname monthname week weekday yearweek find_in_set field elt format inet_ntoa".split()
)
_NO: Final = "only reading the tables of the description is allowed here: {why}"


def narrowed(statement: str, dialect: str, tables: Collection[str]) -> str:
    """The statement as it may run, when it reads nothing but these tables. Raises FlowError.

    `dialect` is "postgres" or "mysql"; the tables are in the schema that names without one belong to.
    """
    try:
        parsed = sqlglot.parse(statement, dialect=dialect)
        root = parsed[0]
        if root is not None:  # PostgreSQL takes SECRET for secret, and "SECRET" for another table
            root = normalize_identifiers(root, dialect=dialect)
        if len(parsed) != 1 or not isinstance(root, exp.Query) or any(root.find_all(exp.Into, exp.Command)):
            raise _refusal("write one SELECT")
        if setting := root.find(exp.SessionParameter):
            raise _refusal(f"{setting.sql(dialect=dialect)} tells of the server")
        for name in _unknown(root):
            raise _refusal(f"the function {name!r} is none of those that it knows")
        derived = set(_derived(root))
        for table in root.find_all(exp.Table):
            known = not table.db and not table.catalog and table.name in tables
            if id(table) not in derived and isinstance(table.this, exp.Identifier) and not known:
                raise _refusal(f"{table.sql(dialect=dialect)[:100]} is none of them")
        return root.sql(dialect=dialect, comments=False)
    except (errors.SqlglotError, RecursionError) as error:
        raise FlowError(f"the statement cannot be read: {str(error)[:300]}") from None


def _refusal(why: str) -> FlowError:
    return FlowError(_NO.format(why=why))


def _unknown(root: exp.Query) -> Iterator[str]:
    for function in root.find_all(exp.Anonymous):
        if function.name.lower() not in _FUNCTIONS:
            yield function.name


def _derived(root: exp.Query) -> Iterator[int]:
    """Ids of the names in it that stand for a part of the statement, where they stand."""
    for scope in traverse_scope(root):
        for node, source in scope.selected_sources.values():
            if not isinstance(source, exp.Table):
                yield id(node)
