"""The assets of a pipeline, their checks, dependencies and versions."""

from __future__ import annotations

import dagster as dg
from flights_options import options

from j2v_dagster.pipeline import build_prediction_pipeline


def test_the_asset_graph_is_this() -> None:
    defs = build_prediction_pipeline(**options())
    dg.Definitions.validate_loadable(defs)
    graph = {
        spec.key.to_user_string(): {
            "deps": sorted(dep.asset_key.to_user_string() for dep in spec.deps),
            "group": spec.group_name,
            "kinds": sorted(spec.kinds),
            "partitions": type(spec.partitions_def).__name__,
        }
        for spec in defs.resolve_all_asset_specs()
    }
    daily = "DailyPartitionsDefinition"
    assert graph == {
        "flights/input_shards": {"deps": [], "group": "flights", "kinds": ["file", "parquet"], "partitions": daily},
        "flights/model_checkpoint": {"deps": [], "group": "flights", "kinds": ["pytorch"], "partitions": "NoneType"},
        "flights/prediction_rank_files": {
            "deps": ["flights/input_shards", "flights/model_checkpoint"],
            "group": "flights", "kinds": ["parquet", "pytorch"], "partitions": daily,
        },
        "flights/predictions": {
            "deps": ["flights/prediction_rank_files"], "group": "flights", "kinds": ["duckdb"], "partitions": daily,
        },
    }  # fmt: skip
    checks = {
        spec.name: (spec.blocking, type(spec.partitions_def).__name__, "Rule:" in str(spec.description))
        for checks in defs.asset_checks or ()
        for spec in checks.check_specs
    }
    names = ("every_rank_file_present", "row_alignment", "schema_matches_model", "values_valid")
    warnings = ("rejected_rows", "input_drift")
    assert checks == dict.fromkeys(names, (True, daily, True)) | dict.fromkeys(warnings, (False, daily, True))
    assert [job.name for job in defs.jobs or ()] == ["flights_predict"]
    assert [sensor.name for sensor in defs.sensors or ()] == ["flights_shards"]
