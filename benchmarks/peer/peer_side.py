"""The peer's side: PyPI json2vec 0.4.11, used through its documented interface only.

`python peer_side.py build WORKLOAD FOLDER` makes and briefly trains the model; its checkpoint and export go to FOLDER.
`python peer_side.py serve WORKLOAD FOLDER` answers run.py's commands.
"""

from __future__ import annotations

import logging
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import common

common.limit_threads()

import lightning.pytorch as lit  # noqa: E402
import polars as pl  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import torch  # noqa: E402
from export_peer import export_model  # noqa: E402
from json2vec.logging.throughput import ThroughputLogger  # noqa: E402
from loguru import logger  # noqa: E402
from side import matrix_product_gflops, repeat_for, serve, timed  # noqa: E402
from workload import load, make_rows  # noqa: E402

import json2vec as j2v  # noqa: E402

TRAIN_ROWS = 2048
TRAIN_EPOCHS = 8
FORWARD_BATCHES = 8


def work_around_predict_crash() -> None:
    """Let `trainer.predict` end on 0.4.10 and 0.4.11.

    The callback that these versions attach by themselves logs a throughput metric when prediction ends, where Lightning
    allows no logging (MisconfigurationException), so every `trainer.predict` fails after its last batch, with the
    output file left without a footer. Only that hook is switched off; it did no work that a prediction needs.
    """
    ThroughputLogger.on_predict_epoch_end = lambda *_, **__: None


def make_field(field: dict[str, Any]) -> Any:
    """A node of the peer's schema for one field of a workload."""
    kind, name = field["type"], field["name"]
    if kind == "array":
        return j2v.Branch(*[make_field(child) for child in field["fields"]], name=name, length=field["max_length"])
    if kind == "category":
        return j2v.Category(name, size=2 * field["labels"], target=field.get("target", False))
    return j2v.Number(name, target=field.get("target", False))


def build(workload: dict[str, Any], folder: Path) -> None:
    """Train for a few steps, so that vocabularies, normalisers and weights are not those of a fresh model."""
    lit.seed_everything(workload["seed"], verbose=False)
    model = j2v.Model.from_tree(
        *[make_field(field) for field in workload["fields"]],
        **{key: workload[key] for key in ("d_model", "n_layers", "n_heads", "embed")},
        batch_size=128,
        optimizer=lambda module: torch.optim.AdamW(module.parameters(), lr=3e-3),
    )
    rows = pl.from_arrow(make_rows(workload, TRAIN_ROWS, workload["seed"] + 1))
    data = j2v.PolarsDataModule(model=model, train=rows, num_workers=0, persistent_workers=False, pin_memory=False)
    trainer = lit.Trainer(
        accelerator="cpu", max_epochs=TRAIN_EPOCHS, limit_val_batches=0, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, data)
    model.save(folder / "peer.ckpt")
    export_model(model, folder / "exported")


@j2v.postprocess
def compact_rows(predictions: Any, *, metadata: Any) -> Any:
    """Ours with the parameters of 0.4.11, which hands them over by name; a metadata row is a list of one dict there."""
    label = predictions.get(j2v.Address("record", "label"), {}).get("content", {})
    return {j2v.Address("record", "warehouse_row"): {
        "request_id": [item[0].get("id") for item in metadata],
        "label": label.get("value"), "label_probability": label.get("probability")}}  # fmt: skip


def predict(model: Any, rows: Path, postprocessor: Any, output: str) -> dict[str, float]:
    """One timed `trainer.predict` with the Writer over a folder of Parquet files."""
    data = j2v.StreamingDataModule(
        model=model, root=rows, suffix="parquet", predict=r".*\.parquet$", sharding="chunk", num_workers=0,
        persistent_workers=False, pin_memory=False,
    )  # fmt: skip
    trainer = lit.Trainer(
        accelerator="cpu", callbacks=[j2v.Writer(output, postprocessor=postprocessor)], logger=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    return timed(lambda: trainer.predict(model=model, datamodule=data, return_predictions=False))


def serve_workload(workload: dict[str, Any], folder: Path) -> None:
    model = j2v.Model.load(folder / "peer.ckpt")
    model.batch_size = workload["batch_size"]
    model.eval()

    def raw_batches() -> list[list[dict[str, Any]]]:
        size = workload["batch_size"]
        head = pq.read_table(sorted((folder / "rows").glob("*.parquet"))[0]).slice(0, FORWARD_BATCHES * size)
        rows = head.to_pylist()
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def forward(seconds: float) -> dict[str, float]:
        ready = [(len(batch), model.encode(batch, strata="predict")) for batch in raw_batches()]

        @torch.inference_mode()
        def once() -> int:
            for _, batch in ready:
                model(batch, strata="predict")
            return sum(count for count, _ in ready)

        return repeat_for(once, seconds)

    def encode(seconds: float) -> dict[str, float]:
        batches = raw_batches()

        def once() -> int:
            for batch in batches:
                model.encode(batch, strata="predict")
            return sum(map(len, batches))

        return repeat_for(once, seconds)

    commands = {
        "predict": partial(predict, model, folder / "rows", compact_rows if workload.get("postprocess") else None),
        "forward": forward,
        "encode": encode,
        "sgemm": matrix_product_gflops,
    }
    packages = ("json2vec", "torch", "lightning", "tensordict", "polars", "pyarrow", "numpy")
    serve(commands, {"side": "peer", "versions": common.versions(*packages), "threads": torch.get_num_threads()})


def main() -> None:
    mode, workload, folder = sys.argv[1], load(sys.argv[2]), Path(sys.argv[3]).resolve()
    warnings.simplefilter("ignore")
    logger.remove()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    common.set_library_threads()
    work_around_predict_crash()
    {"build": build, "serve": serve_workload}[mode](workload, folder)


if __name__ == "__main__":
    main()
