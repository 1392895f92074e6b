"""Rates of a small sample prove nothing, and chance alone is never a breach."""

from __future__ import annotations

from pathlib import Path

from flight_shards import Trained, good_table, write_parquet

from json2vec.contract.rates import bounds, excess


def test_chance_alone_is_never_a_breach(trained: Trained, tmp_path: Path) -> None:
    """Fifty draws of the training's own distribution, of every size."""
    for seed in range(50):
        write_parquet(tmp_path / str(seed), good_table(100 + seed, 10 + 8 * seed))
        outcome = trained.check(tmp_path / str(seed))
        assert outcome.of("error", "warning") == [], outcome.text()


def test_bounds_hold_few_rows_back() -> None:
    low, high = bounds(0, 0)
    assert (low, high) == (0.0, 1.0)
    assert bounds(3, 3)[0] < 0.2
    assert excess(1.0, 2, 0.0, (0.05, 0.25)) == "warning"
    assert excess(1.0, 1, 0.1, (0.05, 0.25)) is None
    assert excess(1.0, 100, 0.1, (0.05, 0.25)) == "error"
    assert excess(0.12, 4096, 0.1, (0.05, 0.25)) is None
    assert excess(0.2, 4096, 0.1, (0.05, 0.25)) == "warning"
