"""What a code location shows: the asset graph, YAML, component and Python API over one core, no torch."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import j2v_dagster
from j2v_dagster.cli.main import main
from j2v_dagster.component import Json2VecPredictions
from j2v_dagster.definitions import DefinitionsFileError, pipelines_from_yaml
from j2v_dagster.options import OptionError, PipelineOptions
from j2v_dagster.options import options as known_options
from j2v_dagster.options.table import options_table
from j2v_dagster.pipeline import build_prediction_pipeline
from j2v_dagster.translator import PredictionTranslator, Role
from json2vec.rank_files.settings import PredictSettings


def options(name: str = "flights") -> dict[str, Any]:
    return {
        "name": name,
        "inputs": "shards",
        "partitions": {"kind": "daily", "start": "2013-01-20", "end": "2013-01-27"},
        "checkpoint": "model.ckpt",
        "output": "predictions",
        "warehouse": "w.duckdb",
        "table": "day_delay",
        "columns": {"id": "inputs.observation_id"},
    }


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


def test_several_pipelines_live_in_one_code_location() -> None:
    merged = dg.Definitions.merge(*(build_prediction_pipeline(**options(name)) for name in ("one", "two")))
    dg.Definitions.validate_loadable(merged)
    assert len(list(merged.resolve_all_asset_specs())) == 8


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


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "a/b"}, "letters, digits"),
        ({"ranks": 0}, "ranks is 0"),
        ({"require": ["file"]}, "require names"),
        ({"folder": "x"}, "folder template"),
        ({"columns": {"id": "input.id"}}, "column path"),
        ({"launcher": "slurm"}, "launcher 'slurm'"),
        ({"contract": "maybe"}, "'raise', 'warn' or 'off'"),
        ({"contract_sample": -1}, "contract_sample is -1"),
        ({"contract_limits": {"nulls": 0.1}}, "no limit 'nulls'"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_prediction_pipeline(**{**options(), **changed})


def test_every_option_is_described_and_the_component_has_the_same() -> None:
    parameters = inspect.signature(build_prediction_pipeline).parameters
    documentation = inspect.getdoc(build_prediction_pipeline) or ""
    model = Json2VecPredictions.get_model_cls()
    assert model is not None
    properties = model.model_json_schema()["properties"]
    of_component = {field.name: field for field in fields(Json2VecPredictions)}
    assert set(of_component) == set(parameters) == {option.name for option in known_options()}
    for option in known_options():
        assert option.description.endswith((".", "...")), option.name
        assert f"    {option.name}: {option.description}" in documentation, option.name
        assert properties[option.name]["description"] == option.description
        if not option.required:
            assert parameters[option.name].default == of_component[option.name].default == option.default
            assert option.example is None or option.example != option.default, option.name


def test_the_page_on_dagster_has_the_table_of_options() -> None:
    """Its remedy: ``python -m j2v_dagster.options.table`` prints the table as it must stand there."""
    page = (Path(j2v_dagster.__file__).parents[1] / "docs" / "dagster.md").read_text()
    assert options_table() in page


def test_examples_and_defaults_of_options_are_what_the_options_take() -> None:
    for option in known_options():
        for value in (option.example, None if option.required else option.default):
            if value is not None:
                PipelineOptions.of(options() | {option.name: value})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rank": 2}, r"pipeline 'flights': unknown keys \['rank'\]; did you mean 'ranks' for 'rank'\?"),
        ({"ranks": "two"}, r"ranks is 'two'; input should be a valid integer.*Processes that predict one partition"),
        ({"segment_rows": 0, "retries": -1}, "segment_rows is 0; expected at least 1; retries is -1; expected"),
        ({"max_rejected": 1.5}, r"max_rejected is 1\.5; expected a share"),
        ({"storage_options": {"secret": "s3cr3t"}}, r"storage_options holds \['secret'\]; expected no credentials"),
        ({"storage_options": {"endpoint_url": "http://me:s3cr3t@host"}}, "endpoint_url holds credentials"),
        ({"storage_options": "s3cr3t"}, "storage_options is a str; expected a mapping"),
        ({"freshness_warn_s": 100}, "pipeline 'flights': freshness_warn_s needs freshness_fail_s"),
        ({"translator": "os:path"}, "translator 'os:path'"),
    ],
)  # fmt: skip
def test_what_is_said_of_an_option_that_cannot_be_meant(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        build_prediction_pipeline(**{**options(), **changed})
    assert "s3cr3t" not in str(raised.value)


def test_all_that_is_missing_is_said_at_once() -> None:
    with pytest.raises(OptionError, match=r"'flights': ranks is 0; .*; inputs, partitions, .*, columns must be said"):
        build_prediction_pipeline(name="flights", ranks=0)  # type: ignore[call-arg]


SOME_VALUE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(["", "x", "raise", "a:b"]),
    st.lists(st.sampled_from(["", "x"]), max_size=2), st.dictionaries(st.just("k"), st.integers(), max_size=1),
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from([option.name for option in known_options()]), SOME_VALUE, max_size=4))
def test_options_are_taken_or_refused_with_a_message_of_our_own(changed: dict[str, Any]) -> None:
    said = ""
    try:
        assert PipelineOptions.of({**options(), **changed}).settings().digest("0" * 64)
    except OptionError as exc:
        said = str(exc)
    assert not said or any(name in said for name in changed)


def test_settings_say_what_they_change() -> None:
    """Another value of one that changes stored values is another code version, and shares no segment."""
    whole = PipelineOptions.of(options())
    before = whole.settings()
    for option in known_options():
        name = {"keep_inputs": "inputs"}.get(option.name, option.name)
        if name not in PredictSettings.model_fields or option.name in ("name", "inputs"):
            continue
        after = PipelineOptions.of({**options(), option.name: option.example or 7}).settings()
        changes = PredictSettings.model_fields[name].json_schema_extra["changes"]  # type: ignore[index, call-overload]
        assert (after.code_version() != before.code_version()) == (changes in ("values", "rows")), name
        assert (after.digest("m") != before.digest("m")) == (changes == "values" or name == "trusted_modules"), name
        assert option.changes == changes, name


def test_the_code_version_of_a_pipeline_on_cpus_stays() -> None:
    """Another one makes every partition look stale."""
    assert PipelineOptions.of(options()).settings().code_version() == "9fd0e49f25fd"


def test_yaml_resolves_paths_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = options() | {"checkpoint": "${J2V_TEST_MODEL}/m.ckpt", "inputs": "${J2V_TEST_NONE:-data}/shards"}
    path = tmp_path / "defs.yaml"
    path.write_text(yaml.safe_dump({"pipelines": [content, options("second") | {"output": "second"}]}))
    with pytest.raises(DefinitionsFileError, match=r"pipeline 1: environment variable J2V_TEST_MODEL is not set"):
        pipelines_from_yaml(path)
    monkeypatch.setenv("J2V_TEST_MODEL", "models")
    defs = pipelines_from_yaml(path)
    assert len(list(defs.resolve_all_asset_specs())) == 8
    sensor = next(iter(defs.sensors or ()))
    assert str(tmp_path / "data" / "shards") in str(sensor.description)
    monkeypatch.setenv("J2V_HOME", str(tmp_path / "home"))
    sensor = next(iter(pipelines_from_yaml(path).sensors or ()))
    assert str(tmp_path / "home" / "data" / "shards") in str(sensor.description)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pipelines: {", "is not YAML"),
        ("[]", "expected one key"),
        ("pipelines: [{inputs: x}]", "pipeline 1: expected a mapping with a name"),
        (yaml.safe_dump({"pipelines": [options() | {"rank": 2}]}), r"unknown keys \['rank'\]"),
        (yaml.safe_dump({"pipelines": [options(), options()]}), "pipeline 2: the name 'flights' is taken"),
        (yaml.safe_dump({"pipelines": [options() | {"translator": "os:path"}]}), "translator 'os:path'"),
    ],
)
def test_yaml_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "defs.yaml"
    path.write_text(text)
    with pytest.raises(DefinitionsFileError, match=message):
        pipelines_from_yaml(path)


def test_a_code_location_loads_without_torch(tmp_path: Path) -> None:
    path = tmp_path / "defs.yaml"
    path.write_text(yaml.safe_dump({"pipelines": [options()]}))
    code = (
        "import json, sys; sys.path[:0] = json.loads(sys.argv[1])\n"
        "import j2v_dagster.cli, j2v_dagster.component, j2v_dagster.definitions as d\n"
        "assert len(list(d.defs().resolve_all_asset_specs())) == 4\n"
        "print(sorted({'torch', 'lightning', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, json.dumps(sys.path)], capture_output=True, text=True,
        env={"J2V_DEFS": str(path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}, timeout=120,
    )  # fmt: skip
    assert done.stdout.strip() == "[]", done.stderr


def test_the_component_builds_the_same_pipeline(tmp_path: Path) -> None:
    (tmp_path / "defs.yaml").write_text(
        yaml.safe_dump({"type": "j2v_dagster.component.Json2VecPredictions", "attributes": options()})
    )
    component = Json2VecPredictions(**options())
    context = dg.ComponentTree.for_test().load_context if hasattr(dg.ComponentTree, "for_test") else None
    if context is None:
        pytest.skip("this Dagster has no component tree for tests")
    assert {spec.key for spec in component.build_defs(context).resolve_all_asset_specs()} == {
        spec.key for spec in build_prediction_pipeline(**options()).resolve_all_asset_specs()
    }


def test_the_exports_are_these_and_all_load() -> None:
    assert j2v_dagster.__all__ == [
        "DuckDBWarehouse", "IcebergWarehouse", "Json2VecPredictions", "Launcher", "PredictionTranslator",
        "TorchrunLauncher", "Warehouse", "build_prediction_pipeline", "partition_folder", "pipelines_from_yaml",
    ]  # fmt: skip
    for name in j2v_dagster.__all__:
        assert getattr(j2v_dagster, name).__name__ == name
    with pytest.raises(AttributeError):
        j2v_dagster.nothing  # noqa: B018


def test_the_command_line_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--help"]) == 0
    assert "--require" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["verify"])
    assert ended.value.code == 2
