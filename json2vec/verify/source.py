"""The input rows that a prediction folder is compared with: below a root, or in a frame."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from json2vec.errors import Json2VecError
from json2vec.reading.snapshot import Snapshot, frame_table
from json2vec.reading.source import Source
from json2vec.storage.opening import open_store

if TYPE_CHECKING:
    import polars as pl

Inputs: TypeAlias = "str | os.PathLike[str] | pl.DataFrame | pl.LazyFrame | pa.Table"


class NoSource(Json2VecError):
    """There are no input rows to compare with; the message says why."""


def open_inputs(inputs: Inputs, storage_options: dict[str, Any] | None) -> Source:
    """The input rows that a user names.

    Args:
        inputs: the root of the input files, or the frame itself.
        storage_options: options for the object store's client; unused for local folders.

    Raises:
        StoreError: no store serves the scheme of the root.
    """
    if isinstance(inputs, str | os.PathLike):
        return open_store(inputs, storage_options)
    return frame_table(inputs)


def open_source(inputs: Inputs | None, snapshot: Snapshot, storage_options: dict[str, Any] | None) -> Source:
    """The input rows that a user names, or those where the snapshot read them.

    Args:
        inputs: the root of the input files, the frame itself, or None for the snapshot's own root.
        snapshot: the input as it was when it was predicted.
        storage_options: options for the object store's client; unused for local folders.

    Raises:
        NoSource: the snapshot is of a frame, which is stored nowhere, and the frame is not given.
        StoreError: no store serves the scheme of the root.
    """
    root = snapshot.root if inputs is None else inputs
    if snapshot.root.startswith("frame:") and isinstance(root, str | os.PathLike):
        raise NoSource(
            "the input was a frame, which is not stored; pass inputs=frame"
            if inputs is None
            else "the input was a frame; pass the frame itself as inputs=, not a path"
        )
    return open_inputs(root, storage_options)
