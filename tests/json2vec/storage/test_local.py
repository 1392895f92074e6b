"""`LocalStore`: the contract of a store, and what only a disk has."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from pathlib import Path

import pytest

from json2vec.errors import StoreError
from json2vec.storage.contract import StoreContract
from json2vec.storage.local import LocalStore


class TestLocalStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalStore:
        return LocalStore(tmp_path / "a root")


def test_a_root_that_is_missing_is_an_error_to_list_and_no_folder(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "absent")
    assert not store.exists()
    with pytest.raises(StoreError, match="absent does not exist"):
        list(store.list())
    assert store.free_bytes() is not None


def test_a_root_that_is_a_file_cannot_be_prepared(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"file is a file; expected a folder\. Remedy"):
        LocalStore(tmp_path / "file").prepare()
    with pytest.raises(StoreError, match=r"cannot make the folder .*file/deep.*Remedy"):
        LocalStore(tmp_path / "file" / "deep").prepare()


def test_links_to_folders_count_only_if_asked_for(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "root")
    store.write("real/file", b"1")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "root" / "real", target_is_directory=True)
    assert store.folders() == ["link", "real"]
    assert store.folders(links=False) == ["real"]
    assert [entry.path for entry in store.list()] == ["real/file"]


def test_an_upload_from_the_workspace_renames_and_a_copy_links(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "root")
    store.prepare()
    local = store.workspace(tmp_path / "scratch") / "file.tmp"
    assert local == tmp_path / "root" / "file.tmp"
    local.write_bytes(b"1")
    inode = local.stat().st_ino
    store.upload(local, "file", sha256="")
    other = LocalStore(tmp_path / "other")
    other.copy(store, "file", "copy")
    assert {os.stat(one.uri(path)).st_ino for one, path in ((store, "file"), (other, "copy"))} == {inode}
    assert store.usage().bytes == 0, "the bytes stay as long as the other name does"


def test_appending_and_deleting_reach_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal's line must not be lost with the power, and a deleted manifest must not come back."""
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    store = LocalStore(tmp_path / "root")
    store.append("journal", b"1")
    assert synced == [store.uri("journal"), store.root]
    synced.clear()
    store.delete("journal", "deep/absent")
    assert synced == [store.root]


def test_a_folder_that_is_set_aside_keeps_its_files(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.write("attempts/a1/file", b"1")
    store.set_aside("attempts/a1", ".removed-a1")
    assert store.read(".removed-a1/file") == b"1"


@pytest.mark.parametrize("kind", ["link to a file", "link to nothing", "folder", "pipe"])
def test_a_lock_is_not_opened_through_a_link(tmp_path: Path, kind: str) -> None:
    store, treasure = LocalStore(tmp_path / "root"), tmp_path / "treasure"
    store.prepare()
    treasure.write_text("dear")
    lock = tmp_path / "root" / "lock"
    if kind == "folder":
        lock.mkdir()
    elif kind == "pipe":
        os.mkfifo(lock)
    else:
        lock.symlink_to(treasure if kind == "link to a file" else tmp_path / "new")
    with (
        pytest.raises(StoreError, match=r"root/lock is (a link|no plain file); .*Nothing was touched\. Remedy"),
        store.lock("lock", {"holder": "us"}, wait_s=0.0),
    ):
        pass
    assert treasure.read_text() == "dear"
    assert not (tmp_path / "new").exists()


def test_nothing_behind_a_link_is_listed_added_to_or_removed_where_links_do_not_count(tmp_path: Path) -> None:
    store, outside = LocalStore(tmp_path / "root"), tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "file").write_text("dear")
    store.write("real/file", b"1")
    (tmp_path / "root" / "link").symlink_to(outside)
    (tmp_path / "root" / "real" / "journal").symlink_to(outside / "deep" / "file")
    assert store.folders("link", links=False) == store.folders("link/deep", links=False) == []
    assert store.folders("link") == ["deep"]
    for path in ("link", "link/deep"):
        with pytest.raises(StoreError, match=r"link.* is, or lies behind, a link.*Nothing was removed\. Remedy"):
            store.remove_tree(path)
    with pytest.raises(StoreError, match="journal is a link"):
        store.append("real/journal", b"more")
    store.remove_tree("real")
    assert (outside / "deep" / "file").read_text() == "dear"


def test_versions_of_a_file_differ_however_fast_it_is_written(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    versions = [store.write("pointer", bytes([number])) for number in range(200)]
    assert len(set(versions)) == 200


def test_of_processes_that_replace_the_same_version_one_wins(tmp_path: Path) -> None:
    LocalStore(tmp_path).write("count", b"0")
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(_count, [str(tmp_path)] * 4, chunksize=1)
    assert LocalStore(tmp_path).read("count") == b"100"


def _count(root: str) -> None:
    store, done = LocalStore(root), 0
    while done < 25:
        version, number = store.stat("count").version, int(store.read("count"))
        with contextlib.suppress(FileExistsError):
            store.write("count", str(number + 1).encode(), if_version=version)
            done += 1
