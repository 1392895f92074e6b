"""Coverage against brute force, and what it finds of rows that are there twice or not at all."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import json2vec as j2v
from json2vec.rank_files.locator import Locator
from json2vec.reading.row_batch import source_array
from json2vec.reading.snapshot import snapshot_frame
from json2vec.verify.coverage import Coverage


def coverage_of(total: int, ids: list[tuple[int, int, int]], rejected: list[int] = [], step: int = 3) -> Any:  # noqa: B006
    locator = Locator(snapshot_frame(pa.table({"x": pa.array(range(total), pa.int64())})))
    coverage = Coverage(locator)
    for start in range(0, len(ids), step):
        row, part, parts = np.array(ids[start : start + step]).T
        zeros = np.zeros(len(row), int)
        source = source_array(["frame:predict"], zeros, row, part, parts, zeros.astype(np.uint64))
        coverage.add(source, locator.plan_rows(source), "here")
    if rejected:
        batch = pa.record_batch({"file": ["frame:predict"] * len(rejected), "row": pa.array(rejected, pa.int64())})
        coverage.add_rejected(batch, locator.plan_rows(batch), "here")
    return coverage.finding()


@pytest.mark.parametrize("seed", range(25))
def test_coverage_agrees_with_counting(seed: int) -> None:
    random = np.random.default_rng(seed)
    total = 40
    parts = random.integers(0, 4, total)
    rejected = [row for row in range(total) if parts[row] == 0]
    ids = [(row, part, int(parts[row])) for row in range(total) for part in range(parts[row])]
    for _ in range(random.integers(0, 3)):
        ids.pop(random.integers(len(ids)))
    for _ in range(random.integers(0, 3)):
        ids.insert(random.integers(len(ids)), ids[random.integers(len(ids))])
    if seed % 3 == 0:
        random.shuffle(ids)
    counts = Counter(ids)
    wanted = {(row, part, int(parts[row])) for row in range(total) for part in range(parts[row])}
    missing = {row for row, part, n in wanted if not counts[row, part, n]}
    twice = {row for (row, _, _), n in counts.items() if n > 1}
    finding = coverage_of(total, [tuple(int(v) for v in one) for one in ids], rejected)
    # A row may lose its last parts and look like two gaps; whether anything is wrong is exact.
    assert finding.passed == (not missing and not twice), finding
    assert (finding.counts["missing"] > 0) == bool(missing)
    assert (finding.counts["duplicated"] > 0) == bool(twice)


def test_coverage_knows_rows_that_are_not_there() -> None:
    finding = coverage_of(2, [(0, 0, 1), (1, 0, 1), (2, 0, 1), (-1, 0, 1)])
    assert finding.counts["unknown"] == 2
    assert finding.examples[0] == "frame:predict row 2 in here is no row of the input"
    assert coverage_of(2, [(0, 0, 1), (1, 1, 1)]).counts["malformed"] == 1
    assert coverage_of(1, [(0, 0, 2), (0, 1, 3), (0, 2, 3)], step=1).passed is False
    assert coverage_of(2, [(0, 0, 1)], rejected=[1]).passed
    assert coverage_of(2, [(0, 0, 1), (1, 0, 1)], rejected=[1]).counts["duplicated"] == 1
    assert coverage_of(1, [(0, 0, 2**31 - 1)]).passed is False


def test_a_row_group_twice_fails_coverage(write: Any) -> None:
    folder = write()
    folder.edit("rank-0.parquet", lambda table: pa.concat_tables([table, table.slice(8, 8)]))
    finding = folder.verify().finding("coverage")
    assert finding.counts["duplicated"] == 8
    assert finding.examples[0] == "a.parquet row 8 to a.parquet row 15 (8 rows) there twice"


def test_dropped_rows_with_adjusted_marker_fail_coverage(write: Any) -> None:
    folder = write()
    folder.edit("rank-1.parquet", lambda table: pa.concat_tables([table.slice(0, 40), table.slice(48)]))
    report = folder.verify()
    assert report.finding("files").passed
    finding = report.finding("coverage")
    assert finding.counts["missing"] == 8
    # Rank 1 begins with row 28 of sub/c.parquet.
    assert finding.examples == ("sub/c.parquet row 68 to sub/d ü#.parquet row 0 (8 rows) missing",)


def test_dropped_and_multiplied_rows_are_complete(write: Any) -> None:
    @j2v.preprocess(yields=True, schema=pa.schema([("amount", pa.float64()), ("merchant", pa.string())]))
    def some_or_none(row: dict, strata: str) -> list:
        count = int(row["id"].rpartition("-")[2]) % 3
        return [{"amount": float(i), "merchant": row["merchant"]} for i in range(count)]

    folder = write(preprocessor=some_or_none)
    report = folder.verify(preprocessor=some_or_none, sample=None)
    assert report.passed, report.summary()
    assert report.finding("coverage").counts["rejected"] == 46
    assert report.rows == 45 + 2 * 45
    rejected = pq.read_table(folder.path / "rejected-0.parquet")
    assert set(rejected["reason"].to_pylist()) == {"dropped"}
    folder.edit("rank-0.parquet", lambda table: table.slice(0, table.num_rows - 1))
    assert folder.verify(model=None).finding("coverage").counts["missing"] == 1
