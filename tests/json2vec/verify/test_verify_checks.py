"""The parts of verification by themselves, against brute force where there is one."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from json2vec.rank_files.locator import Locator
from json2vec.rank_files.write_thread import Background
from json2vec.reading.row_batch import source_array
from json2vec.reading.snapshot import snapshot_frame
from json2vec.verify.coverage import Coverage
from json2vec.verify.replay import sample_positions, tolerance_of
from json2vec.verify.tolerance import far
from json2vec.verify.value_checks import ValueCheck


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


def test_far_compares_floats_within_the_tolerance_and_all_else_exactly() -> None:
    kind = pa.struct([("f", pa.list_(pa.float32())), ("s", pa.string()), ("m", pa.map_(pa.string(), pa.float32()))])
    base = {"f": [1.0, None, float("nan")], "s": "a", "m": [("x", 0.5)]}
    nan = float("nan")
    others = [{}, {"f": [1.000001, None, nan]}, {"f": [1.1, None, nan]}, {"f": [1.0, 0.0, 0.0]}, {"f": []},
              {"f": None}, {"s": "b"}, {"s": None}, {"m": [("x", 0.6)]}, {"m": [("y", 0.5)]}, {"m": []}]  # fmt: skip
    expected = [False, False, True, True, True, True, True, True, True, True, True]
    stored = pa.array([base] * (len(others) + 1), kind).slice(1)  # a slice, as record batches are
    again = pa.array([base, *({**base, **other} for other in others)], kind).slice(1)
    assert far(stored, again).tolist() == expected
    assert far(again, stored).tolist() == expected


def test_a_tie_may_name_another_label() -> None:
    top = pa.struct([("label", pa.string()), ("probability", pa.float32())])
    kind = pa.struct([("value", pa.string()), ("probability", pa.float32()), ("topk", pa.list_(top))])

    def content(*top: tuple[str, float]) -> dict:
        return {"value": top[0][0], "probability": top[0][1],
                "topk": [{"label": label, "probability": p} for label, p in top]}  # fmt: skip

    def differs(one: dict, other: dict) -> bool:
        return bool(far(pa.array([one], kind), pa.array([other], kind))[0])

    assert not differs(content(("a", 0.4), ("b", 0.4)), content(("b", 0.4), ("a", 0.4)))
    assert not differs(content(("a", 0.5), ("b", 0.25)), content(("a", 0.5), ("c", 0.25)))
    assert differs(content(("a", 0.5), ("b", 0.3)), content(("b", 0.5), ("a", 0.3)))
    assert differs(content(("a", 0.5), ("b", 0.3)), content(("c", 0.5), ("b", 0.3)))


def test_values_below_arrays_are_checked_and_their_rows_named() -> None:
    states = {name: [0.2, 0.2] for name in ("valued", "null", "padded", "masked", "other")}
    good = {
        "record/a/x": {"state": states, "content": [("k", 0.5)]},
        "record/a": {"embedding": [[1.0, 0.0], [0.6, 0.8]]},
    }
    kind = pa.struct(
        [
            ("record/a/x", pa.struct([("state", pa.struct([(name, pa.list_(pa.float32())) for name in states])),
                                      ("content", pa.map_(pa.string(), pa.float32()))])),
            ("record/a", pa.struct([("embedding", pa.list_(pa.list_(pa.float32())))])),
        ]
    )  # fmt: skip

    def check(row: dict) -> Any:
        made = ValueCheck({"record/a/x": ["k"]})
        made.add(pa.array([good, good, row, good], kind).slice(1), lambda index: f"row {index}")
        return made.finding(postprocessed=False)

    assert check(good).passed
    wrong = check({**good, "record/a": {"embedding": [[1.0, 0.0], [0.6, 0.9]]}})
    assert wrong.examples == ("record/a.embedding of row 1 is not of unit length (1.08167)",)
    wrong = check({**good, "record/a/x": {"state": {**states, "null": [0.2, 0.3]}, "content": [("j", 2.0)]}})
    assert wrong.examples == (
        "record/a/x.state of row 1 does not sum to 1",
        "record/a/x.content of row 1 is not in the vocabulary",
        "record/a/x.content of row 1 is no probability (2)",
    )


def test_the_sample_is_drawn_by_the_attempt() -> None:
    assert sample_positions(1000, 64, "a").tolist() == sample_positions(1000, 64, "a").tolist()
    assert sample_positions(1000, 64, "a").tolist() != sample_positions(1000, 64, "b").tolist()
    assert len(np.unique(sample_positions(1000, 64, "a"))) == 64
    assert sample_positions(5, 64, "a").tolist() == sample_positions(5, None, "a").tolist() == [0, 1, 2, 3, 4]
    assert tolerance_of("32-true", "cpu") == 1e-5
    assert tolerance_of("bf16-mixed", "cuda:0") > tolerance_of("16-mixed", "cuda:0") > tolerance_of("32-true", "cuda:0")


def test_background_errors_come_back() -> None:
    done: list[int] = []

    def work(item: int) -> None:
        if item == 3:
            raise OSError("disk full")
        done.append(item)

    worker = Background(depth=1)

    def put_all() -> None:
        for item in range(1000):
            worker.put(partial(work, item))

    with pytest.raises(OSError, match="disk full"):
        put_all()
    with pytest.raises(OSError, match="disk full"):
        worker.finish()
    assert done == [0, 1, 2]
    worker.cancel()
    fine = Background()
    fine.put(partial(done.append, 9))
    fine.finish()
    assert done[-1] == 9
