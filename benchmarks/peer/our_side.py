"""Our side: this repository's json2vec on the weights that the peer exported.

`python our_side.py serve WORKLOAD FOLDER` answers run.py's commands.
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
import pyarrow.parquet as pq  # noqa: E402
import torch  # noqa: E402
from side import matrix_product_gflops, repeat_for, serve, timed  # noqa: E402
from workload import load  # noqa: E402

import json2vec as j2v  # noqa: E402

FORWARD_BATCHES = 8


def compact_rows(context: Any, predictions: Any) -> Any:
    """The documented postprocessor: flat columns for a warehouse."""
    label = predictions.get(j2v.Address("record", "label"), {}).get("content", {})
    metadata = context[j2v.TensorKey.metadata]
    return {j2v.Address("record", "warehouse_row"): {
        "request_id": [item.get("id") for item in metadata],
        "label": label.get("value"), "label_probability": label.get("probability")}}  # fmt: skip


def predict(model: Any, rows: Path, postprocessor: Any, output: str) -> dict[str, float]:
    """One timed `trainer.predict` with the Writer over a folder of Parquet files, commit included."""
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
    model = j2v.Model.from_exported(folder / "exported")
    model.batch_size = workload["batch_size"]
    model.eval()

    def raw_batches() -> list[Any]:
        size = workload["batch_size"]
        head = pq.read_table(sorted((folder / "rows").glob("*.parquet"))[0]).combine_chunks()
        return [head.slice(start, size) for start in range(0, min(head.num_rows, FORWARD_BATCHES * size), size)]

    def forward(seconds: float) -> dict[str, float]:
        ready = [(batch.num_rows, model.encode(batch)) for batch in raw_batches()]
        decoded = [address for address in model.written() if address in model.schema.leaves]

        @torch.inference_mode()
        def once() -> int:
            for _, batch in ready:
                model(batch, decoded)
            return sum(count for count, _ in ready)

        return repeat_for(once, seconds)

    def encode(seconds: float) -> dict[str, float]:
        batches = raw_batches()

        def once() -> int:
            for batch in batches:
                model.encode(batch)
            return sum(batch.num_rows for batch in batches)

        return repeat_for(once, seconds)

    commands = {
        "predict": partial(predict, model, folder / "rows", compact_rows if workload.get("postprocess") else None),
        "forward": forward,
        "encode": encode,
        "sgemm": matrix_product_gflops,
    }
    packages = ("json2vec-dagster", "torch", "lightning", "polars", "pyarrow", "numpy")
    serve(commands, {"side": "ours", "versions": common.versions(*packages), "threads": torch.get_num_threads()})


def main() -> None:
    mode, workload, folder = sys.argv[1], load(sys.argv[2]), Path(sys.argv[3]).resolve()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    common.set_library_threads()
    {"serve": serve_workload}[mode](workload, folder)


if __name__ == "__main__":
    main()
