"""The steps of a pipeline: what each asset and the checks do for one partition, or for several at once.

A step takes a partition's key, does its work and returns a `Result`, which `j2v_dagster.pipeline` hands to Dagster as
one materialization a step and `j2v_dagster.backfill` as one event a partition.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from j2v_dagster.attempts import (
    LAUNCHES,
    MANIFEST,
    Attempt,
    PartitionOutput,
    SealedAttempt,
    default_scratch,
    require_verdict,
    seal,
    write_verdict,
)
from j2v_dagster.checks import check_results, incomplete_results, rejected_result
from j2v_dagster.contract import ContractOptions, contract_metadata
from j2v_dagster.estimate import Settings, estimate
from j2v_dagster.execution import (
    Launch,
    RanksFailed,
    check_free_space,
    checkpoint_sha256,
    commit,
    rank_table,
    resume_attempt,
    run_ranks,
)
from j2v_dagster.incremental import reusable
from j2v_dagster.launchers.base import Launcher
from j2v_dagster.lineage import column_schema, columns_read, rank_file_lineage, table_lineage
from j2v_dagster.locks import Lease, partition_lock
from j2v_dagster.partitions import output_template
from j2v_dagster.results import Result, rank_files_result, shards_result
from j2v_dagster.shards import ShardSource, read_inputs, shown_listing, write_inputs
from j2v_dagster.shown import Shown
from j2v_dagster.translator import PredictionTranslator, Role
from j2v_dagster.warehouse.base import Warehouse
from j2v_dagster.warehouse.columns import ColumnPath, Projection, project
from json2vec.data.snapshot import Snapshot, check_unchanged
from json2vec.errors import CheckpointError, IncompletePredictions, Json2VecError
from json2vec.stores import fetch, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from json2vec.contract import Outcome
    from json2vec.model import Model
    from json2vec.predict import PredictJob
    from json2vec.rank_files.manifest import Manifest
    from json2vec.rank_files.resume import Resume


@dataclass(frozen=True)
class Prepared:
    """A partition that is ready to be predicted: its preflight has passed, its attempt exists."""

    partition: str
    attempt: Attempt
    job: PredictJob
    snapshot: Snapshot
    resumed: Resume
    model: Mapping[str, Any]  # the checkpoint's plain values
    compared: Outcome | None  # of the contract
    lease: Lease | None


@dataclass(frozen=True)
class Pipeline:
    """A pipeline's options, resolved and checked; `build_prediction_pipeline` documents each."""

    name: str
    source: ShardSource
    partitions_def: dg.PartitionsDefinition
    checkpoint: str
    output: str
    warehouse: Warehouse
    table: str
    columns: Mapping[str, ColumnPath]
    partition_column: str
    ranks: int
    rank_timeout_s: float
    min_free_bytes: int
    replay_sample: int
    require: tuple[str, ...]
    launcher: Launcher
    translator: PredictionTranslator
    resume: bool = True
    scratch: str | None = None
    contract: ContractOptions = field(default_factory=ContractOptions)
    incremental: bool = False
    sample_rows: int = 5
    job: dict[str, Any] = field(default_factory=dict)

    def key(self, role: Role) -> dg.AssetKey:
        return self.translator.key(self.name, role)

    def output_of(self, partition: str) -> PartitionOutput:
        options = self.source.storage_options
        return PartitionOutput.of(self.output, partition, output_template(self.source.folder), options, self.scratch)

    def shows(self, partition: str) -> str | None:
        """The listing digest of the shards that the table shows of a partition, None where there is none."""
        return shown_listing(self.output_of(partition).store)

    def estimate_line(self, snapshots: Sequence[Snapshot], checkpoint_sha256: str | None) -> str:
        """What predicting ``snapshots`` with one start of the ranks will take, for the log."""
        settings = Settings(
            checkpoint_sha256=checkpoint_sha256,
            world_size=self.ranks,
            **{name: self.job[name] for name in ("accelerator", "precision", "batch_size", "threads")},
        )
        return estimate(
            snapshots, self.output, settings=settings, folder=output_template(self.source.folder), one_start=True,
            storage_options=self.source.storage_options,
        ).summary()  # fmt: skip

    def local_checkpoint(self) -> Path:
        """The checkpoint on this machine; one in an object store is copied once a version.

        Raises:
            json2vec.errors.CheckpointError: there is none.
        """
        try:
            return fetch(self.checkpoint, Path(self.scratch or default_scratch()), self.source.storage_options)
        except FileNotFoundError as exc:
            raise CheckpointError(
                f"cannot read checkpoint {self.checkpoint}: it does not exist. Remedy: train and save the model, or "
                "correct the path"
            ) from exc

    # -- freeze and fingerprint ------------------------------------------------------------------------------------

    def freeze(self, partition: str, log: logging.Logger) -> Result:
        """Take the partition's snapshot and keep it beside its attempts."""
        snapshot = self.source.snapshot(partition)
        write_inputs(self.output_of(partition).store, snapshot)
        log.info(f"{snapshot.files.num_rows} shards with {snapshot.rows:,} rows in {snapshot.root}")
        return shards_result(snapshot, self.source.uri(partition))

    def fingerprint(self) -> Result:
        """Hash the checkpoint."""
        local = self.local_checkpoint()
        digest = checkpoint_sha256(local)
        return Result(
            data_version=digest,
            metadata={"dagster/uri": self.checkpoint, "sha256": digest, "bytes": os.path.getsize(local)},
        )

    # -- predict ---------------------------------------------------------------------------------------------------

    @contextmanager
    def prepared(
        self, partition: str, run_id: str, log: logging.Logger, *, alone: bool = True
    ) -> Iterator[Prepared]:
        """Hold the partition's lock, run the preflight, make an attempt and adopt what earlier ones sealed."""
        output = self.output_of(partition)
        with partition_lock(output.store, f"run {run_id}") as lease:
            yield self._prepare(output, run_id, lease, log, alone)

    def _prepare(
        self, output: PartitionOutput, run_id: str, lease: Lease | None, log: logging.Logger, alone: bool
    ) -> Prepared:
        from json2vec.checkpoint import load as load_checkpoint
        from json2vec.predict import PredictJob

        partition = output.partition
        snapshot = read_inputs(output.store, partition=partition, asset=self.key("input_shards").to_user_string())
        check_unchanged(snapshot, self.source.store(partition))
        checkpoint = self.local_checkpoint()
        digest = checkpoint_sha256(checkpoint)
        if alone:
            log.info(self.estimate_line([snapshot], digest))
        model = load_checkpoint(checkpoint)  # plain values and tensors; refuses a truncated or foreign file
        compared = self.contract.compare(
            model, snapshot, self.source.store(partition), self.job, log=log,
            what=f"pipeline {self.name!r}, partition {partition!r}",
        )  # fmt: skip
        earlier = output.resumable() if self.resume else []
        stored = reusable(output, log=log) if self.incremental else None
        attempt = output.create(run_id)
        share = 1.0
        if attempt.remote is not None:  # only open segments lie on the disk, one a rank
            share = min(1.0, self.ranks * self.job["segment_rows"] / max(snapshot.rows, 1))
        check_free_space(attempt.path, snapshot, min_free_bytes=self.min_free_bytes, share=share)
        job = PredictJob(
            attempt=attempt.name,
            checkpoint=self.checkpoint,
            checkpoint_sha256=digest,
            output=attempt.uri,
            snapshot=snapshot.to_json(),
            intervals=[(0, snapshot.rows)],
            world_size=self.ranks,
            scratch=str(self.scratch or default_scratch()),
            reuse=None if stored is None else stored.attempt.uri,
            **self.job,
        )
        job, resumed = resume_attempt(attempt, job, earlier, snapshot, log=log)
        attempt.write_job(job.model_dump_json())
        log.info(
            f"attempt {attempt.name}: {snapshot.rows - resumed.adopted_rows:,} rows of partition {partition} on "
            f"{self.ranks} ranks; logs: {attempt.log_folder}"
        )
        return Prepared(partition, attempt, job, snapshot, resumed, model, compared, lease)

    def launch(self, launch: Launch, log: logging.Logger, over: Callable[[Attempt], None] | None = None) -> None:
        """Start the ranks once and wait for their end; see `j2v_dagster.execution.run_ranks`."""
        run_ranks(self.launcher, launch, ranks=self.ranks, rank_timeout_s=self.rank_timeout_s, log=log, over=over)

    def commit(self, prepared: Prepared) -> Manifest:
        """Write the manifest of an attempt whose ranks have ended, if it is complete."""
        if prepared.lease is not None:
            prepared.lease.check()
        return commit(prepared.attempt, prepared.job)

    def committed(self, prepared: Prepared, manifest: Manifest, launch: Launch) -> Result:
        """What a committed attempt shows."""
        attempt, snapshot, resumed = prepared.attempt, prepared.snapshot, prepared.resumed
        schema = seal(attempt).schema()
        return rank_files_result(
            prepared.job, manifest, snapshot,
            schema=schema,
            lineage=self._lineage(schema, snapshot, prepared.model["schema"]),
            ranks=rank_table(attempt, self.ranks),
            where={
                "dagster/uri": attempt.uri,
                "attempt": attempt.name,
                "logs": dg.MetadataValue.path(str(launch.log_folder)),
                "manifest": dg.MetadataValue.path(attempt.store.uri(MANIFEST)),
            },
            more={"adopted_rows": resumed.adopted_rows, "adopted_segments": len(resumed.adopted),
                  **contract_metadata(prepared.compared)},
        )  # fmt: skip

    def predict(self, partition: str, run_id: str, log: logging.Logger) -> Result:
        """Preflight, adopt what earlier attempts sealed, predict the rest on all ranks, commit."""
        with self.prepared(partition, run_id, log) as prepared:
            launch = Launch.of(prepared.attempt)
            self.launch(launch, log)
            return self.committed(prepared, self.commit(prepared), launch)

    def predict_many(
        self, partitions: Sequence[str], run_id: str, log: logging.Logger
    ) -> Iterator[tuple[str, Result | Exception]]:
        """Predict several partitions with one start of the ranks.

        Yields:
            each partition, in order, with its result or with the error that befell it alone.
        """
        from json2vec.predict import PredictJobs

        self._log_estimate(partitions, log)
        with ExitStack() as locks:
            ready: dict[str, Prepared | Exception] = {}
            for partition in partitions:
                try:
                    ready[partition] = locks.enter_context(self.prepared(partition, run_id, log, alone=False))
                except (Json2VecError, OSError) as exc:
                    ready[partition] = exc
            some = {one.attempt.name: one for one in ready.values() if isinstance(one, Prepared)}
            launch, trouble = self._launch_of(run_id, list(some.values())), ""
            manifests: dict[str, Manifest] = {}

            def over(attempt: Attempt) -> None:
                one = some.pop(attempt.name)
                try:
                    manifests[one.partition] = self.commit(one)
                except Exception as exc:  # of this partition; the ranks are at work on the others
                    ready[one.partition] = RanksFailed(f"{exc}{trouble}") if trouble else exc

            if some:
                launch.folder.mkdir(parents=True, exist_ok=True)
                launch.job_path.write_text(PredictJobs(jobs=[one.job for one in some.values()]).model_dump_json())
                log.info(f"{len(some)} partitions in one start of {self.ranks} ranks; logs: {launch.log_folder}")
                try:
                    self.launch(launch, log, over)
                except Json2VecError as exc:  # a partition whose ranks had all ended before is whole all the same
                    log.error(str(exc))
                    trouble = f" (the ranks failed: {exc})"
            # All manifests first: whoever reads them need not wait for what the UI shows of them.
            for one in list(some.values()):
                over(one.attempt)
            for partition, one in ready.items():
                if isinstance(one, Exception):
                    yield partition, one
                    continue
                try:
                    yield partition, self.committed(one, manifests[partition], launch)
                except (Json2VecError, OSError) as exc:
                    yield partition, exc

    def _log_estimate(self, partitions: Sequence[str], log: logging.Logger) -> None:
        """The run's first line: all partitions together, those left out that have no snapshot."""
        snapshots, asset = [], self.key("input_shards").to_user_string()
        for partition in partitions:
            with suppress(Json2VecError):  # said when the partition's turn comes
                snapshots.append(read_inputs(self.output_of(partition).store, partition=partition, asset=asset))
        with suppress(CheckpointError):
            log.info(self.estimate_line(snapshots, checkpoint_sha256(self.local_checkpoint())))

    def _launch_of(self, run_id: str, several: Sequence[Prepared]) -> Launch:
        """One start for several partitions. Its job and logs lie in `LAUNCHES` of the output, or of the scratch folder
        where that is an object store, in a folder of its own: a retry must not read the lines of the try before."""
        name = f"{run_id}-{several[0].attempt.name}" if several else run_id
        store = open_store(f"{self.output}/{LAUNCHES}/{name}", self.source.storage_options)
        attempts = tuple(one.attempt for one in several)
        if (local := store.local_path()) is not None:
            return Launch(local, attempts)
        return Launch(Path(self.scratch or default_scratch()) / LAUNCHES / name, attempts, store)

    def _lineage(self, rank_files: pa.Schema, snapshot: Snapshot, model: Mapping[str, Any]) -> dg.TableColumnLineage:
        names = snapshot.schema.names
        kept = [child.name for child in rank_files.field("inputs").type] if "inputs" in rank_files.names else []
        # A preprocessor may make anything out of any column.
        read = names if self.job["preprocessor"] else columns_read(model, names)
        addresses = [child.name for child in rank_files.field("predictions").type]
        return rank_file_lineage(kept, addresses, shards=self.key("input_shards"), read=read)

    # -- verify and load -------------------------------------------------------------------------------------------

    def verify(self, partition: str, run_id: str, log: logging.Logger) -> list[dg.AssetCheckResult]:
        """Verify the attempt once, keep the verdict, give each check its findings."""
        from json2vec.rank_files.verify import verify_predictions

        asset = self.key("prediction_rank_files")
        attempt = self.output_of(partition).committed(run_id)
        try:
            report = verify_predictions(
                attempt.store,
                inputs=self.source.uri(partition),
                model=self._model() if {"schema", "values", "replay"} & set(self.require) else None,
                require=self.require,
                sample=self.replay_sample,
                storage_options=self.source.storage_options,
                trusted_modules=self.job["trusted_modules"],
            )
        except IncompletePredictions as exc:
            results = list(incomplete_results(str(exc), asset=asset))
        else:
            log.info(report.summary())
            results = list(check_results(report, asset=asset, require=self.require))
        verdicts = {str(result.check_name): result.passed for result in results}
        write_verdict(attempt, passed=all(verdicts.values()), checks=verdicts)
        drift = self.contract.drift_result(
            self.local_checkpoint(), attempt.store, self.source.store(partition), self.job, asset=asset
        )
        return [*results, rejected_result(attempt.store, asset=asset), drift]

    def _model(self) -> Model:
        local = self.local_checkpoint()
        return _load_model(str(local), checkpoint_sha256(local), tuple(self.job["trusted_modules"]))

    def load(self, partition: str, run_id: str, log: logging.Logger) -> Result:
        """Compare the files with the manifest again, replace the table's partition, then move the pointer."""
        output = self.output_of(partition)
        # Table and pointer change together: of two loads the second waits, so that they never name different attempts.
        with partition_lock(output.store, f"run {run_id}", "load", wait_s=600.0) as lease:
            return self._load(output, run_id, lease, log)

    def _load(self, output: PartitionOutput, run_id: str, lease: Lease | None, log: logging.Logger) -> Result:
        before = output.current_version()
        sealed = seal(output.committed(run_id))
        require_verdict(sealed)
        manifest = sealed.manifest
        projection = self.projection(sealed)
        roots = sorted({path.root for path in self.columns.values()} & set(sealed.schema().names)) or ["source"]
        shown = Shown(self.columns, projection.schema, self.sample_rows)
        if lease is not None:
            lease.check()
        loaded = self.warehouse.replace_partition(
            table=self.table,
            partition_column=self.partition_column,
            partition=output.partition,
            schema=projection.schema,
            batches=shown.watch(projection.batches(sealed.batches(roots))),
            rows=manifest.rows,
            note={
                "attempt": sealed.attempt.name,
                "manifest_sha256": sealed.manifest_sha256,
                "model": manifest.model,
            },
        )
        output.publish(sealed.attempt, sealed.manifest_sha256, over=before)
        log.info(f"{self.table}: {loaded.replaced:,} rows replaced by {loaded.rows:,}")
        return Result(
            metadata={
                "dagster/partition_row_count": loaded.rows,
                "dagster/table_name": self.table,
                "dagster/uri": self.warehouse.uri(self.table),
                "dagster/column_schema": column_schema(projection.schema),
                "dagster/column_lineage": table_lineage(self.columns, rank_files=self.key("prediction_rank_files")),
                "replaced_rows": loaded.replaced,
                "attempt": sealed.attempt.name,
                "manifest_sha256": sealed.manifest_sha256,
                "model": manifest.model,
                **shown.metadata(),
            },
        )

    def projection(self, sealed: SealedAttempt) -> Projection:
        manifest = sealed.manifest
        constants = {
            "attempt": manifest.attempt,
            "model": manifest.model,
            "snapshot": Snapshot.from_json(manifest.snapshot).digest,
            "created": manifest.created.isoformat(),
        }
        return project(self.columns, sealed.schema(), constants)


@lru_cache(maxsize=1)
def _load_model(path: str, sha256: str, trusted_modules: tuple[str, ...]) -> Model:
    """The checkpoint's model, loaded once for all partitions of a run."""
    from json2vec.model import Model

    return Model.load(path, trusted_modules=trusted_modules)
