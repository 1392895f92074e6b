"""A whole pipeline into Iceberg: the table, its metadata in the UI, and a load that dies before it is published."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from typing import Any

import dagster as dg
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from j2v_dagster.attempts.owner import adopt
from j2v_dagster.warehouse.iceberg.audit_branch import AuditBranch

pytestmark = [pytest.mark.slow, pytest.mark.faults]


@pytest.fixture
def iceberg(station: Any) -> Any:
    station.options["warehouse"] = {"kind": "iceberg", "path": str(station.root / "iceberg"), "namespace": "ml"}
    adopt(station.root / "output", "faults")  # with another table it is another pipeline
    return station


def opened(station: Any) -> Table:
    path = station.root / "iceberg"
    with closing(SqlCatalog("default", uri=f"sqlite:///{path}/catalog.db")) as catalog:
        return catalog.load_table("ml.predictions")


def ids(station: Any) -> list[str]:
    return sorted(opened(station).scan().to_arrow()["request_id"].to_pylist())


def metadata(station: Any) -> dict[str, Any]:
    event = station.instance.get_latest_materialization_event(dg.AssetKey(["faults", "predictions"]))
    assert event is not None
    assert event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def test_a_pipeline_ends_in_an_iceberg_table(iceberg: Any) -> None:
    done = iceberg.run()
    assert done.success, done.errors
    assert ids(iceberg) == iceberg.expected_ids()
    rows = opened(iceberg).scan().to_arrow()
    assert set(rows["partition"].to_pylist()) == {"2024-05-01"}
    assert all(0 <= one <= 1 for one in rows["probability"].to_pylist())

    shown = metadata(iceberg)
    assert shown["dagster/table_name"] == "predictions"
    assert shown["dagster/uri"] == f"iceberg://{iceberg.root / 'iceberg'}/ml/predictions"
    assert shown["dagster/partition_row_count"] == len(rows)
    kinds = {column.name: column.type for column in shown["dagster/column_schema"].columns}
    assert kinds == {"request_id": "large_string", "label": "string", "probability": "float"}
    deps = shown["dagster/column_lineage"].deps_by_column
    assert {dep.column_name for dep in deps["label"]} == {'predictions["record/label"]'}
    assert {dep.column_name for dep in deps["request_id"]} == {"inputs.request_id"}
    snapshot = opened(iceberg).current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    said = snapshot.summary.additional_properties
    assert (said["j2v.attempt"], said["j2v.manifest_sha256"]) == (shown["attempt"], shown["manifest_sha256"])

    definitions = iceberg.definitions()
    (spec,) = [one for one in definitions.resolve_all_asset_specs() if one.key.path[-1] == "predictions"]
    assert spec.kinds == {"iceberg"}


def test_26_a_load_into_iceberg_that_dies_before_it_is_published_leaves_the_old_rows(iceberg: Any) -> None:
    assert iceberg.run().success
    before = ids(iceberg)
    iceberg.write_shards(seed=3)
    assert iceberg.run(only=("input_shards", "prediction_rank_files")).success
    child = os.fork()
    if child == 0:
        # Another process, with all that the run's process has: only its death is injected.
        AuditBranch.fast_forward = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
        iceberg.instance = dg.DagsterInstance.ephemeral()
        iceberg.run(only=("predictions",))
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert ids(iceberg) == before
    assert len(opened(iceberg).refs()) == 2  # the audit branch of the dead load
    again = iceberg.run(only=("predictions",))
    assert again.success, again.errors
    assert ids(iceberg) == iceberg.expected_ids() != before
    assert list(opened(iceberg).refs()) == ["main"]
