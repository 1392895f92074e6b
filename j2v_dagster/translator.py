"""Names: one object decides how a pipeline's assets are called, grouped, owned and described."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import dagster as dg

from json2vec.storage.kinds import load_class
from json2vec.storage.opening import scheme

Role = Literal["input_shards", "model_checkpoint", "prediction_rank_files", "predictions"]

_DESCRIPTIONS: dict[Role, str] = {
    "input_shards": "The partition's input files, frozen before anything is predicted: path, size, version and rows of "
    "each. The data version is the snapshot's digest, so an overwritten shard makes the partition stale.",
    "model_checkpoint": "The model's checkpoint. The data version is the file's SHA-256.",
    "prediction_rank_files": "One Parquet file for each rank, complete or nothing: inputs, predictions and the "
    "identity of every row. Ranks are an execution detail; a table in the metadata shows them.",
    "predictions": "The warehouse table: flat columns of the rank files, one transaction a partition, loaded only "
    "after every blocking check has passed.",
}


class PredictionTranslator:
    """Override any method to rename, group, own, tag or describe a pipeline's assets."""

    def key(self, pipeline: str, role: Role) -> dg.AssetKey:
        """The asset key; the default puts the pipeline's name before the role, so that pipelines never clash."""
        return dg.AssetKey([pipeline, role])

    def group(self, pipeline: str, role: Role) -> str:
        """The asset group (letters, digits and underscores)."""
        return pipeline

    def owners(self, pipeline: str, role: Role) -> Sequence[str]:
        """E-mail addresses or ``team:NAME``."""
        return ()

    def kinds(self, pipeline: str, role: Role, *, inputs: str, suffix: str, warehouse: str) -> set[str]:
        """Technologies shown as icons, at most three."""
        store = scheme(inputs)
        return {
            "input_shards": {store, suffix},
            "model_checkpoint": {"pytorch"},
            "prediction_rank_files": {"parquet", "pytorch"},
            "predictions": {warehouse},
        }[role]

    def description(self, pipeline: str, role: Role) -> str:
        """Markdown."""
        return _DESCRIPTIONS[role]

    def tags(self, pipeline: str, role: Role) -> dict[str, str]:
        """Tags of the asset."""
        return {"json2vec/pipeline": pipeline}


def load_translator(translator: PredictionTranslator | str | None) -> PredictionTranslator:
    """A translator: the default one for None, an instance of the class at ``module:Class`` for a text.

    Raises:
        ValueError: the text is not of that form, or there is no such class.
    """
    if translator is None or isinstance(translator, PredictionTranslator):
        return translator or PredictionTranslator()
    if not isinstance(translator, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        kind = type(translator).__name__
        raise ValueError(f"translator is a {kind}; expected module:Class or a PredictionTranslator")
    chosen = load_class(translator, f"translator {translator!r}")
    try:
        instance = chosen()
    except (TypeError, ValueError) as exc:
        raise ValueError(f"translator {translator!r}: {exc}; expected a class that is made without arguments") from exc
    if not isinstance(instance, PredictionTranslator):
        raise ValueError(f"translator {translator!r} is a {type(instance).__name__}; expected a PredictionTranslator")
    return instance
