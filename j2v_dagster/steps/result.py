"""What the steps show of a partition in the UI: metadata and data versions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from j2v_dagster.attempts.folder import Attempt
from j2v_dagster.shards.source import shard_rows
from j2v_dagster.steps.lineage import column_schema
from json2vec.errors import IncompletePredictions
from json2vec.storage.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

    from json2vec.predict.job import PredictJob
    from json2vec.rank_files.manifest import Manifest, Marker
    from json2vec.reading.snapshot import Snapshot


@dataclass(frozen=True)
class Result:
    """What a step made of one partition.

    Attributes:
        metadata: what the UI shows of the partition, by name.
        data_version: the data version of the asset's partition; None leaves it to Dagster.
    """

    metadata: Mapping[str, Any]
    data_version: str | None = None


def shards_result(snapshot: Snapshot, uri: str) -> Result:
    """The result of `input_shards`; its data version is the snapshot's digest.

    Args:
        snapshot: the frozen list of the partition's shards.
        uri: the address of the partition's folder of shards.
    """
    return Result(
        data_version=snapshot.digest,
        metadata={
            "dagster/partition_row_count": snapshot.rows,
            "dagster/uri": uri,
            "dagster/column_schema": column_schema(snapshot.schema),
            "shards": snapshot.files.num_rows,
            "bytes": sum(snapshot.files["size"].to_pylist()),
            "snapshot": snapshot.digest,
            "files": table_metadata(shard_rows(snapshot)),
        },
    )


def rank_files_result(
    job: PredictJob,
    manifest: Manifest,
    snapshot: Snapshot,
    *,
    schema: pa.Schema,
    lineage: dg.TableColumnLineage,
    ranks: Sequence[Mapping[str, Any]],
    where: Mapping[str, Any],
    more: Mapping[str, Any],
) -> Result:
    """The result of `prediction_rank_files`.

    Args:
        job: the job that the ranks ran.
        manifest: the manifest of the attempt.
        snapshot: the frozen list of the partition's shards.
        schema: the Arrow schema of the rank files.
        lineage: the input columns that each column of the rank files comes from.
        ranks: one row a rank, as `rank_table` returns them.
        where: metadata with the addresses of the attempt, by name.
        more: further metadata, by name, that the run has collected.
    """
    seconds = max(*(float(row["seconds"]) for row in ranks), 1e-9)
    return Result(
        data_version=predicted_version(job, snapshot),
        metadata={
            **where,
            "dagster/partition_row_count": manifest.rows,
            "dagster/column_schema": column_schema(schema),
            "dagster/column_lineage": lineage,
            "ranks": table_metadata(ranks),
            "rows_per_s": float(sum(row["rows"] for row in ranks) / seconds),
            "reused_rows": manifest.reused_rows,
            "input_rows": manifest.input_rows,
            "rejected_rows": manifest.rejected_rows,
            "rank_files": len(manifest.files),
            "bytes": sum(file.bytes for file in manifest.files),
            "model": manifest.model,
            "checkpoint_sha256": job.checkpoint_sha256,
            "snapshot": snapshot.digest,
            **more,
        },
    )


def predicted_version(job: PredictJob, snapshot: Snapshot) -> str:
    """The data version of rank files: equal where input, model, settings and code are. Predicting the same again makes
    nothing downstream stale."""
    from json2vec.predict.job import job_settings_digest

    return hashlib.sha256(f"{snapshot.digest}:{job_settings_digest(job)}".encode()).hexdigest()


def table_metadata(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """Rows of equal keys as a table in the UI; the first row decides the columns' types."""
    names = list(rows[0]) if rows else ["empty"]
    kinds = {str: "string", int: "int", float: "float", bool: "bool"}
    schema = dg.TableSchema(
        [dg.TableColumn(name, kinds.get(type(rows[0][name]), "string") if rows else "string") for name in names]
    )
    return dg.TableMetadataValue(records=[dg.TableRecord(dict(row)) for row in rows], schema=schema)


def rank_table(attempt: Attempt, world_size: int) -> list[dict[str, Any]]:
    """Per rank: rows, rejected rows, files, bytes, seconds and rows a second, from the markers.

    Raises:
        json2vec.errors.IncompletePredictions: a marker is missing; names the rank.
    """
    table = []
    for rank in range(world_size):
        marker = _marker(attempt.store, rank)
        seconds = max((marker.finished - marker.started).total_seconds(), 1e-9)
        table.append(
            {
                "rank": rank,
                "rows": marker.rows,
                "rejected": marker.rejected_rows,
                "files": len(marker.files),
                "bytes": sum(file.bytes for file in marker.files),
                "seconds": round(seconds, 3),
                "rows_per_s": round(marker.rows / seconds, 1),
            }
        )
    return table


def _marker(store: Store, rank: int) -> Marker:
    from json2vec.rank_files.manifest import Marker, marker_name, parse_document

    name = marker_name(rank)
    try:
        return parse_document(Marker, store.read(name), store.uri(name))
    except FileNotFoundError:
        message = f"rank {rank} left no marker: {store.uri(name)} is missing"
        raise IncompletePredictions(message, ranks=[rank]) from None
