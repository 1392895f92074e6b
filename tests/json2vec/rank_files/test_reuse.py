"""Incremental prediction: unchanged rows take their stored prediction, only the others meet the model, and the result
is what a full run gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from incremental import ROWS, Runs, change_amounts
from rank_folders import SIZES, rows_table

from json2vec.model.model import Model
from json2vec.predict.job import job_settings_digest, plan_job
from json2vec.rank_files import reuse as reuse_module
from json2vec.rank_files.manifest import marker_name
from json2vec.rank_files.reuse import open_reuse
from json2vec.reading.row_batch import SOURCE_TYPE
from json2vec.storage.local import LocalStore, file_sha256
from json2vec.verify.tolerance import far


def test_without_a_change_the_model_sees_no_row_and_the_attempt_is_whole(runs: Runs) -> None:
    first = runs.predict("a1")
    assert sum(runs.seen) == ROWS
    manifest = runs.predict("a2", reuse="a1", ranks=3)
    assert runs.seen == []
    assert (manifest.rows, manifest.reused_rows) == (ROWS, ROWS)
    runs.equals_full("a2", ranks=3)
    # What was taken is not merely close, and who looks at the folder sees where it came from.
    assert runs.table("a2")["predictions"].equals(runs.table("a1")["predictions"])
    sha256 = file_sha256(runs.root / "a1" / "_manifest.json")
    assert {(file.reused.attempt, file.reused.manifest_sha256) for file in manifest.files if file.reused} == {
        ("a1", sha256)
    }
    marker = json.loads((runs.root / "a2" / marker_name(0)).read_text())
    assert marker["files"][0]["reused"] == {"attempt": "a1", "manifest_sha256": sha256, "rows": marker["rows"]}
    assert (first.reused_rows, "reused" in (runs.root / "a1" / "_manifest.json").read_text()) == (0, False)


@pytest.mark.parametrize(
    ("edit", "predicted"),
    [
        (lambda rows: [{"id": "new", "amount": 3.25, "merchant": "books", "items": None}, *rows], 1),
        (lambda rows: rows[:10] + rows[20:], 0),
        (lambda rows: rows[1::2], 0),
        (lambda rows: rows[::-1], 0),
        (lambda rows: [rows[3]] * 50 + rows, 0),
        (lambda rows: [], 0),
    ],
    ids=["inserted at the top", "deleted", "every second deleted", "reversed", "duplicated", "emptied"],
)
def test_moved_rows_are_found_by_their_hash(runs: Runs, edit: Any, predicted: int) -> None:
    runs.predict("a1")
    runs.edit("sub/c.parquet", edit)
    manifest = runs.predict("a2", reuse="a1")
    assert sum(runs.seen) == predicted
    assert manifest.reused_rows == manifest.rows - predicted
    runs.equals_full("a2")


def test_renamed_and_split_files(runs: Runs) -> None:
    runs.predict("a1", segment_rows=16)
    (runs.inputs / "a.parquet").rename(runs.inputs / "z.parquet")
    whole = pq.ParquetFile(runs.inputs / "sub" / "c.parquet").read()
    pq.write_table(whole.slice(0, 20), runs.inputs / "sub" / "c.parquet")
    pq.write_table(whole.slice(20), runs.inputs / "0.parquet")
    manifest = runs.predict("a2", reuse="a1")
    assert (runs.seen, manifest.reused_rows) == ([], ROWS)
    runs.equals_full("a2")


KINDS = st.sampled_from(["change", "insert", "delete", "copy", "swap"])
EDITS = st.lists(st.tuples(KINDS, st.integers(0, 200), st.integers(0, 200)), max_size=12)


@pytest.mark.slow
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EDITS, st.integers(1, 3), st.sampled_from([7, 40, 1000]))
def test_any_edits_give_what_a_full_run_gives(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, seen: list[int], edits: Any, ranks: int, segment: int
) -> None:
    root = tmp_path_factory.mktemp("edits")
    (root / "inputs").mkdir()
    pq.write_table(rows_table("p", 60), root / "inputs" / "p.parquet")
    pq.write_table(rows_table("q", 30), root / "inputs" / "q.parquet")
    runs = Runs(root, root / "inputs", checkpoint, seen)
    runs.predict("a1", segment_rows=segment, flush_every_n_batches=1)
    before = {json.dumps(row, default=str) for row in runs.table("a1")["inputs"].to_pylist()}

    def change(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for kind, i, j in edits:
            i, j = i % max(len(rows), 1), j % max(len(rows), 1)
            if kind == "insert" or not rows:
                rows.insert(i, {"id": f"new-{i}-{j}", "amount": j / 7, "merchant": "rare", "items": [{"price": 1.0}]})
            elif kind == "change":
                rows[i] = {**rows[i], "amount": 500.5 + j}
            elif kind == "delete":
                del rows[i]
            elif kind == "copy":
                rows.insert(i, rows[j])
            else:
                rows[i], rows[j] = rows[j], rows[i]
        return rows

    runs.edit("p.parquet", change)
    manifest = runs.predict("a2", reuse="a1", ranks=ranks, segment_rows=segment)
    after = [json.dumps(row, default=str) for row in runs.table("a2")["inputs"].to_pylist()]
    assert sum(seen) == sum(row not in before for row in after)
    assert manifest.reused_rows == len(after) - sum(seen)
    runs.equals_full("a2", ranks=ranks, segment_rows=segment)


def nothing_reused(runs: Runs, capsys: pytest.CaptureFixture[str], says: str, **options: Any) -> None:
    capsys.readouterr()
    manifest = runs.predict("a2", reuse="a1", **options)
    assert (manifest.reused_rows, sum(runs.seen)) == (0, manifest.rows)
    said = capsys.readouterr().out
    assert "no stored prediction is reused, every row is predicted" in said
    assert says in said


def test_another_model(runs: Runs, capsys: pytest.CaptureFixture[str], tmp_path: Path, checkpoint: Path) -> None:
    runs.predict("a1")
    other = Model.load(checkpoint)
    other.learn([{"merchant": "another", "label": "late"}])
    path = other.save(tmp_path / "other.ckpt")
    nothing_reused(runs, capsys, "attempt a1 is of another model: fingerprint", checkpoint=path)


@pytest.mark.parametrize(("option", "value"), [("inputs", ["id"]), ("precision", "bf16-mixed")])
def test_other_settings(runs: Runs, capsys: pytest.CaptureFixture[str], option: str, value: Any) -> None:
    runs.predict("a1")
    nothing_reused(runs, capsys, "was predicted with other settings, code or library versions", **{option: value})


def test_the_code_of_a_processor_changed(
    runs: Runs, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where the job says the same: the journal tells which code predicted."""
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "reuse_processor.py"
    module.write_text("def same(row):\n    return row\n")
    options = {"preprocessor": "reuse_processor:same", "trusted_modules": ["reuse_processor"]}
    runs.predict("a1", **options)
    module.write_text("def same(row):\n    return row  # changed\n")
    nothing_reused(runs, capsys, "was predicted with other settings, code or library versions", **options)


def test_another_input_schema(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    runs.predict("a1")
    for path in runs.inputs.rglob("*.parquet"):
        table = pq.ParquetFile(path).read()
        at = table.schema.get_field_index("amount")
        pq.write_table(table.set_column(at, "amount", table["amount"].cast(pa.float32())), path)
    nothing_reused(runs, capsys, "read inputs of another schema; it differs in amount")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / "_manifest.json").unlink(), "_manifest.json"),
        (lambda folder: (folder / "_manifest.json").write_text("{"), "is not a manifest"),
        (lambda folder: (folder / "rank-1.segments.jsonl").unlink(), "rank-1.segments.jsonl"),
        (lambda folder: (folder / "rank-1.segments.jsonl").write_text(""), "no journal says how"),
    ],
    ids=["no manifest", "half a manifest", "no journal", "an empty journal"],
)
def test_an_attempt_that_cannot_be_read(
    runs: Runs, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], None], says: str
) -> None:
    runs.predict("a1")
    spoil(runs.root / "a1")
    nothing_reused(runs, capsys, says)
    runs.equals_full("a2")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def rewrite(path: Path) -> None:
    """The same rows with the predictions of other rows, and everything but the digest as it was."""
    file = pq.ParquetFile(path)
    table, footer = file.read(), file.metadata.metadata
    place = table.schema.get_field_index("predictions")
    column = table["predictions"].take(pa.array(np.roll(np.arange(table.num_rows), 1)))
    writer = pq.ParquetWriter(path, table.schema, write_page_checksum=True, compression="zstd", compression_level=1)
    writer.write_table(table.set_column(place, table.schema.field(place), column))
    writer.add_key_value_metadata({"json2vec.rank_file": footer[b"json2vec.rank_file"].decode()})
    writer.close()
    manifest = path.parent / "_manifest.json"
    value = json.loads(manifest.read_text())
    for one in value["files"]:
        if one["path"] == path.name:
            one["bytes"] = path.stat().st_size
    manifest.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (flip, "rank-0.parquet is not reused"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes, expected"),
        (lambda path: path.unlink(), "is missing"),
        (rewrite, "its SHA-256 is"),
    ],
    ids=["a flipped byte", "cut short", "gone", "other predictions"],
)
def test_of_a_damaged_file_nothing_is_taken_and_of_the_others_everything(
    runs: Runs, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], None], says: str
) -> None:
    runs.predict("a1")
    spoil(runs.root / "a1" / "rank-0.parquet")
    capsys.readouterr()
    manifest = runs.predict("a2", reuse="a1", ranks=1)
    said = capsys.readouterr().out
    assert says in said
    assert "its 68 rows are predicted again" in said
    assert (manifest.reused_rows, sum(runs.seen)) == (68, 68)
    runs.equals_full("a2", ranks=1)


def test_flipped_bytes_never_give_another_prediction(runs: Runs, model: Any) -> None:
    """Whatever is flipped where: what is looked up is what was stored, or it is predicted again."""
    runs.predict("a1", ranks=1, flush_every_n_batches=4)
    table, job = runs.table("a1"), runs.job("a2", ranks=1)
    source, stored = (pa.concat_arrays(table[name].chunks) for name in ("source", "predictions"))
    files = source.field("file").dictionary_encode()
    asked = pa.StructArray.from_arrays(
        [files, *(source.field(one.name) for one in SOURCE_TYPE if one.name != "file")], fields=list(SOURCE_TYPE)
    )
    path = runs.root / "a1" / "rank-0.parquet"
    whole = path.read_bytes()
    rng, said = np.random.default_rng(5), list[str]()

    def look_up() -> int:
        found = open_reuse(
            LocalStore(runs.root / "a1"), model=model.fingerprint(), settings=job_settings_digest(job),
            snapshot=plan_job(job).snapshot, predictions=stored.type, log=said.append,
        ).look_up(asked)  # fmt: skip
        known = np.flatnonzero(found.first >= 0)
        again = found.predictions.take(pa.array(found.first[known]))
        assert not far(again, stored.take(pa.array(known)), 0.0).any()
        return len(known)

    assert (look_up(), said) == (ROWS, [])
    for _ in range(60):
        data = bytearray(whole)
        data[int(rng.integers(len(data)))] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        said.clear()
        assert look_up() == 0
        assert len(said) == 1
        assert "its 136 rows are predicted again" in said[0]


def test_a_mess_of_rows_is_predicted_again_where_reading_costs_more(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reuse_module, "_KEPT_GROUPS", 1)
    monkeypatch.setattr(reuse_module, "_MOST_GROUPS", 2)
    runs.predict("a1", flush_every_n_batches=1)
    for name in SIZES:
        runs.edit(name, lambda rows: [rows[i] for i in np.random.default_rng(0).permutation(len(rows))])
    manifest = runs.predict("a2", reuse="a1", ranks=1)
    assert 0 < sum(runs.seen) == ROWS - manifest.reused_rows < ROWS
    runs.equals_full("a2", ranks=1)


def test_resume_goes_before_reuse(runs: Runs) -> None:
    runs.predict("a1", segment_rows=16)
    runs.edit("sub/c.parquet", change_amounts(0, 60))
    job = runs.job("a2", reuse="a1", segment_rows=16)
    runs.rank(job, 0)  # rank 1 never came to it, so nothing was committed
    manifest = runs.predict("a3", adopt=["a2"], reuse="a1", ranks=3, segment_rows=16)
    assert {file.attempt for file in manifest.files} == {"a2", "a3"}
    assert runs.seen == [1], "the other changed row was predicted by the rank that ended well"
    assert manifest.reused_rows == ROWS - 2
    runs.equals_full("a3", segment_rows=16, ranks=3)
    # The next one finds an attempt that adopted, whose files lie in the plan's order but not in the ranks'.
    manifest = runs.predict("a4", reuse="a3", ranks=2)
    assert (runs.seen, manifest.reused_rows) == ([], ROWS)
    runs.equals_full("a4", "full4")
