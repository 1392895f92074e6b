"""Partition keys never leave the root, and never share a folder."""

from __future__ import annotations

from pathlib import PurePosixPath

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from j2v_dagster.partitions import PartitionKeyError, build_partitions, partition_folder, partition_of

HOSTILE = ["../x", "a/b", "%2e%2e", "..", ".", "/etc", "a\\b", "a\nb", "....//x", "-rf", "ü ?#"]


@pytest.mark.parametrize("template", ["dt={partition}", "{partition}", "year/dt={partition}"])
@pytest.mark.parametrize("key", HOSTILE)
def test_a_hostile_key_stays_one_folder_below_the_root(key: str, template: str) -> None:
    folder = partition_folder(key, template)
    parts = PurePosixPath(folder).parts
    assert len(parts) == len(template.split("/"))
    assert not {".", ".."} & set(parts)
    assert not folder.startswith("/")
    assert partition_of(folder, template) == key


@pytest.mark.parametrize("key", ["", "a\0b", "x" * 300, "ü" * 120])
def test_a_key_that_cannot_be_a_folder_is_refused(key: str) -> None:
    with pytest.raises(PartitionKeyError, match="Remedy"):
        partition_folder(key)


@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_two_keys_never_share_a_folder(one: str, other: str) -> None:
    def folder(key: str) -> str | None:
        try:
            return partition_folder(key)
        except (PartitionKeyError, UnicodeEncodeError):
            return None

    if one != other and folder(one) is not None:
        assert folder(one) != folder(other)


def test_an_encoded_folder_that_we_would_never_make_has_no_key() -> None:
    assert partition_of("dt=%2e%2e") is None
    assert partition_of("other=1") is None
    assert partition_of("dt=2013-01-20") == "2013-01-20"


@pytest.mark.parametrize(
    "template", ["dt", "{partition}/x", "../{partition}", "/{partition}", "{partition}{partition}"]
)
def test_a_template_that_cannot_be_meant_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match="folder template"):
        partition_folder("a", template)


def test_partitions_come_from_plain_values() -> None:
    import datetime

    daily = build_partitions({"kind": "daily", "start": datetime.date(2013, 1, 20), "end": "2013-01-23"}, name="p")
    assert daily.get_partition_keys() == ["2013-01-20", "2013-01-21", "2013-01-22"]
    hourly = build_partitions({"kind": "hourly", "start": "2013-01-20-00:00", "end": "2013-01-20-02:00"}, name="p")
    assert hourly.get_partition_keys() == ["2013-01-20-00:00", "2013-01-20-01:00"]
    assert build_partitions({"kind": "static", "keys": ["a", 1]}, name="p").get_partition_keys() == ["a", "1"]
    dynamic = build_partitions({"kind": "dynamic"}, name="p")
    assert isinstance(dynamic, dg.DynamicPartitionsDefinition)
    assert dynamic.name == "p"


@pytest.mark.parametrize(
    "config", [{"kind": "weekly"}, {"kind": "daily"}, {"kind": "static", "keys": ["a"], "start": "x"}, {}]
)
def test_partitions_that_cannot_be_meant_are_refused(config: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="partitions of pipeline 'p'"):
        build_partitions(config, name="p")
