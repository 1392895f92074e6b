"""What cannot be predicted is said before anything starts."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from shop import Case, error_of, write_shard

pytestmark = pytest.mark.slow


def test_a_missing_snapshot_or_checkpoint_is_said_before_anything_starts(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    write_shard(tmp_path, "d1", "a.parquet", 0, 2)
    case = Case(tmp_path, tmp_path / "absent.ckpt", instance)
    assert "materialize shop/input_shards" in error_of(case.run("prediction_rank_files"))
    assert "absent.ckpt" in error_of(case.run("model_checkpoint"))
    assert case.run("input_shards").success
    assert "absent.ckpt" in error_of(case.run("prediction_rank_files"))
    assert case.output.attempts() == []
    missing = case.run("input_shards", partition="d2")
    assert "dt=d2" in error_of(missing)
