"""`infer_schema`: which fields fit the data. Works on Arrow columns of a sample."""

from __future__ import annotations

import difflib
import math
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

import json2vec.fields  # noqa: F401 - registers the field types
from json2vec.enums import Overflow, Suffix
from json2vec.errors import ReadError, SchemaError
from json2vec.fields.recognition import Evidence, InferenceConfig, Proposal, Refusal
from json2vec.fields.registry import FIELD_TYPES, FieldType
from json2vec.reading.readers import read_rows
from json2vec.reading.snapshot import frame_table, list_shards, snapshot_files
from json2vec.reading.type_family import family
from json2vec.schema.nodes import Array, Node
from json2vec.schema.queries import EACH, query_text
from json2vec.storage.opening import open_store

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them

@dataclass(frozen=True)
class Decision:
    """What became of one column.

    Attributes:
        query: where the values of the column are.
        type: the type of the node that the column became; None where it was skipped.
        reason: why it became that, or was skipped.
    """

    query: str
    type: str | None
    reason: str


def infer_schema(
    records: Any, *, config: InferenceConfig | None = None, explain: bool = False, suffix: Suffix | str | None = None,
    **overrides: Any,
) -> Any:  # fmt: skip
    """Propose the fields of a schema for data.

    Objects in objects are flattened, their names joined with ``_``; a list of objects becomes an `Array`. Every leaf
    has an explicit query. Columns that no field fits, or that hold nothing, are skipped with a warning.

    Args:
        records: dicts, a polars frame or lazy frame, anything with the Arrow stream interface (`pa.Table`, pandas),
            or a folder of shards as a local path, ``file://`` or ``s3://`` URI.
        config: all options at once; or give single ones as keywords.
        explain: return ``(fields, decisions)`` instead of the fields alone.
        suffix: the format of the files in a folder; None finds it out.
        overrides: single options of `InferenceConfig`, instead of ``config``.

    Returns:
        a list of nodes for `Model.from_schema`.

    Raises:
        SchemaError: no rows, nothing a field could be made of, a target that no key has, or a bad option.
        ReadError: a folder that cannot be read or holds no shard.
        TypeError: records that are no mappings, or config together with overrides.
    """
    if config is not None and overrides:
        raise TypeError(f"infer_schema takes config= or single options, not both; got {', '.join(sorted(overrides))}")
    chosen = config if config is not None else InferenceConfig(**overrides)
    table = _sample(records, chosen.sample_size, suffix)
    if table.num_rows == 0:
        raise SchemaError("infer_schema needs at least one row; got none")
    inference = _Inference(chosen)
    columns = [(name, table.column(index).combine_chunks()) for index, name in enumerate(table.column_names)]
    fields = inference.fields(columns, (), ())
    for warning in inference.warnings:
        warnings.warn(warning, UserWarning, stacklevel=2)
    inference.check_targets()
    if not fields:
        raise SchemaError(
            "infer_schema found no column that a field could be made of: "
            + "; ".join(f"{decision.query}: {decision.reason}" for decision in inference.decisions)
        )
    return (fields, inference.decisions) if explain else fields


def _sample(records: Any, size: int, suffix: Suffix | str | None) -> pa.Table:
    """The first ``size`` rows as a table."""
    if isinstance(records, (str, os.PathLike)):
        return _shards(records, size, suffix)
    if suffix is not None:
        raise TypeError("suffix= belongs to a folder of shards; got records in memory")
    if isinstance(records, Mapping):
        raise TypeError("infer_schema expects a list of records; got a single mapping. Remedy: [record]")
    if hasattr(records, "collect") and hasattr(records, "head"):  # a polars LazyFrame
        records = records.head(size).collect()
    if isinstance(records, pa.RecordBatch):
        records = pa.Table.from_batches([records])
    if hasattr(records, "__arrow_c_stream__"):
        return frame_table(pa.table(records).slice(0, size))
    if hasattr(records, "to_dicts"):
        records = records.to_dicts()
    rows = list(islice(records, size))
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TypeError(f"infer_schema expects mappings; row {index} is {type(row).__name__} {row!r:.80}")
    keys = dict.fromkeys(key for row in rows for key in row)
    columns = {str(key): _column([row.get(key) for row in rows]) for key in keys}
    return pa.table(columns) if columns else pa.table({"": pa.nulls(len(rows))}).select([])


def _column(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        # An empty union stands for "no one type holds these"; nothing else in a sample has that type.
        return pa.UnionArray.from_sparse(pa.array([0] * len(values), pa.int8()), [pa.nulls(len(values))])


def _shards(root: str | os.PathLike[str], size: int, suffix: Suffix | str | None) -> pa.Table:
    """The first rows of the first files of a folder."""
    store = open_store(root)
    suffixes = list(Suffix) if suffix is None else [Suffix(suffix)]
    paths_by_suffix = {file_suffix: list_shards(store, file_suffix)["path"].to_pylist() for file_suffix in suffixes}
    paths_by_suffix = {file_suffix: paths for file_suffix, paths in paths_by_suffix.items() if paths}
    if not paths_by_suffix:
        raise ReadError(f"{store.uri()}: no file ends with {', '.join(f'.{file_suffix}' for file_suffix in suffixes)}")
    if len({frozenset(paths) for paths in paths_by_suffix.values()}) > 1:
        raise ReadError(
            f"{store.uri()} holds files of several formats: {', '.join(paths_by_suffix)}. Remedy: give suffix="
        )
    file_suffix, paths = next(iter(paths_by_suffix.items()))
    batches: list[pa.Table] = []
    rows = 0
    for path in paths:
        snapshot = snapshot_files(store, file_suffix, paths=[path])
        row_count = min(size - rows, snapshot.rows)
        for batch in read_rows(snapshot, store, [(0, row_count)], batch_size=max(1, row_count)):
            batches.append(pa.Table.from_batches([batch.inputs]))
        rows += row_count
        if rows >= size:
            break
    return pa.concat_tables(batches, promote_options="permissive") if batches else pa.table({})


class _Inference:
    """One run: what was decided, what the user has to be warned of, and which targets were met."""

    def __init__(self, config: InferenceConfig) -> None:
        self.config = config
        self.decisions: list[Decision] = []
        self.warnings: list[str] = []
        self.keys: set[str] = set()
        self.met: set[str] = set()

    def fields(
        self, columns: list[tuple[str, pa.Array]], names: tuple[str, ...], steps: tuple[str | None, ...]
    ) -> list[Node]:
        """Nodes for the columns of one array.

        Args:
            columns: the columns by key.
            names: keys of the objects gone through since that array.
            steps: the steps of the query so far.
        """
        nodes: list[Node] = []
        taken: dict[str, str] = {}
        for node, where in self._columns(columns, names, steps):
            name = node.name
            number = 2
            while name in taken:
                name, number = f"{node.name}_{number}", number + 1
            if name != node.name:
                self.warnings.append(
                    f"{where}: its name {node.name!r} is taken by {taken[node.name]}; it becomes {name!r}"
                )
                node = node.replace(name=name)
            taken[name] = where
            nodes.append(node)
        return nodes

    def _columns(
        self, columns: list[tuple[str, pa.Array]], names: tuple[str, ...], steps: tuple[str | None, ...]
    ) -> Iterable[tuple[Node, str]]:
        for key, column in columns:
            self.keys.add(key)
            path, query = (*names, key), query_text((*steps, key))
            if pa.types.is_struct(column.type):
                inner = [(field.name, pc.struct_field(column, [field.name])) for field in column.type]
                yield from self._columns(inner, path, (*steps, key))
                continue
            values = column.drop_null() if not pa.types.is_union(column.type) else column
            node, reason = self._node(key, path, (*steps, key), values)
            self.decisions.append(Decision(query, None if node is None else node.type, reason))
            if node is None:
                self.warnings.append(f"{query} is skipped: {reason}")
            else:
                yield node, query

    def _node(
        self, key: str, path: tuple[str, ...], steps: tuple[str | None, ...], values: Any
    ) -> tuple[Node | None, str]:
        name = re.sub(r"[^\w-]", "_", "_".join(path))
        arrow_type = values.type
        if pa.types.is_union(arrow_type):
            return None, "values of several types"
        if len(values) == 0:
            return None, "nothing but nulls"
        if family(arrow_type) == "list" and family(arrow_type.value_type) == "object":
            return self._array(name, steps, values)
        chosen, options, reason = self._leaf(name, values)
        if chosen is None:
            return None, reason
        if key in self.config.targets:
            self.met.add(key)
            options = {**options, "target": True}
        return chosen.options(name=name, query=query_text(steps), **options), reason

    def _array(self, name: str, steps: tuple[str | None, ...], values: Any) -> tuple[Node | None, str]:
        items = values.flatten()
        lengths = pc.list_value_length(values).to_numpy(zero_copy_only=False)
        if not len(items):
            return None, "nothing but empty lists"
        length = math.ceil(float(np.quantile(lengths, self.config.array_length_quantile)))
        inner = [(field.name, pc.struct_field(items, [field.name])) for field in items.type]
        children = self.fields(inner, (), (*steps, EACH))
        if not children:
            return None, "a list of objects without a usable field"
        array = Array(
            *children, name=name, max_length=max(1, min(length, self.config.max_array_length)),
            overflow=Overflow(self.config.overflow),
        )  # fmt: skip
        return array, f"a list of objects, {int(lengths.max())} at most, {length} at the chosen quantile"

    def _leaf(self, name: str, values: Any) -> tuple[FieldType | None, Mapping[str, Any], str]:
        """Field type, options and reason for a column of values without nulls; what the surest field type says."""
        column = Evidence(name, values)
        best: tuple[FieldType, Proposal] | None = None
        refused = ""
        for field_type in FIELD_TYPES.values():
            answer = field_type.recognise(column, self.config) if field_type.recognise is not None else None
            if isinstance(answer, Refusal):
                refused = answer.reason
            elif answer is not None and (best is None or answer.fit >= best[1].fit):
                best = field_type, answer
        if best is None:
            spelled = f"lists of {values.type.value_type}" if family(values.type) == "list" else str(values.type)
            return None, {}, refused or f"no field type fits {spelled}"
        chosen, proposal = best
        if proposal.warning:
            self.warnings.append(proposal.warning)
        return chosen, proposal.options, proposal.reason

    def check_targets(self) -> None:
        """Raise for a target that became no field."""
        for name in sorted(self.config.targets - self.met):
            if name in self.keys:
                raise SchemaError(f"target {name!r} is a key of the data, but no field could be made of it")
            close = difflib.get_close_matches(name, sorted(self.keys), n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"keys are: {', '.join(sorted(self.keys))}"
            raise SchemaError(f"target {name!r} is no key of the data; {hint}")
