"""Before the first row: an attempt id that the ranks share, and a folder without leftovers."""

from __future__ import annotations

from pathlib import Path

import pytest
from predicted import names

from json2vec.errors import Json2VecError
from json2vec.rank_files.attempt_folder import new_attempt, reset_folder, shared_attempt
from json2vec.storage.local import LocalStore

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


def test_reset_keeps_what_others_own(tmp_path: Path) -> None:
    for name in ("_manifest.json", "rank-0.parquet", "rank-1.0.parquet", "rank-1.1.parquet.tmp", "rank-1.json",
                 "rank-2.json", "rejected-1.parquet", "rank-1.error.json", "notes.txt", "data.parquet"):  # fmt: skip
        (tmp_path / name).write_text("{}")
    reset_folder(LocalStore(tmp_path), rank=1, world_size=2)
    assert names(tmp_path) == ["data.parquet", "notes.txt", "rank-0.parquet", "rank-2.json"]
    reset_folder(LocalStore(tmp_path), rank=0, world_size=2)
    assert names(tmp_path) == ["data.parquet", "notes.txt"]


def test_ranks_of_one_torchrun_share_an_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert new_attempt() != new_attempt()
    with pytest.raises(Json2VecError, match=r"Writer\(attempt="):
        shared_attempt(LocalStore(tmp_path), 1, 2)
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500",
                        "TORCHELASTIC_RESTART_COUNT": "0"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    script = (
        "import sys; from json2vec.rank_files.attempt_folder import shared_attempt as f; "
        "from json2vec.storage.local import LocalStore as S; one, rank = S(sys.argv[1]), int(sys.argv[2]); "
        "print(f(one, rank, 2), f(one, rank, 2), f(S('other'), 0, 2))"
    )
    import subprocess
    import sys

    told = [subprocess.run([sys.executable, "-c", script, str(tmp_path), str(rank)], check=True, capture_output=True,
                           text=True).stdout.split() for rank in range(2)]  # fmt: skip
    assert told[0] == told[1]
    assert len(set(told[0])) == 3  # another call or folder is another attempt
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert shared_attempt(LocalStore(tmp_path), 0, 2) not in told[0]
