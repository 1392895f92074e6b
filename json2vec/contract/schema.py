"""The schema of new shards against that of the training: what is missing, what changed its type or its place."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from json2vec.contract.breach import Breach, Severity
from json2vec.contract.types import judge, spell
from json2vec.profile.missing import may_be_missing
from json2vec.profile.profile import Profile
from json2vec.reading.formats import declares_types
from json2vec.reading.paths import Path, bare_name, child_type, nearest, path_text, paths_below
from json2vec.reading.plain import plain_schema
from json2vec.reading.type_family import family
from json2vec.schema.nodes import Leaf
from json2vec.schema.queries import EACH
from json2vec.schema.schema import Schema


def check_schema(new_schema: pa.Schema, profile: Profile, schema: Schema, *, suffix: str, rows: int) -> list[Breach]:
    """Compare schemas; reads no row.

    Args:
        new_schema: the schema of the new shards.
        profile: the profile of the training.
        schema: the schema of the model. Only columns that it reads in prediction count. With a preprocessor all columns
            of the training count but those that have a target's name.
        suffix: the format of the new shards, such as ``parquet``.
        rows: how many rows the new shards have.

    Returns:
        the breaches, in the order in which the columns are met.
    """
    return _Comparison(new_schema, profile, schema, suffix, rows).run()


class _Comparison:
    """One comparison: both schemas as types, their paths, and the breaches met so far.

    Attributes:
        expected: the columns of the training, as one struct type.
        new_type: the columns of the new shards, as one struct type.
        untyped: whether the new shards' format has no types, so that theirs were inferred from values.
        inferred: whether the types of either side were.
        trained_paths: every path of the training with its type.
        new_paths: every path that only the new shards have, with its type.
        breaches: by kind and path.
    """

    def __init__(self, new_schema: pa.Schema, profile: Profile, schema: Schema, suffix: str, rows: int) -> None:
        self.expected: Any = pa.struct(list(plain_schema(profile.schema)))
        self.new_type: Any = pa.struct(list(plain_schema(new_schema)))
        self.profile, self.schema, self.rows = profile, schema, rows
        self.untyped = not declares_types(suffix)
        self.inferred = self.untyped or profile.inferred
        self.trained_paths = dict(paths_below(self.expected))
        self.new_paths = {
            path: arrow_type for path, arrow_type in paths_below(self.new_type) if path not in self.trained_paths
        }
        self.breaches: dict[tuple[str, Path], Breach] = {}

    def run(self) -> list[Breach]:
        if self.profile.preprocessed:
            targets = {self.schema.query(at).steps for at in self.schema.target}
            skipped = {steps[0] for steps in targets if steps}
            for field in self.expected:
                if field.name not in skipped:
                    self._column((field.name,))
        else:
            for address, leaf in self.schema.inputs.items():
                query = self.schema.query(address)
                if query.steps is not None:
                    self._leaf(str(address), leaf, query.steps)
                    continue
                named = set(re.findall(r"\w+", query.text))
                for field in self.expected:
                    if field.name in named:
                        self._column((field.name,), str(address))
        self._extra()
        return list(self.breaches.values())

    def _leaf(self, address: str, leaf: Leaf, steps: Path) -> None:
        """Walk both schemas along a leaf's query, up to the first difference."""
        expected, new_type = self.expected, self.new_type
        for index, step in enumerate(steps):
            path = steps[:index]
            if not self._container(address, path, step, expected, new_type):
                return
            if step is EACH:
                expected, new_type = expected.value_type, new_type.value_type
                continue
            self._clash(address, path, step, new_type)
            was, now = child_type(expected, step), child_type(new_type, step)
            if was is None:
                if now is not None:
                    self._never_seen(address, (*path, step), now)
                return
            if now is None:
                self._missing(address, (*path, step), was)
                return
            expected, new_type = was, now
        self._value(address, steps, leaf, expected, new_type)

    def _container(self, address: str, path: Path, step: str | None, expected: Any, new_type: Any) -> bool:
        """Whether both sides have a list, or an object, where the query goes on."""
        lists, objects = ("list",), ("object", "map")
        families = lists if step is EACH else objects
        if family(expected) not in families:
            return False  # the training saw nothing here either
        if family(new_type) == "null":
            self._all_null(address, path, expected)
            return False
        if family(new_type) not in families:
            why = {
                ("list", "object"): "a list of objects became an object of lists (columns), or a single object",
                ("list", "string"): "text where a list was; JSON text, or values joined by a separator, must be parsed",
                ("object", "string"): "text where an object was; JSON text must be parsed",
                ("object", "list"): "a list where a single object was",
            }.get((family(expected), family(new_type)), "a value of another shape")
            self._add(
                "shape", "error", address, path, spell(expected), f"{spell(new_type)}: {why}",
                f"write {path_text(path)} as {spell(expected, width=60)} again, or train on the new shape",
            )  # fmt: skip
            return False
        if family(expected) != family(new_type):
            self._add("map", "warning", address, path, spell(expected), spell(new_type),
                      "the model looks its keys up in either; make sure that every record has them")  # fmt: skip
        return True

    def _value(self, address: str, path: Path, leaf: Leaf | None, expected: Any, new_type: Any) -> None:
        if family(new_type) == "null" and family(expected) != "null":
            self._all_null(address, path, expected)
            return
        if family(expected) == "null":
            if family(new_type) != "null":
                self._never_seen(address, path, new_type)
            return
        verdict = judge(leaf, expected, new_type, inferred=self.inferred)
        if verdict is not None:
            severity, why = verdict
            self._add(
                "type", severity, address, path, spell(expected), f"{spell(new_type)}: {why}",
                f"write {path_text(path)} as {spell(expected, width=60)} again, or train on the new type",
            )  # fmt: skip

    def _column(self, path: Path, address: str = "") -> None:
        """Compare a column that some code reads, with everything below it."""
        expected, new_type = self.trained_paths[path], self._at(path)
        if new_type is None:
            self._missing(address, path, expected)
        elif family(expected) in ("object", "list") and family(new_type) == family(expected):
            for below in self.trained_paths:
                if below[:-1] == path:
                    self._column(below, address)
        else:
            self._value(address, path, None, expected, new_type)

    def _at(self, path: Path) -> Any:
        arrow_type = self.new_type
        for key in path:
            if arrow_type is None:
                return None
            if key is EACH:
                arrow_type = arrow_type.value_type if family(arrow_type) == "list" else None
            else:
                arrow_type = child_type(arrow_type, key)
        return arrow_type

    # What is wrong, in words.

    def _missing(self, address: str, path: Path, expected: Any) -> None:
        severity: Severity = "error"
        if self.untyped and (self._ordinary(address) or not address):
            severity = "info" if address else "warning"
        near = self._near(path, expected)
        found = "no such column" if near is None else f"no such column; {near}"
        remedy = f"write the column {path_text(path)} again"
        if near is not None:
            remedy += " under its old name and place, or set the field's query and train again"
        self._add("missing", severity, address, path, spell(expected), found, remedy)

    def _near(self, path: Path, expected: Any) -> str | None:
        """What the missing column may have become."""
        near = nearest(path, self.new_paths, expected)
        if near is None:
            return None
        at, what = near
        return f"{path_text(at)} ({spell(self.new_paths[at])}) is new{';' if what.endswith('?') else ' and'} {what}"

    def _all_null(self, address: str, path: Path, expected: Any) -> None:
        severity: Severity = "info" if self._ordinary(address) else "error" if address else "warning"
        self._add("null_type", severity, address, path, spell(expected), spell(pa.null()),
                  f"fill {path_text(path)}; a column without any value has lost its source")  # fmt: skip

    def _ordinary(self, address: str) -> bool:
        """Whether rows like those of the training may well be without any value here."""
        return may_be_missing(self.profile, address, self.rows)

    def _never_seen(self, address: str, path: Path, new_type: Any) -> None:
        self._add("never_seen", "warning", address, path, "no value at all in training", spell(new_type),
                  "train again: the model has never seen a value of this column")  # fmt: skip

    def _clash(self, address: str, path: Path, name: str | None, new_type: Any) -> None:
        if family(new_type) != "object":
            return
        assert name is not None
        for field in new_type:
            alike = field.name != name and bare_name(field.name) == bare_name(name)
            alike = alike and child_type(new_type, name) is not None
            if alike and (*path, field.name) in self.new_paths and (*path, name) in self.trained_paths:
                self._add(
                    "name_clash", "warning", address, (*path, name), f"one column {name!r}",
                    f"{name!r} and {field.name!r} ({spell(field.type)})",
                    "keep one of them; make sure that the values are in the one the model reads",
                )  # fmt: skip

    def _extra(self) -> None:
        read = {breach.where for breach in self.breaches.values()}
        for path in self.new_paths:
            inside = any(path[:n] in self.new_paths for n in range(1, len(path)))
            if path[-1] is not EACH and not inside and path_text(path) not in read:
                self.breaches["extra", path] = Breach(
                    "extra", "info", path_text(path), "no such column", spell(self.new_paths[path]),
                    "none needed; the model does not read it",
                )  # fmt: skip

    def _add(
        self, kind: str, severity: Severity, address: str, path: Path, expected: str, found: str, remedy: str
    ) -> None:
        """Several leaves that meet the same difference make one breach, as bad as the worst of them."""
        before = self.breaches.get((kind, path))
        addresses = (*(before.addresses if before else ()), *([address] if address else ()))
        if before is not None and _ORDER.index(before.severity) < _ORDER.index(severity):
            severity, found = before.severity, before.found
        self.breaches[kind, path] = Breach(
            kind, severity, path_text(path) or "(the record)", expected, found, remedy, addresses=addresses
        )


_ORDER: tuple[Severity, ...] = ("error", "warning", "info")
