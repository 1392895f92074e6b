"""Whose a partition's output is: claimed, refused to others, handed over."""

from __future__ import annotations

import itertools
import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from j2v_dagster.attempts.folder import PartitionOutput
from j2v_dagster.attempts.locks import partition_lock
from j2v_dagster.attempts.owner import OWNER, OWNERS, Claims, NotTheOwner, Owner, adopt
from json2vec.errors import StoreError
from json2vec.storage.local import LocalStore
from json2vec.storage.opening import short_address

LOG = logging.getLogger(__name__)
SHOP = Owner("shop", "shop/prediction_rank_files", "../shards", "duckdb://../w.duckdb/main/labels")
TEMPLATE = "dt={partition}"


def claims(root: Path, owner: Owner = SHOP, folder: str = TEMPLATE) -> Claims:
    return Claims(LocalStore(root), folder, owner)


def output_of(root: Path, partition: str = "d1", folder: str = TEMPLATE) -> PartitionOutput:
    return PartitionOutput.of(root, partition, folder)


@pytest.mark.parametrize("field", ["pipeline", "asset", "inputs", "table"])
def test_a_claimed_folder_is_refused_to_whoever_differs_in_anything(tmp_path: Path, field: str) -> None:
    ours, theirs = claims(tmp_path), claims(tmp_path, replace(SHOP, **{field: "other"}))
    ours.take_new(output_of(tmp_path), LOG)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for partition, action in itertools.product(("d1", "d2"), ("check", "take", "take_new")):
        with pytest.raises(NotTheOwner, match=r"belongs to pipeline 'shop'.*expected pipeline.*other.*Nothing was "
                                              r"changed\. Remedy: give .* an output of its own; .* adopt"):  # fmt: skip
            getattr(theirs, action)(output_of(tmp_path, partition), *([] if action == "check" else [LOG]))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    ours.take(output_of(tmp_path), LOG)


def test_however_the_output_is_spelled_it_is_the_same_folder(tmp_path: Path) -> None:
    root = tmp_path / "out"
    claims(root).take_new(output_of(root), LOG)
    (tmp_path / "link").symlink_to(root)
    spam = replace(SHOP, pipeline="spam")
    spellings = [(f"{root}/", TEMPLATE, "d1"), (f"{root}/../out", TEMPLATE, "d1"), (tmp_path / "link", TEMPLATE, "d1"),
                 (f"file://{root}", TEMPLATE, "d1"), (tmp_path, "out/dt={partition}", "d1"),
                 (root, "{partition}", "dt=d1"), (root, "dt=d{partition}", "1")]  # fmt: skip
    for spelled, folder, partition in spellings:
        output = PartitionOutput.of(spelled, partition, folder)
        with pytest.raises(NotTheOwner):
            Claims(LocalStore(root), folder, spam).check(output)


def test_two_pipelines_may_share_an_output_under_folders_of_their_own(tmp_path: Path) -> None:
    spam = claims(tmp_path, replace(SHOP, pipeline="spam"), "spam={partition}")
    claims(tmp_path).take_new(output_of(tmp_path), LOG)
    spam.take_new(output_of(tmp_path, folder="spam={partition}"), LOG)
    claims(tmp_path).check(output_of(tmp_path))
    spam.check(output_of(tmp_path, folder="spam={partition}"))


def test_an_old_folder_is_claimed_by_the_first_that_commits_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = output_of(tmp_path)
    output.store.write("attempts/20240101T000000000000Z-run0aaaa-0001/_manifest.json", b"{}")
    spam = claims(tmp_path, replace(SHOP, pipeline="spam"))
    spam.take_new(output, LOG)  # it has not committed yet
    assert not list(tmp_path.rglob(OWNER))
    caplog.set_level(logging.INFO)
    claims(tmp_path).take(output, LOG)
    assert "said of no pipeline that it owns it; from now on it belongs to pipeline 'shop'" in caplog.text
    claims(tmp_path).check_attempt(output, output.attempts()[0])
    with pytest.raises(NotTheOwner):
        spam.take(output, LOG)


def test_an_attempt_of_another_is_refused_in_a_folder_of_ours(tmp_path: Path) -> None:
    output = output_of(tmp_path)
    attempt = output.create("run0xxxx")
    claims(tmp_path, replace(SHOP, pipeline="spam")).stamp(attempt)
    claims(tmp_path).take(output, LOG)
    with pytest.raises(NotTheOwner, match=rf"{attempt.name} belongs to pipeline 'spam'"):
        claims(tmp_path).check_attempt(output, attempt)


def test_a_folder_is_handed_over_with_its_attempts_and_once(tmp_path: Path) -> None:
    output, spam = output_of(tmp_path), claims(tmp_path, replace(SHOP, pipeline="spam", table="x"))
    claims(tmp_path).take_new(output, LOG)
    attempt = output.create("run0xxxx")
    claims(tmp_path).stamp(attempt)
    done = adopt(tmp_path, "spam")
    assert (done.partitions, done.before, done.skipped) == (1, {str(SHOP): 1}, ())
    spam.check_attempt(output, attempt)
    spam.take(output, LOG)
    assert json.loads(output.store.read(OWNER))["owner"]["table"] == "x", "filled in"
    assert json.loads((tmp_path / OWNERS).read_bytes())["folders"][TEMPLATE]["table"] == "x"
    for owner in (SHOP, replace(spam.owner, table="y")):
        with pytest.raises(NotTheOwner):
            claims(tmp_path, owner).check(output)


def test_only_what_belonged_to_one_pipeline_is_handed_over_where_that_is_said(tmp_path: Path) -> None:
    spam = claims(tmp_path, replace(SHOP, pipeline="spam"), "spam={partition}")
    for one, folder in ((claims(tmp_path), TEMPLATE), (spam, "spam={partition}")):
        one.take_new(output_of(tmp_path, folder=folder), LOG)
        output_of(tmp_path, folder=folder).create("run0xxxx")
    assert adopt(tmp_path, "new", of="shop").partitions == 1
    spam.check(output_of(tmp_path, folder="spam={partition}"))
    claims(tmp_path, Owner("new")).check(output_of(tmp_path))
    with pytest.raises(NotTheOwner):
        claims(tmp_path).check(output_of(tmp_path))


def test_a_partition_that_a_run_holds_is_not_handed_over(tmp_path: Path) -> None:
    output = output_of(tmp_path)
    claims(tmp_path).take_new(output, LOG)
    output.create("run0xxxx")
    with partition_lock(output.store, "run abc"):
        (why,) = adopt(tmp_path, "spam").skipped
    assert "run abc" in why
    assert json.loads(output.store.read(OWNER))["owner"]["pipeline"] == "shop"
    with pytest.raises(StoreError, match="is no folder"):
        adopt(tmp_path / "absent", "spam")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"format": 1}', b'{"owner": {}, "folders": {"x": 1}}'])
@pytest.mark.parametrize("name", [OWNERS, OWNER])
def test_a_document_that_cannot_be_read_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    output = output_of(tmp_path)
    (LocalStore(tmp_path) if name == OWNERS else output.store).write(name, content)
    with pytest.raises(StoreError, match=rf"{name} does not say whose the folder is.*Remedy"):
        claims(tmp_path).check(output)


def test_a_project_that_moves_as_a_whole_stays_the_owner(tmp_path: Path) -> None:
    def short(home: Path) -> list[str]:
        (home / "data").mkdir(parents=True)
        addresses = (str(home / "shards"), f"duckdb://{home}/w.duckdb/main/t", "s3://bucket/in/", "iceberg://prod/ml/t")
        return [short_address(address, str(home / "data" / "out")) for address in addresses]

    assert short(tmp_path / "a") == short(tmp_path / "b") == [
        "../../shards", "duckdb://../../w.duckdb/main/t", "s3://bucket/in", "iceberg://prod/ml/t",
    ]  # fmt: skip
    assert short_address("/data/x", "s3://bucket/out") == "/data/x"
    assert short_address("file:///data/x", "/data/out") == "../x"
