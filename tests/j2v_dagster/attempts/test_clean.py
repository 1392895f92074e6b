"""`j2v-dagster clean`: old attempts go, and nothing that anybody needs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from aged_attempts import DAY_S, Folder

from j2v_dagster.attempts.clean import clean
from j2v_dagster.attempts.locks import LeaseLost, PartitionLock, partition_lock


def test_old_attempts_go_and_the_current_one_stays(folder: Folder, tmp_path: Path) -> None:
    old = folder.attempt(40, committed=True, passed=True)
    failed = folder.attempt(35)
    recent = folder.attempt(3, committed=True, passed=False)
    current = folder.attempt(90, committed=True, passed=True)
    folder.output.publish(current, "digest")
    other = Folder(tmp_path / "deep" / "er", "dt=d2")
    deep = other.attempt(31, committed=True, passed=False)
    tried = clean(tmp_path, older_than_days=30, dry_run=True)
    assert len(folder.names()) == 4
    report = clean(tmp_path, older_than_days=30)
    assert [(one.path, one.bytes) for one in report.removed] == [(one.path, one.bytes) for one in tried.removed]
    assert {one.path for one in report.removed} == {old.uri, failed.uri, deep.uri}
    assert report.bytes == 3 * 1000 + len('{"passed": true}') + len('{"passed": false}')
    states = {"complete, not current", "failed, superseded", "refused by its checks"}
    assert {one.state for one in report.removed} == states
    assert folder.names() == [recent.name, current.name]
    assert sorted(path.name for path in folder.path.iterdir()) == [
        "_counter.json", "_current.json", "_load.lock", "_predict.lock", "attempts",
    ]  # fmt: skip


def test_what_a_resume_or_a_load_may_need_stays_longer(folder: Folder, tmp_path: Path) -> None:
    current = folder.attempt(20, committed=True, passed=True)
    folder.output.publish(current, "digest")
    waiting = folder.attempt(5, committed=True, passed=True)
    resumable = folder.attempt(6)
    assert clean(tmp_path, older_than_days=1).removed == ()
    assert [one.path for one in clean(tmp_path, older_than_days=1, pending_days=5.5).removed] == [resumable.uri]
    folder.age(waiting, 8)
    (removed,) = clean(tmp_path, older_than_days=1).removed
    assert (removed.path, removed.state) == (waiting.uri, "complete, not loaded")
    assert clean(tmp_path, older_than_days=0, pending_days=0).removed == ()


def test_what_was_committed_and_not_checked_may_be_adopted(folder: Folder, tmp_path: Path) -> None:
    """Two runs that were ended before their checks."""
    older, newer = folder.attempt(9, committed=True), folder.attempt(8, committed=True)
    assert folder.output.resumable() == [newer, older]
    assert clean(tmp_path, older_than_days=1, pending_days=10).removed == ()
    report = clean(tmp_path, older_than_days=1, pending_days=5)
    assert {one.path: one.state for one in report.removed} == {
        older.uri: "complete, not checked", newer.uri: "complete, not loaded",
    }  # fmt: skip


@pytest.mark.parametrize("purpose", ["predict", "load"])
def test_a_partition_that_a_live_run_holds_is_left_alone(folder: Folder, tmp_path: Path, purpose: str) -> None:
    folder.attempt(50)
    with partition_lock(folder.output.store, "run abc", purpose):  # type: ignore[arg-type]
        report = clean(tmp_path, older_than_days=0, pending_days=0)
        assert report.removed == ()
        assert "run abc" in report.summary()
        assert f"process {os.getpid()}" in report.summary()
    assert len(clean(tmp_path, older_than_days=0, pending_days=0).removed) == 1


def test_only_attempts_are_removed_and_links_are_not_followed(folder: Folder, tmp_path: Path) -> None:
    attempt = folder.attempt(50)
    attempts = attempt.path.parent
    (attempts / "notes").mkdir()
    treasure = tmp_path.parent / f"{tmp_path.name}-treasure"
    treasure.mkdir()
    (treasure / "file").write_text("dear")
    (attempts / attempt.name.replace("20", "19", 1)).symlink_to(treasure, target_is_directory=True)
    report = clean(folder.path, older_than_days=0, pending_days=0)
    assert [one.path for one in report.removed] == [attempt.uri]
    assert (treasure / "file").read_text() == "dear"
    assert (attempts / "notes").is_dir()


def test_bytes_of_a_file_that_another_attempt_adopted_are_not_counted(folder: Folder, tmp_path: Path) -> None:
    first = folder.attempt(50)
    second = folder.attempt(0, bytes_=10)
    os.link(first.path / "rank-0.parquet", second.path / "adopted-0.parquet")
    (removed,) = clean(tmp_path, older_than_days=30).removed
    assert (removed.path, removed.bytes) == (first.uri, 0)
    assert (second.path / "adopted-0.parquet").stat().st_size == 1000


def test_the_logs_of_old_backfills_go(folder: Folder, tmp_path: Path) -> None:
    folder.attempt(0)
    for name, days in (("old", 40), ("new", 3)):
        logs = tmp_path / "_launches" / name / "logs"
        logs.mkdir(parents=True)
        (logs / "rank-0.log").write_bytes(bytes(10))
        for path in (logs / "rank-0.log", logs, logs.parent):
            os.utime(path, (time.time() - days * DAY_S,) * 2)
    for dry_run in (True, False):
        (removed,) = clean(tmp_path, older_than_days=30, dry_run=dry_run).removed
        assert (removed.path, removed.bytes) == (str(tmp_path / "_launches" / "old"), 10)
    assert [path.name for path in (tmp_path / "_launches").iterdir()] == ["new"]


def test_an_interrupted_clean_is_finished_by_the_next(folder: Folder, tmp_path: Path) -> None:
    attempt = folder.attempt(1)
    os.rename(attempt.path, folder.path / f".removed-{attempt.name}")
    folder.attempt(0)
    clean(tmp_path, older_than_days=30)
    assert not list(folder.path.glob(".removed-*"))


def test_a_pointer_that_cannot_be_read_protects_everything(folder: Folder, tmp_path: Path) -> None:
    folder.attempt(50)
    (folder.path / "_current.json").write_text("{")
    report = clean(tmp_path, older_than_days=0, pending_days=0)
    assert report.removed == ()
    assert "left alone" in report.summary()


@pytest.mark.parametrize("name", ["_launches", "_launches/x", "dt=d1/.removed-x", "dt=d1/attempts/x"])
@pytest.mark.parametrize("kind", ["link", "link to nothing", "file"])
def test_whatever_lies_where_a_folder_is_expected_nothing_outside_is_touched(
    folder: Folder, tmp_path: Path, name: str, kind: str
) -> None:
    old = folder.attempt(50)
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    (outside / "reports").mkdir(parents=True)
    (outside / "reports" / "precious.txt").write_text("dear")
    odd = tmp_path / name
    odd.parent.mkdir(parents=True, exist_ok=True)
    if kind == "file":
        odd.write_text("")
    else:
        odd.symlink_to(outside if kind == "link" else tmp_path / "nothing")
    for path in (outside, *outside.rglob("*"), odd):
        os.utime(path, (time.time() - 100 * DAY_S,) * 2, follow_symlinks=False)
    report = clean(tmp_path, older_than_days=30)
    assert [one.path for one in report.removed] == [old.uri]
    assert (outside / "reports" / "precious.txt").read_text() == "dear"


@pytest.mark.parametrize("content", ["[]", "{", "{}", '{"attempt": 1}', ""])
def test_a_pointer_that_is_none_costs_its_own_partition_only(folder: Folder, tmp_path: Path, content: str) -> None:
    folder.attempt(50)
    (folder.path / "_current.json").write_text(content)
    other = Folder(tmp_path, "dt=d2").attempt(50)
    report = clean(tmp_path, older_than_days=30)
    assert [one.path for one in report.removed] == [other.uri]
    assert len(report.skipped) == 1


def test_what_killed_writes_left_goes_once_it_is_old(folder: Folder, tmp_path: Path) -> None:
    attempt = folder.attempt(0)
    names = ["._inputs.json.0123abcd.tmp", f"attempts/{attempt.name}/._verified.json.0123abcd.tmp"]
    kept = ["notes.tmp", ".notes.tmp", ".hidden/._x.0123abcd.tmp", f"attempts/{attempt.name}/rank-0.parquet"]
    for name in (*names, *kept, "._young.json.0123abcd.tmp"):
        path = folder.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(10))
        days = 0 if "young" in name else 40
        os.utime(path, (time.time() - days * DAY_S,) * 2)
    for dry_run in (True, False):
        report = clean(tmp_path, older_than_days=30, dry_run=dry_run)
        assert {one.path for one in report.removed} == {str(folder.path / name) for name in names}
        assert report.bytes == 20
    assert not any((folder.path / name).exists() for name in names)
    assert all((folder.path / name).exists() for name in (*kept, "._young.json.0123abcd.tmp"))


def test_a_clean_that_stood_still_removes_nothing_more(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had looked; then its lock was lost, and a run may have made what it saw the current attempt."""
    attempt = folder.attempt(50)

    def lost(self: PartitionLock) -> None:
        raise LeaseLost("lost its lease")

    monkeypatch.setattr(PartitionLock, "check", lost)
    report = clean(tmp_path, older_than_days=30)
    assert report.removed == ()
    assert "lost its lease" in report.summary()
    assert attempt.path.exists()
