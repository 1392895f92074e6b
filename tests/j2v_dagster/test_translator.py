"""A translator owns every name."""

from __future__ import annotations

import dagster as dg
from flights_options import options

from j2v_dagster.pipeline import build_prediction_pipeline
from j2v_dagster.translator import PredictionTranslator, Role


class Renamed(PredictionTranslator):
    """Everything overridden."""

    def key(self, pipeline: str, role: Role) -> dg.AssetKey:
        return dg.AssetKey(["ml", f"{pipeline}_{role}"])

    def group(self, pipeline: str, role: Role) -> str:
        return "delays"

    def owners(self, pipeline: str, role: Role) -> list[str]:
        return ["team:delays"]

    def kinds(self, pipeline: str, role: Role, *, inputs: str, suffix: str, warehouse: str) -> set[str]:
        return {"python"}

    def description(self, pipeline: str, role: Role) -> str:
        return f"my {role}"


def test_a_translator_owns_every_name() -> None:
    defs = build_prediction_pipeline(**options(), translator=Renamed())
    dg.Definitions.validate_loadable(defs)
    for spec in defs.resolve_all_asset_specs():
        assert spec.key.to_user_string().startswith("ml/flights_")
        assert (spec.group_name, list(spec.owners), spec.kinds) == ("delays", ["team:delays"], {"python"})
        assert str(spec.description).startswith("my ")
    assert {check.asset_key.to_user_string() for checks in defs.asset_checks or () for check in checks.check_specs} == {
        "ml/flights_prediction_rank_files"
    }
