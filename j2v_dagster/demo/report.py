"""The demo's two tables: what each partition came to, and how good the predictions are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from j2v_dagster.attempts.folder import PartitionOutput
from j2v_dagster.attempts.sealed import seal
from j2v_dagster.demo.baselines import Score, base_rate, light_gbm, majority_class, score
from j2v_dagster.demo.observations import DAY_DELAYS

if TYPE_CHECKING:
    import dagster as dg

TABLE = "flight_days"


@dataclass(frozen=True, slots=True)
class PartitionResult:
    """One line of the demo's first table; ``None`` where nothing is known."""

    partition: str
    shards: int
    input_rows: int
    rank_files: int
    checks: str
    warehouse_rows: int
    rows_per_s: float | None


def read_result(data: Path, partition: str, instance: dg.DagsterInstance) -> PartitionResult:
    """What a partition came to, from its published attempt, the warehouse and Dagster's event log.

    Raises:
        FileNotFoundError: nothing is published for the partition.
    """
    output = PartitionOutput.of(data / "predictions", partition, "dt={partition}")
    current = output.current()
    if current is None:
        raise FileNotFoundError(f"nothing is published below {output.root}. Remedy: materialize partition {partition}")
    attempt = next(attempt for attempt in output.attempts() if attempt.name == current["attempt"])
    manifest = seal(attempt).manifest
    checks = json.loads((attempt.path / "_verified.json").read_bytes())["checks"]
    return PartitionResult(
        partition=partition,
        shards=len({entry["path"] for entry in _files(manifest.snapshot)}),
        input_rows=manifest.input_rows,
        rank_files=len(manifest.files),
        checks=f"{sum(checks.values())}/{len(checks)} passed",
        warehouse_rows=count_rows(data / "warehouse.duckdb", partition),
        rows_per_s=_rows_per_s(instance, partition),
    )


def count_rows(warehouse: Path, partition: str) -> int:
    """Rows of one partition in the demo's table; 0 where there is no table yet."""
    import duckdb

    if not warehouse.exists():
        return 0
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        tables = connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = ?", [TABLE]).fetchall()
        if not tables[0][0]:
            return 0
        return connection.execute(f"SELECT count(*) FROM {TABLE} WHERE partition = ?", [partition]).fetchall()[0][0]


def read_table(warehouse: Path, partitions: Sequence[str]) -> pl.DataFrame:
    """The predictions of some partitions, as a user of the warehouse reads them."""
    import duckdb

    with duckdb.connect(str(warehouse), read_only=True) as connection:
        query = f"SELECT * FROM {TABLE} WHERE list_contains(?, partition) ORDER BY observation_id"
        return connection.sql(query, params=[list(partitions)]).pl()


def score_all(train: pl.DataFrame, truth: pl.DataFrame, table: pl.DataFrame, threads: int) -> list[Score]:
    """The model beside its baselines, on the same rows.

    Args:
        train: observations of the training days.
        truth: observations of the predicted days, with their targets.
        table: the warehouse's rows of those days.
        threads: of LightGBM.

    Raises:
        ValueError: the warehouse does not hold exactly the observations of ``truth``.
    """
    joined = truth.join(table.select("observation_id", "day_delay_topk"), on="observation_id", how="inner")
    if not joined.height == truth.height == table.height:
        raise ValueError(f"{table.height} rows in the warehouse, {truth.height} observations, {joined.height} in both")
    labels, rows = truth["day_delay"], truth.height
    return [
        score("majority class", labels, majority_class(train, rows)),
        score("base rate", labels, base_rate(train, rows)),
        score("LightGBM, flattened columns", labels, light_gbm(train, truth, threads)),
        score("json2vec model, nested records", joined["day_delay"], probabilities(joined["day_delay_topk"])),
    ]


def leg_errors(train: pl.DataFrame, truth: pl.DataFrame, table: pl.DataFrame) -> tuple[float, float]:
    """Mean absolute error (minutes) of the legs' arr_delay: of the training days' median, and of the model."""
    seen = train["legs"].explode().struct.field("arr_delay")
    joined = truth.join(table.select("observation_id", "legs_arr_delay"), on="observation_id")
    pairs = joined.select(
        pl.col("legs").list.eval(pl.element().struct.field("arr_delay")).alias("true"),
        pl.col("legs_arr_delay").list.head(pl.col("legs").list.len()).alias("predicted"),
    ).explode("true", "predicted").drop_nulls("true")  # fmt: skip
    return (
        float((pairs["true"] - (seen.median() or 0.0)).abs().mean()),  # pyright: ignore[reportArgumentType]
        float((pairs["true"] - pairs["predicted"]).abs().mean()),  # pyright: ignore[reportArgumentType]
    )


def probabilities(topk: pl.Series) -> np.ndarray:
    """The ``topk`` lists of ``day_delay`` as (rows, 3), in the order of `DAY_DELAYS`; a label that is absent gets 0."""
    items = pl.DataFrame({"row": range(len(topk)), "item": topk}).explode("item").unnest("item")
    filled = np.zeros((len(topk), len(DAY_DELAYS)))
    for column, label in enumerate(DAY_DELAYS):
        of_label = items.filter(pl.col("label") == label)
        filled[of_label["row"].to_numpy(), column] = of_label["probability"].to_numpy()
    return filled


def format_table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Plain text, numbers to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(line[column]) for line in [list(headers), *cells]) for column in range(len(headers))]
    right = [all(isinstance(row[column], (int, float, type(None))) for row in rows) for column in range(len(headers))]

    def line(values: Sequence[str]) -> str:
        return "  ".join(
            value.rjust(width) if to_right else value.ljust(width)
            for value, width, to_right in zip(values, widths, right, strict=True)
        ).rstrip()

    return "\n".join([line(headers), line(["-" * width for width in widths]), *map(line, cells)])


def partition_table(results: Sequence[PartitionResult]) -> str:
    headers = ("partition", "shards", "input rows", "rank files", "checks", "warehouse rows", "rows/s")
    return format_table(headers, [astuple(result) for result in results])


def score_table(scores: Sequence[Score]) -> str:
    rows = [(scored.name, f"{scored.log_loss:.4f}", f"{scored.accuracy:.1%}") for scored in scores]
    return format_table(("day_delay", "log loss", "accuracy"), rows)


def _files(snapshot: dict[str, Any]) -> list[dict[str, Any]]:
    from json2vec.reading.snapshot import Snapshot

    return Snapshot.from_json(snapshot).files.to_pylist()


def _rows_per_s(instance: dg.DagsterInstance, partition: str) -> float | None:
    import dagster as dg

    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(
            asset_key=dg.AssetKey(["flights", "prediction_rank_files"]), asset_partitions=[partition]
        ),
        limit=1,
    ).records
    event = records[0].asset_materialization if records else None
    value = event.metadata.get("rows_per_s") if event else None
    return float(value.value) if value is not None else None  # pyright: ignore[reportArgumentType]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if isinstance(value, (int, float)) else str(value)
