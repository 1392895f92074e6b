"""What the data modules share: splits, options per split, datasets and loaders."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

import lightning.pytorch as lit
import torch
from torch.utils.data import DataLoader

from json2vec.data.loader import PlannedDataset
from json2vec.data.training import EpochLoader, TrainingDataset
from json2vec.enums import ShardingStrategy, Strata
from json2vec.errors import ProcessorError, SchemaError
from json2vec.processors import Preprocessor, PreprocessorLike, as_preprocessor, preprocessor_mismatch
from json2vec.profile.missing import ColumnCheck, MissingColumns
from json2vec.profile.profile import Profile
from json2vec.profile.profiler import Profiler
from json2vec.profile.sampling import PROFILE_ROWS, profile_rows
from json2vec.ranks import rank_and_world
from json2vec.reading.plan import Plan
from json2vec.reading.readers import OnBadRow, read_rows
from json2vec.reading.snapshot import Snapshot
from json2vec.reading.source import Source

if TYPE_CHECKING:
    from json2vec.model.model import Model

_LEARN_ROWS = 8192  # rows that the vocabularies learn from at a time
COMMON_OPTIONS: dict[str, Any] = {
    "num_workers": 0,
    "persistent_workers": True,
    "pin_memory": True,
    "sample_rate": 1.0,
    "observation_buffer_size": 1,
    "sharding": ShardingStrategy.chunk,
    "chunk_batch_size": 4096,
    "replacement": False,
}


class DataModule(lit.LightningDataModule):
    """Base of the data modules; use `PolarsDataModule` or `StreamingDataModule`.

    A subclass says what stands behind a split (`_open`). Every option is one value for all splits or a mapping
    split -> value (splits that it leaves out have the default).

    Args:
        model: what encodes the rows and learns their labels; its ``batch_size`` is read each time a loader begins.
        splits: what each split was configured with, by name; None for splits that are not configured.
        preprocessor: a registered name, a callable dict -> dict or a `Preprocessor`.
        options: the options that the user gave, by name: those of `COMMON_OPTIONS` and what the subclass adds.
        defaults: the value of each option for splits that a mapping leaves out, by name.
        seed: the seed of the training order.
        on_bad_row: ``raise`` or ``quarantine``; see `json2vec.reading.readers.read_rows`.
        missing_columns: ``raise``, or ``allow`` for columns that no file has; see `json2vec.profile.missing`.
        strict_preprocessor: raise, instead of warn, where the preprocessor is not the one of the training.
        keywords: keyword arguments for the preprocessor.

    Raises:
        SchemaError: no split at all, an unknown keyword, or an option out of range.
    """

    def __init__(
        self,
        model: Model,
        splits: Mapping[str, Any],
        *,
        preprocessor: PreprocessorLike,
        options: Mapping[str, Any],
        defaults: Mapping[str, Any],
        seed: int,
        on_bad_row: OnBadRow,
        missing_columns: MissingColumns,
        strict_preprocessor: bool,
        keywords: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.model, self.seed = model, seed
        self.on_bad_row: OnBadRow = on_bad_row
        if missing_columns not in get_args(MissingColumns):
            raise SchemaError(f"missing_columns must be 'raise' or 'allow'; got {missing_columns!r}")
        self.missing_columns: MissingColumns = missing_columns
        self.strict_preprocessor = strict_preprocessor
        self.splits = {Strata(name): split for name, split in splits.items() if split is not None}
        self.preprocessor = self._preprocessor(preprocessor, keywords, {*defaults, *Strata, "model", "preprocessor"})
        if not self.splits:
            raise SchemaError(f"{self._name} has no split. Remedy: give it train=, validate=, test= or predict=")
        self.options = {name: _by_split(name, value, defaults[name]) for name, value in options.items()}
        self._check_options()
        self._opened: dict[Strata, tuple[Snapshot, Source]] = {}

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _preprocessor(self, preprocessor: Any, keywords: Mapping[str, Any], own: set[str]) -> Preprocessor | None:
        try:
            return as_preprocessor(preprocessor, **keywords)
        except ProcessorError as exc:
            name = next((name for name in keywords if difflib.get_close_matches(name, own, 1)), None)
            if name is None:
                if preprocessor is None and keywords:
                    raise SchemaError(
                        f"{self._name} does not take {sorted(keywords)}; its options are {sorted(own)}, others go to "
                        "preprocessor=, which is not given"
                    ) from exc
                raise
            near = str(difflib.get_close_matches(name, own, 1)[0])
            raise SchemaError(f"{self._name} does not take {name!r} (did you mean {near!r}?); {exc}") from exc

    def _check_options(self) -> None:
        limits = {
            "num_workers": 0, "observation_buffer_size": 1, "chunk_batch_size": 1, "file_buffer_size": 1
        }  # fmt: skip
        for name, values in self.options.items():
            for strata, value in values.items():
                least = limits.get(name)
                if least is not None and (not isinstance(value, int) or value < least):
                    raise SchemaError(f"{name} of {strata} must be an integer of at least {least}; got {value!r}")
                if name == "sample_rate" and not 0 < value <= 1:
                    raise SchemaError(f"sample_rate of {strata} must be in (0, 1]; got {value!r}")
                if name == "sharding" and value not in list(ShardingStrategy):
                    near = difflib.get_close_matches(str(value), list(ShardingStrategy), 1)
                    hint = f" (did you mean {str(near[0])!r}?)" if near else ""
                    raise SchemaError(f"sharding of {strata} must be file, chunk or record; got {value!r}{hint}")

    def option(self, name: str, strata: Strata | str) -> Any:
        """The value of an option for a split."""
        return self.options[name][Strata(strata)]

    def _open(self, strata: Strata, split: Any) -> tuple[Snapshot, Source]:
        """The snapshot of a split, and the store or table behind it."""
        raise NotImplementedError

    def opened(self, strata: Strata | str) -> tuple[Snapshot, Source]:
        """The snapshot of a split, taken when first asked for, and the store or table behind it.

        Raises:
            SchemaError: the split is not configured.
        """
        strata = Strata(strata)
        if strata not in self.splits:
            raise SchemaError(
                f"no {strata} split configured: {self._name} has {sorted(map(str, self.splits))}. "
                f"Remedy: pass {strata}= to {self._name}"
            )
        if strata not in self._opened:
            self._opened[strata] = self._open(strata, self.splits[strata])
        return self._opened[strata]

    def snapshot(self, strata: Strata | str = Strata.predict) -> Snapshot:
        """The snapshot of a split."""
        return self.opened(strata)[0]

    def predict_plan(self, world_size: int) -> Plan:
        """The plan of the predict split for ``world_size`` ranks."""
        return Plan(self.snapshot(Strata.predict), world_size)

    def setup(self, stage: str) -> None:
        """Before fitting: learn the vocabularies, and the profile, by one pass over the training split.

        The pass goes in plan order, over all rows, in every rank alike, so that the vocabularies do not depend on
        seeds, ranks or workers. A model that has none reads `PROFILE_ROWS` rows at most, spread over the split; those
        that a model brings are kept and grow. A model without a ``schema`` has no profile.
        """
        if stage == "fit":
            if self.preprocessor is not None or self.model.preprocessor_fingerprint is None:
                self.model.preprocessor_fingerprint = self._fingerprint()
            self._learn()
        elif stage == "predict":
            self._compare_preprocessor()

    def _column_check(self, strata: Strata) -> ColumnCheck | None:
        """What the rows of a split must have; a schema that is known before any row is checked at once.

        Returns:
            the check of what the preprocessor makes, which is known with its first rows; None where nothing is left to
            check.
        """
        if self.missing_columns == "allow" or not hasattr(self.model, "schema"):
            return None
        check = ColumnCheck(self.model.schema, self.model.profile, self.snapshot(strata), strata)
        return check.before_rows(self.preprocessor)

    def _learn(self) -> None:
        if not self.model.vocabularies and not hasattr(self.model, "schema"):
            return
        self._column_check(Strata.train)
        if not self.model.vocabularies:
            self.learn_profile()
            return
        snapshot, source = self.opened(Strata.train)
        profiler = Profiler(self.model.schema, self.model.vocabularies) if hasattr(self.model, "schema") else None
        for rows in read_rows(
            snapshot, source, [(0, snapshot.rows)], batch_size=_LEARN_ROWS, preprocessor=self.preprocessor,
            on_bad_row=self.on_bad_row, strata=Strata.train,
        ):  # fmt: skip
            self.model.learn(rows.observations)
            if profiler is not None and len(rows):
                profiler.update(rows)
        if profiler is not None:
            self.model.profile = profiler.finish(
                snapshot.schema, suffix=str(snapshot.suffix), preprocessed=self.preprocessor is not None
            )

    def learn_profile(self, rows: int = PROFILE_ROWS) -> Profile:
        """Give the model a profile of the train split without training it, for models that were trained elsewhere.

        Args:
            rows: how many rows to look at, at most; they are spread over the split.

        Raises:
            EncodeError: a value that its field cannot encode, naming address, file and row.
        """
        snapshot, source = self.opened(Strata.train)
        self.model.profile = profile_rows(
            self.model.schema, self.model.vocabularies, snapshot, source, rows=rows, preprocessor=self.preprocessor,
            on_bad_row=self.on_bad_row,
        )  # fmt: skip
        return self.model.profile

    def _fingerprint(self) -> str | None:
        return None if self.preprocessor is None else self.preprocessor.fingerprint

    def _compare_preprocessor(self) -> None:
        message = preprocessor_mismatch(self.model.preprocessor_fingerprint, self.preprocessor, self._name)
        if message is None:
            return
        if self.strict_preprocessor:
            raise ProcessorError(message)
        warnings.warn(message, UserWarning, stacklevel=3)

    def train_dataloader(self) -> Any:
        """Shuffled batches; see `json2vec.data.training.TrainingDataset`."""
        snapshot, source = self.opened(Strata.train)
        rank, world_size = rank_and_world(self.trainer)
        names = ("sharding", "chunk_batch_size", "observation_buffer_size", "sample_rate", "replacement")
        chosen = {name: self.option(name, Strata.train) for name in names}
        if "file_buffer_size" in self.options:
            chosen["file_buffer_size"] = self.option("file_buffer_size", Strata.train)
        dataset = TrainingDataset(
            snapshot, source, self.model, rank=rank, world_size=world_size, preprocessor=self.preprocessor,
            seed=self.seed, check_columns=self._column_check(Strata.train), **chosen,
        )  # fmt: skip
        return self._loader(dataset, Strata.train)

    def val_dataloader(self) -> Any:
        """Batches of the validate split in order; ``[]`` while fitting without one."""
        validating = self.trainer is not None and self.trainer.state.fn == "validate"
        if Strata.validate not in self.splits and self.trainer is not None and not validating:
            return []
        return self._planned(Strata.validate)

    def test_dataloader(self) -> Any:
        """Batches of the test split in order."""
        return self._planned(Strata.test)

    def predict_dataloader(self) -> Any:
        """Batches of the predict split in order; ``dataset.plan`` is the plan."""
        return self._planned(Strata.predict)

    def _planned(self, strata: Strata) -> Any:
        snapshot, source = self.opened(strata)
        rank, world_size = rank_and_world(self.trainer)
        dataset = PlannedDataset(
            Plan(snapshot, world_size), source, self.model, rank=rank, preprocessor=self.preprocessor, strata=strata,
            on_bad_row=self.on_bad_row, padded=strata is not Strata.predict, check_columns=self._column_check(strata),
        )  # fmt: skip
        return self._loader(dataset, strata)

    def _loader(self, dataset: Any, strata: Strata) -> Any:
        workers = self.option("num_workers", strata)
        loader_class = EpochLoader if strata is Strata.train else DataLoader
        return loader_class(
            dataset,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0 and self.option("persistent_workers", strata),
            pin_memory=self.option("pin_memory", strata) and torch.cuda.is_available(),
        )


def _by_split(name: str, value: Any, default: Any) -> dict[Strata, Any]:
    if not isinstance(value, Mapping):
        return dict.fromkeys(Strata, value)
    names = [str(strata) for strata in Strata]
    for key in value:
        if str(key) not in names:
            near = difflib.get_close_matches(str(key), names, 1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise SchemaError(f"{name}={dict(value)!r}: no split {key!r}{hint}; splits are {names}")
    return {strata: value.get(strata, default) for strata in Strata}

