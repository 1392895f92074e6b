"""`incremental=True`: a partition that changed a little is predicted a little."""

from __future__ import annotations

import logging
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shop import CHECKS, Case, checks_of, error_of, metadata, write_shard

from j2v_dagster.attempts.sealed import reusable, seal

pytestmark = pytest.mark.slow
LOG = logging.getLogger("incremental")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import json2vec as j2v

    model = j2v.Model.from_schema(
        j2v.Number(name="amount"), j2v.Category(name="label", max_vocab_size=8, target=True), d_model=8, n_layers=1,
        n_heads=2, batch_size=4,
    )  # fmt: skip
    model.learn(pa.RecordBatch.from_pylist([{"amount": 1.0, "label": one} for one in ("yes", "no")]))
    return Path(model.save(tmp_path_factory.mktemp("model") / "model.ckpt"))


def test_unchanged_rows_take_their_stored_prediction(
    tmp_path: Path, checkpoint: Path, instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    write_shard(tmp_path, "d1", "a.parquet", 0, 7)
    write_shard(tmp_path, "d1", "b.parquet", 7, 4)
    case = Case(tmp_path, checkpoint, instance, incremental=True)
    first = case.run()
    assert first.success, error_of(first)
    assert metadata(case, "prediction_rank_files")["reused_rows"] == 0
    before = case.output.current()
    assert before is not None

    # One row of eleven changes, and one more comes before all others.
    write_shard(tmp_path, "d1", "0.parquet", 100, 1)
    shard = tmp_path / "shards" / "dt=d1" / "b.parquet"
    rows = pq.ParquetFile(shard).read()
    amounts = rows["amount"].to_pylist()
    place = rows.schema.get_field_index("amount")
    pq.write_table(rows.set_column(place, "amount", pa.array([*amounts[:3], 4711.0])), shard)
    second = case.run()
    assert second.success, error_of(second)
    assert checks_of(second) == dict.fromkeys(CHECKS, True)
    files = metadata(case, "prediction_rank_files")
    assert (files["reused_rows"], files["dagster/partition_row_count"]) == (10, 12)
    assert case.table("SELECT count(*), count(DISTINCT id), count(label) FROM labels") == [(12, 12, 12)]
    current = case.output.current()
    assert current is not None
    sealed = seal(next(one for one in case.output.attempts() if one.name == current["attempt"]))
    assert {(file.reused.attempt, file.reused.manifest_sha256) for file in sealed.manifest.files if file.reused} == {
        (before["attempt"], before["manifest_sha256"])
    }

    # What is not whole, not proven or not there is not reused, and the log says why.
    found = reusable(case.output, log=LOG)
    assert found is not None
    assert found.attempt == sealed.attempt
    assert found.attempt.store.uri() == sealed.attempt.uri
    verdict = sealed.attempt.path / "_verified.json"
    verdict.rename(verdict.with_suffix(".kept"))
    assert reusable(case.output, log=LOG) is None
    assert "has not been checked" in caplog.text
    verdict.with_suffix(".kept").rename(verdict)
    file = sealed.attempt.path / sealed.manifest.files[0].path
    file.write_bytes(file.read_bytes()[:-1])
    assert reusable(case.output, log=LOG) is None
    assert f"{file.name}: it has" in caplog.text
    Path(case.output.root, "_current.json").unlink()
    with caplog.at_level(logging.INFO):
        assert reusable(case.output, log=LOG) is None
    assert "nothing was loaded for this partition yet" in caplog.text
