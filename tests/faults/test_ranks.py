"""Faults 1, 2 and 4: ranks that are killed, raise or hang, under real torchrun."""

from __future__ import annotations

import conftest as faults  # type: ignore[import-not-found]
import pytest
from forkserver import ForkServerLauncher  # type: ignore[import-not-found]

from j2v_dagster.launchers.torchrun import TorchrunLauncher

pytestmark = [pytest.mark.slow, pytest.mark.faults]


@pytest.fixture
def torchrun(station):
    """The station with real torchrun instead of the fork server."""
    station.launcher = TorchrunLauncher(grace_s=2.0)
    station.options["preprocessor"] = "injected:hurt"
    return station


def safe_then_repaired(station, before: list[tuple], outcome) -> None:
    assert not outcome.success
    assert station.table() == before, "the warehouse must still show the old rows"
    assert not (station.attempts[-1] / "_manifest.json").exists()
    faults.disarm()
    again = station.run(launcher=ForkServerLauncher())
    assert again.success, again.errors
    assert [row[1] for row in station.table()] == station.expected_ids()


@pytest.mark.parametrize("slow", [False, True], ids=["rank 0 fast", "rank 0 slow"])
def test_01_a_rank_is_killed_mid_write(station, torchrun, monkeypatch, slow) -> None:
    if slow:
        monkeypatch.setenv("J2V_SLOW_RANK_0", "1")
    before = station.table()
    faults.arm("kill rank 1")
    outcome = torchrun.run()
    assert "rank 1 was killed by signal 9" in outcome.errors
    safe_then_repaired(station, before, outcome)


def test_02_a_rank_raises_mid_write(station, torchrun) -> None:
    before = station.table()
    faults.arm("raise on rank 1")
    outcome = torchrun.run()
    assert "rank 1" in outcome.errors
    assert "this rank was told to raise" in outcome.errors
    assert not list(station.attempts[-1].glob("rank-1*.parquet*")), "a readable short file must not stay"
    safe_then_repaired(station, before, outcome)


def test_04_a_rank_hangs(station, torchrun) -> None:
    before = station.table()
    faults.arm("hang on rank 1")
    outcome = torchrun.run(rank_timeout_s=45.0)  # starting counts, too, which takes 25 s where others use the processor
    assert "rank 1 made no progress for 45 s" in outcome.errors
    safe_then_repaired(station, before, outcome)
