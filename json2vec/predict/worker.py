"""What a rank does: load the model, predict its share of each job, leave rank files or the error that stopped it."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from json2vec.errors import CheckpointError, Json2VecError
from json2vec.predict.job import PredictJob, error_name, job_settings_digest, plan_job, shared_rows
from json2vec.predict.progress import Progress, progress_callback
from json2vec.ranks import rank_and_world
from json2vec.storage.local import file_sha256
from json2vec.storage.opening import fetch, open_store

if TYPE_CHECKING:
    import lightning.pytorch as lit

    from json2vec.data.loader import PlannedDataset
    from json2vec.model.model import Model
    from json2vec.processors import Postprocessor
    from json2vec.rank_files.manifest import Marker


def load_model(job: PredictJob) -> Model:
    """The job's model, from its own checkpoint and no other.

    Raises:
        CheckpointError: the checkpoint was replaced after planning, or cannot be loaded.
    """
    from json2vec.model.model import Model

    checkpoint = fetch(job.checkpoint, job.scratch or tempfile.gettempdir(), job.storage_options)
    if (sha256 := file_sha256(checkpoint)) != job.checkpoint_sha256:
        raise CheckpointError(
            f"checkpoint {job.checkpoint} has SHA-256 {sha256[:12]}..., the job was made for "
            f"{job.checkpoint_sha256[:12]}...: it was replaced after planning. Remedy: run the partition again"
        )
    model = Model.load(checkpoint, trusted_modules=job.trusted_modules)
    print(f"loaded the model {job.checkpoint} ({job.checkpoint_sha256[:12]}...)", flush=True)
    return model


class Worker:
    """What a rank keeps from one job to the next: each takes longer to make than to predict a few hundred rows."""

    def __init__(self) -> None:
        self._model: Model | None = None
        self._fingerprint = ""
        self._model_of: tuple[object, ...] = ()
        self._batch_size = 0
        self._trainer: lit.Trainer | None = None
        self._trainer_of: tuple[str, str] = ("", "")

    def model(self, job: PredictJob) -> tuple[Model, str]:
        """The job's model, with the job's batch size, and its fingerprint; loaded once while the jobs name the same
        checkpoint and precision, which may convert the weights, and until one fails."""
        key = (job.checkpoint, job.checkpoint_sha256, tuple(job.trusted_modules), job.precision)
        if self._model is None or self._model_of != key:
            model = load_model(job)
            self._model, self._fingerprint, self._model_of = model, model.fingerprint(), key
            self._batch_size = model.batch_size
        self._model.batch_size = job.batch_size or self._batch_size
        return self._model, self._fingerprint

    @contextmanager
    def trainer(self, job: PredictJob, *callbacks: lit.Callback) -> Generator[lit.Trainer]:
        """A trainer with these callbacks; the same one as before. What has seen an error is not used again, the model
        neither."""
        import lightning.pytorch as lit
        from lightning.fabric.plugins.environments.lightning import LightningEnvironment

        trainer, key = self._trainer, (job.accelerator, job.precision)
        if trainer is None or self._trainer_of != key:
            # The environment is said, as where Slurm's `srun` is installed Lightning would advise to use it.
            trainer = lit.Trainer(
                plugins=[LightningEnvironment()], accelerator=job.accelerator, devices=1,
                precision=cast("Any", job.precision), logger=False, enable_checkpointing=False,
                enable_progress_bar=False, enable_model_summary=False,
            )  # fmt: skip
        model, its_own = self._model, list(trainer.callbacks)  # type: ignore[attr-defined]
        self._trainer = self._model = None
        trainer.callbacks = [*its_own, *callbacks]  # type: ignore[attr-defined]
        yield trainer
        trainer.callbacks = its_own  # type: ignore[attr-defined]
        self._trainer, self._trainer_of, self._model = trainer, key, model


def run_job(job: PredictJob, *, worker: Worker | None = None, progress: Progress | None = None) -> Marker:
    """Predict this process's share and write its rank files; the caller of the launcher commits.

    Args:
        job: what to predict, and how; its world size must be the environment's.
        worker: what earlier jobs of this process have left, such as the loaded model; None begins anew.
        progress: counts the rows of all jobs of this rank; None counts those of this job alone.

    Raises:
        Json2VecError: the prediction failed, in one of the ways that have a class of their own. Nothing but sealed
            segments stays behind.
    """
    import torch
    from torch.utils.data import DataLoader

    from json2vec.data.loader import PlannedDataset
    from json2vec.processors import postprocessor_of, preprocessor_of
    from json2vec.profile.missing import ColumnCheck
    from json2vec.rank_files.writer import Writer

    rank, world_size = rank_and_world()
    if world_size != job.world_size:
        raise Json2VecError(f"the job is for {job.world_size} ranks, the environment says WORLD_SIZE={world_size}")
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    worker = Worker() if worker is None else worker
    model, fingerprint = worker.model(job)
    plan = plan_job(job)
    preprocessor = preprocessor_of(None, job.preprocessor, job.trusted_modules)
    check = None
    if job.missing_columns == "raise":
        check = ColumnCheck(model.schema, model.profile, plan.snapshot).before_rows(preprocessor)
    dataset = PlannedDataset(
        plan, open_store(plan.snapshot.root, job.storage_options), model, rank=rank, on_bad_row=job.on_bad_row,
        preprocessor=preprocessor, check_columns=check,
    )  # fmt: skip
    settings = job_settings_digest(job)
    postprocessor = postprocessor_of(None, job.postprocessor, job.trusted_modules)
    column_type = None
    if job.reuse is not None:
        column_type = open_stored(job, dataset, model, postprocessor, settings, fingerprint)
    writer = Writer(
        job.output,
        job.flush_every_n_batches,
        postprocessor,
        schema=column_type if postprocessor is not None else None,
        inputs=job.inputs,
        reconstruct=job.reconstruct,
        segment_rows=job.segment_rows,
        commit=False,
        attempt=job.attempt,
        max_rejected=job.max_rejected,
        settings_digest=settings,
        storage_options=job.storage_options,
        scratch=None if job.scratch is None else os.path.join(job.scratch, job.attempt),
        model_fingerprint=fingerprint,
    )
    count = progress_callback(progress or Progress(rank, shared_rows(plan, rank)))
    pinned = job.accelerator != "cpu" and torch.cuda.is_available()
    loader = DataLoader(dataset, batch_size=None, pin_memory=pinned)
    with worker.trainer(job, writer, count) as trainer:
        trainer.predict(model, loader, return_predictions=False)
    assert writer.marker is not None
    if dataset.stored is not None:
        taken, attempt = writer.marker.reused_rows, dataset.stored.attempt
        print(f"{taken:,} of {writer.marker.rows:,} rows took the stored predictions of attempt {attempt}", flush=True)
    return writer.marker


def run_jobs(jobs: Sequence[PredictJob]) -> list[int]:
    """Do several jobs, one after the other, with a model that is loaded once a checkpoint.

    A job that fails leaves its error in its own folder (`write_error`), and the next begins: the partitions of a
    backfill do not stand in for each other.

    Returns:
        the numbers of the jobs that failed, counted from 0 in the order of ``jobs``.
    """
    rank, _ = rank_and_world()
    progress = Progress(rank, sum(shared_rows(plan_job(job), rank) for job in jobs))
    failed: list[int] = []
    worker = Worker()
    for number, job in enumerate(jobs):
        try:
            run_job(job, worker=worker, progress=progress)
        except BaseException as exc:
            write_error(job, rank, exc)
            if len(jobs) == 1 or not isinstance(exc, Exception):
                raise
            failed.append(number)
        progress.end_job()
    return failed


def write_error(job: PredictJob, rank: int, error: BaseException) -> None:
    """Leave ``rank-N.error.json`` in the job's folder, as far as that takes writes, and a line in the log."""
    line = f"rank {rank} failed: {type(error).__name__}: {error}"
    print(line, file=sys.stderr, flush=True)
    value = {"rank": rank, "error": type(error).__name__, "message": str(error), "traceback": traceback.format_exc()}
    try:
        open_store(job.output, job.storage_options).write(error_name(rank), json.dumps(value, indent=1).encode())
    except OSError as exc:
        print(f"rank {rank} could not keep its error in {job.output}: {exc}", file=sys.stderr, flush=True)


def open_stored(
    job: PredictJob, dataset: PlannedDataset, model: Model, postprocessor: Postprocessor | None, settings: str,
    fingerprint: str,
) -> pa.StructType:  # fmt: skip
    """Let ``dataset`` reuse the predictions of ``job.reuse``, or print why it cannot.

    Args:
        job: the job, whose ``reuse`` names a folder.
        dataset: the rows of this rank; it gets the stored predictions.
        model: the job's model.
        postprocessor: the job's postprocessor, or None.
        settings: the job's digest, of `job_settings_digest`.
        fingerprint: the model's fingerprint, of `Model.fingerprint`.

    Returns:
        the type of the ``predictions`` column before it is stored.
    """
    from json2vec.rank_files.layout import stored_type
    from json2vec.rank_files.reuse import Unusable, open_reuse
    from json2vec.rank_files.writer import predictions_type

    def say(text: str) -> None:
        print(text, flush=True)

    assert job.reuse is not None
    schema = None if postprocessor is None else postprocessor.schema
    declared = None if schema is None else pa.struct(list(schema))
    before, model.reconstruct = model.reconstruct, tuple(job.reconstruct)  # as the writer sets it
    try:
        column_type = predictions_type(postprocessor, declared, model, dataset.plan, dataset, job.reconstruct)
    finally:
        model.reconstruct = before
    try:
        dataset.stored = open_reuse(
            open_store(job.reuse, job.storage_options), model=fingerprint, settings=settings,
            snapshot=dataset.plan.snapshot, predictions=stored_type(column_type), log=say,
        )  # fmt: skip
    except Unusable as exc:
        say(f"no stored prediction is reused, every row is predicted: {exc}")
    return column_type
