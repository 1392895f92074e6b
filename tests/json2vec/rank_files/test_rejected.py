"""Quarantine: rows that cannot be read or encoded are set aside, named and counted, up to a limit."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning.pytorch as lit
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import json2vec as j2v
from json2vec.data.loader import PlannedDataset
from json2vec.errors import EncodeError, IncompletePredictions, ReadError
from json2vec.rank_files.manifest import read_manifest
from json2vec.rank_files.rejected import check_max_rejected, rejected_limit, summarize_rejected
from json2vec.reading.plan import Plan
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.local import LocalStore

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
ROWS = 200
CUT, TEXT = (13, 14, 150), (31, 77, 199)  # lines that are no JSON, amounts that are no numbers
QUIET: dict[str, Any] = {
    "accelerator": "cpu", "devices": 1, "logger": False, "enable_progress_bar": False, "enable_model_summary": False,
    "enable_checkpointing": False,
}  # fmt: skip


def line(number: int) -> str:
    amount = "not a number" if number in TEXT else str(1.5 * number)
    row = {"id": f"r{number}", "amount": amount, "merchant": ["books", "coffee"][number % 2]}
    return json.dumps(row)[: 9 if number in CUT else None]


@pytest.fixture
def poisoned(tmp_path: Path) -> Path:
    """Two NDJSON files with bad lines and bad values."""
    root = tmp_path / "in"
    root.mkdir()
    for name, first, stop in (("a", 0, 120), ("b", 120, ROWS)):
        (root / f"{name}.ndjson").write_text("\n".join(line(number) for number in range(first, stop)) + "\n")
    return root


def predict(model: Any, root: Path, out: Path, *, preprocessor: Any = None, on_bad_row: str = "quarantine",
            **options: Any) -> j2v.Writer:  # fmt: skip
    datamodule = j2v.StreamingDataModule(
        model=model, root=str(root), suffix="ndjson", predict=r"\.ndjson$", on_bad_row=on_bad_row,
        preprocessor=preprocessor, missing_columns="allow", pin_memory=False, persistent_workers=False,
    )  # fmt: skip
    writer = j2v.Writer(out, **options)
    trainer = lit.Trainer(callbacks=[writer], **QUIET)
    trainer.predict(model=model, datamodule=datamodule, return_predictions=False)
    return writer


def rejected(out: Path) -> list[dict[str, Any]]:
    files = read_manifest(LocalStore(out)).rejected
    rows = [row for file in files for row in pq.read_table(out / file.path).to_pylist()]
    return sorted(rows, key=lambda row: (row["file"], row["row"]))


@pytest.mark.parametrize("segment_rows", [1_000_000, 50])
def test_bad_rows_are_set_aside_with_place_reason_and_text(
    model: Any, poisoned: Path, tmp_path: Path, segment_rows: int
) -> None:
    out = tmp_path / "out"
    writer = predict(model, poisoned, out, max_rejected=0.05, segment_rows=segment_rows)
    found = rejected(out)
    places = [("a.ndjson" if n < 120 else "b.ndjson", n - 120 * (n >= 120)) for n in sorted(CUT + TEXT)]
    assert [(row["file"], row["row"]) for row in found] == places
    for row, number in zip(found, sorted(CUT + TEXT), strict=True):
        if number in TEXT:
            assert "record/amount" in row["reason"]
            assert "not a number" in row["reason"]
            assert json.loads(row["raw"])["id"] == f"r{number}"
        else:
            assert row["raw"] == line(number)
    manifest = read_manifest(LocalStore(out))
    assert (manifest.rows, manifest.rejected_rows, manifest.input_rows) == (ROWS - 6, 6, ROWS)
    assert writer.marker is not None
    assert writer.marker.rejected_rows == 6
    assert len(manifest.rejected) == (1 if segment_rows > ROWS else 4)  # only segments that rejected something
    ids = j2v.read_predictions(out).collect()["inputs"].struct.field("id").to_list()
    assert ids == [f"r{n}" for n in range(ROWS) if n not in CUT + TEXT]
    report = j2v.verify_predictions(out, model=model, sample=None)
    assert report.passed, report.summary()
    assert report.finding("coverage").counts["rejected"] == 6
    summary = summarize_rejected(LocalStore(out), manifest.rejected)
    assert (summary.quarantined, summary.dropped, summary.ranks) == (6, 0, (0,))
    assert summary.examples[0].startswith("a.ndjson, row 13: ")


def test_without_quarantine_a_bad_row_is_an_error_that_names_it(model: Any, poisoned: Path, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"a\.ndjson: row 13"):
        predict(model, poisoned, tmp_path / "out", on_bad_row="raise")
    for name in ("a", "b"):
        path = poisoned / f"{name}.ndjson"
        path.write_text("\n".join(text for text in path.read_text().splitlines() if text.endswith("}")))
    with pytest.raises(EncodeError, match=r"record/amount.*'not a number'.*a\.ndjson, row 29"):
        predict(model, poisoned, tmp_path / "out", on_bad_row="raise")


@pytest.mark.parametrize(("limit", "allowed"), [(0.029, 5), (5, 5), (0, 0)])
def test_more_than_max_rejected_fails_and_commits_nothing(
    model: Any, poisoned: Path, tmp_path: Path, limit: float, allowed: int
) -> None:
    message = rf"of 200 input rows were quarantined; max_rejected={limit!r} allows {allowed}\. First: \w\.ndjson, row "
    with pytest.raises(IncompletePredictions, match=message + ".*Remedy: mend these rows, or raise max") as error:
        predict(model, poisoned, tmp_path / "out", max_rejected=limit)
    assert error.value.ranks == (0,)
    assert list((tmp_path / "out").iterdir()) == []
    assert predict(model, poisoned, tmp_path / "out", max_rejected=6).manifest is not None


def test_the_limit_is_for_all_ranks_together(
    model: Any, poisoned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    predict(model, poisoned, tmp_path / "out", attempt="a", max_rejected=5)  # two of its own
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(IncompletePredictions, match="6 of 200 input rows were quarantined") as error:
        predict(model, poisoned, tmp_path / "out", attempt="a", max_rejected=5)
    assert error.value.ranks == (0, 1)
    assert not (tmp_path / "out" / "_manifest.json").exists()


def test_what_a_preprocessor_drops_does_not_count(model: Any, tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    (root / "a.ndjson").write_text("\n".join(line(number) for number in range(13)))

    def every_other(row: dict) -> dict | None:
        return row if int(row["id"][1:]) % 2 else None

    predict(model, root, tmp_path / "out", preprocessor=every_other, max_rejected=0)
    manifest = read_manifest(LocalStore(tmp_path / "out"))
    assert (manifest.rows, manifest.rejected_rows) == (6, 7)
    summary = summarize_rejected(LocalStore(tmp_path / "out"), manifest.rejected)
    assert (summary.dropped, summary.quarantined) == (7, 0)


def test_an_input_row_is_rejected_with_all_its_parts(model: Any, tmp_path: Path) -> None:
    table = pa.table({"id": [f"r{n}" for n in range(20)], "amount": [str(n) for n in range(20)]})
    pq.write_table(table, tmp_path / "rows.parquet")

    @j2v.preprocess(yields=True)
    def parts(row: dict) -> list[dict]:
        bad = row["id"] in ("r7", "r8")
        return [{"amount": "x" if bad and part == 1 else row["amount"]} for part in range(3)]

    store = LocalStore(tmp_path)
    plan = Plan(snapshot_files(store, "parquet"), 1)
    dataset = PlannedDataset(plan, store, model, on_bad_row="quarantine", preprocessor=parts, batch_size=9)
    batches = [batch.rows for batch in dataset]
    kept = [(row["row"], row["part"]) for rows in batches for row in rows.source.to_pylist()]
    assert kept == [(row, part) for row in range(20) if row not in (7, 8) for part in range(3)]
    gone = [row for rows in batches if rows.rejected is not None for row in rows.rejected.row.to_pylist()]
    assert gone == [7, 8]
    spans = [rows.span for rows in batches]
    assert spans[0][0] == 0
    assert spans[-1][1] == 20
    assert all(before[1] == after[0] for before, after in pairwise(spans))


def test_a_batch_in_which_every_row_is_bad(model: Any, tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    rows = [{"id": f"r{n}", "amount": "bad" if n < 20 else "1", "merchant": "books"} for n in range(30)]
    (root / "a.ndjson").write_text("\n".join(map(json.dumps, rows)))
    predict(model, root, tmp_path / "out", max_rejected=1.0)
    manifest = read_manifest(LocalStore(tmp_path / "out"))
    assert (manifest.rows, manifest.rejected_rows) == (10, 20)
    report = j2v.verify_predictions(tmp_path / "out", model=model)
    assert report.passed, report.summary()


def test_shares_are_floats_and_numbers_are_ints() -> None:
    assert [rejected_limit(one, 1000) for one in (0, 1, 7, 0.0, 0.01, 1.0)] == [0, 1, 7, 0, 10, 1000]
    for bad in (-1, 1.5, -0.1, float("nan"), True, "0.1"):
        with pytest.raises(ValueError, match="max_rejected is"):
            check_max_rejected(bad)  # type: ignore[arg-type]
