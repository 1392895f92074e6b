"""Names and types as DuckDB compares them; columns of the user's own; remedies that lose nothing and work."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from duckdb_tables import read

from j2v_dagster.warehouse.base import Loaded, SchemaDrift
from j2v_dagster.warehouse.contract import COLUMN, P20, P21, SCHEMA, load, rows
from j2v_dagster.warehouse.duckdb import DuckDBWarehouse, quote
from j2v_dagster.warehouse.duckdb_columns import fold, fold_type, keeps_values

STATEMENT = re.compile(r"run (ALTER TABLE .*?);")


def sql(warehouse: DuckDBWarehouse, text: str) -> None:
    Path(warehouse.path).parent.mkdir(exist_ok=True)
    with duckdb.connect(warehouse.path) as connection:
        connection.execute(text)


NAMES = ["a", "A", "z", "Z", "_", "1", "é", "É", "ß", "SS", "\u017f", "s", "K", "k", "\u212a", "İ", "i", "i\u0307"]


def test_names_fold_as_those_of_duckdb() -> None:
    with duckdb.connect() as connection:
        for one in NAMES:
            connection.execute(f"CREATE OR REPLACE TABLE t ({quote(one)} INTEGER)")
            for other in NAMES:
                try:
                    connection.execute(f"SELECT {quote(other)} FROM t")
                    same = True
                except duckdb.BinderException:
                    same = False
                assert (fold(one) == fold(other)) == same, (one, other)


@pytest.mark.parametrize("column", ["DAY", "Day"])
def test_a_table_of_other_case_is_the_same_table(warehouse: DuckDBWarehouse, column: str) -> None:
    sql(warehouse, 'CREATE SCHEMA "Analytics"; CREATE TABLE "Analytics"."Scores" '
        f'(ID VARCHAR, Score FLOAT, "{column}" STRUCT("Value" VARCHAR, P FLOAT), "Partition" VARCHAR)')  # fmt: skip
    other = DuckDBWarehouse(warehouse.path, schema="aNALYTICS")
    assert load(other, rows("a", "b"), 2, table="sCORES") == Loaded(rows=2, replaced=0, created=False)
    assert load(other, rows("c"), 1, table="SCORES") == Loaded(rows=1, replaced=2, created=False)
    found = read(warehouse.path, f'SELECT id, score, "{column}".value, "{column}".p FROM analytics.scores')
    assert found == [("c", 0.5, "late", 0.25)]
    assert read(warehouse.path, "SELECT schema_name, table_name FROM duckdb_tables()") == [("Analytics", "Scores")]


def test_columns_that_fill_themselves_are_left_alone(warehouse: DuckDBWarehouse) -> None:
    sql(warehouse, f'CREATE TABLE predictions (id VARCHAR, score FLOAT, day STRUCT("value" VARCHAR, p FLOAT), '
        f"{COLUMN} VARCHAR, loaded_at TIMESTAMP NOT NULL DEFAULT now(), twice FLOAT GENERATED ALWAYS AS (score * 2), "
        "remark VARCHAR DEFAULT NULL)")  # fmt: skip
    load(warehouse, rows("a"), 1)
    sql(warehouse, "UPDATE predictions SET remark = 'mine'")
    assert load(warehouse, rows("b"), 1, partition=P21) == Loaded(rows=1, replaced=0, created=False)
    found = read(warehouse.path, "SELECT id, twice, loaded_at IS NOT NULL, remark FROM predictions ORDER BY id")
    assert found == [("a", 1.0, True, "mine"), ("b", 1.0, True, None)]


def drift(warehouse: DuckDBWarehouse, schema: pa.Schema) -> str:
    with pytest.raises(SchemaDrift) as caught:
        load(warehouse, [], 0, schema=schema)
    assert "DROP" not in str(caught.value)
    assert "delete" not in str(caught.value)
    return str(caught.value)


def test_the_remedies_work_and_keep_every_value(warehouse: DuckDBWarehouse) -> None:
    load(warehouse, rows("a"), 1)
    sql(warehouse, "ALTER TABLE predictions ADD COLUMN remark VARCHAR; UPDATE predictions SET remark = 'mine'")
    day = pa.struct([("value", pa.string()), ("p", pa.float64()), ("new", pa.string())])
    wanted = pa.schema([("id", pa.string()), ("score", pa.float64()), ("day", day), ("label", pa.string())])
    statements = STATEMENT.findall(drift(warehouse, wanted))
    assert len(statements) == 4
    for statement in statements:
        sql(warehouse, statement)
    assert load(warehouse, [], 0, schema=wanted, partition=P21).rows == 0
    found = read(warehouse.path, "SELECT id, score, day, label, remark FROM predictions")
    assert found == [("a", 0.5, {"value": "late", "p": 0.25, "new": None}, None, "mine")]


def test_a_change_that_would_lose_values_is_not_proposed(warehouse: DuckDBWarehouse) -> None:
    load(warehouse, rows("a"), 1)
    less = SCHEMA.set(2, pa.field("day", pa.struct([("value", pa.string())]))).set(0, pa.field("id", pa.int64()))
    message = drift(warehouse, less)
    assert "give column 'day' another name" in message
    assert "give column 'id' another name" in message
    assert not STATEMENT.findall(message)


def test_a_column_that_must_not_be_null_needs_a_default(warehouse: DuckDBWarehouse) -> None:
    sql(warehouse, f"CREATE TABLE predictions (id VARCHAR, must INTEGER NOT NULL, {COLUMN} VARCHAR)")
    ids = pa.schema([("id", pa.string())])
    assert "'must', which is NOT NULL, a default" in drift(warehouse, ids)
    sql(warehouse, "ALTER TABLE predictions ALTER COLUMN must SET DEFAULT 7")
    load(warehouse, [pa.RecordBatch.from_pylist([{"id": "a"}], schema=ids)], 1, schema=ids)
    assert read(warehouse.path, f"SELECT id, must, {COLUMN} FROM predictions") == [("a", 7, P20)]


def test_a_generated_column_cannot_be_loaded(warehouse: DuckDBWarehouse) -> None:
    sql(warehouse, f"CREATE TABLE predictions (id VARCHAR, x DOUBLE GENERATED ALWAYS AS (1), {COLUMN} VARCHAR)")
    message = drift(warehouse, pa.schema([("id", pa.string()), ("x", pa.float64())]))
    assert "column 'x' is DOUBLE GENERATED in the table" in message
    assert "give column 'x' another name" in message


VALUES = {
    "TINYINT": ["(-128)", "127"], "BIGINT": ["9007199254740993"], "UBIGINT": ["18446744073709551615"],
    "HUGEINT": ["-1"], "FLOAT": ["0.1"], "DOUBLE": ["0.1", "1e300"], "DECIMAL(18,3)": ["123456789012345.678"],
    "DECIMAL(20,3)": ["0.001"], "VARCHAR": ["'x'"], "BLOB": ["'\\xFF'::BLOB"], "BOOLEAN": ["true"],
    "DATE": ["DATE '0044-03-15 (BC)'", "DATE '5000-01-01'"], "TIMESTAMP": ["TIMESTAMP '2024-01-01 00:00:00.000001'"],
    "TIMESTAMP_NS": ["'2024-01-01 00:00:00.000000001'::TIMESTAMP_NS"], "STRUCT(a INTEGER)": ["{'a': 1}"],
    "STRUCT(A BIGINT, b VARCHAR)": ["{'A': 9007199254740993, 'b': 'x'}"], "INTEGER[]": ["[1, NULL]"],
    "DOUBLE[]": ["[0.1]"], "BIGINT[]": ["[9007199254740993]"], "INTEGER[2]": ["[1, 2]"],
    "MAP(VARCHAR, INTEGER)": ["MAP {'k': 1}"], "MAP(VARCHAR, BIGINT)": ["MAP {'k': 1}"],
}  # fmt: skip


def test_what_is_proposed_keeps_every_value() -> None:
    proposed = 0
    with duckdb.connect() as connection:
        for old, new in itertools.permutations(VALUES, 2):
            if not keeps_values(connection, old, new):
                continue
            for value in VALUES[old]:
                connection.execute(f"CREATE OR REPLACE TABLE t AS SELECT {value}::{old} AS x")
                before = connection.execute("SELECT x FROM t").fetchall()
                connection.execute(f"ALTER TABLE t ALTER COLUMN x TYPE {new}")
                assert connection.execute(f"SELECT CAST(x AS {old}) FROM t").fetchall() == before, (old, new)
                proposed += 1
    assert proposed > 8


def test_types_fold_the_names_in_them() -> None:
    assert fold_type('STRUCT("A" INTEGER, b VARCHAR)[]') == fold_type("STRUCT(a INTEGER, B VARCHAR)[]")
    assert fold_type('STRUCT("É" INTEGER)') != fold_type('STRUCT("é" INTEGER)')
    assert fold_type('STRUCT("a b" INTEGER)') != fold_type("STRUCT(a INTEGER)")
