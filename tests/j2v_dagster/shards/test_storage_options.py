"""Which settings of Dagster's S3 resource the store follows, and which it refuses."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster_aws.s3 import S3Resource

from j2v_dagster.options import PipelineOptions
from j2v_dagster.shards.storage_options import _NAMES, _SECRETS, read_storage_options, storage_options_of
from json2vec.storage.s3 import OPTIONS, SECRET_OPTIONS

PIPELINE = {
    "name": "orders", "inputs": "in", "partitions": {"kind": "dynamic"}, "checkpoint": "m.ckpt", "output": "out",
    "warehouse": "w.duckdb", "table": "orders", "columns": {"row": "source.row"},
}  # fmt: skip


def test_options_without_a_resource_are_taken_as_they_are() -> None:
    assert read_storage_options(None) == {}
    given = {"region": "eu-central-1", "read_timeout_s": 5}
    assert read_storage_options(given) == given
    assert read_storage_options(given) is not given
    with pytest.raises(ValueError, match=r"is a str; expected a mapping or dagster_aws\.s3\.S3Resource"):
        read_storage_options("eu-central-1")  # type: ignore[arg-type]


def test_a_resource_becomes_the_options_that_differ_from_its_defaults() -> None:
    assert read_storage_options(S3Resource()) == {}
    resource = S3Resource(
        endpoint_url="http://localhost:9000", region_name="eu-central-1", profile_name="lake", max_attempts=3,
        use_unsigned_session=True, use_ssl=False,
    )  # fmt: skip
    assert storage_options_of(resource) == {
        "endpoint_url": "http://localhost:9000", "region": "eu-central-1", "profile": "lake", "max_attempts": 3,
        "anon": True,
    }  # fmt: skip


def test_a_pipeline_takes_a_resource_as_its_options() -> None:
    resource = S3Resource(endpoint_url="http://localhost:9000", region_name="eu-central-1")
    taken = PipelineOptions.of(PIPELINE | {"storage_options": resource}).storage_options
    assert taken == {"endpoint_url": "http://localhost:9000", "region": "eu-central-1"}
    with pytest.raises(ValueError, match=r"'orders': storage_options: S3Resource has aws_session_token") as bad:
        PipelineOptions.of(PIPELINE | {"storage_options": S3Resource(aws_session_token="hunter2")})
    assert "hunter2" not in str(bad.value)
    with pytest.raises(ValueError, match="pipeline 'orders': storage_options is a str; expected a mapping"):
        PipelineOptions.of(PIPELINE | {"storage_options": "eu-central-1"})
    assert PipelineOptions.of(PIPELINE).storage_options is None


def test_variables_of_the_environment_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE_REGION", "eu-central-1")
    monkeypatch.setenv("LAKE_ATTEMPTS", "7")
    resource = S3Resource(region_name=dg.EnvVar("LAKE_REGION"), max_attempts=dg.EnvVar.int("LAKE_ATTEMPTS"))
    assert storage_options_of(resource) == {"region": "eu-central-1", "max_attempts": 7}
    monkeypatch.delenv("LAKE_REGION")
    with pytest.raises(ValueError, match="region_name from the environment variable LAKE_REGION, which is not set"):
        storage_options_of(resource)


@pytest.mark.parametrize("setting", ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"])
@pytest.mark.parametrize("secret", ["hunter2", dg.EnvVar("MY_OWN_VARIABLE")], ids=["text", "variable"])
def test_secrets_from_elsewhere_are_refused_without_naming_them(setting: str, secret: str) -> None:
    with pytest.raises(ValueError, match=rf"S3Resource has {setting}; .*AWS chain") as caught:
        storage_options_of(S3Resource(**{setting: secret}))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("unchecked", [{"verify": False}, {"use_ssl": False}], ids=str)
def test_a_connection_that_is_not_checked_is_refused(unchecked: dict[str, bool]) -> None:
    with pytest.raises(ValueError, match=r"the store always checks\. Remedy: leave verify and use_ssl out"):
        storage_options_of(S3Resource(**unchecked))


def test_every_setting_of_the_resource_has_an_answer() -> None:
    """A setting that a later dagster-aws adds must not be dropped in silence."""
    assert set(S3Resource.model_fields) == {*_NAMES, *_SECRETS, "verify", "use_ssl"}
    assert set(_NAMES.values()) <= set(OPTIONS) - SECRET_OPTIONS
