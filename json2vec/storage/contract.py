"""What every store must do, as tests: a class of another package inherits `StoreContract` and runs them on its own.

    class TestGcsStore(StoreContract):
        @pytest.fixture
        def store(self) -> GcsStore:
            return GcsStore(f"gs://bucket/{uuid4()}")

The fixture gives a store whose root holds no file yet, a new one for each test. This module alone needs pytest.
"""

from __future__ import annotations

import hashlib
import pickle
import time
from pathlib import Path

import pytest

from json2vec.errors import StoreError
from json2vec.storage.local import LocalStore
from json2vec.storage.lock import LockHeld
from json2vec.storage.store import Store, stored_sha256

ODD_NAMES = ("a#b.txt", "c?d.txt", "e f.txt", "ü.txt", "%2F.txt", "100%.txt")
"""Names that are spelled otherwise in a URL: a store takes them as they are."""


class StoreContract:
    """The tests. Those that wait for a lock take the store's own time; a fixture may shorten it."""

    # -- the root ------------------------------------------------------------------------------------------------------

    def test_addresses_begin_with_the_root(self, store: Store) -> None:
        assert store.uri() == store.root
        assert store.uri("a/b c.txt") == f"{store.root}/a/b c.txt"

    def test_a_prepared_root_exists_and_is_empty(self, store: Store) -> None:
        store.prepare()
        store.prepare()
        assert store.exists()
        assert list(store.list()) == []

    def test_above_is_the_inverse_of_below(self, store: Store) -> None:
        store.write("a/b/file", b"deep")
        above = store.below("a/b").above()
        if above is not None:  # a kind of store may not be able to tell
            assert [entry.path for entry in above.list()] == ["b/file"]
            for _ in range(100):
                above = above and above.above()
            assert above is None, "there is a top"

    def test_a_store_below_has_the_same_files_under_shorter_paths(self, store: Store) -> None:
        inner = store.below("a/b")
        inner.write("c.txt", b"1")
        assert inner.root == store.uri("a/b")
        assert store.read("a/b/c.txt") == b"1"
        assert [entry.path for entry in inner.list()] == ["c.txt"]
        assert type(inner) is type(store)

    @pytest.mark.parametrize("path", ["../a", "a/../../b", "/etc/passwd", "a\0b"])
    def test_a_path_that_leaves_the_root_is_refused(self, store: Store, path: str) -> None:
        with pytest.raises(StoreError, match="leaves the root"):
            store.read(path)
        with pytest.raises(StoreError, match="leaves the root"):
            store.write(path, b"")

    def test_a_store_travels_to_other_processes(self, store: Store) -> None:
        store.write("travels", b"1")
        again: Store = pickle.loads(pickle.dumps(store))
        assert again.root == store.root
        assert again.read("travels") == b"1"

    # -- looking and reading -------------------------------------------------------------------------------------------

    def test_what_was_written_is_read_under_every_name(self, store: Store) -> None:
        for name in ODD_NAMES:
            version = store.write(f"odd/{name}", name.encode())
            assert store.stat(f"odd/{name}").version == version
            assert store.stat(f"odd/{name}").path == f"odd/{name}"
            assert store.read(f"odd/{name}") == name.encode()
        listed = list(store.list("odd"))
        assert [entry.path for entry in listed] == sorted(f"odd/{name}" for name in ODD_NAMES)
        assert [entry.size for entry in listed] == [len(entry.path.removeprefix("odd/").encode()) for entry in listed]

    def test_a_prefix_is_a_folder_and_not_the_beginning_of_a_name(self, store: Store) -> None:
        store.write("many/1", b"1")
        assert [entry.path for entry in store.list("many")] == ["many/1"]
        assert list(store.list("man")) == []

    def test_a_listing_goes_on_after_a_path(self, store: Store) -> None:
        names = ["a/b/c", "a/b/d", "a/e", "a0", "b/ü/z"]
        for name in names:
            store.write(name, b"1")
        assert [entry.path for entry in store.list()] == names
        for after in names:
            assert [entry.path for entry in store.list(after=after)] == [name for name in names if name > after]
        assert [entry.path for entry in store.list("a", after="a/b/c")] == ["a/b/d", "a/e"]

    def test_folders_are_those_right_below(self, store: Store) -> None:
        for name in ("b/1", "a/c/1", "a/2", "d"):
            store.write(name, b"1")
        for links in (True, False):
            assert store.folders(links=links) == ["a", "b"]
            assert store.folders("a", links=links) == ["c"]
            assert store.folders("absent", links=links) == []

    def test_a_missing_file_is_named(self, store: Store, tmp_path: Path) -> None:
        store.prepare()
        def copied(path: str) -> Path:
            return store.local_copy(path, tmp_path)

        for look in (store.stat, store.open, store.read, copied):
            with pytest.raises(FileNotFoundError) as caught:
                look("absent.txt")
            assert store.uri("absent.txt") in str(caught.value)

    def test_a_folder_is_no_file(self, store: Store) -> None:
        store.write("folder/1", b"1")
        with pytest.raises(FileNotFoundError):
            store.stat("folder")
        with pytest.raises(FileNotFoundError):
            store.stat("")

    def test_the_root_may_turn_out_to_be_a_file(self, store: Store) -> None:
        store.write("file", b"1234")
        assert store.below("file").stat("").size == 4

    def test_a_reader_can_be_moved(self, store: Store) -> None:
        store.write("numbers", bytes(range(100)))
        with store.open("numbers") as file:
            file.seek(90)
            assert file.read(2) == bytes((90, 91))
            file.seek(-1, 2)
            assert file.read() == bytes((99,))

    def test_a_local_copy_has_the_latest_bytes(self, store: Store, tmp_path: Path) -> None:
        for content in (b"first", b"second"):
            store.write("deep/model.ckpt", content)
            local = store.local_copy("deep/model.ckpt", tmp_path)
            assert local.name == "model.ckpt"
            assert local.read_bytes() == content
            assert store.local_copy("deep/model.ckpt", tmp_path) == local

    def test_times_are_of_one_clock(self, store: Store) -> None:
        before = store.now()
        store.write("file", b"1")
        assert before - 2 <= store.stat("file").modified <= store.now() + 2  # some clocks tick once a second

    def test_usage_counts_what_removing_gives_back(self, store: Store) -> None:
        store.write("folder/1", bytes(10))
        store.write("folder/deep/2", bytes(5))
        store.write("other", bytes(100))
        usage = store.usage("folder")
        assert usage.bytes == 15
        assert usage.modified == pytest.approx(store.now(), abs=60)
        assert store.usage("absent") == store.below("absent").usage()
        assert store.usage("absent").bytes == 0

    def test_polars_reads_its_addresses(self, store: Store, tmp_path: Path) -> None:
        polars = pytest.importorskip("polars")
        path = tmp_path / "x.parquet"
        polars.DataFrame({"x": [1, 2]}).write_parquet(path)
        store.write("x.parquet", path.read_bytes())
        frame = polars.scan_parquet(store.uri("x.parquet"), storage_options=store.polars_options() or None)
        assert frame.collect()["x"].to_list() == [1, 2]

    # -- writing -------------------------------------------------------------------------------------------------------

    def test_a_write_replaces_the_whole(self, store: Store) -> None:
        store.write("deep/er/file", b"a long content")
        store.write("deep/er/file", b"short")
        assert store.read("deep/er/file") == b"short"
        assert [entry.path for entry in store.list()] == ["deep/er/file"], "nothing half-written stays"

    def test_writes_under_conditions(self, store: Store) -> None:
        first = store.write("pointer", b"1", if_absent=True)
        assert store.write("pointer", b"1", if_absent=True) == first, "our own bytes: a lost reply is success"
        with pytest.raises(FileExistsError, match="pointer"):
            store.write("pointer", b"2", if_absent=True)
        second = store.write("pointer", b"2", if_version=first)
        assert second != first
        with pytest.raises(FileExistsError, match="pointer"):
            store.write("pointer", b"3", if_version=first)
        assert store.read("pointer") == b"2"
        assert store.stat("pointer").version == second

    def test_appending_makes_a_file_and_adds_to_it(self, store: Store) -> None:
        for line in (b"one\n", b"two\n", b"three\n"):
            store.append("folder/journal", line)
        assert store.read("folder/journal") == b"one\ntwo\nthree\n"
        assert [entry.path for entry in store.list()] == ["folder/journal"]

    def test_an_upload_moves_a_file(self, store: Store, tmp_path: Path) -> None:
        workspace = store.workspace(tmp_path / "scratch")
        store.prepare()
        workspace.mkdir(parents=True, exist_ok=True)
        data = bytes(range(256)) * 1000
        local = workspace / "file.tmp"
        local.write_bytes(data)
        store.upload(local, "file", sha256=hashlib.sha256(data).hexdigest())
        assert not local.exists()
        assert stored_sha256(store, "file") == hashlib.sha256(data).hexdigest()
        assert [entry.path for entry in store.list()] == ["file"]

    def test_a_kept_file_is_here_and_there(self, store: Store, tmp_path: Path) -> None:
        workspace = store.workspace(tmp_path / "scratch")
        for content in (b"{}", b"[1]"):
            (workspace / "logs").mkdir(parents=True, exist_ok=True)
            local = workspace / "logs" / "job.json"
            local.write_bytes(content)
            store.keep(local, "logs/job.json")
            assert local.read_bytes() == content
            assert store.read("logs/job.json") == content
        outside = tmp_path / "outside"
        outside.write_bytes(b"1")
        store.keep(outside, "inside")
        assert (outside.read_bytes(), store.read("inside")) == (b"1", b"1")

    def test_a_copy_from_any_store(self, store: Store, tmp_path: Path) -> None:
        data = bytes(range(256)) * 300
        for source in (store, LocalStore(tmp_path / "elsewhere")):
            source.write("from", data)
            store.copy(source, "from", f"copies/{len(list(store.list()))}")
            with pytest.raises(FileNotFoundError):
                store.copy(source, "absent", "copies/absent")
        copies = list(store.list("copies"))
        assert [store.read(entry.path) for entry in copies] == [data, data]

    def test_free_bytes_are_a_number_or_unknown(self, store: Store) -> None:
        assert store.free_bytes() is None or store.free_bytes() > 0  # type: ignore[operator]

    # -- removing ------------------------------------------------------------------------------------------------------

    def test_deleting_what_is_not_there_is_no_error(self, store: Store) -> None:
        for name in ("a", "b", "c"):
            store.write(name, b"1")
        store.delete("a", "absent", "deep/absent", "b")
        store.delete("a")
        store.delete()
        assert [entry.path for entry in store.list()] == ["c"]

    def test_a_folder_that_is_set_aside_is_gone_for_its_readers(self, store: Store) -> None:
        for name in ("attempts/a1/manifest", "attempts/a1/deep/file", "attempts/a2/manifest"):
            store.write(name, b"1")
        store.set_aside("attempts/a1", ".removed-a1", first="manifest")
        assert [entry.path for entry in store.list("attempts")] == ["attempts/a2/manifest"]
        store.remove_tree(".removed-a1")
        store.remove_tree(".removed-a1")
        assert [entry.path for entry in store.list()] == ["attempts/a2/manifest"]

    def test_a_tree_is_removed_and_its_neighbours_stay(self, store: Store) -> None:
        for name in ("tree/1", "tree/deep/er/2", "tree-house/3"):
            store.write(name, b"1")
        store.remove_tree("tree")
        assert [entry.path for entry in store.list()] == ["tree-house/3"]
        with pytest.raises(StoreError, match="root"):
            store.remove_tree("")

    # -- keeping others out --------------------------------------------------------------------------------------------

    def test_a_lock_keeps_others_out_and_tells_them_who_has_it(self, store: Store) -> None:
        with store.lock("deep/one.lock", {"holder": "first"}, wait_s=0.0) as held:
            held.check()
            with pytest.raises(LockHeld) as caught:
                store.lock("deep/one.lock", {"holder": "second"}, wait_s=0.0).__enter__()
            assert caught.value.note["holder"] == "first"
            assert caught.value.where == store.uri("deep/one.lock")
            with store.lock("deep/two.lock", {"holder": "second"}, wait_s=0.0):
                held.check()
        began = time.monotonic()
        with store.lock("deep/one.lock", {"holder": "second"}, wait_s=0.0):
            assert time.monotonic() - began < 5, "a lock that was let go is free at once"

    def test_a_lock_is_let_go_by_an_error(self, store: Store) -> None:
        for _ in range(2):
            with pytest.raises(ZeroDivisionError), store.lock("lock", {}, wait_s=0.0):
                raise ZeroDivisionError
