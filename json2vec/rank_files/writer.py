"""`Writer`: the Lightning callback that turns `trainer.predict` into a complete folder of rank files, or nothing."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter

from json2vec.batch import Batch
from json2vec.errors import Json2VecError, ProcessorError
from json2vec.processors import Postprocessor, Preprocessor, as_postprocessor
from json2vec.rank_files.attempt_folder import reset_folder, shared_attempt
from json2vec.rank_files.commit import commit_predictions
from json2vec.rank_files.layout import fit_array, rank_schema
from json2vec.rank_files.manifest import Manifest, Marker, Reused
from json2vec.rank_files.postprocessing import payload_columns, payload_type, postprocessed
from json2vec.rank_files.rank_writer import RankFiles, row_namer
from json2vec.rank_files.rejected import MAX_REJECTED, check_max_rejected
from json2vec.rank_files.reuse import merged
from json2vec.rank_files.trainer_input import check_whole, datamodule_of, dataset_of, plan_of
from json2vec.rank_files.write_thread import Background
from json2vec.ranks import rank_and_world
from json2vec.reading.plan import Plan
from json2vec.reading.row_batch import RowBatch
from json2vec.storage.opening import open_store

if TYPE_CHECKING:
    from json2vec.data.loader import PlannedDataset
    from json2vec.model.model import Model
    from json2vec.model.predictions import Predictions


class Writer(BasePredictionWriter):
    """Writes predictions beside the rows they were made of: one Parquet file a rank, and a manifest at the very end.

    Args:
        path: the prediction folder, local or ``s3://``. A plain writer owns it: what earlier predictions left there is
            removed first.
        flush_every_n_batches: batches in a Parquet row group; default: row groups of about 65,536 rows.
        postprocessor: ``(context, predictions) -> dict`` of row-aligned lists, keyed by address; None keeps
            ``predictions`` as they are, possibly changed in place. ``context`` has the keys ``"input"``, ``"batch"``,
            ``TensorKey.metadata`` (one dict-like processed row for each prediction), ``"batch_indices"``,
            ``"batch_idx"`` and ``"dataloader_idx"``. It runs in the writer's thread, row by row in Python: slow.
        inputs: keep all input columns, none, or these.
        reconstruct: addresses of fields to predict besides the schema's targets.
        segment_rows: input rows after which a rank seals a file and begins the next.
        commit: reset the folder at the start and commit it at the end. False where a launcher does both.
        attempt: the id that all ranks share; default: agreed on by the ranks.
        schema: the type of the ``predictions`` column that the postprocessor makes, as a struct type or a schema;
            default: what it returns for the snapshot's first batch.
        commit_timeout_s: seconds that rank 0 waits at the end for the other ranks.
        max_rejected: how many rows may be quarantined (``on_bad_row="quarantine"``) before the prediction fails: a
            share of all input rows as a float from 0.0 to 1.0, or a number of rows as an int. Dropped rows do not
            count.
        settings_digest: digest of all that can change a prediction (see `json2vec.rank_files.settings`); with it
            every sealed segment is noted in ``rank-N.segments.jsonl``, for a later attempt to adopt.
        storage_options: options for the object store's client; unused for local folders.
        scratch: local folder for files that are not uploaded yet; default: the system's for temporary files.
        model_fingerprint: what the model's `fingerprint` gives, where it is known already.

    Attributes:
        marker: this rank's marker of the last prediction; None before the first.
        manifest: the manifest of the last prediction, on global rank 0 only; elsewhere None.

    Raises:
        Json2VecError: the prediction failed, in one of the ways that have a class of their own. It is raised in the
            thread of `trainer.predict`; the folder is then not complete.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        flush_every_n_batches: int | None = None,
        postprocessor: Callable[..., Any] | None = None,
        *,
        inputs: bool | Sequence[str] = True,
        reconstruct: Sequence[str] = (),
        segment_rows: int = 1_000_000,
        commit: bool = True,
        attempt: str | None = None,
        schema: pa.StructType | pa.Schema | None = None,
        commit_timeout_s: float = 600.0,
        max_rejected: float = MAX_REJECTED,
        settings_digest: str | None = None,
        storage_options: dict[str, Any] | None = None,
        scratch: str | os.PathLike[str] | None = None,
        model_fingerprint: str | None = None,
    ) -> None:
        super().__init__(write_interval="batch")
        for name, value in (("flush_every_n_batches", flush_every_n_batches), ("segment_rows", segment_rows)):
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; expected 1 or more")
        if isinstance(inputs, str):
            raise TypeError(f"inputs is the text {inputs!r}; expected True, False or a list of column names")
        check_max_rejected(max_rejected)
        processor = as_postprocessor(postprocessor)
        if schema is not None and processor is None:
            raise ValueError("schema= describes what a postprocessor returns; there is no postprocessor")
        self.store, self.scratch = open_store(path, storage_options), scratch
        self.model_fingerprint = model_fingerprint
        self.flush_every_n_batches, self.segment_rows = flush_every_n_batches, segment_rows
        self.postprocessor, self.inputs, self.reconstruct = processor, inputs, tuple(reconstruct)
        self.commit, self.attempt, self.commit_timeout_s = commit, attempt, commit_timeout_s
        self.max_rejected, self.settings_digest = max_rejected, settings_digest
        declared = processor.schema if schema is None and processor is not None else schema
        self.schema = pa.struct(list(declared)) if declared is not None else None
        self.marker: Marker | None = None
        self.manifest: Manifest | None = None
        self._reconstruct: tuple[str, ...] = ()
        self._reconstruct_before: tuple[str, ...] | None = None
        self._files: RankFiles | None = None
        self._background: Background | None = None
        self._predictions: pa.StructType | None = None

    # -- Lightning's hooks ---------------------------------------------------------------------------------------------

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Lightning looks for indices that only map-style datasets have; `source` says more than they could.
        warnings.filterwarnings("ignore", "Couldn't infer the batch indices")
        self.marker = self.manifest = None
        rank, world_size = rank_and_world(trainer)
        attempt = self.attempt or shared_attempt(self.store, rank, world_size, trainer)
        plan = plan_of(trainer, world_size)
        check_whole(trainer, plan, rank)
        model = cast("Model", pl_module)
        self._reconstruct_before, self._reconstruct = model.reconstruct, self.reconstruct or model.reconstruct
        model.reconstruct = self._reconstruct
        self._predictions = self._predictions_type(trainer, model, plan)
        schema = rank_schema(plan.snapshot.schema, self._predictions, self.inputs)
        fingerprint = self.model_fingerprint or model.fingerprint()
        if self.commit:  # last: until here nothing was removed of what an earlier prediction left
            reset_folder(self.store, rank=rank, world_size=world_size)
        self._files = RankFiles(
            self.store, plan=plan, rank=rank, attempt=attempt, model_fingerprint=fingerprint, schema=schema,
            segment_rows=self.segment_rows, flush_every_n_batches=self.flush_every_n_batches,
            settings=self.settings_digest, max_rejected=self.max_rejected, scratch=self.scratch,
        )  # fmt: skip
        self._background = Background(name=f"writer of rank {rank}")

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        assert self._background is not None
        if dataloader_idx:
            raise Json2VecError(f"batch {batch_idx} comes from predict dataloader {dataloader_idx}; Writer serves one")
        if not isinstance(batch, Batch) or batch.rows is None:
            raise Json2VecError(
                f"batch {batch_idx} is a {type(batch).__name__} that does not know its source rows. Remedy: predict "
                "with PolarsDataModule or StreamingDataModule"
            )
        context: dict[str, Any] = {}
        if self.postprocessor is not None:
            context = {"batch_indices": batch_indices or [], "batch_idx": batch_idx, "dataloader_idx": dataloader_idx}
        self._background.put(partial(self._write, prediction, batch, context))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self._background is not None
        assert self._files is not None
        self._restore(cast("Model", pl_module))
        files = self._files
        try:
            # A rank that is told to end now still finishes the segment in hand, whose line in the journal comes last.
            self._background.put(self._close)
            self._background.finish()
        except BaseException:
            self.abort()
            raise
        self._files = self._background = None
        if self.commit and files.rank == 0:
            self.manifest = commit_predictions(
                self.store, files.plan, attempt=files.attempt, wait_s=self.commit_timeout_s,
                settings=self._settings(trainer, cast("Model", pl_module)), max_rejected=self.max_rejected,
            )  # fmt: skip

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore(cast("Model", pl_module))
        self.abort()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Lightning skips the predict loop and its hooks where no loader has a batch; that is a result all the same.
        if stage == "predict" and self.marker is None and self._files is None:
            with torch.inference_mode():
                self.on_predict_start(trainer, pl_module)
            self.on_predict_end(trainer, pl_module)

    def _restore(self, model: Model) -> None:
        if self._reconstruct_before is not None:
            model.reconstruct, self._reconstruct_before = self._reconstruct_before, None

    def abort(self) -> None:
        """Stop writing and remove the open ``*.tmp`` files. What is sealed stays; nothing is committed."""
        if self._background is not None:
            self._background.cancel()
        if self._files is not None:
            self._files.abort()
        self._files = self._background = None

    # -- in the writer's thread ----------------------------------------------------------------------------------------

    def _write(self, prediction: Predictions, batch: Batch, context: dict[str, Any]) -> None:
        rows = batch.rows
        assert rows is not None
        assert self._files is not None
        stored = rows.stored
        if stored is None:
            columns = self._columns(prediction, batch, rows, context)
            self._files.write(rows.inputs, columns, rows.source, rows.span, rows.rejected)
            return
        column_type = self._files.schema.field("predictions").type
        fresh = pa.array([], column_type)
        if len(rows):
            columns = self._columns(prediction, batch, rows, context)
            fresh = fit_array(columns, column_type, "column 'predictions'", row_namer(rows.source))
        reused = Reused(attempt=stored.attempt, manifest_sha256=stored.manifest_sha256, rows=stored.reused)
        self._files.write(stored.inputs, merged(fresh, stored), stored.source, rows.span, rows.rejected, reused)

    def _close(self) -> None:
        assert self._files is not None
        self.marker = self._files.close()

    def _columns(
        self, prediction: Predictions, batch: Batch, rows: RowBatch, context: dict[str, Any]
    ) -> pa.StructArray:
        """What the model, and the postprocessor where there is one, made of the rows that went through the model."""
        predictions = prediction.cpu()
        if self.postprocessor is None:
            return predictions.columns()
        assert self._predictions is not None
        result = postprocessed(self.postprocessor, predictions, batch, rows, **context)
        return payload_columns(result, len(rows), self._predictions, row_namer(rows.source))

    # -- before the first batch and after the last ---------------------------------------------------------------------

    def _predictions_type(self, trainer: Trainer, model: Model, plan: Plan) -> pa.StructType:
        # Every rank, and every attempt that resumes another, looks at the same rows, so that all derive the same type.
        return predictions_type(self.postprocessor, self.schema, model, plan, dataset_of(trainer), self._reconstruct)

    def _settings(self, trainer: Trainer, model: Model) -> dict[str, Any]:
        preprocessor = getattr(datamodule_of(trainer), "preprocessor", None)
        return {
            "device": str(model.device),
            "precision": str(trainer.precision),
            "batch_size": model.batch_size,
            "threads": torch.get_num_threads(),
            "preprocessor": None if preprocessor is None else _name(preprocessor),
            "postprocessor": None if self.postprocessor is None else _name(self.postprocessor),
            "inputs": self.inputs if isinstance(self.inputs, bool) else list(self.inputs),
            "reconstruct": list(self._reconstruct),
        }


def predictions_type(
    postprocessor: Postprocessor | None,
    declared: pa.StructType | None,
    model: Model,
    plan: Plan,
    dataset: PlannedDataset | None,
    reconstruct: Sequence[str] = (),
) -> pa.StructType:
    """Type of the ``predictions`` column before it is stored.

    Args:
        postprocessor: makes the stored columns of the predictions; None stores them as the model makes them.
        declared: what the postprocessor is said to return; None runs it on the snapshot's first rows.
        model: the model that predicts.
        plan: the plan, whose snapshot has the first rows.
        dataset: the predict dataloader's dataset, which reads and encodes them; None where it has none.
        reconstruct: addresses of fields to predict besides the schema's targets.

    Raises:
        ProcessorError: nothing is declared, and there is no row that could show it.
    """
    column_type = model.output_type(reconstruct)
    if postprocessor is None:
        return column_type
    if declared is not None:
        return declared
    batch = None if dataset is None else _first_batch(dataset, model, plan)
    if batch is None or batch.rows is None or not len(batch):
        raise ProcessorError(
            f"postprocessor {postprocessor.name!r}: there is no row that could show what it returns. Remedy: "
            "declare it with Writer(schema=...) or @postprocess(schema=...)"
        )
    predictions = model.predict_step(batch.to(model.device), 0).cpu()
    return payload_type(postprocessed(postprocessor, predictions, batch, batch.rows), len(batch), column_type)


def _first_batch(dataset: PlannedDataset, model: Model, plan: Plan) -> Batch | None:
    """The first ``model.batch_size`` rows of the snapshot, encoded as the predict dataloader does it."""
    dataset = copy.copy(dataset)
    dataset.stored = None
    dataset.plan = Plan(plan.snapshot, 1, ((0, min(model.batch_size, plan.snapshot.rows)),))
    dataset.rank = 0
    return next(iter(dataset), None)


def _name(processor: Preprocessor | Postprocessor) -> str:
    function = processor.function
    return f"{getattr(function, '__module__', '?')}:{getattr(function, '__qualname__', type(function).__qualname__)}"
