"""Which version of a table a snapshot holds, and what the log of the table says of that version."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute

from json2vec.errors import ReadError

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them
TableKind = Literal["delta", "iceberg"]


@dataclass(frozen=True, eq=False)
class TableVersion:
    """Which version of a table a snapshot holds, and what its files do not.

    Attributes:
        kind: ``delta`` or ``iceberg``.
        version: the version of a Delta table, the snapshot id of an Iceberg table.
        columns: one row a file of the snapshot, in its order: the value that a column has in all rows of the file. None
            but the columns that the table is partitioned by.
    """

    kind: TableKind
    version: int
    columns: pa.Table

    def complete(self, batch: pa.RecordBatch, file: int) -> pa.RecordBatch:
        """``batch``, of file number ``file``, with the columns of the table; its values count, not those of a file."""
        if not self.columns.num_columns:
            return batch
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        for name in self.columns.column_names:
            columns[name] = pa.repeat(self.columns[name][file], batch.num_rows)
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))

    def texts(self) -> str:
        """The columns as text: what enters the digest of a snapshot. The version does not: other files, or other
        values, make other rows, and another version with the same does not."""
        return json.dumps(
            [[name, str(column.type), column.cast(pa.string()).to_pylist()]
             for name, column in zip(self.columns.column_names, self.columns.columns, strict=True)]
        )  # fmt: skip

    def to_plain(self) -> dict[str, Any]:
        """Plain values for `json.dumps`; the columns as base64 of their IPC bytes."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.columns.schema) as writer:
            writer.write_table(self.columns)
        return {
            "kind": self.kind,
            "version": self.version,
            "columns": base64.b64encode(sink.getvalue().to_pybytes()).decode(),
        }

    @staticmethod
    def from_plain(value: Mapping[str, Any]) -> TableVersion:
        """The inverse of `to_plain`."""
        columns = pa.ipc.open_stream(pa.py_buffer(base64.b64decode(value["columns"]))).read_all()
        return TableVersion(value["kind"], value["version"], columns)


@dataclass(frozen=True)
class TableFiles:
    """What a table's log says of one version.

    Attributes:
        kind: ``delta`` or ``iceberg``.
        version: the version, resolved.
        paths: the data files, relative to the root of the table.
        rows: int64 (files,): how many rows each has; null where the log does not say.
        schema: the table's schema at this version.
        columns: as `TableVersion.columns`, in the order of ``paths``.
    """

    kind: TableKind
    version: int
    paths: list[str]
    rows: pa.Array
    schema: pa.Schema
    columns: pa.Table

    def where(self, values: Mapping[str, str]) -> TableFiles:
        """Those of the files in which the partition columns have these values.

        Args:
            values: text by name of a column; it is read as a value of the column's type.

        Raises:
            ReadError: a column that the table is not partitioned by, or a text that is no value of its type.
        """
        keep = pa.array([True] * len(self.paths), pa.bool_())
        for name, text in values.items():
            if name not in self.columns.column_names:
                raise ReadError(
                    f"the {self.kind} table is not partitioned by {name!r}; its partition columns are "
                    f"{self.columns.column_names}. Remedy: name one of them in the folder template"
                )
            column = self.columns[name].combine_chunks()
            try:
                same = pc.equal(column, pa.scalar(text).cast(column.type))
            except pa.ArrowException as exc:
                raise ReadError(f"{text!r} is no value of the partition column {name!r}, {column.type}: {exc}") from exc
            keep = pc.and_(keep, pc.fill_null(same, False))
        return replace(
            self, paths=pa.array(self.paths, pa.string()).filter(keep).to_pylist(), rows=self.rows.filter(keep),
            columns=self.columns.filter(keep) if self.columns.num_columns else self.columns,
        )  # fmt: skip
