"""Types and partition specs as Iceberg has them, and those that it has not."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from iceberg_tables import ids, look
from pyiceberg.table import Table

from j2v_dagster.warehouse.base import SchemaDrift, WarehouseError
from j2v_dagster.warehouse.contract import DRIFTED, P20, load, rows
from j2v_dagster.warehouse.contract_values import TYPES, WHOLE
from j2v_dagster.warehouse.iceberg.warehouse import IcebergWarehouse


def test_schema_drift_names_every_column_and_changes_nothing(warehouse: IcebergWarehouse) -> None:
    load(warehouse, rows("a"), 1)
    before = look(warehouse, lambda table: table.metadata_location)
    with pytest.raises(SchemaDrift) as caught:
        load(warehouse, [], 0, schema=DRIFTED)
    message = str(caught.value)
    assert "column 'id' is string in the table and long in the predictions" in message
    assert "column 'label' (string) is not in the table" in message
    assert "the table's column 'score' (float) is not in the mapping" in message
    assert "struct<value: string, p: float, new: string>" in message
    assert "add column 'label'" in message
    with pytest.raises(SchemaDrift, match="not in the mapping"):
        load(warehouse, rows("a"), 1, column="other")
    assert look(warehouse, lambda table: table.metadata_location) == before


def test_a_table_with_another_partition_spec_is_refused(warehouse: IcebergWarehouse) -> None:
    load(warehouse, rows("a"), 1)

    def evolve(table: Table) -> None:
        with table.update_spec() as update:
            update.add_identity("id")

    look(warehouse, evolve)
    with pytest.raises(SchemaDrift, match="expected the identity of 'partition' alone"):
        load(warehouse, rows("b"), 1)
    assert ids(warehouse) == [(P20, "a")]


def test_pyiceberg_reads_the_widened_types_back(warehouse: IcebergWarehouse) -> None:
    values = [WHOLE, dict.fromkeys(TYPES.names)]
    load(warehouse, [pa.RecordBatch.from_pylist(values, schema=TYPES)], 2, schema=TYPES)
    read = look(warehouse, lambda table: table.scan().to_arrow())
    assert read["u64"].to_pylist() == [2**64 - 1, None]
    assert read["cell"].to_pylist() == [WHOLE["cell"], None]


@pytest.mark.parametrize("kind", [pa.timestamp("ns"), pa.time64("ns"), pa.date64(), pa.duration("s")])
def test_a_type_that_iceberg_has_not_is_refused_by_name(warehouse: IcebergWarehouse, kind: pa.DataType) -> None:
    schema = pa.schema([("id", pa.string()), ("when", pa.struct([("at", kind)]))])
    with pytest.raises(WarehouseError, match=r"column 'when\.at' is .*which Iceberg cannot hold without loss"):
        load(warehouse, [], 0, schema=schema)
    assert not Path(str(warehouse.path)).exists()
