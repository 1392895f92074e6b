"""What follows by itself: automation conditions, staleness, freshness, retries, pools."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pytest
import yaml
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.definitions.freshness import FreshnessState, TimeWindowFreshnessPolicy
from dagster._core.definitions.freshness_evaluator import TimeWindowFreshnessPolicyEvaluator
from dagster._core.loader import LoadingContextForTest
from dagster._core.test_utils import freeze_time
from dagster._time import get_current_datetime

import j2v_dagster
from j2v_dagster.automation import may_pass, no_retry_of_permanent_errors
from j2v_dagster.pipeline import build_prediction_pipeline
from j2v_dagster.steps.watch import RanksFailed
from json2vec.errors import (
    AlignmentError,
    CheckpointError,
    EncodeError,
    IncompletePredictions,
    ReadError,
    SnapshotChanged,
    StoreError,
)

sys.path.append(str(Path(__file__).parents[1] / "faults"))
from forkserver import ForkServerLauncher  # type: ignore[import-not-found]

PARTITIONS = ("a", "b", "c")
SHARDS, MODEL, FILES, TABLE = "input_shards", "model_checkpoint", "prediction_rank_files", "predictions"


def save_model(path: Path, seed: int) -> None:
    import torch

    import json2vec as j2v

    torch.manual_seed(seed)
    model = j2v.Model.from_schema(
        j2v.Number("amount"), j2v.Category("label", target=True, max_vocab_size=4), d_model=8, n_layers=1, n_heads=2,
        batch_size=16,
    )  # fmt: skip
    model.learn([{"amount": 1.0, "label": "x"}, {"amount": 2.0, "label": "y"}])
    model.save(path)


class Shop:
    """A small pipeline over three partitions, its disk, its instance, and what automation has looked at so far."""

    def __init__(self, root: Path, instance: dg.DagsterInstance, **options: Any) -> None:
        self.root, self.instance = root, instance
        self.settings: dict[str, Any] = {
            "name": "shop", "inputs": str(root / "in"), "partitions": {"kind": "static", "keys": list(PARTITIONS)},
            "checkpoint": str(root / "model.ckpt"), "output": str(root / "out"), "warehouse": str(root / "w.duckdb"),
            "table": "labels", "min_free_bytes": 0, "replay_sample": 4, "threads": 1, "launcher": ForkServerLauncher(),
            "columns": {"id": "inputs.id", "label": 'predictions["record/label"].content.value'},
        }  # fmt: skip
        self.settings |= options
        self.defs = build_prediction_pipeline(**self.settings)
        self.cursor: Any = None
        save_model(root / "model.ckpt", seed=1)
        for partition in PARTITIONS:
            self.put(partition)

    def put(self, partition: str, first: float = 0.0) -> None:
        folder = self.root / "in" / f"dt={partition}"
        folder.mkdir(parents=True, exist_ok=True)
        rows = [{"id": f"{partition}{number}", "amount": first + number, "label": None} for number in range(20)]
        pl.DataFrame(rows, schema={"id": pl.String, "amount": pl.Float64, "label": pl.String}).write_parquet(
            folder / "0.parquet"
        )

    def run(self, *roles: str, partition: str = "a", checks: bool = True, **options: Any) -> bool:
        """One run of these assets, with their checks; True if it succeeded."""
        defs = build_prediction_pipeline(**self.settings | options) if options else self.defs
        selection = dg.AssetSelection.assets(*(["shop", role] for role in roles))
        return dg.materialize(
            [*(defs.assets or ()), *(defs.asset_checks or ())],  # type: ignore[list-item]
            partition_key=None if roles == (MODEL,) else partition, instance=self.instance, raise_on_error=False,
            selection=selection if checks else selection.without_checks(),
        ).success  # fmt: skip

    def status(self, role: str, partition: str | None) -> StaleStatus:
        resolver = CachingStaleStatusResolver(
            self.instance, self.defs.resolve_asset_graph(), LoadingContextForTest(self.instance)
        )
        return resolver.get_status(dg.AssetKey(["shop", role]), partition)

    def fresh(self, role: str) -> set[str]:
        """Partitions that are there and not stale."""
        return {one for one in PARTITIONS if self.status(role, one) == StaleStatus.FRESH}

    def requested(self, role: str = TABLE) -> set[str]:
        """Partitions that automation would run now; moves its cursor."""
        result = dg.evaluate_automation_conditions(
            self.defs, self.instance, cursor=self.cursor,
            asset_selection=dg.AssetSelection.all() | dg.AssetSelection.all_asset_checks(),
        )  # fmt: skip
        self.cursor = result.cursor
        return set(result.get_requested_partitions(dg.AssetKey(["shop", role]))) - {None}

    def rows(self, partition: str) -> int:
        with duckdb.connect(str(self.root / "w.duckdb"), read_only=True) as connection:
            found = connection.execute("select count(*) from labels where partition = ?", [partition]).fetchall()
        return found[0][0]


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))  # the fork server hands it to its ranks
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.mark.slow
def test_the_table_follows_partitions_whose_checks_passed(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    shop = Shop(tmp_path, instance)
    assert shop.requested() == set(), "nothing is there"
    assert shop.run(SHARDS, MODEL, FILES, partition="a", checks=False)
    assert shop.requested() == set(), "not checked yet"

    # `b` is proven; of `c` the checks were asked for more than its files can prove; `a` is still unchecked.
    assert shop.run(SHARDS, FILES, partition="b")
    assert not shop.run(SHARDS, FILES, partition="c", keep_inputs=False)
    assert shop.requested() == {"b"}
    assert shop.requested() == set(), "asked for once"
    assert shop.run(TABLE, partition="b")
    assert shop.rows("b") == 20
    assert shop.requested() == set()

    # A run that ends in the table by itself is not followed by another load.
    assert shop.run(SHARDS, FILES, TABLE, partition="a")
    assert shop.rows("a") == 20
    assert shop.requested() == set()

    # Repaired: the partition whose checks failed follows like any other, and so does an older one predicted again.
    assert shop.run(FILES, partition="c")
    assert shop.requested() == {"c"}
    assert shop.run(FILES, partition="b")
    assert shop.requested() == {"b"}


@pytest.mark.slow
def test_with_all_a_new_snapshot_is_predicted_and_a_new_model_is_not(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    shop = Shop(tmp_path, instance, automation="all")
    assert shop.requested(FILES) == set()
    assert shop.run(SHARDS, MODEL, partition="a")
    assert shop.requested(FILES) == {"a"}
    assert shop.run(FILES, TABLE, partition="a")
    assert shop.requested(FILES) == set()
    save_model(tmp_path / "model.ckpt", seed=2)
    assert shop.run(MODEL)
    assert shop.requested(FILES) == set(), "predicting years again is a person's decision"
    shop.put("a", first=1.0)
    assert shop.run(SHARDS, partition="a")
    assert shop.run(SHARDS, partition="b")
    assert shop.requested(FILES) == {"a", "b"}


@pytest.mark.slow
def test_exactly_the_affected_partitions_become_stale(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    shop = Shop(tmp_path, instance)
    everything = set(PARTITIONS)
    for partition in ("a", "b"):
        assert shop.run(SHARDS, MODEL, FILES, TABLE, partition=partition)
    assert shop.fresh(FILES) == shop.fresh(TABLE) == {"a", "b"}
    assert shop.status(FILES, "c") == StaleStatus.MISSING
    assert shop.run(MODEL)
    assert shop.fresh(FILES) == shop.fresh(TABLE) == {"a", "b"}, "the same checkpoint"

    # A new checkpoint: all that was predicted, until it is predicted again. Dagster marks what a change reaches first:
    # the table follows when its rank files are new.
    save_model(tmp_path / "model.ckpt", seed=2)
    assert shop.run(MODEL)
    assert shop.fresh(FILES) == set()
    assert {shop.status(FILES, one) for one in ("a", "b")} == {StaleStatus.STALE}
    assert shop.run(FILES, TABLE, partition="a")
    assert shop.fresh(FILES) == {"a"}
    assert shop.run(SHARDS, FILES, TABLE, partition="c")
    assert shop.fresh(FILES) == {"a", "c"}, "predicted with the new one"
    assert shop.fresh(TABLE) == everything
    assert shop.run(FILES, partition="b")
    assert shop.fresh(FILES) == everything
    assert shop.fresh(TABLE) == {"a", "c"}, "predicted, but not loaded"
    assert shop.run(TABLE, partition="b")
    assert shop.fresh(TABLE) == everything

    # An overwritten shard: its partition, once the snapshot says so. Freezing the same again: nothing.
    shop.put("b", first=1.0)
    assert shop.run(SHARDS, partition="b")
    assert shop.run(SHARDS, partition="a")
    assert shop.fresh(FILES) == {"a", "c"}
    assert shop.run(FILES, TABLE, partition="b")
    assert shop.fresh(FILES) == shop.fresh(TABLE) == everything

    # Predicting the same again changes no version, so that nothing below has to follow.
    assert shop.run(FILES, partition="a")
    assert shop.fresh(FILES) == shop.fresh(TABLE) == everything


def test_the_versions_of_the_table_follow_its_columns() -> None:
    def version(**columns: str) -> str | None:
        defs = build_prediction_pipeline(
            name="shop", inputs="in", partitions={"kind": "static", "keys": ["a"]}, checkpoint="m", output="o",
            warehouse="w", table="t", columns=columns,
        )  # fmt: skip
        (spec,) = (one for one in defs.resolve_all_asset_specs() if one.key.path[-1] == TABLE)
        return spec.code_version

    assert version(id="inputs.id") == version(id="inputs.id")
    assert version(id="inputs.id") != version(id="inputs.other")
    assert version(id="inputs.id", attempt="manifest.attempt") is None, "each load is a new version"


def specs(**options: Any) -> dict[str, Any]:
    defs = build_prediction_pipeline(
        name="shop", inputs="in", partitions={"kind": "static", "keys": ["a"]}, checkpoint="m", output="o",
        warehouse="w", table="t", columns={"id": "inputs.id"}, **options,
    )  # fmt: skip
    dg.Definitions.validate_loadable(defs)
    return {spec.key.path[-1]: spec for spec in defs.resolve_all_asset_specs()}


def test_automation_can_be_switched_off() -> None:
    assert {name for name, spec in specs().items() if spec.automation_condition} == {TABLE}
    assert {name for name, spec in specs(automation="all").items() if spec.automation_condition} == {FILES, TABLE}
    assert not [name for name, spec in specs(automation="off").items() if spec.automation_condition]
    with pytest.raises(ValueError, match="automation is 'on'"):
        specs(automation="on")


@pytest.mark.parametrize(
    ("age", "state"), [(None, "UNKNOWN"), (1.0, "PASS"), (5000.0, "WARN"), (90_000.0, "FAIL")]
)
def test_freshness_is_judged_by_the_last_load(instance: dg.DagsterInstance, age: float | None, state: str) -> None:
    defs = build_prediction_pipeline(
        name="shop", inputs="in", partitions={"kind": "static", "keys": ["a"]}, checkpoint="m", output="o",
        warehouse="w", table="t", columns={"id": "inputs.id"}, freshness_fail_s=86_400, freshness_warn_s=3_600,
    )  # fmt: skip
    key = dg.AssetKey(["shop", TABLE])
    node = defs.resolve_asset_graph().get(key)
    policy = node.freshness_policy_or_from_metadata
    assert isinstance(policy, TimeWindowFreshnessPolicy)
    assert policy.fail_window.to_timedelta() == timedelta(days=1)
    if age is not None:
        with freeze_time(get_current_datetime() - timedelta(seconds=age)):
            instance.report_runless_asset_event(dg.AssetMaterialization(key, partition="a"))
    found = asyncio.run(
        TimeWindowFreshnessPolicyEvaluator().evaluate_freshness(LoadingContextForTest(instance), node)
    )
    assert found == FreshnessState[state]


def test_freshness_that_cannot_be_meant_is_refused() -> None:
    assert specs()[TABLE].freshness_policy is None
    for fail, warn in ((None, 100), (10, None), (90, 90), (90, 30)):
        with pytest.raises(ValueError, match="pipeline 'shop': freshness_warn_s"):
            specs(freshness_fail_s=fail, freshness_warn_s=warn)


def ops(**options: Any) -> dict[str, dg.OpDefinition]:
    defs = build_prediction_pipeline(
        name="shop", inputs="in", partitions={"kind": "static", "keys": ["a"]}, checkpoint="m", output="o",
        warehouse="w", table="t", columns={"id": "inputs.id"}, **options,
    )  # fmt: skip
    return {asset.key.path[-1]: asset.op for asset in defs.assets or () if isinstance(asset, dg.AssetsDefinition)}


def test_retries_are_of_predicting_and_loading() -> None:
    assert {name: op.retry_policy for name, op in ops().items()} == dict.fromkeys((SHARDS, MODEL, FILES, TABLE))
    policies = {name: op.retry_policy for name, op in ops(retries=3, retry_delay_s=5.0).items()}
    assert policies[SHARDS] is policies[MODEL] is None
    for name in (FILES, TABLE):
        policy = policies[name]
        assert policy is not None
        assert (policy.max_retries, policy.delay, policy.backoff) == (3, 5.0, dg.Backoff.EXPONENTIAL)
    with pytest.raises(ValueError, match="retries is -1"):
        ops(retries=-1)


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (RanksFailed("killed"), True),
        (RanksFailed("timeout", errors=("ReadError", "StoreError", "ReadError")), True),
        (RanksFailed("store", errors=("StoreError",)), True),
        (RanksFailed("bad row", errors=("ReadError", "ArrowInvalid")), False),
        (RanksFailed("bad row", errors=("EncodeError",)), False),
        (RanksFailed("contract", errors=("AlignmentError", "ProcessorError")), False),
        (RanksFailed("model", errors=("CheckpointError",)), False),
        (StoreError("503"), True),
        (caused(ReadError("503"), StoreError("503")), True),
        (ReadError("row 5 is no JSON"), False),
        (caused(ReadError("gone"), FileNotFoundError("gone")), False),
        (SnapshotChanged("x"), False),
        (CheckpointError("x"), False),
        (EncodeError("x"), False),
        (AlignmentError("x"), False),
        (IncompletePredictions("too many rejected"), False),
        (IncompletePredictions("rank 1 left no marker", ranks=[1]), True),
        (OSError("disk"), True),
    ],
)
def test_only_what_may_pass_is_tried_again(error: Exception, passes: bool) -> None:
    assert may_pass(error) == passes
    with pytest.raises(type(error)), no_retry_of_permanent_errors(0):
        raise error
    expected = type(error) if passes else dg.Failure
    with pytest.raises(expected) as caught, no_retry_of_permanent_errors(2):
        raise error
    if not passes:
        assert isinstance(caught.value, dg.Failure)
        assert caught.value.allow_retries is False
        assert str(error) in str(caught.value.description)


def test_predicting_takes_a_slot_of_a_pool_where_it_needs_a_device() -> None:
    def pools(**options: Any) -> dict[str, str | None]:
        return {name: op.pool for name, op in ops(**options).items()}

    assert pools() == {SHARDS: None, MODEL: None, FILES: None, TABLE: "duckdb"}
    assert pools(accelerator="gpu")[FILES] == "gpu"
    assert pools(accelerator="gpu", pool="")[FILES] is None
    assert pools(pool="cores")[FILES] == "cores"


def test_the_ready_dagster_yaml_limits_both_pools(tmp_path: Path) -> None:
    text = (Path(j2v_dagster.__file__).parent / "dagster.yaml").read_text()
    (tmp_path / "dagster.yaml").write_text(text)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.global_op_concurrency_default_limit == 1
        assert instance.get_concurrency_config().pool_config.pool_granularity is not None
        for pool in ("gpu", "duckdb"):
            instance.event_log_storage.initialize_concurrency_limit_to_default(pool)
            assert instance.event_log_storage.get_concurrency_info(pool).slot_count == 1
        settings = instance.run_monitoring_settings
        assert settings["enabled"] is True
        assert settings["free_slots_after_run_end_seconds"] == yaml.safe_load(text)["run_monitoring"][
            "free_slots_after_run_end_seconds"
        ]
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert queue.max_concurrent_runs == 2
