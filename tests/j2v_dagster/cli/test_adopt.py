"""``j2v-dagster adopt`` says what it handed over, and what not."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from j2v_dagster.attempts.folder import PartitionOutput
from j2v_dagster.attempts.locks import partition_lock
from j2v_dagster.attempts.owner import Claims, NotTheOwner, Owner
from j2v_dagster.cli.main import main
from json2vec.storage.local import LocalStore


def test_an_output_is_handed_over_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = PartitionOutput.of(tmp_path, "d1", "dt={partition}")
    shop, spam = (Claims(LocalStore(tmp_path), "dt={partition}", Owner(name)) for name in ("shop", "spam"))
    shop.take_new(output, logging.getLogger(__name__))
    output.create("run0xxxx")
    with partition_lock(output.store, "run abc"):
        assert main(["adopt", str(tmp_path), "spam"]) == 1
    assert "run abc" in capsys.readouterr().err
    assert main(["adopt", str(tmp_path), "spam", "--of", "another"]) == 0
    assert "no partition was handed over" in capsys.readouterr().out
    assert main(["adopt", str(tmp_path), "spam", "--of", "shop"]) == 0
    assert "1 partitions of pipeline 'shop' belong to pipeline 'spam' now" in capsys.readouterr().out
    spam.check(output)
    with pytest.raises(NotTheOwner):
        shop.check(output)
    assert main(["adopt", str(tmp_path / "absent"), "spam"]) == 1
