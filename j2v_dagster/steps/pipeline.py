"""A pipeline's options, resolved and checked, and what every step asks of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import dagster as dg

from j2v_dagster.attempts.estimate import Conditions, estimate
from j2v_dagster.attempts.folder import PartitionOutput, default_scratch
from j2v_dagster.attempts.owner import Claims, Owner
from j2v_dagster.launchers.base import Launcher
from j2v_dagster.options import PipelineOptions
from j2v_dagster.shards.partitions import output_template
from j2v_dagster.shards.source import ShardSource, shown_listing
from j2v_dagster.steps.contract import ContractOptions
from j2v_dagster.translator import PredictionTranslator, Role
from j2v_dagster.warehouse.base import Warehouse
from j2v_dagster.warehouse.columns import ColumnPath
from json2vec.errors import CheckpointError
from json2vec.rank_files.settings import PredictSettings
from json2vec.reading.snapshot import Snapshot
from json2vec.storage.local import file_sha256
from json2vec.storage.opening import fetch, open_store, short_address
from json2vec.storage.store import Store


@dataclass(frozen=True)
class Pipeline:
    """A pipeline: its options, and what was made of those that name something.

    Attributes:
        options: the options as they were given, checked.
        source: where the shards of each partition lie.
        partitions_def: Dagster's definition of the partitions.
        checkpoint: absolute path or URI of the model's checkpoint.
        output: absolute path or URI of the folder for attempts.
        scratch: absolute path of the local scratch folder; None where none was named.
        warehouse: the warehouse that holds the table.
        columns: the path in the rank files of each table column, by the column's name.
        launcher: what starts the ranks.
        translator: what names the assets.
        contract: how the shards are held to the contract.
    """

    options: PipelineOptions
    source: ShardSource
    partitions_def: dg.PartitionsDefinition
    checkpoint: str
    output: str
    scratch: str | None
    warehouse: Warehouse
    columns: Mapping[str, ColumnPath]
    launcher: Launcher
    translator: PredictionTranslator
    contract: ContractOptions

    @property
    def name(self) -> str:
        return self.options.name

    @cached_property
    def settings(self) -> PredictSettings:
        """The part of the options that the ranks must know."""
        return self.options.settings()

    @property
    def require(self) -> tuple[str, ...]:
        """The findings that must be proven; not ``replay`` or ``source`` where its sample is empty."""
        samples = {"replay": self.options.replay_sample, "source": self.options.source_sample}
        return tuple(name for name in self.options.require if samples.get(name, 1))

    def key(self, role: Role) -> dg.AssetKey:
        """The key of the pipeline's asset in that role."""
        return self.translator.key(self.name, role)

    @cached_property
    def store(self) -> Store:
        """The output folder."""
        return open_store(self.output, self.source.storage_options)

    def output_of(self, partition: str) -> PartitionOutput:
        """The output folder of one partition."""
        return PartitionOutput.of(self.store, partition, output_template(self.source.folder), scratch=self.scratch)

    @cached_property
    def claims(self) -> Claims:
        """What this pipeline may write to and load from: an output is one pipeline's."""
        owner = Owner(
            pipeline=self.name,
            asset=self.key("prediction_rank_files").to_user_string(),
            inputs=short_address(self.source.inputs, self.output),
            table=short_address(self.warehouse.uri(self.options.table), self.output),
        )
        return Claims(self.store, output_template(self.source.folder), owner)

    def shows(self, partition: str) -> str | None:
        """The listing digest of the shards whose predictions the table shows of a partition; None where it shows none.
        """
        return shown_listing(self.output_of(partition).store)

    def estimate_line(self, snapshots: Sequence[Snapshot], checkpoint_sha256: str | None) -> str:
        """One line for the log: what predicting these snapshots with one start of the ranks will take.

        Args:
            snapshots: one a partition.
            checkpoint_sha256: hex, of the checkpoint's file; None where it is not known.
        """
        conditions = Conditions.of(self.settings, checkpoint_sha256=checkpoint_sha256, world_size=self.options.ranks)
        return estimate(
            snapshots, self.store, conditions=conditions, folder=output_template(self.source.folder), one_start=True
        ).summary()

    def local_checkpoint(self) -> Path:
        """The checkpoint on this machine; one in an object store is copied once a version.

        Raises:
            json2vec.errors.CheckpointError: there is none.
        """
        try:
            return fetch(self.checkpoint, Path(self.scratch or default_scratch()), self.source.storage_options)
        except FileNotFoundError as exc:
            raise CheckpointError(
                f"cannot read checkpoint {self.checkpoint}: it does not exist. Remedy: train and save the model, or "
                "correct the path"
            ) from exc


def checkpoint_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 (hex) of a checkpoint file, read without torch.

    Raises:
        json2vec.errors.CheckpointError: it is missing, empty or cannot be read.
    """
    try:
        if os.path.getsize(path) == 0:
            raise CheckpointError(f"checkpoint {path} is empty. Remedy: save the model again")
        return file_sha256(path)
    except OSError as exc:
        raise CheckpointError(
            f"cannot read checkpoint {path}: {exc.strerror}. Remedy: train and save the model, or correct the path"
        ) from exc
