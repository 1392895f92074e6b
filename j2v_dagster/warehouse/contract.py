"""What every warehouse has to hold, as tests that a class of any package can run.

    class TestLakeWarehouse(WarehouseContract):
        @pytest.fixture
        def config(self, tmp_path):
            return {"kind": "company.lake:LakeWarehouse", "path": str(tmp_path / "lake")}

        def read(self, warehouse, table):
            return company.lake.rows_of(warehouse.path, table)

pytest collects the inherited tests with such a class. This is the only module here that needs pytest, and nothing but
tests imports it.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from j2v_dagster.warehouse.base import Loaded, SchemaDrift, StaleLoad, Warehouse, WarehouseError
from j2v_dagster.warehouse.build import build_warehouse
from j2v_dagster.warehouse.contract_values import EDGES, TYPES, WHOLE, plain

TABLE, COLUMN, P20, P21 = "predictions", "partition", "2013-01-20", "2013-01-21"
SCHEMA = pa.schema(
    [("id", pa.string()), ("score", pa.float32()), ("day", pa.struct([("value", pa.string()), ("p", pa.float32())]))]
)
DRIFTED = pa.schema(
    [
        ("id", pa.int64()),
        ("label", pa.string()),
        ("day", pa.struct([("value", pa.string()), ("p", pa.float32()), ("new", pa.string())])),
    ]
)
"""`SCHEMA` with a column of another type, one more, one less, and one more field in a struct."""

STREAMED = 96
"""Batches of 1 MiB that a load streams."""
MOST_HELD = 64 * 2**20
"""Bytes of these batches that may be in memory at once."""


def rows(*ids: str) -> list[pa.RecordBatch]:
    """Rows of `SCHEMA`, one batch an id."""
    values = [{"id": row_id, "score": 0.5, "day": {"value": "late", "p": 0.25}} for row_id in ids]
    return [pa.RecordBatch.from_pylist([value], schema=SCHEMA) for value in values]


def load(
    warehouse: Warehouse,
    batches: Iterable[pa.RecordBatch],
    count: int,
    *,
    table: str = TABLE,
    partition: str = P20,
    schema: pa.Schema = SCHEMA,
    column: str = COLUMN,
    note: Mapping[str, str] | None = None,
) -> Loaded:
    """`Warehouse.replace_partition` with everything that most tests do not care about."""
    return warehouse.replace_partition(
        table=table, partition_column=column, partition=partition, schema=schema, batches=batches, rows=count, note=note
    )


def numbered(number: int) -> dict[str, str]:
    """The note of a load of the attempt of that number."""
    return {"attempt": f"attempt-{number}", "manifest_sha256": "ab" * 32, "model": "ef" * 32,
            "sequence": str(number), "counter": "c0"}  # fmt: skip


def never() -> Iterator[pa.RecordBatch]:
    """Batches that must not be asked for."""
    raise AssertionError("the batches were read before the columns were compared")
    yield


def broken(error: BaseException, *ids: str) -> Iterator[pa.RecordBatch]:
    """Some rows, then an error, as where a rank file turns out to be damaged."""
    yield from rows(*ids)
    raise error


class WarehouseContract:
    """The promises of `j2v_dagster.warehouse.base.Warehouse`, one test each.

    A subclass gives `config`, `read` and `note`; the rest is there.
    """

    @pytest.fixture
    def config(self, tmp_path: Path) -> dict[str, Any]:
        """The ``warehouse:`` of a YAML file: ``kind`` and options, for a warehouse without any table.

        What it writes on this machine lies below one folder of ``tmp_path``.
        """
        raise NotImplementedError

    def read(self, warehouse: Any, table: str) -> list[dict[str, Any]]:
        """Every row of the table, by column, in any order, as a reader sees them who knows nothing of the loader."""
        raise NotImplementedError

    def note(self, warehouse: Any, table: str, partition: str) -> Mapping[str, str]:
        """What the warehouse noted of the last load of a partition."""
        raise NotImplementedError

    def check_nothing_is_left(self, warehouse: Any, table: str) -> None:
        """Fail if loads have left what nobody needs: files, branches, tables of their own. Asked after several tests;
        by default nobody looks."""

    @pytest.fixture
    def warehouse(self, config: dict[str, Any]) -> Any:
        """A warehouse of ``config``, as a pipeline has it."""
        return build_warehouse(config)

    def ids(self, warehouse: Any, table: str = TABLE) -> list[tuple[str, str]]:
        """Partition and id of every row, sorted."""
        return sorted((row[COLUMN], row["id"]) for row in self.read(warehouse, table))

    # -- one partition, wholly or not at all ---------------------------------------------------------------------------

    def test_a_partition_is_replaced_and_the_others_stay(self, warehouse: Any) -> None:
        assert load(warehouse, rows("a", "b"), 2) == Loaded(rows=2, replaced=0, created=True)
        assert load(warehouse, rows("c"), 1, partition=P21) == Loaded(rows=1, replaced=0, created=False)
        assert load(warehouse, rows("d"), 1) == Loaded(rows=1, replaced=2, created=False)
        assert self.ids(warehouse) == [(P20, "d"), (P21, "c")]
        assert [row for row in self.read(warehouse, TABLE) if row["id"] == "d"] == [
            {"id": "d", "score": 0.5, "day": {"value": "late", "p": 0.25}, COLUMN: P20}
        ]
        self.check_nothing_is_left(warehouse, TABLE)

    def test_the_same_load_twice_equals_once(self, warehouse: Any) -> None:
        load(warehouse, rows("a", "b"), 2)
        assert load(warehouse, rows("a", "b"), 2) == Loaded(rows=2, replaced=2, created=False)
        assert self.ids(warehouse) == [(P20, "a"), (P20, "b")]

    def test_rows_that_are_equal_are_all_kept(self, warehouse: Any) -> None:
        assert load(warehouse, rows("a", "a", "a"), 3).rows == 3
        assert self.ids(warehouse) == [(P20, "a")] * 3

    def test_an_empty_partition_loads_as_no_rows(self, warehouse: Any) -> None:
        assert load(warehouse, [], 0) == Loaded(rows=0, replaced=0, created=True)
        assert self.ids(warehouse) == []
        load(warehouse, rows("a"), 1)
        load(warehouse, rows("b"), 1, partition=P21)
        assert load(warehouse, [], 0) == Loaded(rows=0, replaced=1, created=False)
        assert self.ids(warehouse) == [(P21, "b")]

    def test_batches_without_rows_are_no_rows(self, warehouse: Any) -> None:
        empty = pa.RecordBatch.from_pylist([], schema=SCHEMA)
        assert load(warehouse, [empty, *rows("a"), empty, *rows("b"), empty], 2).rows == 2
        assert self.ids(warehouse) == [(P20, "a"), (P20, "b")]

    def test_tables_are_apart(self, warehouse: Any) -> None:
        load(warehouse, rows("a"), 1)
        assert load(warehouse, rows("b"), 1, table="other") == Loaded(rows=1, replaced=0, created=True)
        assert (self.ids(warehouse), self.ids(warehouse, "other")) == ([(P20, "a")], [(P20, "b")])

    def test_another_warehouse_of_the_same_options_sees_the_same_tables(self, config: dict[str, Any]) -> None:
        load(build_warehouse(config), rows("a"), 1)
        assert load(build_warehouse(config), rows("b"), 1) == Loaded(rows=1, replaced=1, created=False)
        assert self.ids(build_warehouse(config)) == [(P20, "b")]

    def test_loads_of_several_partitions_at_once_all_arrive(self, warehouse: Any) -> None:
        failures: list[BaseException] = []

        def write(number: int) -> None:
            try:
                for _ in range(3):
                    load(warehouse, rows(f"id{number}"), 1, partition=f"p{number}")
            except BaseException as exc:
                failures.append(exc)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert self.ids(warehouse) == [("p0", "id0"), ("p1", "id1"), ("p2", "id2")]
        self.check_nothing_is_left(warehouse, TABLE)

    # -- loads that fail -----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("count", [0, 1, 3])
    def test_another_number_of_rows_changes_nothing(self, warehouse: Any, count: int) -> None:
        load(warehouse, rows("a"), 1)
        with pytest.raises(WarehouseError, match=rf"{P20}.*2 rows.*{count}"):
            load(warehouse, rows("b", "c"), count)
        assert self.ids(warehouse) == [(P20, "a")]
        self.check_nothing_is_left(warehouse, TABLE)

    def test_an_error_in_the_middle_of_the_batches_changes_nothing(self, warehouse: Any) -> None:
        load(warehouse, rows("a"), 1)
        with pytest.raises(WarehouseError, match=r"(?s)page checksum.*Nothing was changed"):
            load(warehouse, broken(OSError("rank-1.parquet: page checksum"), "b", "c"), 3)
        assert self.ids(warehouse) == [(P20, "a")]
        self.check_nothing_is_left(warehouse, TABLE)
        assert load(warehouse, rows("d"), 1) == Loaded(rows=1, replaced=1, created=False)

    def test_an_interrupt_in_the_middle_of_the_batches_changes_nothing(self, warehouse: Any) -> None:
        load(warehouse, rows("a"), 1)
        with pytest.raises(BaseException):  # noqa: B017, PT011
            load(warehouse, broken(KeyboardInterrupt(), "b"), 2)
        assert self.ids(warehouse) == [(P20, "a")]
        self.check_nothing_is_left(warehouse, TABLE)
        assert load(warehouse, rows("d"), 1) == Loaded(rows=1, replaced=1, created=False)

    def test_a_first_load_that_fails_is_in_nobodys_way(self, warehouse: Any) -> None:
        with pytest.raises(WarehouseError, match="page checksum"):
            load(warehouse, broken(OSError("page checksum"), "a"), 2)
        assert load(warehouse, rows("b"), 1).replaced == 0
        assert self.ids(warehouse) == [(P20, "b")]

    def test_a_load_that_is_killed_changes_nothing(self, warehouse: Any, config: dict[str, Any]) -> None:
        load(warehouse, rows("a", "b"), 2)
        done = subprocess.run(
            [sys.executable, "-c", f"from {__name__} import die_while_loading; die_while_loading()"],
            input=json.dumps({"path": sys.path, "config": config}), capture_output=True, text=True, timeout=300,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
        )  # fmt: skip
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert self.ids(warehouse) == [(P20, "a"), (P20, "b")]
        assert load(warehouse, rows("c"), 1) == Loaded(rows=1, replaced=2, created=False)
        assert self.ids(warehouse) == [(P20, "c")]

    # -- columns -------------------------------------------------------------------------------------------------------

    def test_other_columns_are_refused_by_name_before_anything_is_read(self, warehouse: Any) -> None:
        load(warehouse, rows("a"), 1)
        with pytest.raises(SchemaDrift, match="Nothing was changed") as caught:
            load(warehouse, never(), 0, schema=DRIFTED)
        for column in ("'id'", "'label'", "'score'", "'day'"):
            assert column in str(caught.value)
        assert self.ids(warehouse) == [(P20, "a")]

    @pytest.mark.parametrize(
        ("name", "schema"),
        [
            ("label", SCHEMA.append(pa.field("label", pa.string()))),
            ("score", SCHEMA.remove(1)),
            ("score", SCHEMA.set(1, pa.field("score", pa.float64()))),
            ("day", SCHEMA.set(2, DRIFTED.field("day"))),
            ("day", SCHEMA.set(2, pa.field("day", pa.list_(pa.string())))),
        ],
        ids=["one more", "one less", "wider", "one more in a struct", "list for a struct"],
    )
    def test_a_single_difference_is_refused_too(self, warehouse: Any, name: str, schema: pa.Schema) -> None:
        load(warehouse, rows("a"), 1)
        with pytest.raises(SchemaDrift, match=f"'{name}'"):
            load(warehouse, never(), 0, schema=schema)
        assert self.ids(warehouse) == [(P20, "a")]

    def test_another_partition_column_is_refused(self, warehouse: Any) -> None:
        load(warehouse, rows("a"), 1)
        with pytest.raises(SchemaDrift, match="'other'"):
            load(warehouse, never(), 1, column="other")
        assert self.ids(warehouse) == [(P20, "a")]

    def test_columns_may_stand_in_another_order_in_the_table(self, warehouse: Any) -> None:
        load(warehouse, rows("a"), 1)
        turned = pa.schema(list(reversed(list(SCHEMA))))
        load(warehouse, [batch.select(turned.names) for batch in rows("b")], 1, schema=turned, partition=P21)
        assert self.ids(warehouse) == [(P20, "a"), (P21, "b")]

    # -- values --------------------------------------------------------------------------------------------------------

    def test_every_value_arrives_as_it_was(self, warehouse: Any) -> None:
        values = [{**WHOLE, **edge, "number": number} for number, edge in enumerate(EDGES)]
        values.append(dict.fromkeys(TYPES.names))
        batch = pa.RecordBatch.from_pylist(values, schema=TYPES)
        load(warehouse, [batch], batch.num_rows, schema=TYPES)
        arrived = sorted((plain(row) for row in self.read(warehouse, TABLE)), key=lambda row: str(row["number"]))
        expected = [plain({**row, COLUMN: P20}) for row in batch.to_pylist()]
        for column in [*TYPES.names, COLUMN]:
            assert [row[column] for row in arrived] == [row[column] for row in expected], column
        assert all(row.keys() == {*TYPES.names, COLUMN} for row in arrived)

    @pytest.mark.parametrize(
        ("arrow_type", "value"),
        [
            (pa.timestamp("ns"), 1_706_702_400_000_001_000),
            (pa.timestamp("ns", tz="UTC"), 1_706_702_400_000_001_000),
            (pa.time64("ns"), 1_000),
            (pa.date64(), datetime.date(2026, 1, 31)),
            (pa.duration("s"), datetime.timedelta(seconds=3)),
            (pa.decimal256(60, 2), Decimal("12345678901234567890123456789012345678901234567890.12")),
            (pa.large_list(pa.int64()), [1, 2]),
            (pa.string_view(), "text"),
            (pa.binary_view(), b"bytes"),
        ],
        ids=str,
    )
    def test_a_rare_type_arrives_as_it_was_or_is_refused_by_name(
        self, warehouse: Any, arrow_type: pa.DataType, value: Any
    ) -> None:
        schema = pa.schema([("id", pa.string()), ("cell", pa.struct([("rare", arrow_type)]))])
        array = pa.StructArray.from_arrays([pa.array([value], arrow_type)], fields=list(schema.field("cell").type))
        batch = pa.RecordBatch.from_arrays([pa.array(["a"]), array], schema=schema)
        refusal = None
        try:
            load(warehouse, [batch], 1, schema=schema)
        except WarehouseError as exc:
            refusal = str(exc)
        if refusal is None:
            assert [plain(row["cell"]) for row in self.read(warehouse, TABLE)] == plain(array.to_pylist())
        else:
            assert re.search(r"'cell\b", refusal), f"{refusal} does not name the column"

    def test_rows_are_streamed(self, warehouse: Any) -> None:
        schema = pa.schema([("x", pa.int64())])
        floor, peak, size = pa.total_allocated_bytes(), 0, 2**17

        def batches() -> Iterator[pa.RecordBatch]:
            nonlocal peak
            for number in range(STREAMED):
                peak = max(peak, pa.total_allocated_bytes() - floor)
                # cast, so that the values lie in memory that Arrow counts
                values = pa.array(np.arange(number * size, (number + 1) * size, dtype=np.int32)).cast(pa.int64())
                yield pa.RecordBatch.from_arrays([values], schema=schema)

        assert load(warehouse, batches(), STREAMED * size, schema=schema).rows == STREAMED * size
        assert peak < MOST_HELD

    # -- names ---------------------------------------------------------------------------------------------------------

    def test_names_and_keys_are_only_names(self, warehouse: Any, tmp_path: Path) -> None:
        table, column = '../../t"; drop table x;--', 'part"ition'
        keys = ["o'x'; drop table x;--", "../x", "a/b", "%2e%2e", "x == 'y' or 1 == 1", "ü" * 90, "#?&=+ ", "%", "_"]
        keys += ["key", "KEY", " key", "key ", ".", ""]
        schema = pa.schema([('a"b', pa.int64()), ("select", pa.int64()), ("x.y", pa.int64()), ("ü €", pa.int64())])
        batch = pa.RecordBatch.from_arrays([pa.array([number]) for number in range(4)], schema=schema)
        for key in [*keys, *keys]:
            load(warehouse, [batch], 1, table=table, partition=key, schema=schema, column=column)
        expected = [{'a"b': 0, "select": 1, "x.y": 2, "ü €": 3, column: key} for key in keys]
        assert sorted(self.read(warehouse, table), key=str) == sorted(expected, key=str)
        assert len(list(tmp_path.iterdir())) <= 1, "something was written outside the warehouse's folder"

    @pytest.mark.parametrize("name", ["", "a\0b"])
    def test_a_name_that_cannot_be_is_refused(self, warehouse: Any, name: str) -> None:
        with pytest.raises(WarehouseError, match="empty or holds a NUL"):
            load(warehouse, never(), 1, table=name)
        with pytest.raises(WarehouseError, match="empty or holds a NUL"):
            load(warehouse, never(), 1, column=name)

    def test_the_address_of_a_table_is_its_own(self, warehouse: Any) -> None:
        assert re.match(r"[a-z][a-z0-9+.-]*://.", warehouse.uri("a"))
        assert warehouse.uri("a") == warehouse.uri("a") != warehouse.uri("b")

    def test_the_kind_can_be_an_icon_and_a_pool(self, warehouse: Any) -> None:
        assert re.fullmatch(r"[A-Za-z0-9_.-]{1,63}", warehouse.kind)

    # -- notes ---------------------------------------------------------------------------------------------------------

    def test_the_note_of_a_load_is_kept_with_it(self, warehouse: Any) -> None:
        first = {"attempt": "20260131T120000Z-9f86d081", "manifest_sha256": "ab" * 32, "model": "cd" * 32}
        second = {**first, "attempt": "20260201T120000Z-00000000"}
        load(warehouse, rows("a"), 1, note=first)
        load(warehouse, rows("b"), 1, partition=P21, note=first)
        load(warehouse, rows("c"), 1, note=second)
        assert self.ids(warehouse) == [(P20, "c"), (P21, "b")]
        assert dict(self.note(warehouse, TABLE, P20)).items() >= second.items()
        assert dict(self.note(warehouse, TABLE, P21)).items() >= first.items()

    # -- fencing: a load that was paused and overtaken -----------------------------------------------------------------

    def test_an_older_attempt_never_replaces_a_newer_one(self, warehouse: Any) -> None:
        load(warehouse, rows("seven"), 1, note=numbered(7))
        load(warehouse, rows("eight", "8"), 2, note=numbered(8))
        with pytest.raises(StaleLoad, match=rf"(?s){P20}.*attempt-8.*number 8.*attempt-7.*Nothing was changed.*Remedy"):
            load(warehouse, never(), 1, note=numbered(7))
        assert self.ids(warehouse) == [(P20, "8"), (P20, "eight")]
        assert load(warehouse, rows("nine"), 1, note=numbered(9)) == Loaded(rows=1, replaced=2, created=False)
        assert load(warehouse, rows("ten"), 1, note=numbered(10)).replaced == 1, "numbers are no texts"
        assert self.ids(warehouse) == [(P20, "ten")]
        self.check_nothing_is_left(warehouse, TABLE)

    def test_the_same_attempt_loads_again_and_another_of_its_number_does_not(self, warehouse: Any) -> None:
        load(warehouse, rows("a"), 1, note=numbered(7))
        assert load(warehouse, rows("a"), 1, note=numbered(7)) == Loaded(rows=1, replaced=1, created=False)
        for other in ({"attempt": "another"}, {"manifest_sha256": "cd" * 32}):
            with pytest.raises(StaleLoad):
                load(warehouse, never(), 1, note={**numbered(7), **other})
        assert self.ids(warehouse) == [(P20, "a")]

    def test_partitions_and_tables_are_fenced_apart(self, warehouse: Any) -> None:
        load(warehouse, rows("a"), 1, note=numbered(7))
        load(warehouse, rows("b"), 1, partition=P21, note=numbered(3))
        load(warehouse, rows("c"), 1, table="other", note=numbered(3))
        assert self.ids(warehouse) == [(P20, "a"), (P21, "b")]
        assert self.ids(warehouse, "other") == [(P20, "c")]

    def test_what_was_loaded_without_a_number_is_replaced(self, warehouse: Any) -> None:
        """As tables that an earlier version has loaded."""
        for note in (None, {"attempt": "a", "manifest_sha256": "ab" * 32, "model": "cd" * 32}):
            load(warehouse, rows("old"), 1, note=note)
            assert load(warehouse, rows("new"), 1, note=numbered(1)).replaced == 1
            with pytest.raises(StaleLoad):
                load(warehouse, never(), 1, note=numbered(0))
            assert self.ids(warehouse) == [(P20, "new")]

    def test_numbers_of_two_counters_are_not_compared(self, warehouse: Any) -> None:
        load(warehouse, rows("a"), 1, note=numbered(7))
        assert load(warehouse, rows("b"), 1, note={**numbered(1), "counter": "begun anew"}).replaced == 1
        assert self.ids(warehouse) == [(P20, "b")]

    def test_a_load_that_fails_moves_no_number(self, warehouse: Any) -> None:
        load(warehouse, rows("seven"), 1, note=numbered(7))
        with pytest.raises(WarehouseError, match="page checksum"):
            load(warehouse, broken(OSError("page checksum"), "nine"), 2, note=numbered(9))
        assert load(warehouse, rows("eight"), 1, note=numbered(8)).replaced == 1
        assert self.ids(warehouse) == [(P20, "eight")]

    def test_a_load_that_stands_still_does_not_undo_a_newer_one(self, warehouse: Any, config: dict[str, Any]) -> None:
        """The older load has begun and been admitted when the newer one comes; whoever commits first, the newer shows.
        """
        load(warehouse, rows("six"), 1, note=numbered(6))
        failures: list[BaseException] = []

        def newer() -> None:
            try:
                load(build_warehouse(config), rows("eight"), 1, note=numbered(8))
            except BaseException as exc:
                failures.append(exc)

        thread = threading.Thread(target=newer)

        def paused() -> Iterator[pa.RecordBatch]:
            yield from rows("seven")
            thread.start()
            thread.join(1.0)  # a warehouse with one writer at a time makes the newer load wait

        with contextlib.suppress(WarehouseError):
            load(warehouse, paused(), 1, note=numbered(7))
        thread.join()
        assert failures == []
        assert self.ids(warehouse) == [(P20, "eight")]
        self.check_nothing_is_left(warehouse, TABLE)


def die_while_loading() -> None:
    """Load into the warehouse that standard input describes, and be killed in the middle: the test's other process."""

    def batches() -> Iterator[pa.RecordBatch]:
        yield from rows("new")
        os.kill(os.getpid(), signal.SIGKILL)

    load(build_warehouse(json.load(sys.stdin)["config"]), batches(), 2)
