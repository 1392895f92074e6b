"""The steps of a pipeline: what each asset and the checks do for one partition."""
# No `from __future__ import annotations`: Dagster looks at the annotation of `context` itself.

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pyarrow as pa

from j2v_dagster.attempts import PartitionOutput, SealedAttempt, require_verdict, seal, write_verdict
from j2v_dagster.checks import check_results, incomplete_results, rejected_result
from j2v_dagster.estimate import Settings, estimate_line
from j2v_dagster.execution import check_free_space, checkpoint_sha256, commit, rank_table, resume_attempt, run_ranks
from j2v_dagster.launchers.base import Launcher
from j2v_dagster.lineage import column_schema, columns_read, rank_file_lineage, table_lineage
from j2v_dagster.locks import partition_lock
from j2v_dagster.shards import ShardSource, read_inputs, shard_rows, write_inputs
from j2v_dagster.translator import PredictionTranslator, Role
from j2v_dagster.warehouse.base import Warehouse
from j2v_dagster.warehouse.columns import ColumnPath, Projection, project
from json2vec.data.snapshot import Snapshot, check_unchanged
from json2vec.errors import IncompletePredictions


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
    job: dict[str, Any] = field(default_factory=dict)

    def key(self, role: Role) -> dg.AssetKey:
        return self.translator.key(self.name, role)

    def output_of(self, partition: str) -> PartitionOutput:
        return PartitionOutput.of(self.output, partition, self.source.folder)

    def sealed(self, partition: str, run_id: str) -> SealedAttempt:
        return seal(self.output_of(partition).committed(run_id))

    def estimate_line(self, snapshot: Snapshot, checkpoint_sha256: str | None) -> str:
        """What predicting ``snapshot`` will take, for the log."""
        settings = Settings(
            checkpoint_sha256=checkpoint_sha256,
            world_size=self.ranks,
            **{name: self.job[name] for name in ("accelerator", "precision", "batch_size", "threads")},
        )
        return estimate_line(
            snapshot, self.output, settings=settings, folder=self.source.folder,
            storage_options=self.source.storage_options,
        )  # fmt: skip

    # -- the steps -------------------------------------------------------------------------------------------------

    def freeze(self, context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """Take the partition's snapshot and keep it beside its attempts."""
        partition = context.partition_key
        snapshot = self.source.snapshot(partition)
        write_inputs(self.output_of(partition).store, snapshot)
        context.log.info(f"{snapshot.files.num_rows} shards with {snapshot.rows:,} rows in {snapshot.root}")
        return dg.MaterializeResult(
            data_version=dg.DataVersion(snapshot.digest),
            metadata={
                "dagster/partition_row_count": snapshot.rows,
                "dagster/uri": self.source.uri(partition),
                "dagster/column_schema": column_schema(snapshot.schema),
                "shards": snapshot.files.num_rows,
                "bytes": sum(snapshot.files["size"].to_pylist()),
                "snapshot": snapshot.digest,
                "files": table_metadata(shard_rows(snapshot)),
            },
        )

    def fingerprint(self, context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """Hash the checkpoint."""
        digest = checkpoint_sha256(self.checkpoint)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(digest),
            metadata={
                "dagster/uri": self.checkpoint,
                "sha256": digest,
                "bytes": os.path.getsize(self.checkpoint),
            },
        )

    def predict(self, context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """Preflight, adopt what earlier attempts sealed, predict the rest on all ranks, commit."""
        output = self.output_of(context.partition_key)
        with partition_lock(output.root, f"run {context.run.run_id}"):
            return self._predict(context, output)

    def _predict(self, context: dg.AssetExecutionContext, output: PartitionOutput) -> dg.MaterializeResult:
        from json2vec.checkpoint import load as load_checkpoint
        from json2vec.predict import PredictJob

        partition = context.partition_key
        snapshot = read_inputs(output.store, partition=partition, asset=self.key("input_shards").to_user_string())
        check_unchanged(snapshot, self.source.store(partition))
        digest = checkpoint_sha256(self.checkpoint)
        context.log.info(self.estimate_line(snapshot, digest))
        model = load_checkpoint(self.checkpoint)  # plain values and tensors; refuses a truncated or foreign file
        earlier = output.resumable() if self.resume else []
        attempt = output.create(context.run.run_id)
        check_free_space(attempt.path, snapshot, min_free_bytes=self.min_free_bytes)
        job = PredictJob(
            attempt=attempt.name,
            checkpoint=self.checkpoint,
            checkpoint_sha256=digest,
            output=str(attempt.path),
            snapshot=snapshot.to_json(),
            intervals=[(0, snapshot.rows)],
            world_size=self.ranks,
            **self.job,
        )
        job, resumed = resume_attempt(attempt, job, earlier, snapshot, log=context.log)
        attempt.job_path.write_text(job.model_dump_json())
        context.log.info(
            f"attempt {attempt.name}: {snapshot.rows - resumed.adopted_rows:,} rows on {self.ranks} ranks; "
            f"logs: {attempt.log_folder}"
        )
        run_ranks(self.launcher, attempt, ranks=self.ranks, rank_timeout_s=self.rank_timeout_s, log=context.log)
        manifest = commit(attempt, job)
        ranks = rank_table(attempt, self.ranks)
        seconds = max(max(row["seconds"] for row in ranks), 1e-9)
        sealed = seal(attempt)
        schema = sealed.schema()
        return dg.MaterializeResult(
            metadata={
                "dagster/partition_row_count": manifest.rows,
                "dagster/uri": str(attempt.path),
                "dagster/column_schema": column_schema(schema),
                "dagster/column_lineage": self._lineage(schema, snapshot, model["schema"]),
                "ranks": table_metadata(ranks),
                "rows_per_s": float(sum(row["rows"] for row in ranks) / seconds),
                "adopted_rows": resumed.adopted_rows,
                "adopted_segments": len(resumed.adopted),
                "input_rows": manifest.input_rows,
                "rejected_rows": manifest.rejected_rows,
                "rank_files": len(manifest.files),
                "bytes": sum(file.bytes for file in manifest.files),
                "attempt": attempt.name,
                "manifest": dg.MetadataValue.path(str(attempt.path / "_manifest.json")),
                "logs": dg.MetadataValue.path(str(attempt.log_folder)),
                "model": manifest.model,
                "checkpoint_sha256": digest,
                "snapshot": snapshot.digest,
            },
        )

    def _lineage(self, rank_files: pa.Schema, snapshot: Snapshot, model: Mapping[str, Any]) -> dg.TableColumnLineage:
        names = snapshot.schema.names
        kept = [child.name for child in rank_files.field("inputs").type] if "inputs" in rank_files.names else []
        # A preprocessor may make anything out of any column.
        read = names if self.job["preprocessor"] else columns_read(model, names)
        addresses = [child.name for child in rank_files.field("predictions").type]
        return rank_file_lineage(kept, addresses, shards=self.key("input_shards"), read=read)

    def verify(self, context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        """Verify the attempt once, keep the verdict, give each check its findings."""
        from json2vec.rank_files.verify import verify_predictions

        partition = context.partition_key
        asset = self.key("prediction_rank_files")
        attempt = self.output_of(partition).committed(context.run.run_id)
        try:
            report = verify_predictions(
                attempt.path,
                inputs=self.source.uri(partition),
                model=self.checkpoint if {"schema", "values", "replay"} & set(self.require) else None,
                require=self.require,
                sample=self.replay_sample,
                storage_options=self.source.storage_options,
                trusted_modules=self.job["trusted_modules"],
            )
        except IncompletePredictions as exc:
            results = list(incomplete_results(str(exc), asset=asset))
        else:
            context.log.info(report.summary())
            results = list(check_results(report, asset=asset, require=self.require))
        verdicts = {str(result.check_name): result.passed for result in results}
        write_verdict(attempt, passed=all(verdicts.values()), checks=verdicts)
        yield from results
        yield rejected_result(attempt.path, asset=asset)

    def load(self, context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """Compare the files with the manifest again, replace the table's partition, then move the pointer."""
        output = self.output_of(context.partition_key)
        # Table and pointer change together: of two loads the second waits, so that they never name different attempts.
        with partition_lock(output.root, f"run {context.run.run_id}", "load", wait_s=600.0):
            return self._load(context, output)

    def _load(self, context: dg.AssetExecutionContext, output: PartitionOutput) -> dg.MaterializeResult:
        partition = context.partition_key
        sealed = self.sealed(partition, context.run.run_id)
        require_verdict(sealed)
        manifest = sealed.manifest
        projection = self.projection(sealed)
        roots = sorted({path.root for path in self.columns.values()} & set(sealed.schema().names)) or ["source"]
        loaded = self.warehouse.replace_partition(
            table=self.table,
            partition_column=self.partition_column,
            partition=partition,
            schema=projection.schema,
            batches=projection.batches(sealed.batches(roots)),
            rows=manifest.rows,
            note={
                "attempt": sealed.attempt.name,
                "manifest_sha256": sealed.manifest_sha256,
                "model": manifest.model,
            },
        )
        output.publish(sealed.attempt, sealed.manifest_sha256)
        context.log.info(f"{self.table}: {loaded.replaced:,} rows replaced by {loaded.rows:,}")
        return dg.MaterializeResult(
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


def table_metadata(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """Rows of equal keys as a table in the UI; the first row decides the columns' types."""
    names = list(rows[0]) if rows else ["empty"]
    kinds = {str: "string", int: "int", float: "float", bool: "bool"}
    schema = dg.TableSchema(
        [dg.TableColumn(name, kinds.get(type(rows[0][name]), "string") if rows else "string") for name in names]
    )
    return dg.TableMetadataValue(records=[dg.TableRecord(dict(row)) for row in rows], schema=schema)
