"""Parity data: models that the peer trains for a moment, exported, with what the peer predicts for made-up records.

    benchmarks/peer/.venv/bin/python benchmarks/peer/parity.py tests/data/parity

Runs in an environment of the peer (0.4.10 and later: cases one, two, three; 0.4.9: case older), through its documented
interface only. Every folder it writes has the three files of export_peer.py, `inputs.ndjson` (the records, one a
line) and `predictions.json` (address -> written prediction, one entry a record). tests/interface/test_parity.py loads
them and compares. The README beside the data says what each schema covers.
"""

from __future__ import annotations

import json
import logging
import random
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as lit
import polars as pl
import torch
from export_peer import export_checkpoint
from loguru import logger
from parity_cases import CASES, RENAMED, Record

import json2vec as j2v

TRAIN_ROWS, EPOCHS = 192, 16


def train(model: Any, records: list[Record]) -> None:
    """A few steps, so that vocabularies, normalisers and weights are not those of a fresh model."""
    rows = pl.DataFrame(records, infer_schema_length=None)
    data = j2v.PolarsDataModule(model=model, train=rows, num_workers=0, persistent_workers=False, pin_memory=False)
    trainer = lit.Trainer(
        accelerator="cpu", max_epochs=EPOCHS, limit_val_batches=0, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, data)


def plain(value: Any) -> Any:
    """Predictions as JSON values without the key `inferred`: tensors and arrays to lists, numbers to 1e-5."""
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items() if key != "inferred"}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return round(value, 5) if isinstance(value, float) else value


def write(name: str, folder: Path) -> None:
    case, seed = CASES[name], 20 + list(CASES).index(name)
    lit.seed_everything(seed, verbose=False)
    rng = random.Random(seed)
    model = case.build()
    train(model, [case.record(rng) for _ in range(TRAIN_ROWS)])
    model.eval()
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = Path(scratch) / "model.ckpt"
        model.save(checkpoint)
        export_checkpoint(checkpoint, folder)
    records = [case.record(rng) for _ in range(case.rows)]
    case.disturb(records)
    (folder / "inputs.ndjson").write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    predictions = plain(model.predict(records))
    (folder / "predictions.json").write_text(json.dumps(predictions, ensure_ascii=False, separators=(",", ":")) + "\n")
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{name}: {', '.join(predictions)}; {size / 1000:.0f} kB in {folder}")


def main() -> None:
    if len(sys.argv) < 2:
        raise SystemExit("usage: python parity.py FOLDER [CASE ...]")
    warnings.simplefilter("ignore")
    logger.remove()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    fitting = ["one", "two", "three"] if RENAMED else ["older"]
    for name in sys.argv[2:] or fitting:
        write(name, Path(sys.argv[1]) / name)


if __name__ == "__main__":
    main()
