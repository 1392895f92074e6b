"""Columns that a model reads and that no file has: refused before anything is predicted.

    m = Model.from_schema(Number("amount"), ...)                          # reads the column "amount"
    StreamingDataModule(model=m, root="orders", suffix="csv", ...)        # whose files have one column, "id;amount"

Every value of ``amount`` would be null, and every prediction would be made of nothing. One file of many may lack a
column: its values are null there. Where no file has it, that is an error, unless ``missing_columns="allow"`` says that
it is meant.

What need not be there: targets, when nothing is trained; a column of a format that leaves nulls out (JSON, CSV), if
rows like those of the training may well have no value in it; anything at all where there is no row. Where a
preprocessor makes the observations, the columns that it made count, and not those of the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import jmespath
import pyarrow as pa

from json2vec.address import Address
from json2vec.enums import Strata, Suffix
from json2vec.errors import ContractBroken
from json2vec.processors import Preprocessor
from json2vec.profile.profile import Profile
from json2vec.reading.formats import declares_types
from json2vec.reading.paths import Path, first_absent, nearest, path_text, paths_below
from json2vec.reading.plain import plain_schema
from json2vec.reading.readers import OnBadRow, read_rows
from json2vec.reading.snapshot import FILES_SCHEMA, Snapshot
from json2vec.reading.source import Source
from json2vec.schema.queries import Query
from json2vec.schema.schema import Schema

MissingColumns = Literal["raise", "allow"]
"""What happens to a column that no file has."""

SURE = 1e-6
"""Values that are all missing are a fault where chance makes that so with at most this probability."""

_FIRST_ROWS = 16_384  # among them a preprocessor must make an observation, to be checked before the ranks start
_SHOWN = 20  # columns, of those that there are


def may_be_missing(profile: Profile | None, address: str, rows: int) -> bool:
    """Whether ``rows`` rows like those of the training may well be without any value of a leaf.

    Args:
        profile: the profile of the training; None where nobody knows.
        address: the address of the leaf.
        rows: how many rows there are.
    """
    leaf = None if profile is None else profile.leaves.get(address)
    if profile is None or leaf is None:
        return False
    above = [lengths.empty_rate for array, lengths in profile.arrays.items() if address.startswith(f"{array}/")]
    missing = max([leaf.null_rate if leaf.occupied else 1.0, *above])
    return missing**rows > SURE


@dataclass(frozen=True)
class ColumnCheck:
    """What a model must find in the files of a snapshot.

    Attributes:
        schema: the schema of the model.
        profile: the profile of its training; None where it has none.
        snapshot: the frozen list of the files.
        strata: the use of the rows; targets are read in all but ``predict``.
        made_by: name of the preprocessor whose output is checked; empty for the files themselves.
    """

    schema: Schema
    profile: Profile | None
    snapshot: Snapshot
    strata: Strata = Strata.predict
    made_by: str = ""

    def before_rows(self, preprocessor: Preprocessor | None) -> ColumnCheck | None:
        """Check what is known before any row is read.

        Args:
            preprocessor: what makes the observations; None where the rows are taken as they are.

        Returns:
            the check of the first observations, where only they show what a preprocessor makes; None where all is
            checked.

        Raises:
            ContractBroken: a column is not there.
        """
        if preprocessor is None:
            self(self.snapshot.schema)
            return None
        made = replace(self, made_by=preprocessor.name)
        if preprocessor.schema is None:
            return made
        made(preprocessor.schema)
        return None

    def before_ranks(self, preprocessor: Preprocessor | None, source: Source, on_bad_row: OnBadRow) -> None:
        """Check all that can be known without predicting: `before_rows`, and what the preprocessor makes of some rows.

        Args:
            preprocessor: what makes the observations; None where the rows are taken as they are.
            source: the store of the files, or the table.
            on_bad_row: how the prediction to come will treat bad rows.

        Raises:
            ContractBroken: a column is not there.
            Json2VecError: the first rows cannot be read, or the preprocessor refuses them.
        """
        check = self.before_rows(preprocessor)
        if check is None:
            return
        first = [(0, min(self.snapshot.rows, _FIRST_ROWS))]
        batches = read_rows(
            self.snapshot, source, first, batch_size=_FIRST_ROWS // 16, preprocessor=preprocessor,
            on_bad_row=on_bad_row, strata=self.strata,
        )  # fmt: skip
        made = next((batch for batch in batches if len(batch)), None)
        if made is not None:  # else each rank looks at its own first observation
            check(made.observations.schema)

    def __call__(self, found: pa.Schema) -> None:
        """Look for every column that the model reads.

        Args:
            found: the schema that the rows come in.

        Raises:
            ContractBroken: a column is not there; names every one of them and what may be meant.
        """
        if not self.snapshot.rows:
            return
        there: Any = pa.struct(list(plain_schema(found)))
        missing = dict(self._missing(there))
        if not missing:
            return
        read = {path for address in self._leaves for path in _paths_read(self.schema.query(address))}
        unread = {path: kind for path, kind in paths_below(there) if path not in read}
        lines, remedies = [], list[str]()
        for path, addresses in missing.items():
            hint, remedy = self._hint(path, unread)
            lines.append(f"  {path_text(path)} (of {', '.join(addresses)}){': ' + hint if hint else ''}")
            if remedy and remedy not in remedies:
                remedies.append(remedy)
        names = [path_text((field.name,)) for field in there]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        what, where = ("columns", "are") if len(missing) > 1 else ("a column", "is")
        text = "\n".join(lines)
        remedies.append("write what is missing, or set query= of the field to where its values are")
        raise ContractBroken(
            f"{self._subject}: the model reads {what} that {where} not there:\n{text}\n"
            f"The columns are: {', '.join(names[:_SHOWN]) or 'none'}{more}. Every value of a missing column would be "
            f"null. Remedy: {'; '.join(remedies)}. If every row may lack it, say missing_columns='allow'"
        )

    @property
    def _subject(self) -> str:
        files = self.snapshot.files.num_rows
        if self.made_by:
            return f"what preprocessor {self.made_by!r} makes of the rows of {self.snapshot.root}"
        if self.snapshot.root.startswith("frame:"):
            return self.snapshot.root
        return f"{self.snapshot.root} ({files:,} {self.snapshot.suffix} file{'s' * (files != 1)})"

    @property
    def _leaves(self) -> Sequence[Address]:
        return list(self.schema.inputs if self.strata is Strata.predict else self.schema.active)

    def _missing(self, there: Any) -> Iterator[tuple[Path, list[str]]]:
        """The paths that are not there, each with the addresses of the leaves that read it."""
        missing: dict[Path, list[str]] = {}
        sparse = not declares_types(str(self.snapshot.suffix)) or bool(self.made_by)
        for address in self._leaves:
            absent = [first_absent(there, path) for path in _paths_read(self.schema.query(address))]
            if not absent or None in absent:
                continue
            if sparse and may_be_missing(self.profile, str(address), self.snapshot.rows):
                continue
            for path in absent:
                assert path is not None
                missing.setdefault(path, []).append(str(address))
        yield from missing.items()

    def _hint(self, path: Path, unread: dict[Path, Any]) -> tuple[str, str]:
        """What may be meant by a path that is not there, and a remedy of its own; empty where nothing is near."""
        name = path[-1]
        if (folder := self._folder(str(name))) and len(path) == 1 and not self.made_by:
            exact = folder.startswith(f"{name}=")
            remedy = f"say folder_columns=[{name!r}]" if exact else f"write {name} into the files as well"
            return f"its value stands only in the name of a folder, {folder}/", remedy
        near = nearest(path, unread)
        return (f"did you mean {path_text(near[0])!r}?", "") if near is not None else ("", "")

    def _folder(self, name: str) -> str:
        """The folder ``name=value`` that the files lie in, in any spelling of the name; empty where there is none."""
        first = self.snapshot.path(0) if self.snapshot.files.num_rows else ""
        parts = f"{self.snapshot.root}/{first}".split("/")[:-1]
        named = [part for part in parts if "=" in part and part.partition("=")[0].casefold() == name.casefold()]
        return named[-1] if named else ""


def check_table(schema: Schema, table: pa.RecordBatch, strata: Strata) -> None:
    """`ColumnCheck` of rows in memory, which have no file.

    Raises:
        ContractBroken: a column that the model reads is not there.
    """
    row = {"path": "frame:table", "size": table.nbytes, "version": "", "rows": table.num_rows}
    files = pa.Table.from_pylist([row], FILES_SCHEMA)
    ColumnCheck(schema, None, Snapshot("frame:table", Suffix.parquet, files, table.schema), strata)(table.schema)


def columns_read(schema: Schema) -> list[str]:
    """The names of the columns that a model reads in prediction, the keys of its records."""
    paths = [path for address in schema.inputs for path in _paths_read(schema.query(address))]
    return [str(path[0]) for path in dict.fromkeys(path[:1] for path in paths)]


def unread_leaves(schema: Schema, keys: Iterable[str]) -> list[str]:
    """The columns of leaves that find none of theirs among ``keys``."""
    there = set(keys)
    read = [[str(path[0]) for path in _paths_read(schema.query(address))] for address in schema.inputs]
    return list(dict.fromkeys(name for names in read if not there & set(names) for name in names))


def foreign_keys(schema: Schema, keys: Iterable[str]) -> str | None:
    """Why records with these keys hold nothing that a model reads; None where they hold something, or have no key.

    A record may leave keys out, whose values are then null. One that has none of them at all was meant for something
    else: keys in capitals, or wrapped in another object.

    Args:
        schema: the schema of the model.
        keys: the keys that the records have.
    """
    there, wanted = list(dict.fromkeys(map(str, keys))), columns_read(schema)
    if not there or not wanted or set(there) & set(wanted):
        return None
    near = {name: nearest((name,), {(key,): pa.null() for key in there}) for name in wanted}
    hints = [f"did you mean {at[0][0]!r} for {name!r}?" for name, at in near.items() if at is not None]
    return (
        f"none of the keys {there[:_SHOWN]} is one that the model reads; expected some of {wanted[:_SHOWN]}"
        f"{'; ' + ' '.join(hints[:3]) if hints else ''}. Remedy: send the record with the keys of the training, or set "
        "query= of the fields"
    )


def _paths_read(query: Query) -> list[Path]:
    """What a query reads of a record, as far as that can be told without a record: of a JMESPath expression the
    columns that it begins with, of which one is enough."""
    if query.steps is not None:
        return [query.steps]
    return [(key,) for key in dict.fromkeys(_record_keys(jmespath.compile(query.text).parsed))]


def _record_keys(tree: Any) -> Iterator[str]:
    """The keys of the record that a whole query begins with; the record is what its first ``[*]`` stands for."""
    kind, children = tree["type"], tree["children"]
    if kind in ("projection", "filter_projection") and children[0]["type"] in ("identity", "current"):
        yield from _keys(children[1])
        return
    for child in children[:1] if kind == "pipe" else children:
        if isinstance(child, dict):
            yield from _record_keys(child)


def _keys(tree: Any) -> Iterator[str]:
    """The keys of the current node that an expression begins with."""
    kind, children = tree["type"], tree["children"]
    if kind == "field":
        yield tree["value"]
    elif kind in ("subexpression", "index_expression", "projection", "filter_projection", "value_projection", "flatten",
                  "pipe"):  # fmt: skip
        yield from _keys(children[0])
    else:
        for child in children:
            if isinstance(child, dict):
                yield from _keys(child)
