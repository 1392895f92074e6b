"""What cannot become a complete folder is refused while the complete one of an earlier run is still there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as lit
import pytest
from predicted import QUIET, frame, names, predict
from torch.utils.data import DataLoader

import json2vec as j2v
from json2vec.errors import IncompletePredictions, Json2VecError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture
def good(model: Any, tmp_path: Path) -> Path:
    """A folder of complete predictions."""
    predict(model, 16, j2v.Writer(tmp_path / "out"))
    return tmp_path / "out"


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names(folder)}


def refused(good: Path, error: type[Exception], message: str, work: Callable[[], Any]) -> None:
    before = bytes_of(good)
    with pytest.raises(error, match=message):
        work()
    assert bytes_of(good) == before
    assert j2v.read_predictions(good).collect().height == 16


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"fast_dev_run": True}, "fast_dev_run"), ({"fast_dev_run": 3}, "fast_dev_run"),
        ({"limit_predict_batches": 2}, "limit_predict_batches=2"),
        ({"limit_predict_batches": 0}, "limit_predict_batches=0"),
        ({"limit_predict_batches": 1}, "limit_predict_batches=1"),
    ],
)  # fmt: skip
def test_a_part_of_the_batches_is_refused(model: Any, good: Path, options: dict[str, Any], cause: str) -> None:
    refused(good, IncompletePredictions, f"a part of its 40 rows, because of {cause}; .*Remedy",
            lambda: predict(model, 40, j2v.Writer(good), **options))  # fmt: skip


@pytest.mark.parametrize("limit", [1.0, 40, 1000, None])
def test_a_limit_that_is_none_is_taken(model: Any, tmp_path: Path, limit: Any) -> None:
    predict(model, 40, j2v.Writer(tmp_path / "out"), limit_predict_batches=limit)
    assert j2v.read_predictions(tmp_path / "out").collect().height == 40


@pytest.mark.parametrize("made", [list, tuple, lambda loaders: dict(zip("ab", loaders, strict=True))])
def test_several_loaders_are_refused(model: Any, good: Path, made: Callable[[list[Any]], Any]) -> None:
    class Two(j2v.PolarsDataModule):
        def predict_dataloader(self) -> Any:
            return made([super().predict_dataloader(), super().predict_dataloader()])

    data = Two(model=model, predict=frame(8), pin_memory=False, missing_columns="allow")
    trainer = lit.Trainer(callbacks=[j2v.Writer(good)], **QUIET)
    refused(good, Json2VecError, "there are 2 predict dataloaders; .*Remedy",
            lambda: trainer.predict(model=model, datamodule=data, return_predictions=False))  # fmt: skip


def test_a_loader_without_a_plan_is_refused(model: Any, good: Path) -> None:
    trainer = lit.Trainer(callbacks=[j2v.Writer(good)], **QUIET)
    loader = DataLoader([model.encode([{"amount": 1.0}])], batch_size=None)
    refused(good, Json2VecError, "has no plan", lambda: trainer.predict(model, loader, return_predictions=False))


@pytest.mark.parametrize(
    ("options", "rows", "error"),
    [
        ({"inputs": ["no_such_column"]}, 8, "no_such_column"), ({"reconstruct": ["no_such_field"]}, 8, "no_such_field"),
        ({"postprocessor": lambda context, predictions: {}}, 0, "no row that could show"),
        ({"postprocessor": lambda context, predictions: 1 / 0}, 8, "division by zero"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_the_rows_are_refused(
    model: Any, good: Path, options: dict[str, Any], rows: int, error: str
) -> None:
    refused(good, Exception, error, lambda: predict(model, rows, j2v.Writer(good, **options)))
    predict(model, 16, j2v.Writer(good))
    assert "record/merchant" not in j2v.read_predictions(good).collect()["predictions"].struct.fields


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_a_precision_that_is_taken_gives_possible_values(model: Any, tmp_path: Path, precision: Any) -> None:
    predict(model, 40, j2v.Writer(tmp_path / "out"), precision=precision)
    settings = {"precision": precision if precision != "16-mixed" else "bf16-mixed"}  # of which a CPU has none
    report = j2v.verify_predictions(tmp_path / "out", inputs=frame(40), model=model, sample=None, settings=settings)
    assert report.passed, report.summary()


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_a_precision_that_does_not_work_is_refused(model: Any, good: Path, precision: Any) -> None:
    copy = j2v.Model.load(model.save(good.parent / "copy.ckpt"))  # Lightning converts its weights for good
    refused(good, ValueError, "expected one of 32-true",
            lambda: predict(copy, 8, j2v.Writer(good), precision=precision))  # fmt: skip
