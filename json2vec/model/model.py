"""The Lightning model: a tree of embedders, array encoders and decoders built from a schema.

Legend: N rows, B sequences of an array (N times the lengths of the arrays above), L slots, P slots of a leaf in one
row, C d_model.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import struct as structs
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import torch
from torch import nn

from json2vec.address import Address
from json2vec.batch import Batch
from json2vec.enums import Strata
from json2vec.errors import CheckpointError, EncodeError, SchemaError
from json2vec.fields.embed_leaves import embed_leaves
from json2vec.fields.encode import blamed, check_depth, encode_batch, located, resolve
from json2vec.fields.masking import mask_batch, trains
from json2vec.fields.registry import field_type
from json2vec.fields.vocabulary import NO_VOCABULARY, Vocabulary
from json2vec.model import checkpoint as checkpoints
from json2vec.model.exported import read_exported, training_only
from json2vec.model.memory import Halving, keep_freed_memory
from json2vec.model.modules import LeafNode, ModuleTree, Outputs
from json2vec.model.named_functions import Factory
from json2vec.model.occupied_slots import occupied, skips
from json2vec.model.predictions import EMBEDDING, Predictions, output_type, python_view
from json2vec.nn.slots import Slots
from json2vec.processors import apply_postprocessor
from json2vec.profile.missing import MissingColumns, check_table, foreign_keys
from json2vec.profile.profile import Profile, profile_of
from json2vec.reading.records import records as json_records
from json2vec.reading.row_batch import RowBatch
from json2vec.schema.nodes import Node
from json2vec.schema.schema import Schema


class Model(ModuleTree):
    """A model over nested records.

    Args:
        schema: the tree; see `Model.from_schema` for building one on the way.
        batch_size: rows in a batch of training or prediction.
        optimizer: an optimizer, or a callable taking the model and returning one; needed for fitting. A checkpoint
            keeps it where it has an import path: ``helpers.optimizers.adamw(...)``, a `Factory`, the text
            ``"module:function"``, or a function of a module.
        scheduler: a callable taking (model, optimizer), or a scheduler; kept likewise.

    Raises:
        SchemaError: batch_size is not positive.
    """

    def __init__(self, schema: Schema, *, batch_size: int = 1, optimizer: Any = None, scheduler: Any = None) -> None:
        if batch_size < 1:
            raise SchemaError(f"batch_size must be at least 1 row; got {batch_size}")
        super().__init__(schema)
        self.batch_size = batch_size
        self.optimizer = Factory(optimizer) if isinstance(optimizer, str) else optimizer
        self.scheduler = Factory(scheduler) if isinstance(scheduler, str) else scheduler
        self.preprocessor_fingerprint: str | None = None
        self.profile: Profile | None = None
        self.reconstruct: tuple[str, ...] = ()
        self._halving = Halving()

    @classmethod
    def from_schema(
        cls, *field_args: Node, d_model: int, n_layers: int, n_heads: int, batch_size: int = 1, fields: Any = None,
        name: str = "record", description: str | None = None, embed: bool = False, attention: str = "mha",
        n_linear: int = 1, dropout: float | None = None, optimizer: Any = None, scheduler: Any = None,
    ) -> Self:  # fmt: skip
        """Build schema and model; n_layers, n_heads, attention, n_linear and dropout are the root array's alone."""
        schema = Schema.from_schema(
            *field_args, d_model=d_model, n_layers=n_layers, n_heads=n_heads, fields=fields, name=name,
            description=description, embed=embed, attention=attention, n_linear=n_linear, dropout=dropout,
        )  # fmt: skip
        return cls(schema, batch_size=batch_size, optimizer=optimizer, scheduler=scheduler)

    # Rows to tensors.

    def encode(
        self, batch: RowBatch | pa.RecordBatch | pa.Table | Sequence[Mapping[str, Any]],
        preprocess: Callable[[dict], dict] | None = None, strata: Strata | str = Strata.predict, mask: bool = True,
        missing_columns: MissingColumns = "raise",
    ) -> Batch:  # fmt: skip
        """Encode rows.

        Args:
            batch: Arrow rows, or a list of records.
            preprocess: applied to each record of a list first.
            strata: in ``train`` new labels are learned; in all but ``predict`` slots are hidden.
            mask: False hides nothing.
            missing_columns: ``allow`` takes the values of a column that a `pa.Table` lacks as null. Record batches,
                which are a piece of something that was checked, and records of a list may leave columns out anyway.

        Raises:
            ContractBroken: a table lacks a column that the model reads.
            EncodeError: a value that its field cannot encode.
        """
        strata = Strata(strata)
        rows: Any = one_batch(batch) if isinstance(batch, pa.Table) else batch
        if isinstance(batch, pa.Table) and preprocess is None and missing_columns == "raise":
            check_table(self.schema, rows, strata)
        if preprocess is not None:
            if isinstance(rows, RowBatch):
                raise TypeError("rows of a data module are preprocessed by the data module; expected a list of records")
            records = json_records(rows) if isinstance(rows, pa.RecordBatch) else rows
            rows = [preprocess(dict(record)) for record in records]
        if strata is Strata.train and not isinstance(rows, RowBatch):
            self.learn(rows)
        encoded = encode_batch(rows, self.schema, self.vocabularies, strata=strata)
        return mask_batch(encoded, self.schema, strata) if mask and strata is not Strata.predict else encoded

    def learn(self, observations: pa.RecordBatch | Sequence[Mapping[str, Any]]) -> None:
        """Add new labels to the vocabularies, in order of first appearance, while they have room.

        Raises:
            EncodeError: a value that is no label, or a record that is none; names address and row.
        """
        check_depth(observations)
        for address, vocabulary in self.vocabularies.items():
            if address in self.schema.active and not vocabulary.full:
                labels = field_type(self.schema.leaves[address]).labels
                try:
                    column = resolve(observations, self.schema, address, predict=False)
                    blamed(column, lambda part, v=vocabulary, f=labels: v.learn(f(part.values) if f else part.values))
                except EncodeError as exc:
                    raise located(exc, address, observations) from exc

    # The network.

    def forward(
        self, batch: Batch, decode: Iterable[Address] = ()
    ) -> tuple[dict[Address, torch.Tensor], dict[Address, tuple[torch.Tensor, Outputs]]]:
        """Embed, encode the arrays from the deepest to the root, decode.

        Args:
            batch: N rows on the model's device.
            decode: leaves to decode.

        Returns:
            the output of each array, (N, 1, C) for the root and first-level arrays, (N, L1, ..., C) below; and for each
            decoded leaf its pooled vectors (N, P, C) with the outputs of its heads.
        """
        n, c = batch.size, self.schema.d_model
        tokens = embed_leaves({leaf: self._node(leaf).embedder for leaf in self.schema.inputs}, batch.fields)
        arrays: dict[Address, torch.Tensor] = {}
        occupied_slots = occupied(self.schema, batch.fields, n) if skips(self.schema) else {}
        for address in self.schema.deepest_first:
            children = self._children(address, tokens, arrays)
            if children:
                array = self.schema.arrays[address]
                length = array.max_length
                sequences = n * self.schema.slots(address)
                joined = torch.cat([child.reshape(sequences, length, c) for child in children], dim=1)
                slots = Slots.of(occupied_slots[address], length) if array.padding == "skip" else None
                arrays[address] = self.nodes[address].encoder(joined, slots)  # type: ignore[operator, union-attr]
        arrays = {address: vectors.view(n, self.schema.slots(address), c) for address, vectors in arrays.items()}
        decoded = {}
        for address in decode:
            memory = [arrays[array] for array in self.schema.above(address) if array in arrays]
            if address in tokens:
                memory.append(tokens[address].reshape(n, self.schema.slots(address), c))
            decoded[address] = self._node(address).decode(torch.cat(memory, dim=1))
        return arrays, decoded

    def _node(self, address: Address) -> LeafNode:
        node = self.nodes[address]
        assert isinstance(node, LeafNode)
        return node

    def _children(
        self, address: Address, tokens: Mapping[Address, torch.Tensor], arrays: Mapping[Address, torch.Tensor]
    ) -> list[torch.Tensor]:
        """Tokens of an array's leaves, then the outputs of its arrays, each in schema order."""
        below = [Address(address, child.name) for child in self.schema.arrays[address].fields]
        return [tokens[at] for at in below if at in tokens] + [arrays[at] for at in below if at in arrays]

    # Prediction.

    def written(self, reconstruct: Iterable[str] = ()) -> list[Address]:
        """The addresses of a prediction, in order: embedded arrays, deepest first, then decoded leaves.

        Raises:
            SchemaError: ``reconstruct`` names no active leaf.
        """
        reconstructed = {self._reconstructed(name) for name in reconstruct}
        # An array below which there are only targets gets no tokens, so it has no vector to give.
        arrays = [
            address for address in self.schema.embed
            if address in self.schema.arrays and any(leaf.startswith(f"{address}/") for leaf in self.schema.inputs)
        ]  # fmt: skip
        leaves = [
            address
            for address, leaf in self.schema.active.items()
            if (leaf.target or leaf.embed or address in reconstructed) and field_type(leaf).write is not None
        ]
        return arrays + leaves

    def _reconstructed(self, name: str) -> Address:
        for address in self.schema.active:
            if name in (address, "/".join(address.parts[1:])):
                return address
        raise SchemaError(
            f"reconstruct names {name!r}, which is no active leaf. Known leaves: {', '.join(self.schema.active)}"
        )

    def output_type(self, reconstruct: Iterable[str] = ()) -> pa.StructType:
        """Type of the ``predictions`` column, known before any row."""
        return output_type(self.schema, self.vocabularies, self.written(reconstruct), self.schema.embed)

    @torch.inference_mode()
    def infer(self, batch: Batch, reconstruct: Iterable[str] = ()) -> Predictions:
        """Predict N encoded rows on the device where they are; the model must be in eval mode."""
        addresses = self.written(reconstruct)
        arrays, decoded = self(batch, [address for address in addresses if address in self.schema.leaves])
        kind = self.device.type
        if not (torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)):  # type: ignore[attr-defined]
            return self._emitted(batch, addresses, arrays, decoded)
        # What half precision gives is made into probabilities and unit vectors with all of float32's digits.
        arrays = {address: vectors.float() for address, vectors in arrays.items()}
        decoded = {
            address: (vectors.float(), {name: output.float() for name, output in outputs.items()})
            for address, (vectors, outputs) in decoded.items()
        }
        with torch.autocast(kind, enabled=False):
            return self._emitted(batch, addresses, arrays, decoded)

    def _emitted(
        self,
        batch: Batch,
        addresses: list[Address],
        arrays: dict[Address, torch.Tensor],
        decoded: dict[Address, tuple[torch.Tensor, Outputs]],
    ) -> Predictions:
        """What `forward` gave of N rows, as it is written."""
        emitted: dict[Address, dict[str, torch.Tensor]] = {}
        for address in addresses:
            tensors: dict[str, torch.Tensor] = {}
            leaf = self.schema.leaves.get(address)
            if leaf is None:
                vectors = arrays[address].view(batch.size, *self.schema.shape(address)[1:], self.schema.d_model)
            else:
                vectors, outputs = decoded[address]
                emit = field_type(leaf).emit
                assert emit is not None
                tensors |= emit(
                    outputs, leaf, self.vocabularies.get(address, NO_VOCABULARY), self._node(address).embedder
                )
            if address in self.schema.embed:
                tensors[EMBEDDING] = nn.functional.normalize(vectors, dim=-1, eps=1e-12)
            emitted[address] = tensors
        return Predictions(emitted, self.schema, self.vocabularies, batch.size)

    def predict(
        self, batch: Sequence[Mapping[str, Any]], preprocess: Callable[[dict], dict] | None = None,
        postprocess: Callable[[dict, dict], dict | None] | None = None, reconstruct: Iterable[str] = (),
    ) -> dict[Address, dict[str, Any]]:  # fmt: skip
        """Predict a list of records, in chunks of batch_size rows, on whatever device the model is.

        Args:
            batch: records; none at all gives empty columns.
            preprocess: applied to each record first.
            postprocess: called with (context, predictions); see docs/processors.md.
            reconstruct: further leaves to decode, by address or by path below the root.

        Returns:
            for each address a dict of row-aligned lists.

        Raises:
            EncodeError: a value that its field cannot encode, or records without a single key that the model reads.
        """
        records = [preprocess(dict(record)) for record in batch] if preprocess is not None else list(batch)
        if (why := foreign_keys(self.schema, itertools.chain.from_iterable(records))) is not None:
            raise EncodeError(why)
        was_training = self.training
        self.eval()
        try:
            parts = [
                self.infer(self.encode(records[start : start + self.batch_size]).to(self.device), reconstruct).cpu()
                for start in range(0, max(len(records), 1), self.batch_size)
            ]
        finally:
            self.train(was_training)
        predictions = python_view(pa.concat_arrays([part.columns() for part in parts]))
        if postprocess is None:
            return predictions
        context = {"batch": batch, "observations": records, "input": records, "metadata": records}
        return {Address(name): columns for name, columns in
                apply_postprocessor(postprocess, context, predictions, len(records)).items()}  # fmt: skip

    def on_predict_start(self) -> None:
        self._halving = Halving()
        if self.device.type == "cpu":
            keep_freed_memory()

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Predictions:
        """Predict one batch of a trainer's run; one that the device has no memory for is halved until it fits."""
        if not batch.size and batch.rows is not None and batch.rows.stored is not None:
            return Predictions({}, self.schema, self.vocabularies, 0)  # every row's prediction is known
        return self._halving.run(lambda part: self.infer(part, self.reconstruct), batch)

    # Training.

    def _step(self, batch: Batch, strata: Strata) -> torch.Tensor:
        if strata is Strata.train:
            for address, field in batch.fields.items():
                self._node(address).embedder.observe(field, self.schema.leaves[address].target)  # type: ignore[operator]
        trained = [address for address in batch.fields if trains(self.schema, address)]
        _, decoded = self(batch, trained)
        total = torch.zeros((), device=self.device)
        metrics: dict[str, torch.Tensor] = {}
        for address in trained:
            leaf, field = self.schema.leaves[address], batch.fields[address]
            assert field.trainable is not None
            selected = field.trainable.reshape(batch.size, -1)
            loss, leaf_metrics = field_type(leaf).loss(
                decoded[address][1], field, leaf, self._node(address).embedder, selected
            )
            total = total + leaf.weight * loss
            prefix = f"{address.replace('/', ':')}/{strata}"
            metrics |= {f"{prefix}:{key}".lower(): value.detach() for key, value in leaf_metrics.items()}
        metrics[f"loss/{strata}"] = total.detach()
        self.log_dict(metrics, batch_size=batch.size, on_step=False, on_epoch=True, sync_dist=True)
        # Every parameter takes part, so that DDP's default strategy finds none unused.
        return total + 0.0 * sum(parameter.sum() for parameter in self.parameters() if parameter.requires_grad)

    def on_fit_start(self) -> None:
        # Lightning keeps the mode that it finds, and a loaded model comes in eval mode.
        self.train()

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        return self._step(batch, Strata.train)

    def validation_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        return self._step(batch, Strata.validate)

    def test_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        return self._step(batch, Strata.test)

    def configure_optimizers(self) -> Any:
        if self.optimizer is None:
            raise SchemaError(
                "the model has no optimizer. Remedy: pass optimizer= to Model.from_schema, for example "
                "optimizer=json2vec.helpers.optimizers.adamw(1e-3), or set model.optimizer"
            )
        configured = self.optimizer
        optimizer = configured if isinstance(configured, torch.optim.Optimizer) else configured(self)
        if self.scheduler is None:
            return optimizer
        scheduler = self.scheduler(self, optimizer) if callable(self.scheduler) else self.scheduler
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    # Saving and loading.

    def fingerprint(self) -> str:
        """SHA-256 (hex) over schema, vocabularies and tensors: equal exactly where predictions must be equal."""
        digest = hashlib.sha256()
        described = {"schema": self.schema.to_dict(), "vocabularies": self._labels()}
        if outside := self.outside():
            described["outside"] = outside
        digest.update(json.dumps(described, sort_keys=True).encode())
        for name, tensor in sorted(self.state_dict().items()):
            values = tensor.detach().cpu().contiguous()
            digest.update(
                structs.pack("<q", len(name)) + name.encode() + str((values.dtype, tuple(values.shape))).encode()
            )
            digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def _labels(self) -> dict[str, list]:
        return {str(address): list(vocabulary.labels) for address, vocabulary in self.vocabularies.items()}

    def save(self, path: str | Path) -> Path:
        """Write a checkpoint of tensors and plain values; creates parent folders and replaces the file atomically."""
        return checkpoints.save(path, self._describe() | {"state_dict": self.state_dict()})

    @classmethod
    def load(cls, path: str | Path, *, trusted_modules: Sequence[str] = ()) -> Self:
        """Load a checkpoint that `save` or Lightning wrote. Nothing in it is ever executed.

        Args:
            path: the checkpoint, a local file.
            trusted_modules: modules that may be imported for the custom field types and factories the file names.

        Raises:
            CheckpointError: the file is truncated, foreign, or names code that is not trusted.
        """
        values = checkpoints.load(path)
        checkpoints.import_field_types(values.get("field_types", {}), trusted_modules, path)
        schema = checkpoints.schema_of(values, path)
        checkpoints.check_sizes(schema, values, path)
        factories = {
            name: None if values.get(name) is None else Factory.from_plain(values[name], trusted_modules)
            for name in ("optimizer", "scheduler")
        }
        model = cls(schema, batch_size=values.get("batch_size", 1), **factories)
        model.preprocessor_fingerprint = values.get("preprocessor")
        model._restore_learned(values)
        checkpoints.load_tensors(model, values["state_dict"], path)
        model._compare_outside(values.get("outside") or {}, path)
        return model.eval()

    from_checkpoint = load

    @classmethod
    def from_exported(cls, folder: str | Path, *, batch_size: int = 1) -> Self:
        """Build a model from the plain data that the export script writes where PyPI json2vec is installed.

        Raises:
            CheckpointError: a file is missing, or the weights do not fit the schema.
        """
        exported = read_exported(folder)
        model = cls(exported.schema, batch_size=batch_size)
        tensors = training_only(model.state_dict()) | exported.tensors
        checkpoints.load_tensors(model, tensors, folder)
        model._restore_vocabularies(exported.vocabularies)
        return model.eval()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint.update(self._describe())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._restore_learned(checkpoint)

    def _describe(self) -> dict[str, Any]:
        """What a checkpoint holds beside the tensors."""
        types = {leaf.type: field_type(leaf).options for leaf in self.schema.leaves.values()}
        return {
            "format": checkpoints.FORMAT,
            "schema": self.schema.to_dict(),
            "vocabularies": self._labels(),
            "field_types": {name: f"{options.__module__}:{options.__qualname__}" for name, options in types.items()},
            "batch_size": self.batch_size,
            "preprocessor": self.preprocessor_fingerprint,
            "optimizer": checkpoints.plain_factory(self.optimizer),
            "scheduler": checkpoints.plain_factory(self.scheduler),
            "outside": self.outside(),
            "profile": None if self.profile is None else self.profile.to_plain(),
        }

    def _restore_learned(self, values: Mapping[str, Any]) -> None:
        """Take the vocabularies and the profile of a checkpoint's values."""
        self._restore_vocabularies(values["vocabularies"])
        self.profile = profile_of(values)

    def _restore_vocabularies(self, labels: Mapping[str, list]) -> None:
        for address, of_leaf in labels.items():
            vocabulary = self.vocabularies.get(Address(address))
            if vocabulary is not None:
                self.vocabularies[Address(address)] = Vocabulary(vocabulary.capacity, of_leaf)

    def _compare_outside(self, digests: Mapping[str, str], path: str | Path) -> None:
        for address, digest in self.outside().items():
            if digests.get(address, digest) != digest:
                raise CheckpointError(
                    f"{address}: checkpoint {path} was trained with another language model than this one: "
                    f"SHA-256 {digests[address][:12]}, found {digest[:12]}. Remedy: provide the same weights; pin "
                    "revision="
                )


def one_batch(table: pa.Table) -> pa.RecordBatch:
    """A table's rows as a single record batch."""
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_arrays([pa.array([], column.type) for column in table.schema],
                                                                 schema=table.schema)  # fmt: skip
