"""Frames in memory as data module."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from json2vec.data.module import COMMON_OPTIONS, DataModule
from json2vec.enums import ShardingStrategy, Strata
from json2vec.errors import SchemaError
from json2vec.processors import PreprocessorLike
from json2vec.profile.missing import MissingColumns
from json2vec.reading.readers import OnBadRow
from json2vec.reading.snapshot import Snapshot, frame_table, snapshot_frame
from json2vec.reading.source import Source

if TYPE_CHECKING:
    import polars as pl

    from json2vec.model.model import Model

    Frame = pl.DataFrame | pl.LazyFrame


class PolarsDataModule(DataModule):
    """Reads polars frames; a `LazyFrame` is collected once, when it is first needed.

    Every option may be one value or a mapping split -> value.

    Args:
        model: what encodes the rows; its ``batch_size`` counts.
        train: the frame to train on.
        validate: the frame to validate on.
        test: the frame to test on.
        predict: the frame to predict.
        dataframe: one frame for all splits, or a mapping split -> frame, instead of the four above.
        preprocessor: a registered name, a callable dict -> dict, or what `json2vec.processors.preprocess` made;
            keywords that are no option of this class are passed to it.
        num_workers: processes that encode; 0 (default) encodes in a thread beside the device, which is enough
            while there is no row-wise preprocessor.
        persistent_workers: keep them between epochs.
        pin_memory: copy to a GPU from page-locked memory, where there is a GPU.
        sample_rate: part of the training rows drawn for an epoch, in (0, 1].
        observation_buffer_size: rows among which training batches are shuffled, in addition to ``sharding``.
        sharding: unit of shuffling: file (the whole frame), chunk, record.
        chunk_batch_size: rows in a chunk.
        replacement: draw the training chunks with replacement.
        seed: the seed of the training order.
        on_bad_row: unused by frames, whose rows are all readable; ``raise``.
        missing_columns: ``raise``, or ``allow`` where every row may lack a column that the model reads: its values are
            null then (`json2vec.profile.missing`).
        strict_preprocessor: raise where the preprocessor is not the one the model was trained with (default: warn).

    Raises:
        ContractBroken: (when a split is first needed) a column that the model reads is not in the frame.
        SchemaError: no frame, both ``dataframe`` and a split, or an unknown keyword.
    """

    def __init__(
        self,
        model: Model,
        train: Frame | None = None,
        validate: Frame | None = None,
        test: Frame | None = None,
        predict: Frame | None = None,
        *,
        dataframe: Frame | Mapping[str, Frame] | None = None,
        preprocessor: PreprocessorLike = None,
        num_workers: int | Mapping[str, int] = 0,
        persistent_workers: bool | Mapping[str, bool] = True,
        pin_memory: bool | Mapping[str, bool] = True,
        sample_rate: float | Mapping[str, float] = 1.0,
        observation_buffer_size: int | Mapping[str, int] = 1,
        sharding: ShardingStrategy | str | Mapping[str, str] = ShardingStrategy.chunk,
        chunk_batch_size: int | Mapping[str, int] = 4096,
        replacement: bool | Mapping[str, bool] = False,
        seed: int = 0,
        on_bad_row: OnBadRow = "raise",
        missing_columns: MissingColumns = "raise",
        strict_preprocessor: bool = False,
        **kwargs: Any,
    ) -> None:
        splits: dict[str, Any] = {"train": train, "validate": validate, "test": test, "predict": predict}
        if dataframe is not None:
            if any(frame is not None for frame in splits.values()):
                raise SchemaError("PolarsDataModule takes dataframe= or the splits, not both")
            splits = dict(dataframe) if isinstance(dataframe, Mapping) else dict.fromkeys(splits, dataframe)
        for name, frame in splits.items():
            if name not in list(Strata):
                names = [str(strata) for strata in Strata]
                raise SchemaError(f"dataframe={sorted(splits)}: no split {name!r}; splits are {names}")
            if frame is not None and not (hasattr(frame, "collect") or hasattr(frame, "to_arrow")):
                raise SchemaError(f"{name} must be a polars DataFrame or LazyFrame; got {type(frame).__name__}")
        # Polars hangs in a forked process (ddp_fork), so that frames become Arrow here.
        tables: dict[int, Any] = {}
        for name, frame in splits.items():
            if frame is not None and not hasattr(frame, "collect"):
                splits[name] = tables.get(id(frame)) or tables.setdefault(id(frame), frame_table(frame))
        self._made_in = os.getpid()
        super().__init__(
            model,
            splits,
            preprocessor=preprocessor,
            options={
                "num_workers": num_workers, "persistent_workers": persistent_workers, "pin_memory": pin_memory,
                "sample_rate": sample_rate, "observation_buffer_size": observation_buffer_size, "sharding": sharding,
                "chunk_batch_size": chunk_batch_size, "replacement": replacement,
            },
            defaults=COMMON_OPTIONS,
            seed=seed,
            on_bad_row=on_bad_row,
            missing_columns=missing_columns,
            strict_preprocessor=strict_preprocessor,
            keywords=kwargs,
        )  # fmt: skip

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _made_in=os.getpid())  # a spawned process is as good as the first

    def _open(self, strata: Strata, split: Any) -> tuple[Snapshot, Source]:
        if hasattr(split, "collect") and os.getpid() != self._made_in:
            raise SchemaError(
                f"{strata} is a LazyFrame, which cannot be collected in a forked process (polars would hang). Remedy: "
                "collect it before, or use Trainer(strategy='ddp')"
            )
        table = frame_table(split) if hasattr(split, "collect") else split
        return snapshot_frame(table, str(strata)), table
