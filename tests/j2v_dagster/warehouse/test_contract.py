"""The contract of a warehouse finds what is wrong with one, in a project that has nothing of ours but the packages."""

from __future__ import annotations

import documented  # type: ignore[import-not-found]
import pytest

pytest_plugins = "pytester"
pytestmark = pytest.mark.slow

CLASS, TESTS = documented.blocks("warehouses.md")
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
    ("created=other is None", "created=replaced == 0", "others_stay", "every partition makes the table"),
    ("pa.scalar(partition, pa.string())", 'pa.scalar("x", pa.string())', "load_twice", "another key"),
    ("batch.columns", "[one.fill_null(0) if one.type == pa.int64() else one for one in batch.columns]",
     "every_value", "a null becomes a number"),
    ("raise WarehouseError(f\"{where}: {exc}. Nothing was changed\") from exc", "raise", "error_in_the_middle",
     "errors of other kinds"),
]  # fmt: skip


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


def test_a_project_of_its_own_can_run_the_contract(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(my_warehouse=CLASS, test_my_warehouse=TESTS)
    pytester.syspathinsert()
    outcomes = pytester.runpytest_inprocess("--strict-markers", "-W", "error").parseoutcomes()
    assert set(outcomes) == {"passed"}, outcomes
    assert outcomes["passed"] > 30
