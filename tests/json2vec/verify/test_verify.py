from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import json2vec as j2v
from json2vec.errors import VerificationFailed
from json2vec.verify import replay


def test_an_intact_folder_passes_all_six_findings(write: Any) -> None:
    folder = write(ranks=3, segment_rows=20)
    report = folder.verify()
    assert [(one.name, one.passed) for one in report.findings] == [
        (name, True) for name in ("files", "coverage", "inputs", "schema", "values", "replay")
    ], report.summary()
    assert report.passed
    assert report.rows == 136
    assert report.finding("replay").counts == {"replayed": 64, "different": 0}
    assert report.finding("inputs").counts["compared"] == 136
    assert json.loads(json.dumps(report.to_json()))["passed"] is True
    report.raise_if_failed()


def test_replaying_every_row(write: Any) -> None:
    assert write().verify(sample=None).finding("replay").counts == {"replayed": 136, "different": 0}


@pytest.mark.parametrize("size", [0, 4, 0.5, -1])
def test_a_truncated_file_fails(write: Any, size: float) -> None:
    folder = write()
    file = folder.path / "rank-1.parquet"
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * size) if 0 < size < 1 else int(size)])
    report = folder.verify()
    assert not report.passed
    finding = report.finding("files")
    assert finding.passed is False
    assert "rank 1: rank-1.parquet has" in finding.examples[0]
    assert "expected" in finding.examples[0]


def test_every_flipped_byte_fails(write: Any) -> None:
    folder = write(ranks=1)
    file = folder.path / "rank-0.parquet"
    data = file.read_bytes()
    for at in np.linspace(0, len(data) - 1, 12).astype(int):
        flipped = bytearray(data)
        flipped[at] ^= 0x40
        file.write_bytes(flipped)
        finding = folder.verify(model=None).finding("files")
        assert finding.passed is False, at
        assert "rank-0.parquet" in finding.examples[0]


def test_a_deleted_file_names_its_rank(write: Any) -> None:
    folder = write()
    (folder.path / "rank-1.parquet").unlink()
    report = folder.verify()
    assert report.finding("files").examples[0] == "rank 1: rank-1.parquet is missing"
    assert report.finding("coverage").counts["missing"] == 68
    with pytest.raises(VerificationFailed, match=r"rank-1\.parquet is missing") as error:
        report.raise_if_failed()
    assert error.value.report is report


def test_stale_files_are_reported_and_not_read(write: Any) -> None:
    folder = write()
    (folder.path / "rank-7.parquet").write_bytes((folder.path / "rank-0.parquet").read_bytes())
    report = folder.verify()
    assert report.finding("files").examples == ("rank-7.parquet is not in the manifest",)
    assert report.finding("coverage").passed
    assert j2v.read_predictions(folder.path).collect().height == 136


def test_swapped_predictions_fail_replay_alone(write: Any, swap: Any) -> None:
    folder = write()
    folder.edit("rank-0.parquet", swap)
    report = folder.verify(sample=None)
    assert {one.name: one.passed for one in report.findings} == {
        "files": True, "coverage": True, "inputs": True, "schema": True, "values": True, "replay": False,
    }  # fmt: skip
    finding = report.finding("replay")
    assert finding.counts["different"] == 2
    assert finding.examples == ("a.parquet row 0", "a.parquet row 1")


def test_a_row_group_twice_fails_coverage(write: Any) -> None:
    folder = write()
    folder.edit("rank-0.parquet", lambda table: pa.concat_tables([table, table.slice(8, 8)]))
    finding = folder.verify().finding("coverage")
    assert finding.counts["duplicated"] == 8
    assert finding.examples[0] == "a.parquet row 8 to a.parquet row 15 (8 rows) there twice"


def test_dropped_rows_with_adjusted_marker_fail_coverage(write: Any) -> None:
    folder = write()
    folder.edit("rank-1.parquet", lambda table: pa.concat_tables([table.slice(0, 40), table.slice(48)]))
    report = folder.verify()
    assert report.finding("files").passed
    finding = report.finding("coverage")
    assert finding.counts["missing"] == 8
    # Rank 1 begins with row 28 of sub/c.parquet.
    assert finding.examples == ("sub/c.parquet row 68 to sub/d ü#.parquet row 0 (8 rows) missing",)


def test_changed_inputs_fail(write: Any) -> None:
    folder = write()

    def change(table: pa.Table) -> pa.Table:
        rows = table["inputs"].to_pylist()
        rows[3]["merchant"] = "changed"
        return table.set_column(0, table.schema.field(0), pa.array(rows, table.schema.field(0).type))

    folder.edit("rank-0.parquet", change)
    finding = folder.verify().finding("inputs")
    assert finding.counts["different"] == 1
    assert finding.examples == ("a.parquet row 3 in rank-0.parquet differs in column 'merchant'",)


def test_a_wrong_hash_fails(write: Any) -> None:
    folder = write(inputs=False)

    def change(table: pa.Table) -> pa.Table:
        source = table["source"].to_pylist()
        source[5]["hash"] ^= 1
        return table.set_column(1, table.schema.field(1), pa.array(source, table.schema.field(1).type))

    folder.edit("rank-0.parquet", change)
    finding = folder.verify().finding("inputs")
    assert finding.passed is False
    assert finding.examples == ("a.parquet row 5 in rank-0.parquet carries the hash of another row",)


def test_without_inputs_they_are_not_proven(write: Any) -> None:
    folder = write(inputs=False)
    report = folder.verify()
    assert report.finding("inputs").passed is None
    assert not report.passed
    assert folder.verify(require=["files", "coverage", "schema", "values", "replay"]).passed
    assert j2v.read_predictions(folder.path).collect_schema().names() == ["predictions", "source"]


def test_some_inputs_are_compared_and_the_rest_is_not_proven(write: Any) -> None:
    finding = write(inputs=["id", "merchant"]).verify().finding("inputs")
    assert finding.passed is None
    assert "['amount', 'items'] cannot be compared" in finding.found


def test_a_changed_shard_is_named(write: Any) -> None:
    folder = write()
    shard = folder.inputs / "sub/c.parquet"
    os.utime(shard, ns=(1, 1))
    report = folder.verify()
    assert report.finding("inputs").passed is False
    assert "sub/c.parquet changed since the plan was made" in report.finding("inputs").found
    assert report.finding("replay").passed is False


def test_a_copy_of_the_inputs_serves(write: Any, tmp_path: Path) -> None:
    folder = write()
    folder.inputs.rename(tmp_path / "moved")
    assert folder.verify().finding("inputs").passed is False
    assert folder.verify(inputs=tmp_path / "moved").passed


def test_without_a_model_its_half_is_not_proven(write: Any) -> None:
    report = write().verify(model=None)
    assert {one.name: one.passed for one in report.findings} == {
        "files": True, "coverage": True, "inputs": True, "schema": None, "values": None, "replay": None,
    }  # fmt: skip
    assert not report.passed
    assert "(not required)" in write(name="again").verify(model=None, require=["files"]).summary()


def test_another_model_fails(write: Any) -> None:
    folder = write()
    other = j2v.Model.from_schema(j2v.Number("amount"), j2v.Category("label", max_vocab_size=6, target=True),
                                  d_model=8, n_layers=1, n_heads=2)  # fmt: skip
    report = folder.verify(model=other)
    assert report.finding("replay").passed is False
    assert report.finding("schema").passed is False
    assert "fingerprint" in report.finding("replay").expected


def test_a_checkpoint_path_serves_as_model(write: Any, tmp_path: Path) -> None:
    folder = write()
    assert folder.verify(model=folder.model.save(tmp_path / "model.ckpt")).passed


def test_impossible_values_are_named(write: Any) -> None:
    folder = write()

    def change(table: pa.Table) -> pa.Table:
        rows = table["predictions"].to_pylist()
        rows[2]["record/label"]["content"]["probability"] = 1.5
        rows[4]["record/label"]["state"]["valued"] += 0.25
        rows[6]["record/label"]["content"]["value"] = "unheard of"
        rows[9]["record"]["embedding"][0] += 2.0
        rows[10]["record/score"]["content"] = float("inf")
        place = table.schema.get_field_index("predictions")
        return table.set_column(place, table.schema.field(place), pa.array(rows, table.schema.field(place).type))

    folder.edit("rank-0.parquet", change)
    finding = folder.verify().finding("values")
    assert finding.passed is False
    text = "; ".join(finding.examples)
    for row, what in ((2, "is no probability (1.5)"), (4, "does not sum to 1"), (6, "is not in the vocabulary"),
                      (9, "is not of unit length"), (10, "is not finite")):  # fmt: skip
        assert f"a.parquet, row {row} {what}" in text, text


def test_another_schema_in_one_file_fails(write: Any) -> None:
    folder = write()
    folder.edit("rank-1.parquet", lambda table: table.append_column("extra", pa.nulls(table.num_rows, pa.int8())))
    finding = folder.verify().finding("schema")
    assert finding.passed is False
    assert finding.examples[0].startswith("rank-1.parquet: columns")


def test_dropped_and_multiplied_rows_are_complete(write: Any) -> None:
    @j2v.preprocess(yields=True, schema=pa.schema([("amount", pa.float64()), ("merchant", pa.string())]))
    def some_or_none(row: dict, strata: str) -> list:
        count = int(row["id"].rpartition("-")[2]) % 3
        return [{"amount": float(i), "merchant": row["merchant"]} for i in range(count)]

    folder = write(preprocessor=some_or_none)
    report = folder.verify(preprocessor=some_or_none, sample=None)
    assert report.passed, report.summary()
    assert report.finding("coverage").counts["rejected"] == 46
    assert report.rows == 45 + 2 * 45
    rejected = pq.read_table(folder.path / "rejected-0.parquet")
    assert set(rejected["reason"].to_pylist()) == {"dropped"}
    folder.edit("rank-0.parquet", lambda table: table.slice(0, table.num_rows - 1))
    assert folder.verify(model=None).finding("coverage").counts["missing"] == 1


def test_an_uncommitted_folder_fails(write: Any) -> None:
    report = write(commit=False).verify()
    assert report.finding("files").passed is False
    assert "rank-0.parquet (attempt attempt-1, rank 0 of 2)" in report.finding("files").examples
    assert not report.passed


def test_a_missing_folder_fails(tmp_path: Path) -> None:
    assert j2v.verify_predictions(tmp_path / "none").finding("files").passed is False


def test_a_folder_of_another_writer_is_neither_proven_nor_refuted(tmp_path: Path) -> None:
    frame = pl.DataFrame({"prediction": [0.5, 0.25, 0.125]})
    (tmp_path / "other").mkdir()
    frame.write_parquet(tmp_path / "other" / "rank-0.parquet")
    report = j2v.verify_predictions(tmp_path / "other", inputs=frame)
    assert {one.passed for one in report.findings} == {None}
    assert not report.passed
    report = j2v.verify_predictions(tmp_path / "other", inputs=frame.head(2))
    assert report.finding("coverage").passed is False
    assert report.finding("coverage").counts == {"input_rows": 2, "rows": 3}


def test_unknown_requirements_are_refused(write: Any) -> None:
    with pytest.raises(ValueError, match="no findings"):
        write().verify(require=["everything"])


def test_a_sample_is_read_file_by_file_and_no_other_row_is_predicted(write: Any, monkeypatch: Any) -> None:
    folder, ranges, predicted = write(), [], []
    read, infer = replay.read_rows, folder.model.infer

    def spy(snapshot: Any, source: Any, wanted: Any, **options: Any) -> Any:
        ranges.extend(wanted)
        return read(snapshot, source, wanted, **options)

    monkeypatch.setattr(replay, "read_rows", spy)
    monkeypatch.setattr(folder.model, "infer", lambda batch, *rest: predicted.append(batch.size) or infer(batch, *rest))
    report = folder.verify(sample=20)
    assert report.finding("replay").counts == {"replayed": 20, "different": 0}
    assert sum(predicted) == 20
    starts = folder.plan.snapshot.starts
    assert len(ranges) == 3, "one for each file with rows"
    assert all(np.searchsorted(starts, start, "right") == np.searchsorted(starts, stop - 1, "right")
               for start, stop in ranges)  # fmt: skip
