from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import json2vec as j2v
from json2vec.errors import VerificationFailed
from json2vec.verify.certificate import RowName
from json2vec.verify.explain import explain

ROW = RowName("sub/c.parquet", 30)


def test_an_intact_row(write: Any) -> None:
    folder = write(ranks=2, segment_rows=20)
    story = explain(folder.path, ROW, model=folder.model)
    text = story.text()
    assert story.ok, text
    assert "rank-1.0.parquet: rank 1, segment 0 of attempt attempt-1" in text
    assert "position 2 of" in text
    assert "replay            agrees" in text
    line = next(line for line in text.splitlines() if line.strip().startswith("record/label.content.probability"))
    _, stored, again = line.split()
    assert float(stored) == pytest.approx(float(again), abs=1e-5)
    assert '"sub/c.parquet-30"  "sub/c.parquet-30"' in text
    assert "<--" not in text


def test_swapped_predictions_are_shown_side_by_side(write: Any, swap: Any) -> None:
    folder = write()
    folder.edit("rank-0.parquet", swap)
    story = explain(folder.path, RowName("a.parquet", 0), model=folder.model)
    assert not story.ok
    assert "DIFFERS" in story.text()
    lines = story.text().splitlines()
    assert any(line.startswith("  record/score.content") and "<-- differs" in line for line in lines)


def test_without_a_model_the_rest_is_told(write: Any) -> None:
    story = explain(write().path, ROW)
    assert story.ok
    assert "not done: no model was given" in story.text()
    assert "(not predicted again)" in story.text()


def test_changed_inputs(write: Any) -> None:
    folder = write()

    def change(table: pa.Table) -> pa.Table:
        rows = table["inputs"].to_pylist()
        rows[3]["merchant"] = "changed"
        return table.set_column(0, table.schema.field(0), pa.array(rows, table.schema.field(0).type))

    folder.edit("rank-0.parquet", change)
    story = explain(folder.path, RowName("a.parquet", 3))
    assert not story.ok
    line = next(line for line in story.text().splitlines() if "merchant" in line)
    assert '"changed"' in line
    assert "<-- differs" in line


def test_missing_and_doubled_rows(write: Any) -> None:
    folder = write()
    folder.edit("rank-1.parquet", lambda table: pa.concat_tables([table.slice(1), table.slice(5, 1)]))
    missing = explain(folder.path, RowName("sub/c.parquet", 28))
    assert not missing.ok
    assert "MISSING" in missing.text()
    assert "rank-1.parquet: rank 1, segment 0" in missing.text()
    assert "there twice" in explain(folder.path, RowName("sub/c.parquet", 33)).text()


def test_rejected_rows_and_parts(write: Any) -> None:
    @j2v.preprocess(yields=True, schema=pa.schema([("amount", pa.float64()), ("merchant", pa.string())]))
    def none_to_two(row: dict, strata: str) -> list:
        count = int(row["id"].rpartition("-")[2]) % 3
        return [{"amount": float(i), "merchant": row["merchant"]} for i in range(count)]

    folder = write(preprocessor=none_to_two)
    dropped = explain(folder.path, RowName("a.parquet", 3))
    assert dropped.ok
    assert "rejected          dropped (rejected-0.parquet, rank 0)" in dropped.text()
    assert '"a.parquet-3"' in dropped.text()
    second = explain(folder.path, RowName("a.parquet", 2, part=1), model=folder.model, preprocessor=none_to_two)
    assert second.ok, second.text()
    assert "agrees" in second.text()


def test_rows_that_never_were(write: Any) -> None:
    path = write().path
    with pytest.raises(VerificationFailed, match=r"'nope\.parquet' is none of the snapshot's 4 files"):
        explain(path, RowName("nope.parquet", 0))
    with pytest.raises(VerificationFailed, match=r"a\.parquet has 40 rows, counted from 0; row 40"):
        explain(path, RowName("a.parquet", 40))


def test_the_command_line(write: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from j2v_dagster.cli.main import main

    folder = write()
    model = str(folder.model.save(tmp_path / "model.ckpt"))
    arguments = ["explain", str(folder.path), "--file", "a.parquet"]
    assert main([*arguments, "--row", "7", "--model", model]) == 0
    assert "agrees" in capsys.readouterr().out
    assert main([*arguments, "--row", "700"]) == 1
    assert "error: a.parquet has 40 rows" in capsys.readouterr().err
    for shard in folder.inputs.glob("a.parquet"):
        shard.unlink()
    assert main([*arguments, "--row", "7"]) == 1
    assert "a.parquet is gone" in capsys.readouterr().out
