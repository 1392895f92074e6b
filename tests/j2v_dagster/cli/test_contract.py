"""``j2v-dagster contract`` and ``j2v-dagster profile``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from flight_shards import Trained, good_table, write_parquet

import json2vec as j2v
from j2v_dagster.cli.main import main
from json2vec.model import checkpoint


def test_contract(
    trained: Trained, shards: Callable[[pa.Table], Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = str(shards(good_table(1, 300)))
    arguments = ["contract", "--inputs", folder, "--model", str(trained.path)]
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("kept  0 errors, 0 warnings, 0 without effect; 300 rows sampled")
    write_parquet(tmp_path / "bad", good_table(1, 300).rename_columns({"temp": "Temp"}))
    arguments[2] = str(tmp_path / "bad")
    assert main(arguments) == 1
    out = capsys.readouterr().out
    assert out.startswith("BROKEN  1 errors")
    assert "ERROR  column temp: missing (record/temp)" in out
    assert main([*arguments, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["kept"] is False
    found = [(one["column"], one["severity"]) for one in report["breaches"]]
    assert found == [("temp", "error"), ("Temp", "info")]
    assert main([*arguments, "--match", "nothing"]) == 1
    assert "no file below" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*arguments, "--match", "("])


def test_profile_is_added_to_a_checkpoint_that_has_none(
    trained: Trained, shards: Callable[[pa.Table], Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = str(shards(good_table(1, 300)))
    path = checkpoint.save(tmp_path / "old.ckpt", trained.values | {"profile": None})
    before = j2v.Model.load(path).fingerprint()
    assert main(["contract", "--inputs", folder, "--model", str(path)]) == 1
    assert "UNKNOWN" in capsys.readouterr().out
    assert main(["profile", str(path), "--inputs", folder, "--output", str(tmp_path / "new.ckpt")]) == 0
    assert "profile of 300 rows, 13 leaves" in capsys.readouterr().out
    assert j2v.Model.load(path).profile is None
    loaded = j2v.Model.load(tmp_path / "new.ckpt")
    assert loaded.profile is not None
    assert loaded.profile.rows == 300
    assert loaded.fingerprint() == before
    assert main(["contract", "--inputs", folder, "--model", str(tmp_path / "new.ckpt")]) == 0
    assert main(["profile", str(tmp_path / "none.ckpt"), "--inputs", folder]) == 1
    assert "does not exist" in capsys.readouterr().err
