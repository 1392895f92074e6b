"""One rank of a plain `trainer.predict` with `Writer`: as a program under torchrun, or as a function in a process.

torchrun ... plain_ranks.py CHECKPOINT INPUTS OUTPUT
"""

from __future__ import annotations

import os
import sys


def predict(checkpoint: str, inputs: str, output: str, attempt: str | None = None) -> None:
    import lightning.pytorch as lit

    import json2vec as j2v

    model = j2v.Model.load(checkpoint)
    data = j2v.StreamingDataModule(
        model=model, root=inputs, suffix="parquet", predict=r"\.parquet$", num_workers=0, persistent_workers=False,
        pin_memory=False,
    )  # fmt: skip
    trainer = lit.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, callbacks=[j2v.Writer(output, attempt=attempt)],
    )  # fmt: skip
    trainer.predict(model, data, return_predictions=False)


def as_rank(rank: int, ranks: int, path: list[str], *arguments: str) -> None:
    """`predict` as rank ``rank`` of ``ranks``, in a process of its own."""
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(ranks))
    sys.path[:0] = path
    predict(*arguments)


if __name__ == "__main__":
    predict(*sys.argv[1:])
