"""Out of device memory: the batch is halved, the rows and their predictions stay the same. Freed memory is kept."""

from __future__ import annotations

import logging
import platform
import resource
from pathlib import Path

import lightning.pytorch as lit
import numpy as np
import polars as pl
import pytest
import torch

import json2vec as j2v
from json2vec.model.memory import keep_freed_memory
from json2vec.model.predictions import Predictions

ROWS = 50


class SmallDevice(j2v.Model):
    """Runs out of memory, as CUDA does, above so many rows."""

    room = 7

    def forward(self, batch, decode=()):  # type: ignore[no-untyped-def]
        self.asked = [*getattr(self, "asked", []), batch.size]
        if batch.size > self.room:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {batch.size} rows")
        return super().forward(batch, decode)


def make(kind: type[j2v.Model] = SmallDevice) -> j2v.Model:
    torch.manual_seed(3)
    model = kind.from_schema(
        j2v.Number("amount", embed=True),
        j2v.Array(j2v.Number("price"), name="items", max_length=3, embed=True),
        j2v.Category("label", max_vocab_size=6, target=True, topk=[2]),
        d_model=8, n_layers=1, n_heads=2, batch_size=20, embed=True,
    )  # fmt: skip
    model.learn([{"label": label} for label in "abc"])
    return model.eval()


def frame() -> pl.DataFrame:
    return pl.DataFrame({"id": list(range(ROWS)), "amount": [float(n) for n in range(ROWS)],
                         "items": [[{"price": float(n)}] * (n % 4) for n in range(ROWS)]})  # fmt: skip


def test_halves_until_it_fits_and_remembers(caplog: pytest.LogCaptureFixture) -> None:
    model, rows = make(), frame().to_dicts()
    batch = model.encode(rows[:20])
    with caplog.at_level(logging.WARNING, "json2vec.model.memory"):
        first = model.predict_step(batch, 0)
        again = model.predict_step(batch, 1)
    assert model.asked == [20, 10, *[5] * 4, *[5] * 4]
    assert [record.getMessage() for record in caplog.records] == [
        "out of device memory at 20 rows; going on with 10 rows at once",
        "out of device memory at 10 rows; going on with 5 rows at once",
    ]
    whole = make(j2v.Model).infer(batch)
    for parts in (first, again):
        assert isinstance(parts, Predictions)
        assert parts.size == 20
        assert parts.columns().type == whole.columns().type == model.output_type()
        for address, tensors in whole.emitted.items():
            for key, tensor in tensors.items():
                assert torch.allclose(parts.emitted[address][key], tensor, atol=1e-6), (address, key)


def test_a_whole_run_writes_every_row_once(tmp_path: Path) -> None:
    model = make()
    data = j2v.PolarsDataModule(model=model, predict=frame())
    trainer = lit.Trainer(accelerator="cpu", callbacks=[j2v.Writer(tmp_path / "out")], logger=False,
                          enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    trainer.predict(model, datamodule=data, return_predictions=False)
    assert model.asked[:3] == [20, 10, 5]
    assert max(model.asked[2:]) == 5
    ids = j2v.read_predictions(tmp_path / "out").collect()["inputs"].struct.field("id").to_list()
    assert ids == list(range(ROWS))


def test_a_single_row_that_does_not_fit_is_an_error() -> None:
    model = make()
    model.room = 0
    with pytest.raises(torch.OutOfMemoryError, match=r"no memory for a batch of 1 row; .*Remedy: .*CUDA out of memory"):
        model.predict_step(model.encode(frame().to_dicts()[:4]), 0)
    assert model.asked == [4, 2, 1]


def test_other_errors_are_not_caught() -> None:
    model = make()

    def broken(batch: object, decode: object = ()) -> None:
        raise RuntimeError("not about memory")

    model.forward = broken  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="not about memory"):
        model.predict_step(model.encode(frame().to_dicts()[:4]), 0)


def test_a_new_run_begins_with_whole_batches_again() -> None:
    model = make()
    model.predict_step(model.encode(frame().to_dicts()[:20]), 0)
    model.on_predict_start()
    model.asked = []
    model.room = 100
    model.predict_step(model.encode(frame().to_dicts()[:20]), 0)
    assert model.asked == [20]
    assert model.predict_step(model.encode([]), 1).size == 0


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back so eagerly")
def test_pages_are_not_faulted_in_again() -> None:
    assert keep_freed_memory()
    size = 24 << 20
    np.ones(size, np.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(size, np.uint8)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert faults < 20 * size // 4096 / 10
