"""`j2v-dagster clean` on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from aged_attempts import Folder

from j2v_dagster.attempts.clean import clean
from j2v_dagster.cli.main import main
from json2vec.errors import StoreError


def test_the_command_line(folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attempt = folder.attempt(50)
    assert main(["clean", str(tmp_path), "--older-than", "10", "--dry-run"]) == 0
    assert f"would remove {attempt.path} (failed, resumable, 50.0 days, 1,000 bytes)" in capsys.readouterr().out
    assert main(["clean", str(tmp_path), "--older-than", "10", "--pending-older-than", "60"]) == 0
    assert "removed 0 attempts" in capsys.readouterr().out
    assert main(["clean", str(tmp_path), "--older-than", "10"]) == 0
    assert "removed 1 attempts, 1,000 bytes" in capsys.readouterr().out
    assert main(["clean", str(tmp_path / "absent"), "--older-than", "10"]) == 1
    assert main(["clean", str(tmp_path), "--older-than", "-1"]) == 1
    assert "expected 0 or more days" in capsys.readouterr().err
    with pytest.raises(StoreError, match="is no folder"):
        clean(tmp_path / "absent", older_than_days=1)
