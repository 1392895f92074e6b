"""What a postprocessor returns becomes columns, or an error that names the value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from predicted import frame, predict

import json2vec as j2v
from json2vec.errors import AlignmentError, ProcessorError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


def test_a_columnar_postprocessor_and_a_declared_schema(model: Any, tmp_path: Path) -> None:
    kind = pa.schema([("record/row", pa.struct([("double", pa.float32())]))])

    @j2v.postprocess(columnar=True, schema=kind)
    def double(context: Any, predictions: pa.StructArray) -> Any:
        score = predictions.field("record/score").field("content")
        doubled = pa.compute.multiply(score, pa.scalar(2, pa.float32()))
        return {"record/row": pa.StructArray.from_arrays([doubled], ["double"])}

    predict(model, 10, j2v.Writer(tmp_path / "out", postprocessor=double))
    found = j2v.read_predictions(tmp_path / "out").collect()
    stored = found["predictions"].struct.field("record/row").struct.field("double").to_list()
    expected = [2 * score for score in model.predict(frame(10).to_dicts())["record/score"]["content"]]
    assert stored == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("late", "message"),
    [
        ({"value": ["text"] * 8}, r"\['record/row'\]\['value'\] of frame:predict, row 8 .* int64.*'text'.*schema="),
        ({"value": [1.5] * 8}, r"row 8 .*expected int64.*1\.5.*schema="),
        ({"value": [{"a": 1}] * 8}, r"row 8 .*expected int64.*schema="),
        ({"value": [1] * 8, "new": [1] * 8}, r"returned 'new' in \['record/row'\].*schema="),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_named(model: Any, tmp_path: Path, late: Any, message: str) -> None:
    def post(context: Any, predictions: Any) -> Any:
        return {"record/row": {"value": [1] * 8} if context["batch_idx"] == 0 else late}

    with pytest.raises(ProcessorError, match=message):
        predict(model, 24, j2v.Writer(tmp_path / "out", postprocessor=post))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_column_of_the_wrong_length_is_named(model: Any, tmp_path: Path) -> None:
    def post(context: Any, predictions: Any) -> Any:
        return {"record/row": {"value": [1] * (8 if context["batch_idx"] < 2 else 7)}}

    with pytest.raises(AlignmentError, match=r"record/row.*value.*8.*7"):
        predict(model, 24, j2v.Writer(tmp_path / "out", postprocessor=post))
