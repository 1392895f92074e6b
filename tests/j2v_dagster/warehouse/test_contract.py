"""The contract of a warehouse passes for that of docs/warehouses.md, a kind of another package, and fails for others.

The others break a promise each. They run in a project of their own, which has nothing of ours but the packages.
"""

from __future__ import annotations

import sys
from pathlib import Path

import documented  # type: ignore[import-not-found]
import pytest

pytest_plugins = "pytester"

CLASS, TESTS = documented.blocks("warehouses.md")
TestParquetWarehouse = documented.module("warehouses.md", 1, "test_my_warehouse").TestParquetWarehouse
BROKEN = [
    ("check_rows(where, arrived, rows)", "pass", "another_number_of_rows", "the rows are not counted"),
    ('file.with_suffix(f".{secrets.token_hex(4)}")', "file", "error_in_the_middle", "old rows are overwritten"),
    ("os.replace(partial, file)", "partial.rename(file.with_suffix('.x.parquet'))", "load_twice", "rows are added"),
    ("if other is not None and", "if other is None and", "other_columns", "columns are not compared"),
    ("str(field.type)", "str(field.type.id)", "single_difference", "types are compared by their outermost only"),
    ("file = self.file", "batches = list(batches)\n        file = self.file", "other_columns", "rows are read first"),
    ("for batch in batches:", "for batch in list(batches):", "streamed", "rows are held together"),
    ("{plain_name(partition)}.parquet", "{partition}.parquet", "only_names", "a key is taken for a path"),
    ("check_name(table)", "table", "name_that_cannot_be", "a table without a name"),
    ("note or {}", "{}", "note_of_a_load", "the note is dropped"),
    ("check_newer(where, self.shown(table, partition), note)\n                os", "os", "stands_still",
     "numbers are compared before writing only"),
    ("check_newer(where, self.shown(table, partition), note)  # a load", "pass  # a load", "older_attempt",
     "numbers are compared after reading only"),
    ("created=other is None", "created=replaced == 0", "others_stay", "every partition makes the table"),
    ("pa.scalar(partition, pa.string())", 'pa.scalar("x", pa.string())', "load_twice", "another key"),
    ("batch.columns", "[one.fill_null(0) if one.type == pa.int64() else one for one in batch.columns]",
     "every_value", "a null becomes a number"),
    ("raise WarehouseError(f\"{where}: {exc}. Nothing was changed\") from exc", "raise", "error_in_the_middle",
     "errors of other kinds"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _installed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """``my_warehouse.py``, as the page has it, where imports find it."""
    folder: Path = tmp_path_factory.mktemp("packages")
    (folder / "my_warehouse.py").write_text(CLASS)
    monkeypatch.syspath_prepend(str(folder))
    sys.modules.pop("my_warehouse", None)  # another test's


@pytest.mark.slow
@pytest.mark.parametrize(("old", "new", "test"), [one[:3] for one in BROKEN], ids=[one[3] for one in BROKEN])
def test_a_warehouse_that_breaks_a_promise_fails_its_test(
    pytester: pytest.Pytester, old: str, new: str, test: str
) -> None:
    assert CLASS.count(old) == 1, old
    pytester.makepyfile(my_warehouse=CLASS.replace(old, new), test_my_warehouse=TESTS)
    pytester.syspathinsert()
    outcomes = pytester.runpytest_inprocess("-k", test, "--strict-markers").parseoutcomes()
    assert outcomes.get("failed", 0) >= 1, outcomes
    assert not outcomes.get("errors")


@pytest.mark.slow
def test_a_project_of_its_own_can_run_the_contract(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(my_warehouse=CLASS, test_my_warehouse=TESTS)
    pytester.syspathinsert()
    outcomes = pytester.runpytest_inprocess("--strict-markers", "-W", "error").parseoutcomes()
    assert set(outcomes) == {"passed"}, outcomes
    assert outcomes["passed"] > 30
