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
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute
from pydantic import Field

import json2vec.fields  # noqa: F401 - registers the field types
from json2vec.enums import Overflow, Suffix
from json2vec.errors import ReadError, SchemaError
from json2vec.reading.readers import read_rows
from json2vec.reading.snapshot import frame_table, list_shards, snapshot_files
from json2vec.schema.nodes import LEAF_TYPES, Array, Node
from json2vec.schema.options import Options
from json2vec.schema.queries import EACH, query_text
from json2vec.storage.opening import open_store

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them

_ISO = r"^\s*\d{4}-\d\d-\d\d([T ]\d\d(:?\d\d(:?\d\d(\.\d+)?)?)?([zZ]|[+-]\d\d(:?\d\d)?)?)?\s*$"
_WITH_TIME = r"^\s*\d{4}-\d\d-\d\d[T ]"
_DATE_PARTS = ("month_of_year", "day_of_month", "day_of_week")


class InferenceConfig(Options):
    """How `infer_schema` decides.

    Args:
        sample_size: rows looked at, the first ones.
        category_max_cardinality: whole numbers with at most this many different values become a Category.
        id_name_hints: whole numbers whose name holds one of these (any case) become a Category too.
        date_parse_min_ratio: share of ISO 8601 texts, 0..1, from which on a text column becomes DateParts. Encoding
            fails on the others, so a column with any is reported.
        infer_text: let long, mostly different texts become a Text field.
        text_min_avg_tokens: words a text must have on average for that.
        text_min_cardinality_ratio: share of different texts needed for that, 0..1.
        text_model_name: language model of those fields.
        vocab_cap: largest max_vocab_size proposed.
        array_length_quantile: max_length is this quantile of the lengths seen, 0..1.
        max_array_length: largest max_length proposed.
        overflow: of the arrays.
        target: source key or keys, at any depth, that become targets.
    """

    sample_size: int = Field(10_000, gt=0)
    category_max_cardinality: int = Field(16, ge=0)
    id_name_hints: tuple[str, ...] = (
        "id", "zip", "postal", "code", "phone", "ssn", "uuid", "guid", "isbn", "sku",
    )  # fmt: skip
    date_parse_min_ratio: float = Field(0.8, gt=0, le=1)
    infer_text: bool = False
    text_min_avg_tokens: float = Field(5.0, ge=0)
    text_min_cardinality_ratio: float = Field(0.5, ge=0, le=1)
    text_model_name: str = "distilbert-base-uncased"
    vocab_cap: int = Field(50_000, gt=0)
    array_length_quantile: float = Field(0.95, ge=0, le=1)
    max_array_length: int = Field(1024, gt=0)
    overflow: Literal["head", "tail", "error"] = "head"
    target: str | frozenset[str] | None = None

    @property
    def targets(self) -> frozenset[str]:
        return frozenset([self.target]) if isinstance(self.target, str) else self.target or frozenset()


@dataclass(frozen=True)
class Decision:
    """What became of one column.

    Attributes:
        query: where its values are.
        type: of the node it became; None where it was skipped.
        reason: why.
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
        config: all options at once; or single ones as keywords.
        explain: return ``(fields, decisions)``.
        suffix: of the files in a folder; None finds it out.

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
    inference.check_targets()
    if not fields:
        raise SchemaError(
            "infer_schema found no column that a field could be made of: "
            + "; ".join(f"{one.query}: {one.reason}" for one in inference.decisions)
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
    kinds = list(Suffix) if suffix is None else [Suffix(suffix)]
    found = {kind: list_shards(store, kind)["path"].to_pylist() for kind in kinds}
    found = {kind: paths for kind, paths in found.items() if paths}
    if not found:
        raise ReadError(f"{store.uri()}: no file ends with {', '.join(f'.{kind}' for kind in kinds)}")
    if len({frozenset(paths) for paths in found.values()}) > 1:
        raise ReadError(f"{store.uri()} holds files of several formats: {', '.join(found)}. Remedy: give suffix=")
    kind, paths = next(iter(found.items()))
    batches: list[pa.Table] = []
    rows = 0
    for path in paths:
        snapshot = snapshot_files(store, kind, paths=[path])
        wanted = min(size - rows, snapshot.rows)
        for batch in read_rows(snapshot, store, [(0, wanted)], batch_size=max(1, wanted)):
            batches.append(pa.Table.from_batches([batch.inputs]))
        rows += wanted
        if rows >= size:
            break
    return pa.concat_tables(batches, promote_options="permissive") if batches else pa.table({})


class _Inference:
    """One run: what was decided, and which targets were met."""

    def __init__(self, config: InferenceConfig) -> None:
        self.config = config
        self.decisions: list[Decision] = []
        self.keys: set[str] = set()
        self.met: set[str] = set()

    def fields(
        self, columns: list[tuple[str, pa.Array]], names: tuple[str, ...], steps: tuple[str | None, ...]
    ) -> list[Node]:
        """Nodes for the columns of one array.

        Args:
            names: keys of the objects gone through since that array.
            steps: the query so far.
        """
        nodes: list[Node] = []
        taken: dict[str, str] = {}
        for found, where in self._columns(columns, names, steps):
            name = found.name
            number = 2
            while name in taken:
                name, number = f"{found.name}_{number}", number + 1
            if name != found.name:
                warnings.warn(
                    f"{where}: its name {found.name!r} is taken by {taken[found.name]}; it becomes {name!r}",
                    UserWarning, stacklevel=4,
                )  # fmt: skip
                found = found.replace(name=name)
            taken[name] = where
            nodes.append(found)
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
                warnings.warn(f"{query} is skipped: {reason}", UserWarning, stacklevel=5)
            else:
                yield node, query

    def _node(
        self, key: str, path: tuple[str, ...], steps: tuple[str | None, ...], values: Any
    ) -> tuple[Node | None, str]:
        name = re.sub(r"[^\w-]", "_", "_".join(path))
        kind = values.type
        if pa.types.is_union(kind):
            return None, "values of several types"
        if len(values) == 0:
            return None, "nothing but nulls"
        if _is_list(kind) and (pa.types.is_struct(kind.value_type)):
            return self._array(name, steps, values)
        chosen, options, reason = self._leaf(name, values)
        if chosen is None:
            return None, reason
        if key in self.config.targets:
            self.met.add(key)
            options["target"] = True
        return LEAF_TYPES[chosen](name=name, query=query_text(steps), **options), reason

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

    def _leaf(self, name: str, values: Any) -> tuple[str | None, dict[str, Any], str]:
        """Type, options and reason for a column of values without nulls."""
        kind = values.type
        if pa.types.is_boolean(kind):
            return "category", {"max_vocab_size": 2}, "booleans"
        if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
            stamps = pc.cast(values, pa.timestamp("ms"), safe=False)
            daytime = pc.any(pc.not_equal(stamps, pc.floor_temporal(stamps, unit="day"))).as_py()
            return "dateparts", _date_parts(daytime), "dates"
        if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            return "number", {}, "numbers with fractions"
        if pa.types.is_integer(kind):
            return self._integers(name, values)
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return self._texts(name, values)
        if _is_list(kind):
            return self._lists(values)
        return None, {}, f"no field type fits {kind}"

    def _integers(self, name: str, values: Any) -> tuple[str, dict[str, Any], str]:
        distinct = pc.count_distinct(values).as_py()
        hints = [hint for hint in self.config.id_name_hints if hint.casefold() in name.casefold()]
        if hints:
            return "category", self._vocabulary(distinct), f"whole numbers with {hints[0]!r} in the name"
        if distinct <= self.config.category_max_cardinality:
            return "category", self._vocabulary(distinct), f"whole numbers, {distinct} different"
        return "number", {}, f"whole numbers, {distinct} different"

    def _texts(self, name: str, values: Any) -> tuple[str, dict[str, Any], str]:
        iso = pc.match_substring_regex(values, _ISO)
        ratio = pc.mean(pc.cast(iso, pa.float64())).as_py()
        if ratio >= self.config.date_parse_min_ratio:
            if ratio < 1:
                first = values.filter(pc.invert(iso))[0].as_py()
                warnings.warn(
                    f"{name}: {1 - ratio:.1%} of the texts taken for dates are none, as {first!r:.60}; encoding them "
                    "is an error. Remedy: clean them in a preprocessor, or date_parse_min_ratio=1.0",
                    UserWarning, stacklevel=8,
                )  # fmt: skip
            daytime = pc.any(pc.match_substring_regex(values, _WITH_TIME)).as_py()
            return "dateparts", _date_parts(daytime), f"{ratio:.0%} ISO 8601 texts"
        distinct = pc.count_distinct(values).as_py()
        if self.config.infer_text:
            words = pc.mean(pc.list_value_length(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(values)))).as_py()
            share = distinct / len(values)
            if words >= self.config.text_min_avg_tokens and share >= self.config.text_min_cardinality_ratio:
                return "text", {"model_name": self.config.text_model_name}, f"{words:.1f} words, {share:.0%} different"
        return "category", self._vocabulary(distinct), f"texts, {distinct} different"

    def _lists(self, values: Any) -> tuple[str | None, dict[str, Any], str]:
        items, inner = values.flatten(), values.type.value_type
        if pa.types.is_string(inner) or pa.types.is_large_string(inner):
            distinct = pc.count_distinct(items).as_py()
            return "set", self._vocabulary(distinct), f"lists of texts, {distinct} different"
        if not (pa.types.is_floating(inner) or pa.types.is_integer(inner) or pa.types.is_decimal(inner)):
            return None, {}, f"no field type fits lists of {inner}"
        widths = pc.unique(pc.list_value_length(values)).to_pylist()
        if len(widths) > 1 or widths == [0]:
            return None, {}, f"lists of numbers of {min(widths)} to {max(widths)} items; a Vector needs one width"
        if items.null_count:
            return None, {}, "lists of numbers with nulls inside"
        return "vector", {"n_dim": widths[0]}, f"lists of {widths[0]} numbers"

    def _vocabulary(self, distinct: int) -> dict[str, Any]:
        wanted = 2 * distinct + 16
        return {"max_vocab_size": min(self.config.vocab_cap, 1 << (wanted - 1).bit_length())}

    def check_targets(self) -> None:
        """Raise for a target that became no field."""
        for name in sorted(self.config.targets - self.met):
            if name in self.keys:
                raise SchemaError(f"target {name!r} is a key of the data, but no field could be made of it")
            close = difflib.get_close_matches(name, sorted(self.keys), n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"keys are: {', '.join(sorted(self.keys))}"
            raise SchemaError(f"target {name!r} is no key of the data; {hint}")


def _is_list(kind: Any) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _date_parts(daytime: bool) -> dict[str, Any]:
    return {"dateparts": (*_DATE_PARTS, "hour_of_day") if daytime else _DATE_PARTS}

