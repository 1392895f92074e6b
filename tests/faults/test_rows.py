"""Faults 11, 16, 17 and 27: rows that are few, of another type, late, or poison."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import conftest as faults  # type: ignore[import-not-found]
import lightning.pytorch as lit
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import json2vec as j2v
from json2vec.rank_files.manifest import read_manifest
from json2vec.storage.local import LocalStore

pytestmark = [pytest.mark.slow, pytest.mark.faults]


def test_11_ranks_without_rows(station) -> None:
    station.write_shards(seed=3, sizes=(1, 1, 1))
    outcome = station.run(ranks=4)
    assert outcome.success, outcome.errors
    assert [row[1] for row in station.table()] == station.expected_ids()
    sizes = [pq.read_metadata(file).num_rows for file in sorted(station.attempts[-1].glob("rank-*.parquet"))]
    assert sizes == [1, 1, 1, 0]


def test_16_a_column_without_values_on_one_rank(station) -> None:
    frame = faults.records(200, 150)
    frame = frame.with_columns(pl.lit(None).alias("amount"), pl.lit(None).alias("note"))
    frame.write_parquet(station.shards / "part-0.parquet")
    frame = faults.records(201, 90).with_columns(pl.lit("seen").alias("note"))
    frame.write_parquet(station.shards / "part-1.parquet")
    outcome = station.run()
    assert outcome.success, outcome.errors
    files = [pq.read_table(file) for file in sorted(station.attempts[-1].glob("rank-*.parquet"))]
    assert files[0].schema.equals(files[1].schema)
    kinds = {field.name: field.type for field in files[0].schema.field("inputs").type}
    assert kinds["amount"] == pa.float64()
    notes = pa.concat_tables(files)["inputs"].combine_chunks().field("note").to_pylist()
    assert notes.count("seen") == 90
    assert len(notes) == 247


def test_16_a_postprocessor_whose_column_gets_its_type_late(station) -> None:
    before = station.table()
    columns = {"request_id": "inputs.request_id", "label": 'predictions["record/row"].note'}
    outcome = station.run(postprocessor="hurting:null_at_first", trusted_modules=["hurting"], columns=columns)
    assert not outcome.success
    assert "part-1.parquet, row " in outcome.errors
    assert "['record/row']['note']" in outcome.errors
    assert "schema=" in outcome.errors
    assert station.table() == before


@pytest.fixture
def predict(checkpoint: Path, tmp_path: Path) -> Any:
    """Predict NDJSON lines with `Writer`; the folder."""

    def run(files: dict[str, list[str]], *, max_rejected: float = 0.01, **options: Any) -> Path:
        root, out = tmp_path / "lines", tmp_path / "predicted"
        root.mkdir(exist_ok=True)
        for name, lines in files.items():
            (root / name).write_text("\n".join(lines) + "\n")
        model = j2v.Model.load(checkpoint)
        data = j2v.StreamingDataModule(
            model=model, root=root, suffix="ndjson", predict=r"\.ndjson$", num_workers=0, persistent_workers=False,
            pin_memory=False, **options,
        )  # fmt: skip
        trainer = lit.Trainer(
            accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
            enable_checkpointing=False, callbacks=[j2v.Writer(out, max_rejected=max_rejected)],
        )  # fmt: skip
        trainer.predict(model, data, return_predictions=False)
        return out

    return run


def lines(seed: int, rows: int) -> list[str]:
    return [json.dumps(row) for row in faults.records(seed, rows).to_dicts()]


@pytest.mark.parametrize("where", ["row 150 of the first file", "the fifth batch", "the third file"])
def test_17_a_field_that_is_first_seen_late_is_kept(predict, checkpoint, where) -> None:
    files = {f"{index}.ndjson": lines(index, 200) for index in range(3)}
    name, row = {"row 150 of the first file": ("0.ndjson", 150), "the fifth batch": ("0.ndjson", 4 * 32 + 5),
                 "the third file": ("2.ndjson", 7)}[where]  # fmt: skip
    files[name][row] = json.dumps(json.loads(files[name][row]) | {"late": {"deep": [1.5]}})
    out = predict(files)
    table = j2v.read_predictions(out).collect()
    late = table.filter(pl.col("inputs").struct.field("late").struct.field("deep").is_not_null())
    assert late["source"].to_list()[0] | {"hash": 0} == {"file": name, "row": row, "part": 0, "parts": 1, "hash": 0}
    assert late["inputs"].to_list()[0]["late"] == {"deep": [1.5]}
    report = j2v.verify_predictions(out, model=checkpoint)
    assert report.passed, report.summary()


def test_17_a_type_that_is_first_seen_late_is_an_error(predict, tmp_path) -> None:
    files = {f"{index}.ndjson": lines(index, 200) for index in range(3)}
    files["2.ndjson"][150] = json.dumps(json.loads(files["2.ndjson"][150]) | {"request_id": {"now": "a struct"}})
    with pytest.raises(j2v.Json2VecError, match=r"2\.ndjson") as error:
        predict(files)
    assert "row 150" in str(error.value)
    assert not (tmp_path / "predicted" / "_manifest.json").exists()


def test_17_a_key_that_a_preprocessor_makes_late(station) -> None:
    before = station.table()
    station.write_shards(seed=4, sizes=(1300,))
    outcome = station.run(preprocessor="hurting:late_key", ranks=1, trusted_modules=["hurting"])
    assert not outcome.success
    assert "surprise" in outcome.errors
    assert "part-0.parquet" in outcome.errors
    assert station.table() == before


GOOD = {"request_id": "r", "amount": 1.5, "merchant": "m1", "items": [{"price": 1.0, "sku": "s1"}], "label": "l1"}
UNREADABLE = {
    "bad JSON": '{"request_id": "r", "amount": 1.5,,}',
    "cut off": '{"request_id": "r", "amo',
    "a list": "[1, 2, 3]",
    "a text for a number": json.dumps(GOOD | {"amount": "twelve"}),
    "a number for a text": json.dumps(GOOD | {"merchant": 17}),
    "an object for a list": json.dumps(GOOD | {"items": {"price": 1.0}}),
    "depth 200": '{"items": ' + "[" * 200 + "]" * 200 + "}",
}
READABLE = {
    "2**70": json.dumps(GOOD | {"amount": 2**70}),
    "a huge float": '{"request_id": "r", "amount": 1e308}',
    "all null": json.dumps(dict.fromkeys(GOOD)),
    "an empty object": "{}",
    "50 MB of text": json.dumps(GOOD | {"merchant": "x" * 50_000_000}),
}
EITHER = {
    "NaN": '{"request_id": "r", "amount": NaN}',
    "infinity": '{"request_id": "r", "amount": -Infinity}',
    "1e999": '{"request_id": "r", "amount": 1e999}',
}


@pytest.mark.parametrize("poison", [*UNREADABLE, *READABLE, *EITHER])
def test_27_a_poison_record_is_named(predict, checkpoint, tmp_path, poison) -> None:
    """An error that names file and row, or a row like any other; never a row less."""
    files = {"a.ndjson": lines(1, 40)}
    files["a.ndjson"][5] = {**UNREADABLE, **READABLE, **EITHER}[poison]
    out, message = None, ""
    try:
        out = predict(files)
    except j2v.Json2VecError as exc:
        message = str(exc)
    if out is None:
        assert poison not in READABLE, message
        assert "a.ndjson" in message
        assert "row 5" in message
        assert len(message) < 2000
        assert not (tmp_path / "predicted" / "_manifest.json").exists()
        return
    assert poison not in UNREADABLE
    assert read_manifest(LocalStore(out)).rows == 40
    report = j2v.verify_predictions(out, model=checkpoint)
    assert report.passed, report.summary()


@pytest.mark.parametrize("poison", ["bad JSON", "cut off", "a list", "depth 200"])
def test_27_a_poison_record_is_set_aside_and_counted(predict, checkpoint, poison) -> None:
    files = {"a.ndjson": lines(1, 40)}
    files["a.ndjson"][5] = UNREADABLE[poison]
    # Declared, because inferring a schema takes reading every row.
    item = pa.struct([("price", pa.float64()), ("sku", pa.string())])
    texts = [pa.field(name, pa.string()) for name in ("request_id", "merchant", "label")]
    schema = pa.schema([*texts, pa.field("amount", pa.float64()), pa.field("items", pa.list_(item))])
    out = predict(files, on_bad_row="quarantine", input_schema=schema, max_rejected=0.05)
    manifest = read_manifest(LocalStore(out))
    assert (manifest.rows, manifest.rejected_rows) == (39, 1)
    rejected = pq.read_table(out / "rejected-0.parquet").to_pylist()
    assert [(row["file"], row["row"], row["raw"]) for row in rejected] == [("a.ndjson", 5, UNREADABLE[poison])]
    report = j2v.verify_predictions(out, model=checkpoint)
    assert report.passed, report.summary()
    assert report.finding("coverage").counts["rejected"] == 1
