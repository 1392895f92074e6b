"""Every option of a pipeline is described, taken or refused with words of our own, and part of its digests."""

from __future__ import annotations

from typing import Any

import pytest
from flights_options import options
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from j2v_dagster.options import OptionError, PipelineOptions
from j2v_dagster.options import options as known_options
from j2v_dagster.pipeline import build_prediction_pipeline
from json2vec.rank_files.settings import PredictSettings


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


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"suffix": "xls"}, "suffix is 'xls'; expected one of parquet, feather"),
        ({"partitions": None}, "partitions of pipeline 'flights' are None; expected a mapping"),
        ({"partitions": "daily"}, "partitions of pipeline 'flights' are 'daily'; expected a mapping"),
        ({"partitions": {"kind": "static", "keys": 5}}, "keys is 5; expected a list of texts"),
        ({"partitions": {"kind": "daily", "start": "2026-01-01", "timezone": "Mars/X"}}, "timezone is 'Mars/X'"),
        ({"translator": 3}, "translator is a int; expected module:Class"),
        ({"max_rejected": True}, "max_rejected is True; expected a share"),
        ({"keep_inputs": 3}, "keep_inputs is 3"),
    ],
)
def test_a_value_of_the_wrong_sort_is_refused_by_name(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_prediction_pipeline(**{**options(), **changed})


def test_any_collection_of_texts_will_do() -> None:
    """A set has no order, and names go into digests: it is sorted."""
    values = {"require": {"files", "coverage"}, "trusted_modules": (name for name in ["shop"])}
    values |= {"reconstruct": {"b", "a"}, "keep_inputs": {"id", "a"}}
    taken = PipelineOptions.of({**options(), **values})
    assert (taken.require, taken.trusted_modules, taken.reconstruct) == (("coverage", "files"), ("shop",), ("a", "b"))
    assert taken.keep_inputs == ("a", "id")
    with pytest.raises(OptionError, match="trusted_modules is 'shop'"):
        PipelineOptions.of({**options(), "trusted_modules": "shop"})


def test_a_share_or_number_may_come_as_text_from_a_variable() -> None:
    """As every other number of a YAML file."""
    for given_text, meant in (("0.05", 0.05), ("3", 3), ("1.0", 1.0)):
        taken = PipelineOptions.of({**options(), "max_rejected": given_text}).max_rejected
        assert (taken, type(taken)) == (meant, type(meant))


def test_what_may_be_secret_is_not_shown() -> None:
    catalog = {"kind": "iceberg", "path": "x", "catalog": {"token": "s3cr3t"}}
    assert "s3cr3t" not in repr(PipelineOptions.of({**options(), "warehouse": catalog}))


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
