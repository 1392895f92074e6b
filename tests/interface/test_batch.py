"""What the interface promises about reading, fitting and predicting in bulk, seen from where a user stands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fastavro
import lightning.pytorch as lit
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest
import torch

import json2vec as j2v

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.* is deprecated",  # Lightning about torch
    "ignore:Couldn't infer the batch indices",  # our batches are no tensors
    "ignore:Total length of `list` across ranks is zero",  # fitting without a validate split
    "ignore:.*does not have many workers",
    "ignore:.*persistent_workers=True",
)
LABELS = ["gift", "drink"]


def make(**options: Any) -> Any:
    torch.manual_seed(0)
    model = j2v.Model.from_schema(
        j2v.Number("amount", embed=True),
        j2v.Category("merchant", max_vocab_size=8, embed=True),
        j2v.Array(j2v.Number("price", embed=True), name="items", max_length=2, embed=True),
        j2v.Category("label", target=True, max_vocab_size=8),
        j2v.Set("tags", target=True, max_vocab_size=8),
        **{"d_model": 16, "n_layers": 1, "n_heads": 4, "batch_size": 4, "embed": True, **options},
    )
    model.learn(
        [{"merchant": "books", "label": "gift", "tags": ["a"]}, {"merchant": "tea", "label": "drink", "tags": ["b"]}]
    )
    return model.eval()


def records(n: int, first: int = 0) -> list[dict]:
    return [
        {
            "amount": None if i % 5 == 4 else i * 1.5,
            "merchant": ["books", "tea", None, "unknown"][i % 4],
            "items": [{"price": float(j)} for j in range(i % 4)],
        }
        for i in range(first, first + n)
    ]


def predict(model: Any, datamodule: Any, folder: Any, postprocessor: Any = None, **options: Any) -> Any:
    """What `trainer.predict` returns by default, so with Lightning's ``return_predictions``."""
    trainer = lit.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False,
        callbacks=[j2v.Writer(folder, postprocessor=postprocessor, **options)],
    )  # fmt: skip
    return trainer.predict(model=model, datamodule=datamodule)


def stored(folder: Any) -> list[dict]:
    return j2v.read_predictions(folder).collect().to_dicts()


def close(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return list(a) == list(b) and all(close(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(close, a, b))
    return a == b if not isinstance(a, float) or b is None else abs(a - b) <= 1e-5 + 1e-5 * abs(b)


# 6. What cannot be read is an error.


@pytest.mark.parametrize(
    ("name", "content", "suffix", "message"),
    [
        ("a.parquet", b"PAR1 and nothing more", "parquet", "a.parquet"),
        ("a.parquet", b'{"amount": 1}\n', "parquet", "a.parquet"),
        ("a.ndjson", b'{"amount": 1}\n{"amount": \n', "ndjson", "a.ndjson.*row 1"),
        ("a.feather", b"", "feather", "a.feather"),
        ("a.txt", b"x", "parquet", "no file below .*/in fits match="),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, name: str, content: bytes, suffix: str, message: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(content)
    pattern = rf"\.{suffix}$"
    datamodule = j2v.StreamingDataModule(
        make(), root=tmp_path / "in", suffix=suffix, predict=pattern, missing_columns="allow"
    )
    with pytest.raises(j2v.ReadError, match=message):
        predict(make(), datamodule, tmp_path / "out")
    with pytest.raises(j2v.IncompletePredictions):
        j2v.read_predictions(tmp_path / "out")


def test_quarantined_rows_are_counted(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    lines = [json.dumps(one) for one in records(5)]
    (tmp_path / "in/a.ndjson").write_text("\n".join([*lines[:2], '{"amount": ', *lines[2:]]))
    model = make()
    datamodule = j2v.StreamingDataModule(
        model, root=tmp_path / "in", suffix="ndjson", predict=".", on_bad_row="quarantine"
    )
    predict(model, datamodule, tmp_path / "out", max_rejected=1)
    assert [one["source"]["row"] for one in stored(tmp_path / "out")] == [0, 1, 3, 4, 5]
    rejected = pl.read_parquet(tmp_path / "out/rejected-0.parquet").to_dicts()
    assert [(one["file"], one["row"], one["raw"].strip()) for one in rejected] == [("a.ndjson", 2, '{"amount":')]
    assert rejected[0]["reason"] != "dropped"


# 7. Odd names, relative roots, every format.


def write(path: Path, rows: list[dict]) -> None:
    table = pa.Table.from_pylist(rows)
    suffix = path.suffix[1:]
    if suffix == "parquet":
        pq.write_table(table, path)
    elif suffix == "feather":
        pyarrow.feather.write_feather(table, path)
    elif suffix == "orc":
        pyarrow.orc.write_table(table, path)
    elif suffix == "csv":
        pyarrow.csv.write_csv(table.drop_columns(["items"]), path)
    elif suffix in ("json", "ndjson"):
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        item = {"type": "record", "name": "item", "fields": [{"name": "price", "type": "double"}]}
        fields = [{"name": "amount", "type": ["null", "double"]}, {"name": "merchant", "type": ["null", "string"]},
                  {"name": "items", "type": {"type": "array", "items": item}}]  # fmt: skip
        with open(path, "wb") as file:
            fastavro.writer(file, {"type": "record", "name": "row", "fields": fields}, rows)


@pytest.mark.parametrize("suffix", list(j2v.Suffix))
def test_every_format_below_a_relative_root_with_odd_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = records(7)
    for name, some in ((f"dt=2/b #?ü.{suffix}", rows[3:]), (f"dt=1/a b.{suffix}", rows[:3])):
        Path("in", name).parent.mkdir(parents=True)
        write(Path("in", name), some)
    model = make()
    datamodule = j2v.StreamingDataModule(
        model, root="in", suffix=suffix, predict=rf"\.{suffix}$",
        missing_columns="allow" if suffix == "csv" else "raise",  # CSV has no lists, and so no items
    )  # fmt: skip
    predict(model, datamodule, "out")
    found = stored("out")
    places = [(one["source"]["file"], one["source"]["row"]) for one in found]
    first, second = f"dt=1/a b.{suffix}", f"dt=2/b #?ü.{suffix}"
    assert places == [(first, 0), (first, 1), (first, 2), (second, 0), (second, 1), (second, 2), (second, 3)]
    assert "dt" not in found[0]["inputs"]
    read = [{"amount": one["amount"], "merchant": one["merchant"]} for one in rows] if suffix == "csv" else rows
    label = model.predict(read)["record/label"]["content"]
    assert close([one["predictions"]["record/label"]["content"]["probability"] for one in found], label["probability"])
    report = j2v.verify_predictions("out", model=model)
    assert report.passed, report.summary()


# 8. Every row once.


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(("ranks", "workers"), [(1, 2), (3, 1), (4, 2)])
def test_frames_are_read_once_and_evenly(ranks: int, workers: int, lazy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pl.DataFrame(records(41))
    counts, rows = [], []
    for rank in range(ranks):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(ranks))
        datamodule = j2v.PolarsDataModule(
            make(batch_size=3), predict=frame.lazy() if lazy else frame, num_workers=0 if workers == 1 else workers,
            persistent_workers=False,
        )  # fmt: skip
        mine = [row for batch in datamodule.predict_dataloader() for row in batch.rows.source.field("row").to_pylist()]
        counts.append(len(mine))
        rows += mine
    assert sorted(rows) == list(range(41))
    assert max(counts) - min(counts) <= 1


def test_a_folder_without_rows_commits_and_a_missing_one_does_not(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    model, empty = make(), pl.DataFrame(records(1)).clear()
    empty.write_parquet(tmp_path / "in/a.parquet")
    predict(
        model, j2v.StreamingDataModule(model, root=tmp_path / "in", suffix="parquet", predict="."), tmp_path / "out"
    )
    assert j2v.read_predictions(tmp_path / "out").collect().height == 0
    predict(model, j2v.PolarsDataModule(model, predict=empty), tmp_path / "frame")
    assert j2v.read_predictions(tmp_path / "frame").collect().height == 0
    absent = j2v.StreamingDataModule(model, root=tmp_path / "absent", suffix="parquet", predict=".")
    with pytest.raises(j2v.ReadError, match="absent does not exist"):
        predict(model, absent, tmp_path / "out")


# 9. Fitting.


def adam(model: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-2)


def test_fit_without_a_validate_split_and_with_every_node_embedded() -> None:
    model = make(optimizer=adam)
    train = pl.DataFrame([one | {"label": LABELS[i % 2], "tags": ["a"]} for i, one in enumerate(records(8))])
    before = model.fingerprint()
    trainer = lit.Trainer(
        accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, datamodule=j2v.PolarsDataModule(model, train=train))
    assert model.fingerprint() != before
    assert {"record", "record/items", "record/items/price"} <= set(model.predict(records(2)))


DDP = """
import sys
import lightning.pytorch as lit, polars as pl, torch
import json2vec as j2v

def adam(model):
    return torch.optim.AdamW(model.parameters(), lr=1e-2)

def main(strategy, fit, workers):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = j2v.Model.from_schema(
        j2v.Number("amount", embed=True),
        j2v.Array(j2v.Number("price"), name="items", max_length=2, embed=True),
        j2v.Category("label", target=True, max_vocab_size=8),
        d_model=16, n_layers=1, n_heads=4, batch_size=2, embed=True, optimizer=adam)
    frame = pl.DataFrame({"amount": [1.0, 2.0, 3.0, None, 5.0, 6.0, 7.0], "items": [[{"price": 1.0}], []] * 3 + [[]]})
    common = dict(accelerator="cpu", devices=2, strategy=strategy, logger=False, enable_progress_bar=False)
    if fit:
        train = frame.with_columns(label=pl.Series(["gift", "drink"] * 3 + ["gift"]))
        trainer = lit.Trainer(max_epochs=2, enable_checkpointing=False, enable_model_summary=False, **common)
        trainer.fit(model, datamodule=j2v.PolarsDataModule(model=model, train=train))
    else:
        model.learn([{"label": "gift"}, {"label": "drink"}])
    datamodule = j2v.PolarsDataModule(model=model, predict=frame, num_workers=workers, persistent_workers=False)
    trainer = lit.Trainer(callbacks=[j2v.Writer("predictions")], **common)
    trainer.predict(model=model, datamodule=datamodule)
    if trainer.global_rank == 0:
        model.save("model.ckpt")

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "fit", int(sys.argv[3]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "fit", "workers"), [("ddp", "fit", 2), ("ddp_spawn", "", 0), ("ddp_fork", "", 0)])
def test_two_processes_as_users_write_them(tmp_path: Path, strategy: str, fit: str, workers: int) -> None:
    (tmp_path / "script.py").write_text(DDP)
    paths = [str(Path(j2v.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "script.py", strategy, fit, str(workers)]
    done = subprocess.run(
        arguments, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = stored(tmp_path / "predictions")
    assert [one["source"]["row"] for one in found] == list(range(7))
    assert (tmp_path / "predictions/rank-1.parquet").exists()
    model = j2v.Model.load(tmp_path / "model.ckpt")
    expected = model.predict([one["inputs"] for one in found])["record/label"]["content"]["probability"]
    assert close([one["predictions"]["record/label"]["content"]["probability"] for one in found], expected)


def test_a_lazy_frame_in_a_forked_process_is_an_error_instead_of_a_hang() -> None:
    lazy = j2v.PolarsDataModule(make(), predict=pl.DataFrame(records(3)).lazy())
    eager = j2v.PolarsDataModule(make(), predict=pl.DataFrame(records(3)))
    read, written = os.pipe()
    child = os.fork()
    if not child:
        try:
            rows = eager.snapshot().rows
            lazy.snapshot()
        except j2v.SchemaError as exc:
            os.write(written, f"{rows} {exc}".encode())
        os._exit(0)
    os.close(written)
    message = os.read(read, 1000).decode()
    os.waitpid(child, 0)
    os.close(read)
    assert message.startswith("3 predict is a LazyFrame, which cannot be collected in a forked process")
    assert lazy.snapshot().rows == 3


# 10. The interactive path.


def test_predict_splits_by_batch_size_and_keeps_the_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(batch_size=3)
    whole = make(batch_size=64).predict(records(7))
    sizes: list[int] = []
    infer = model.infer
    monkeypatch.setattr(model, "infer", lambda batch, *args: sizes.append(len(batch)) or infer(batch, *args))
    model.train()
    assert close(model.predict(records(7)), whole)
    assert (sizes, model.training) == ([3, 3, 1], True)
    nothing = model.predict([])
    assert list(nothing) == list(whole)
    assert nothing["record/label"]["content"]["value"] == []


# 12. Models from elsewhere.


def test_an_imported_model_survives_saving_and_writes_rank_files(golden: Path, tmp_path: Path) -> None:
    model = j2v.Model.from_exported(golden, batch_size=8)
    again = j2v.Model.load(model.save(tmp_path / "m.ckpt"))
    assert again.fingerprint() == model.fingerprint()
    inputs = j2v.StreamingDataModule(again, root=golden, suffix="ndjson", predict="inputs.ndjson$")
    predict(again, inputs, tmp_path / "out")
    report = j2v.verify_predictions(tmp_path / "out", model=model)
    assert report.passed, report.summary()
    with pytest.raises(j2v.CheckpointError):
        j2v.Model.from_exported(tmp_path)


# 17. Nothing but the rows decides.


@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 3, "num_workers": 2}, {"threads": 2}])
def test_how_it_is_read_does_not_show(tmp_path: Path, options: dict) -> None:
    frame = pl.DataFrame(records(11))
    model = make(batch_size=64)
    predict(model, j2v.PolarsDataModule(model, predict=frame), tmp_path / "plain")
    threads = torch.get_num_threads()
    torch.set_num_threads(options.get("threads", threads))
    try:
        model.batch_size = options.get("batch_size", 64)
        workers = options.get("num_workers", 0)
        datamodule = j2v.PolarsDataModule(model, predict=frame, num_workers=workers, persistent_workers=False, seed=5)
        assert len(predict(model, datamodule, tmp_path / "other")) >= 1  # Lightning's return_predictions=True
    finally:
        torch.set_num_threads(threads)
    assert close(sorted(stored(tmp_path / "other"), key=lambda one: one["source"]["row"]), stored(tmp_path / "plain"))


# Common mistakes of the documentation.


def short(context: Any, predictions: Any) -> dict:
    return {"record/x": {"ids": [1]}}


def single(context: Any, predictions: Any) -> dict:
    return {"record/x": {"ids": 3}}


@pytest.mark.parametrize(
    ("splits", "postprocessor", "message"),
    [
        ("train", None, "no predict split configured: PolarsDataModule has .'train'.. Remedy: pass predict="),
        (
            "predict",
            short,
            "postprocessor 'short', address 'record/x', key 'ids': expected 2 values, one for each row; got 1",
        ),
        (
            "predict",
            single,
            "postprocessor 'single', address 'record/x', key 'ids': expected a list with one value for each",
        ),
    ],
)
def test_common_mistakes(tmp_path: Path, splits: str, postprocessor: Any, message: str) -> None:
    model = make()
    datamodule = j2v.PolarsDataModule(model, **{splits: pl.DataFrame(records(2))})
    with pytest.raises(j2v.Json2VecError, match=message):
        predict(model, datamodule, tmp_path / "out", postprocessor)


def test_misspelt_options_are_named() -> None:
    with pytest.raises(j2v.SchemaError, match=r"does not take 'predct' \(did you mean 'predict'\?\)"):
        j2v.PolarsDataModule(make(), predct=pl.DataFrame(records(1)))


def test_one_rank_file_is_refused(tmp_path: Path) -> None:
    model = make()
    predict(model, j2v.PolarsDataModule(model, predict=pl.DataFrame(records(2))), tmp_path / "out")
    with pytest.raises(j2v.IncompletePredictions, match=r"file of rank 0 of 1 .*only a part.*Remedy: read the folder"):
        j2v.read_predictions(tmp_path / "out/rank-0.parquet")


def test_another_preprocessor_warns_or_raises(tmp_path: Path) -> None:
    model, frame = make(), pl.DataFrame(records(2))
    model.preprocessor_fingerprint = "0123456789abcdef" * 4
    message = "trained with a preprocessor of fingerprint 0123456789ab, and PolarsDataModule has none"
    with pytest.warns(UserWarning, match=message):
        predict(model, j2v.PolarsDataModule(model, predict=frame), tmp_path / "out")
    with pytest.raises(j2v.ProcessorError, match=message):
        predict(model, j2v.PolarsDataModule(model, predict=frame, strict_preprocessor=True), tmp_path / "out")


def test_a_postprocessor_that_keeps_the_predictions_keeps_the_type_of_sets(tmp_path: Path) -> None:
    model, frame = make(), pl.DataFrame(records(3))
    predict(model, j2v.PolarsDataModule(model, predict=frame), tmp_path / "plain")
    predict(model, j2v.PolarsDataModule(model, predict=frame), tmp_path / "kept", lambda context, predictions: None)
    plain, kept = (pq.read_table(tmp_path / name / "rank-0.parquet")["predictions"] for name in ("plain", "kept"))
    assert pa.types.is_map(kept.type.field("record/tags").type.field("content").type)
    assert close(kept.to_pylist(), plain.to_pylist())


# 20. Two packages of one name.


def test_the_namesake_on_pypi_is_pointed_out(tmp_path: Path) -> None:
    (tmp_path / "json2vec-0.4.11.dist-info").mkdir()
    (tmp_path / "json2vec-0.4.11.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: json2vec\nVersion: 0.4.11\n"
    )
    code = f"import sys; sys.path.append({str(tmp_path)!r}); import json2vec; assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(j2v.__file__).parents[1], capture_output=True, text=True, check=True
    )
    assert "UserWarning: PyPI json2vec 0.4.11 is installed beside json2vec-dagster" in done.stderr
