"""What every warehouse refuses, in the words that all share."""

from __future__ import annotations

import pytest
from duckdb_tables import read

from j2v_dagster.warehouse.base import SchemaDrift, WarehouseError
from j2v_dagster.warehouse.contract import DRIFTED, load, rows
from j2v_dagster.warehouse.duckdb import DuckDBWarehouse


def test_schema_drift_names_every_column_and_changes_nothing(warehouse: DuckDBWarehouse) -> None:
    load(warehouse, rows("a"), 1)
    # DuckDB itself would drop the extra struct field without a word.
    with pytest.raises(SchemaDrift) as caught:
        load(warehouse, [], 0, schema=DRIFTED)
    message = str(caught.value)
    assert "column 'id' is VARCHAR in the table and BIGINT in the predictions" in message
    assert "column 'label' (VARCHAR) is not in the table" in message
    assert "the table's column 'score' (FLOAT) is not in the mapping" in message
    assert '"new" VARCHAR' in message
    assert 'ALTER TABLE "main"."predictions" ADD COLUMN "label" VARCHAR;' in message
    assert read(warehouse.path, "SELECT id FROM predictions") == [("a",)]


def test_another_number_of_rows_is_said_with_its_place(warehouse: DuckDBWarehouse) -> None:
    with pytest.raises(WarehouseError, match=r"'2013-01-20': 2 rows arrived; expected the manifest's 3"):
        load(warehouse, rows("b", "c"), 3)
