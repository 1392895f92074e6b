"""`open_store` and what is done with addresses as texts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import json2vec.storage
from json2vec.errors import StoreError
from json2vec.storage import LocalStore, absolute, fetch, open_store, relative, scheme


def test_one_folder_under_all_its_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a b#c?"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    addresses = (folder, str(folder), "a b#c?", "~/a b#c?", f"file://{folder}", f"file://{tmp_path}/a%20b#c?")
    assert {open_store(address).root for address in addresses} == {str(folder)}
    store = LocalStore(folder)
    assert open_store(store) is store


def test_a_scheme_that_no_store_serves() -> None:
    with pytest.raises(StoreError, match=r"no store serves 'gs://bucket'.*'gs'.*Remedy"):
        open_store("gs://bucket")


def test_the_scheme_of_an_address() -> None:
    assert [scheme(one) for one in ("shards", Path("/a"), "file:///a", "s3://b", "gs://b")] == [
        "file", "file", "file", "s3", "gs",
    ]  # fmt: skip


def test_addresses_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert absolute("shards") == str(tmp_path / "shards")
    assert absolute(Path("shards"), "/data/project") == "/data/project/shards"
    assert absolute("../shards", "/data/project") == "/data/shards"
    assert absolute("/shards", "/data") == "/shards"
    assert absolute("~/shards", "/data") == "/home/me/shards"
    assert absolute("s3://bucket/a/../b", "/data") == "s3://bucket/a/../b"
    assert absolute("file:///shards", "/data") == "file:///shards"


def test_addresses_are_written_relative_to_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert relative("/data/shards", "/data/project") == "../shards"
    assert relative("shards", tmp_path / "project") == "../shards"
    assert relative("shards", "/data/project/defs", home="/data/project") == "../shards"
    assert relative("shards", ".") == "shards"
    assert relative("s3://bucket/shards", "/data") == "s3://bucket/shards"


def test_a_local_file_is_fetched_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"1")
    monkeypatch.chdir(tmp_path)
    for address in ("model.ckpt", tmp_path / "model.ckpt", f"file://{tmp_path}/model.ckpt"):
        assert fetch(address, tmp_path / "scratch") == tmp_path / "model.ckpt"
    assert os.listdir(tmp_path) == ["model.ckpt"]
    with pytest.raises(FileNotFoundError, match=r"absent\.ckpt"):
        fetch(tmp_path / "absent.ckpt", tmp_path)


def test_the_room_hands_on_its_names_and_loads_no_client_before_it_must() -> None:
    for name in json2vec.storage.__all__:
        assert getattr(json2vec.storage, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Shop'"):
        json2vec.storage.Shop  # noqa: B018
    code = "import sys, json2vec.storage; print({'s3fs', 'torch', 'pytest', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
