"""Dagster's own S3 resource and log manager beside our store, over a real S3 server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster_aws.s3 import S3ComputeLogManager, S3Resource

import j2v_dagster
from j2v_dagster.shards.storage_options import read_storage_options, storage_options_of
from json2vec.storage.opening import open_store
from json2vec.storage.s3 import SECRET_OPTIONS

pytestmark = pytest.mark.slow

READY = Path(j2v_dagster.__file__).parent / "dagster.yaml"


@pytest.fixture
def chain(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials as people give them: in the environment."""
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)


def test_one_resource_configures_assets_and_store(s3: Any, chain: None) -> None:
    bucket = s3.bucket("one-resource")
    resource = S3Resource(endpoint_url=s3.endpoint, region_name="us-east-1")
    resource.get_client().put_object(Bucket="one-resource", Key="in/a.txt", Body=b"from an asset")
    store = open_store(f"{bucket}/in", read_storage_options(resource))
    assert [entry.path for entry in store.list()] == ["a.txt"]
    store.write("b.txt", b"from the store")
    answer = resource.get_client().get_object(Bucket="one-resource", Key="in/b.txt")
    assert answer["Body"].read() == b"from the store"


def test_secrets_that_the_ranks_find_themselves_are_accepted_and_left_out(s3: Any, chain: None) -> None:
    bucket = s3.bucket("found-themselves")
    resource = S3Resource(
        endpoint_url=s3.endpoint, region_name="us-east-1",
        aws_access_key_id=dg.EnvVar("AWS_ACCESS_KEY_ID"), aws_secret_access_key=dg.EnvVar("AWS_SECRET_ACCESS_KEY"),
    )  # fmt: skip
    options = storage_options_of(resource)
    assert options == {"endpoint_url": s3.endpoint, "region": "us-east-1"}
    open_store(bucket, options).write("x", b"y")


def test_the_ready_dagster_yaml_keeps_what_steps_print_in_a_bucket(s3: Any, chain: None, tmp_path: Path) -> None:
    bucket = s3.bucket("what-steps-print")
    text = re.sub(r"^# (?=compute_logs:|  )", "", READY.read_text(), flags=re.MULTILINE)
    config = yaml.safe_load(text)
    assert config.keys() - yaml.safe_load(READY.read_text()).keys() == {"compute_logs"}
    config["compute_logs"]["config"] |= {
        "bucket": "what-steps-print", "endpoint_url": s3.endpoint, "region": "us-east-1",
        "local_dir": str(tmp_path / "staged"),
    }  # fmt: skip
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))

    @dg.op
    def says_something() -> None:
        print("seventeen rows")

    @dg.job
    def prints() -> None:
        says_something()

    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert isinstance(instance.compute_log_manager, S3ComputeLogManager)
        result = prints.execute_in_process(instance=instance)
        assert result.success
    store = open_store(f"{bucket}/dagster-logs", s3.options())
    printed = [entry.path for entry in store.list() if entry.path.endswith(".out")]
    assert len(printed) == 1
    assert result.run_id in printed[0]
    assert store.read(printed[0]) == b"seventeen rows\n"
    assert {entry.path for entry in store.list() if not entry.size} == set()


def test_no_secret_stands_in_the_ready_dagster_yaml() -> None:
    text = READY.read_text()
    assert not [name for name in (*SECRET_OPTIONS, "aws_access_key_id") if re.search(rf"\b{name}:", text)]
