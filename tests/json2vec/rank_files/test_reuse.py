"""Incremental prediction: unchanged rows take their stored prediction, only the others meet the model, and the result
is what a full run gives."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rank_folders import INPUTS, SIZES, rows_table

import json2vec as j2v
from json2vec.model.model import Model
from json2vec.predict.job import PredictJob, job_settings_digest, plan_job
from json2vec.predict.worker import run_job
from json2vec.rank_files import reuse as reuse_module
from json2vec.rank_files.commit import commit_predictions
from json2vec.rank_files.journal import read_adopted
from json2vec.rank_files.manifest import Manifest, Marker, SealedFile, marker_name, read_manifest
from json2vec.rank_files.resume import resume
from json2vec.rank_files.reuse import open_reuse
from json2vec.reading.row_batch import SOURCE_TYPE
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.local import LocalStore, file_sha256
from json2vec.verify.tolerance import far

ROWS = sum(SIZES.values())


@pytest.fixture(scope="session")
def checkpoint(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(model.save(tmp_path_factory.mktemp("reuse") / "model.ckpt"))


class Runs:
    """Attempts at the shards of one folder, predicted as ranks do it: `run_job` in this process."""

    def __init__(self, root: Path, inputs: Path, checkpoint: Path, seen: list[int]) -> None:
        self.root, self.inputs, self.checkpoint, self.seen = root, inputs, checkpoint, seen

    def job(self, name: str, *, reuse: str | None = None, ranks: int = 2, **options: Any) -> PredictJob:
        snapshot = snapshot_files(LocalStore(self.inputs), options.pop("suffix", "parquet"))
        checkpoint = options.pop("checkpoint", self.checkpoint)
        return PredictJob(**{
            "attempt": name, "checkpoint": str(checkpoint), "checkpoint_sha256": file_sha256(checkpoint),
            "output": str(self.root / name), "snapshot": snapshot.to_json(), "intervals": [(0, snapshot.rows)],
            "world_size": ranks, "reuse": None if reuse is None else str(self.root / reuse), **options,
        })  # fmt: skip

    def predict(self, name: str, *, adopt: list[str] | None = None, **options: Any) -> Manifest:
        """One attempt, committed; ``self.seen`` then holds the rows of each of its forward passes."""
        job = self.job(name, **options)
        if adopt is not None:
            (self.root / name).mkdir(parents=True)
            earlier = [LocalStore(self.root / one) for one in adopt]
            found = resume(LocalStore(self.root / name), earlier, rows=job.intervals[0][1],
                           snapshot=plan_job(job).snapshot.digest, settings=job_settings_digest(job))  # fmt: skip
            job = job.model_copy(update={"intervals": list(found.intervals)})
        self.seen.clear()
        for rank in range(job.world_size):
            self.rank(job, rank)
        return commit_predictions(
            self.root / name, plan_job(job), settings=job.recorded(),
            adopted=read_adopted(LocalStore(self.root / name)), max_rejected=job.max_rejected,
        )  # fmt: skip

    def rank(self, job: PredictJob, rank: int) -> Marker:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(job.world_size)}
        try:
            return run_job(job)
        finally:
            del os.environ["RANK"], os.environ["WORLD_SIZE"]

    def table(self, name: str) -> pa.Table:
        files = read_manifest(LocalStore(self.root / name)).files
        found = pa.concat_tables(pq.ParquetFile(self.root / name / file.path).read() for file in files)
        keys = [(one["file"], one["row"], one["part"]) for one in found["source"].to_pylist()]
        return found.take(sorted(range(len(keys)), key=keys.__getitem__))

    def equals_full(self, name: str, full: str = "full", **options: Any) -> None:
        """Assert that attempt ``name`` is complete, proven, and row by row what a full run of the same input gives."""
        options.pop("reuse", None)
        self.predict(full, **options)
        found, expected = self.table(name), self.table(full)
        assert found.schema.equals(expected.schema)
        for name_ in found.schema.names:  # NaN equals NaN; of what was read, nothing else is close enough
            columns = [pa.concat_arrays(table[name_].chunks) for table in (found, expected)]
            assert not far(*columns, 1e-5 if name_ == "predictions" else 0.0).any(), name_
        proven = {"files", "coverage", "inputs", "schema", "values", "replay"}
        if "postprocessor" in options:
            proven.remove("values")  # of its columns nobody knows which values are possible
        report = j2v.verify_predictions(
            self.root / name, model=self.checkpoint, sample=None, require=tuple(sorted(proven)),
            trusted_modules=options.get("trusted_modules", ()),
        )  # fmt: skip
        assert report.passed, report.summary()

    def edit(self, file: str, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
        rows = change(pq.ParquetFile(self.inputs / file).read().to_pylist())
        pq.write_table(pa.Table.from_pylist(rows, INPUTS), self.inputs / file, row_group_size=16)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each forward pass."""
    rows: list[int] = []
    forward = Model.forward

    def counted(self: Model, batch: Any, decode: Any = ()) -> Any:
        rows.append(batch.size)
        return forward(self, batch, decode)

    monkeypatch.setattr(Model, "forward", counted)
    return rows


@pytest.fixture
def runs(tmp_path: Path, shards: Path, checkpoint: Path, seen: list[int]) -> Runs:
    return Runs(tmp_path / "attempts", shards, checkpoint, seen)


def change_amounts(*numbers: int) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    def change(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for number in numbers:
            rows[number]["amount"] = 1000.0 + number
        return rows

    return change


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


def test_only_changed_rows_meet_the_model_in_full_batches(runs: Runs) -> None:
    runs.predict("a1")
    runs.edit("a.parquet", change_amounts(0, 7, 39))
    runs.edit("sub/c.parquet", change_amounts(*range(0, 75, 5)))
    manifest = runs.predict("a2", reuse="a1", ranks=1)
    assert runs.seen == [8, 8, 2], "18 changed rows of 136 that lie scattered, in batches of 8"
    assert manifest.reused_rows == ROWS - 18
    runs.equals_full("a2", ranks=1)
    # A chain: what a2 took from a1 can be taken from a2.
    runs.edit("a.parquet", change_amounts(1))
    assert runs.predict("a3", reuse="a2").reused_rows == ROWS - 1
    assert runs.seen == [1]
    runs.equals_full("a3", "full2")


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


# -- when nothing may be reused ----------------------------------------------------------------------------------------


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


# -- processors, quarantine, resume ------------------------------------------------------------------------------------

PROCESSORS = """
import json2vec as j2v

seen = []

def drop_and_double(row):
    seen.append(row["id"])
    if row["id"].endswith("9"):
        return
    for copy in range(3 if row["id"].endswith("4") else 1):
        yield {**row, "amount": None if row["amount"] is None else row["amount"] + copy}

drop_and_double = j2v.preprocess(yields=True)(drop_and_double)

batches = []

def label(context, predictions):
    batches.append(len(context["metadata"]))
    names = [row["id"] for row in context["metadata"]]
    return {"answer": {"id": names, "label": predictions["record/label"]["content"]["value"],
                       "score": predictions["record/score"]["content"],
                       "amount": predictions["record/amount"]["content"]}}
"""


@pytest.fixture(scope="module")
def processors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("processors")
    (folder / "reuse_processors.py").write_text(PROCESSORS)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("reuse_processors")
    sys.path.remove(str(folder))


def test_a_preprocessor_that_drops_and_expands_sees_only_what_may_not_be_reused(runs: Runs, processors: Any) -> None:
    name = processors.__name__
    options: dict[str, Any] = {"preprocessor": f"{name}:drop_and_double", "trusted_modules": [name]}
    first = runs.predict("a1", **options)
    assert (first.rows > ROWS - first.rejected_rows, first.rejected_rows > 0) == (True, True)
    runs.edit("sub/c.parquet", lambda rows: [*change_amounts(4, 5, 9)(rows), rows[14]])
    processors.seen.clear()
    manifest = runs.predict("a2", reuse="a1", ranks=1, batch_size=8, **options)
    # Dropped rows left no hash behind; row 4 becomes three rows, row 5 one, row 9 none. The schema is taken from the
    # first rows, which are looked at for that as in a full run.
    assert sum(runs.seen) == 4
    assert manifest.reused_rows == manifest.rows - 4
    inferring = ROWS + 1
    assert len(processors.seen) - inferring == 2 + manifest.rejected_rows
    runs.equals_full("a2", ranks=1, **options)


def test_a_postprocessor_is_given_only_the_new_rows(runs: Runs, processors: Any) -> None:
    name = processors.__name__
    options: dict[str, Any] = {
        "postprocessor": f"{name}:label", "trusted_modules": [name], "reconstruct": ["amount"], "ranks": 1,
    }  # fmt: skip
    runs.predict("a1", **options)
    runs.edit("a.parquet", change_amounts(2, 30))
    processors.batches.clear()
    manifest = runs.predict("a2", reuse="a1", **options)
    assert processors.batches == [8, 2], "8 rows for the type of the column, then the changed ones"
    assert manifest.reused_rows == ROWS - 2
    names = runs.table("a2")
    assert pa.concat_arrays(names["predictions"].chunks).field(0).field("id").equals(
        pa.concat_arrays(names["inputs"].chunks).field("id")
    )
    runs.equals_full("a2", **options)


def test_quarantined_rows_are_tried_again_and_stay_out(runs: Runs, tmp_path: Path) -> None:
    inputs = tmp_path / "lines"
    inputs.mkdir()

    def write(*, changed: int | None = None, mended: bool = False) -> None:
        rows = rows_table("n", 60).drop_columns(["merchant"]).to_pylist()
        lines = []
        for i, row in enumerate(rows):
            row["amount"] = i + 0.5 if i == changed else float(i)
            lines.append("{broken" if i in (5, 33) and not mended else json.dumps(row))
        (inputs / "n.ndjson").write_text("\n".join(lines) + "\n")

    write()
    runs.inputs = inputs
    options: dict[str, Any] = {"suffix": "ndjson", "on_bad_row": "quarantine", "max_rejected": 10, "ranks": 1}
    first = runs.predict("a1", **options)
    assert (first.rows, first.rejected_rows) == (58, 2)
    write(changed=40)
    manifest = runs.predict("a2", reuse="a1", **options)
    assert (manifest.rows, manifest.rejected_rows) == (first.rows, first.rejected_rows)
    assert manifest.reused_rows == first.rows - 1
    runs.equals_full("a2", **options)
    write(mended=True)
    assert runs.predict("a3", reuse="a2", **options).reused_rows == first.rows - 1
    runs.equals_full("a3", "full3", **options)


def test_rows_that_the_encoder_refuses_leave_the_others_in_place(runs: Runs, tmp_path: Path) -> None:
    """A row of a chunk is set aside after the chunk was looked up."""
    strict = j2v.Model.from_schema(
        j2v.Number("amount"), j2v.Array(j2v.Number("price"), name="items", max_length=3, overflow="error"),
        j2v.Number("score", target=True), d_model=8, n_layers=1, n_heads=2, batch_size=8,
    )  # fmt: skip
    runs.checkpoint = Path(strict.save(tmp_path / "strict.ckpt"))
    options: dict[str, Any] = {"on_bad_row": "quarantine", "max_rejected": 10, "ranks": 1}
    first = runs.predict("a1", **options)
    assert first.rejected_rows == 0

    def spoil(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for number in (3, 4, 11, 30):
            rows[number]["items"] = [{"price": 2.0}] * (4 if number in (4, 30) else 3)
        return rows

    runs.edit("a.parquet", spoil)
    manifest = runs.predict("a2", reuse="a1", **options)
    assert (manifest.rejected_rows, manifest.reused_rows, manifest.rows) == (2, ROWS - 4, ROWS - 2)
    runs.equals_full("a2", **options)
    assert runs.predict("a3", reuse="a2", **options).reused_rows == ROWS - 2, "an attempt with rejected rows"
    runs.equals_full("a3", "full3", **options)


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


def test_keys_that_say_nothing_are_not_written() -> None:
    file = SealedFile(path="x", rows=1, bytes=1, sha256="", segment=0, spans=((0, 1),), attempt="a")
    assert "reused" not in json.loads(file.dumps())
    assert SealedFile.model_validate_json(file.dumps()) == file
