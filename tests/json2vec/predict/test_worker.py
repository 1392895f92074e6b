"""What a rank keeps from one job to the next, and what it does not."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

import json2vec as j2v
from json2vec.predict.job import PredictJob
from json2vec.predict.worker import Worker
from json2vec.storage.local import file_sha256


def make_job(checkpoint: Path, **options: object) -> PredictJob:
    return PredictJob(**{
        "attempt": "a", "checkpoint": str(checkpoint), "checkpoint_sha256": file_sha256(checkpoint), "output": "out",
        "snapshot": {}, "intervals": [], "world_size": 1, **options,
    })  # type: ignore[arg-type]  # fmt: skip


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    model = j2v.Model.from_schema(
        j2v.Number("amount"), j2v.Number("score", target=True), d_model=8, n_layers=1, n_heads=2, batch_size=64
    )
    return Path(model.save(tmp_path / "model.ckpt"))


def test_a_model_serves_jobs_alike(checkpoint: Path) -> None:
    worker = Worker()
    first, fingerprint = worker.model(make_job(checkpoint, batch_size=7))
    assert first.batch_size == 7
    again, same = worker.model(make_job(checkpoint))
    assert (again, same) == (first, fingerprint)
    assert again.batch_size == 64, "the checkpoint's, not the job's before"
    other, same = worker.model(make_job(checkpoint, precision="bf16-mixed"))
    assert other is not first, "a model belongs to its precision"
    assert same == fingerprint


def test_what_has_seen_an_error_is_not_used_again(checkpoint: Path) -> None:

    def fails(model: j2v.Model) -> None:
        raise OSError("disk full")

    worker, job = Worker(), make_job(checkpoint)
    model, fingerprint = worker.model(job)
    with worker.trainer(job) as trainer:
        pass
    with worker.trainer(job) as same:
        assert same is trainer
    assert worker.model(job)[0] is model
    with pytest.raises(OSError, match="disk"), worker.trainer(job):
        fails(model.double())
    fresh, same_fingerprint = worker.model(job)
    assert fresh is not model
    assert same_fingerprint == fingerprint == fresh.fingerprint()
    with worker.trainer(job) as another:
        assert another is not trainer


def test_a_machine_with_slurm_gets_no_advice(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    warnings.simplefilter("always")
    worker, job = Worker(), make_job(checkpoint)
    worker.model(job)
    with worker.trainer(job):
        pass
    assert [str(one.message) for one in recwarn if "srun" in str(one.message)] == []
