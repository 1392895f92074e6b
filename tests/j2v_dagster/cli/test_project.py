"""`j2v-dagster estimate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from past import write_attempt

from j2v_dagster.cli.main import main
from j2v_dagster.shards.source import ShardSource


def test_the_command_reads_a_pipeline_or_plain_roots(
    tmp_path: Path, source: ShardSource, capsys: pytest.CaptureFixture[str]
) -> None:
    write_attempt(tmp_path / "out", "d0", 1, rows_per_s=100.0)
    plain = ["--inputs", str(tmp_path / "shards"), "--output", str(tmp_path / "out")]
    assert main(["estimate", *plain, "--partition", "d1", "d2", "--ranks", "2"]) == 0
    assert capsys.readouterr().out.startswith("estimate: 2 partitions, 6,001 rows in 2 shards")
    pipelines = tmp_path / "pipelines.yaml"
    one = {
        "name": "a", "inputs": "shards", "output": "out", "checkpoint": "absent.ckpt", "table": "t", "ranks": 4,
        "warehouse": "w.duckdb", "partitions": {"kind": "dynamic"}, "columns": {"f": "source.file"},
    }  # fmt: skip
    pipelines.write_text(yaml.safe_dump({"pipelines": [one]}))
    assert main(["estimate", str(pipelines), "--partition", "d1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["ranks"], found["seconds"]) == (4000, 4, 8 + 1000 / 100)
    assert main(["estimate", str(pipelines), "--pipeline", "b", "--partition", "d1"]) == 1
    assert "has ['a']; got 'b'" in capsys.readouterr().err
    assert main(["estimate", "--partition", "d1"]) == 1
    assert "expected a YAML file of pipelines, or --inputs and --output" in capsys.readouterr().err
    assert main(["estimate", *plain, "--partition", "d7"]) == 1
    assert "dt=d7" in capsys.readouterr().err
