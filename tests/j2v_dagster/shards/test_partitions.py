"""Partition keys never leave the root, and never share a folder."""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePosixPath

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from j2v_dagster.shards.partitions import (
    PartitionKeyError,
    build_partitions,
    fixed_part,
    partition_folder,
    partition_of,
)

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


DATES = [
    "year={partition:%Y}/month={partition:%m}/day={partition:%d}", "{partition:%Y/%m/%d}", "raw/v1/{partition:%Y%m%d}",
    "{partition:%Y}/{partition:%Y-%m}/dt={partition:%Y-%m-%d}", "{partition:%d.%m.%Y}",
]  # fmt: skip
HOURS = [
    "{partition:%Y/%m/%d/%H}", "dt={partition:%Y-%m-%d}/hour={partition:%H}", "x{partition:%Y}/{partition:%m%d-%H}y",
    "{partition:%H-%Y%m%d}", "{partition:%Y/%m/%d/%H%M}",
]  # fmt: skip


@given(st.datetimes(datetime(1900, 1, 1), datetime(9999, 12, 31)), st.sampled_from([*DATES, *HOURS]))
def test_date_parts_and_keys_are_inverse(moment: datetime, template: str) -> None:
    minute = "%M" if "%M" in template else "00"
    key = moment.strftime(f"%Y-%m-%d-%H:{minute}" if "%H" in template else "%Y-%m-%d")
    folder = partition_folder(key, template)
    assert partition_of(folder, template) == key
    assert len(folder.split("/")) == template.count("/") + 1
    assert folder.startswith(fixed_part(template))
    assert set(folder) <= set("0123456789=/-.abcdefghijklmnopqrstuvwxyz")


@given(
    st.datetimes(datetime(1900, 1, 1), datetime(9999, 12, 31)), st.sampled_from(HOURS),
    st.integers(-14 * 60, 14 * 60), st.integers(-14 * 60, 14 * 60),
)  # fmt: skip
def test_the_second_of_two_hours_has_a_folder_of_its_own(moment: datetime, template: str, one: int, other: int) -> None:
    hour = moment.strftime(f"%Y-%m-%d-%H:{'%M' if '%M' in template else '00'}")
    keys = {hour, *(f"{hour}{'-' if m < 0 else '+'}{abs(m) // 60:02}{abs(m) % 60:02}" for m in (one, other))}
    folders = {partition_folder(key, template) for key in keys}
    assert len(folders) == len(keys)
    assert {partition_of(folder, template) for folder in folders} == keys


@given(st.text(max_size=24), st.sampled_from([*DATES, *HOURS]))
def test_what_is_no_date_is_no_folder_and_no_key(text: str, template: str) -> None:
    try:
        folder = partition_folder(text, template)
    except PartitionKeyError:
        pass
    else:
        assert partition_of(folder, template) == text
    key = partition_of(text, template)
    assert key is None or partition_folder(key, template) == text


@pytest.mark.parametrize(
    ("folder", "template"),
    [
        ("2013/02/30", "{partition:%Y/%m/%d}"), ("2013/1/2", "{partition:%Y/%m/%d}"), ("2013/01/02/24", HOURS[0]),
        ("2013/2013-01/dt=2014-01-02", DATES[3]), ("2013/01/02\n", "{partition:%Y/%m/%d}"),
        ("٢٠١٣/01/02", "{partition:%Y/%m/%d}"),
    ],
)  # fmt: skip
def test_a_folder_that_spells_no_date_or_two_has_no_key(folder: str, template: str) -> None:
    assert partition_of(folder, template) is None


@pytest.mark.parametrize("key", ["../x", "2013-1-2", "2013-01-32", "2013-01-02-00:30", "", "\0", "\uff1213-01-02"])
@pytest.mark.parametrize("template", [DATES[0], HOURS[0]])
def test_a_key_that_is_no_date_is_refused_by_date_parts(key: str, template: str) -> None:
    with pytest.raises(PartitionKeyError, match="Remedy"):
        partition_folder(key, template)


@pytest.mark.parametrize(
    "template",
    [
        "{partition:%Y/%m}", "{partition:%Y/%m/%d}/x", "../{partition:%Y%m%d}", "/{partition:%Y%m%d}",
        "{partition:%Y%m%d}/", "{partition:%Y%m%d%S}", "{partition:%Y%m%d}{partition}",
        "{partition:}/{partition:%Y%m%d", "{partition:../%Y%m%d}", "{partition:%Y%m%d\\x}",
        "{partition:%Y%m%d%M}",
    ],
)  # fmt: skip
def test_date_parts_that_cannot_be_meant_are_refused(template: str) -> None:
    with pytest.raises(ValueError, match="folder template"):
        partition_folder("2013-01-20", template)


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
