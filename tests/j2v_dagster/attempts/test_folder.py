"""The order of attempts: by the partition's counter, whatever clocks say."""

from __future__ import annotations

import json
import multiprocessing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from j2v_dagster.attempts import folder as folders
from j2v_dagster.attempts.folder import COUNTER, CURRENT, PartitionOutput, attempt_order
from json2vec.errors import IncompletePredictions, StoreError
from json2vec.storage.local import LocalStore


@pytest.fixture
def output(tmp_path: Path) -> PartitionOutput:
    return PartitionOutput(LocalStore(tmp_path / "dt=d1"), "d1")


class Clock:
    """A machine's clock, so many hours off."""

    def __init__(self, hours: float) -> None:
        self.hours = hours

    def now(self, zone: Any) -> datetime:
        return datetime.now(zone) + timedelta(hours=self.hours)


def made(output: PartitionOutput, run: str, *, committed: bool = True) -> str:
    attempt = output.create(run)
    if committed:
        attempt.store.write("_manifest.json", b"{}")
    return attempt.name


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(hours=st.lists(st.floats(-100, 100), min_size=1, max_size=6))
def test_attempts_are_in_the_order_in_which_they_were_made_on_machines_with_any_clocks(
    tmp_path_factory: pytest.TempPathFactory, hours: list[float]
) -> None:
    output = PartitionOutput(LocalStore(tmp_path_factory.mktemp("p")), "d1")
    with pytest.MonkeyPatch.context() as patch:
        names = []
        for number, off in enumerate(hours):
            patch.setattr(folders, "datetime", Clock(off))
            names.append(made(output, f"run{number}xxx"))
    assert [attempt.name for attempt in output.attempts()] == names
    assert output.committed("another").name == names[-1]
    assert [attempt.number for attempt in output.attempts()] == list(range(1, len(names) + 1))


def test_attempts_of_earlier_versions_stay_readable_and_count_as_older(output: PartitionOutput) -> None:
    ahead = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y%m%dT%H%M%S%fZ")
    old = ["20240101T000000000000Z-run0aaaa-0001", f"{ahead}-run1aaaa-0002"]
    for name in reversed(old):
        output.store.write(f"attempts/{name}/_manifest.json", b"{}")
    output.store.write(CURRENT, json.dumps({"format": 1, "attempt": old[1], "manifest_sha256": "ab"}).encode())
    assert output.shown_number() == 0
    assert output.committed("another").name == old[1]
    new = made(output, "run2xxxx")
    assert [attempt.name for attempt in output.attempts()] == [*old, new]
    assert output.committed("another").name == new
    assert output.named(old[0]).number == 0
    output.publish(output.attempt(new), "cd")
    assert output.shown_number() == 1


def test_a_counter_that_was_lost_goes_on_behind_what_is_there(output: PartitionOutput) -> None:
    for number in range(3):
        made(output, f"run{number}xxx")
    output.publish(output.attempts()[-1], "ab", sequence=7)
    before = output.counter_id()
    output.store.delete(COUNTER)
    assert output.draw() == 8
    assert output.counter_id() != before, "its numbers are no longer those of before"
    output.store.write(CURRENT, b"[]")  # a pointer that cannot be read keeps nobody from predicting
    assert output.draw() == 9


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"id": "x", "last": "many"}'])
def test_a_counter_that_is_none_is_refused_with_a_remedy_that_works(output: PartitionOutput, content: bytes) -> None:
    name = made(output, "run0xxxx")
    output.store.write(COUNTER, content)
    with pytest.raises(StoreError, match=r"_counter\.json is no counter.*Remedy: remove it"):
        output.draw()
    output.store.delete(COUNTER)
    assert output.draw() > folders.attempt_number(name)


def test_processes_that_draw_at_once_draw_different_numbers(output: PartitionOutput) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        drawn = pool.map(_draw, [output] * 4, chunksize=1)
    assert sorted(number for numbers in drawn for number in numbers) == list(range(1, 41))


def _draw(output: PartitionOutput) -> list[int]:
    return [output.draw() for _ in range(10)]


def test_only_a_complete_attempt_can_be_named(output: PartitionOutput) -> None:
    name, failed = made(output, "run0xxxx"), made(output, "run1xxxx", committed=False)
    assert output.named(name).name == name
    for wrong in (failed, "../x", "", "20240101T000000000000Z-run0aaaa-0001"):
        with pytest.raises(IncompletePredictions, match=rf"no complete attempt {wrong!r}.*{name}.*Remedy"):
            output.named(wrong)


def test_numbers_are_compared_as_numbers() -> None:
    names = [f"20240101T000000000000Z-run0aaaa-0001-{number}" for number in (2, 10, 9)]
    assert sorted(names, key=attempt_order) == [names[0], names[2], names[1]]
