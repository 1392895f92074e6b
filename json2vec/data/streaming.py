"""Folders and object stores as data module."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

import pyarrow as pa

from json2vec.data.module import COMMON_OPTIONS, DataModule
from json2vec.enums import ShardingStrategy, Strata, Suffix
from json2vec.errors import SchemaError
from json2vec.processors import PreprocessorLike
from json2vec.profile.missing import MissingColumns
from json2vec.reading.lake_tables import LakeTables
from json2vec.reading.options import CsvOptions, EmptyFiles, read_options
from json2vec.reading.readers import OnBadRow
from json2vec.reading.snapshot import Snapshot, snapshot_files
from json2vec.reading.source import Source
from json2vec.storage.opening import open_store

if TYPE_CHECKING:
    from json2vec.model.model import Model

STREAMING_OPTIONS = {**COMMON_OPTIONS, "sharding": ShardingStrategy.file, "file_buffer_size": 1}


class StreamingDataModule(DataModule):
    """Reads the files below a root whose full path or URI a pattern matches; see `json2vec.reading.snapshot`.

    Every option may be one value or a mapping split -> value; those that `PolarsDataModule` has too mean the same.

    Args:
        model: what encodes the rows; its ``batch_size`` counts.
        root: a local folder or an ``s3://`` URI.
        suffix: the files' format.
        train: the files to train on: a regular expression that is searched in the full path, or a `Snapshot`, which is
            frozen already.
        validate: the files to validate on, likewise.
        test: the files to test on, likewise.
        predict: the files to predict, likewise.
        sharding: unit of shuffling in training (default: file). Prediction reads contiguous ranges of rows whatever
            it is, so that one file with one row group feeds every rank.
        file_buffer_size: files (or chunks) that training reads alternately.
        replacement: draw the training files with replacement; an epoch has as many rows either way, and always an end.
        input_schema: the columns to read and their types, instead of all columns of all files.
        storage_options: passed to the object store's client.
        on_bad_row: ``raise``, or ``quarantine`` to set rows of NDJSON and CSV that cannot be read aside.
        missing_columns: ``raise``, or ``allow`` where every row may lack a column that the model reads: its values are
            null then (`json2vec.profile.missing`).
        lake_tables: ``refuse``, or ``files`` to read every file in the folder of a Delta, Iceberg or Hudi table, also
            those that the table has removed (`json2vec.reading.lake_tables`).
        csv: how CSV is cut into cells: `json2vec.reading.options.CsvOptions`, or a mapping such as
            ``{"separator": ";", "encoding": "latin-1"}``.
        empty_files: what a file of 0 bytes is: ``raise`` an error, or ``skip``, a file without rows.
        folder_columns: names of columns that are made of folder names, such as ``dt`` of ``dt=2024-01-01``; as text, or
            as ``input_schema`` says.

    Raises:
        SchemaError: no split, an unknown suffix, a malformed pattern, an unknown keyword, or options of reading that
            cannot be meant.
        ContractBroken: (when a split is first needed) a column that the model reads is in none of the files.
        ReadError: (when a split is first needed) a root that is missing, a pattern that matches no file, a file that
            cannot be read.
    """

    def __init__(
        self,
        model: Model,
        root: str | os.PathLike[str],
        suffix: Suffix | str,
        train: str | re.Pattern[str] | Snapshot | None = None,
        validate: str | re.Pattern[str] | Snapshot | None = None,
        test: str | re.Pattern[str] | Snapshot | None = None,
        predict: str | re.Pattern[str] | Snapshot | None = None,
        *,
        preprocessor: PreprocessorLike = None,
        num_workers: int | Mapping[str, int] = 0,
        persistent_workers: bool | Mapping[str, bool] = True,
        pin_memory: bool | Mapping[str, bool] = True,
        sample_rate: float | Mapping[str, float] = 1.0,
        observation_buffer_size: int | Mapping[str, int] = 1,
        sharding: ShardingStrategy | str | Mapping[str, str] = ShardingStrategy.file,
        chunk_batch_size: int | Mapping[str, int] = 4096,
        file_buffer_size: int | Mapping[str, int] = 1,
        replacement: bool | Mapping[str, bool] = False,
        input_schema: pa.Schema | None = None,
        storage_options: dict[str, Any] | None = None,
        seed: int = 0,
        on_bad_row: OnBadRow = "raise",
        missing_columns: MissingColumns = "raise",
        lake_tables: LakeTables = "refuse",
        strict_preprocessor: bool = False,
        csv: CsvOptions | Mapping[str, Any] | None = None,
        empty_files: EmptyFiles = "raise",
        folder_columns: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        if suffix not in list(Suffix):
            raise SchemaError(f"suffix {suffix!r} is unknown; expected one of {[str(member) for member in Suffix]}")
        self.root, self.suffix, self.input_schema = os.fspath(root), Suffix(suffix), input_schema
        if lake_tables not in get_args(LakeTables):
            raise SchemaError(f"lake_tables must be 'refuse' or 'files'; got {lake_tables!r}")
        self.storage_options = storage_options
        self.read_options = read_options(suffix, csv=csv, empty_files=empty_files, folder_columns=folder_columns)
        self.lake_tables: LakeTables = lake_tables
        splits = {"train": train, "validate": validate, "test": test, "predict": predict}
        for name, pattern in splits.items():
            if isinstance(pattern, str):
                try:
                    splits[name] = re.compile(pattern)
                except re.error as exc:
                    raise SchemaError(f"{name}={pattern!r} is no regular expression: {exc}") from exc
        super().__init__(
            model,
            splits,
            preprocessor=preprocessor,
            options={
                "num_workers": num_workers, "persistent_workers": persistent_workers, "pin_memory": pin_memory,
                "sample_rate": sample_rate, "observation_buffer_size": observation_buffer_size, "sharding": sharding,
                "chunk_batch_size": chunk_batch_size, "replacement": replacement, "file_buffer_size": file_buffer_size,
            },
            defaults=STREAMING_OPTIONS,
            seed=seed,
            on_bad_row=on_bad_row,
            missing_columns=missing_columns,
            strict_preprocessor=strict_preprocessor,
            keywords=kwargs,
        )  # fmt: skip

    def _open(self, strata: Strata, split: Any) -> tuple[Snapshot, Source]:
        store = open_store(self.root, self.storage_options)
        if isinstance(split, Snapshot):
            return split, store
        snapshot = snapshot_files(
            store, self.suffix, match=split, input_schema=self.input_schema, options=self.read_options,
            lake_tables=self.lake_tables,
        )  # fmt: skip
        return snapshot, store
