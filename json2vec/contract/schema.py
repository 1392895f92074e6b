"""The schema of new shards against that of the training: what is missing, what changed its type or its place.

A path is what leads to a value: keys, and `EACH` for the items of a list.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from json2vec.contract.breach import Breach, Severity
from json2vec.contract.types import child_type, judge, spell
from json2vec.profile.profile import Profile
from json2vec.reading.plain import plain_schema
from json2vec.reading.type_family import family
from json2vec.schema.nodes import Leaf
from json2vec.schema.queries import EACH
from json2vec.schema.schema import Schema

Path = tuple[str | None, ...]
_PLAIN = re.compile(r"[\w-]+")

SURE = 1e-6
"""A column whose values are all missing is a breach where chance makes that so with at most this probability."""


def path_text(path: Path) -> str:
    """``legs[].carrier``; names with odd characters stand in quotes."""
    keys = ["[]" if key is None else "." + (key if _PLAIN.fullmatch(key) else json.dumps(key)) for key in path]
    return "".join(keys).removeprefix(".")


def check_schema(found: pa.Schema, profile: Profile, schema: Schema, *, suffix: str, rows: int) -> list[Breach]:
    """Compare schemas; reads no row.

    Args:
        found: schema of the new shards.
        profile: of the training.
        schema: of the model; only columns that it reads in prediction count, with a preprocessor all columns of the
            training but those that have a target's name.
        suffix: format of the new shards.
        rows: that the new shards have.
    """
    return _Comparison(found, profile, schema, suffix, rows).run()


class _Comparison:
    def __init__(self, found: pa.Schema, profile: Profile, schema: Schema, suffix: str, rows: int) -> None:
        self.expected: Any = pa.struct(list(plain_schema(profile.schema)))
        self.found: Any = pa.struct(list(plain_schema(found)))
        self.profile, self.schema, self.rows = profile, schema, rows
        self.untyped = suffix in ("csv", "json", "ndjson")
        self.inferred = self.untyped or profile.inferred
        self.known = dict(_walk(self.expected))
        self.new = {path: kind for path, kind in _walk(self.found) if path not in self.known}
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
        expected, found = self.expected, self.found
        for index, step in enumerate(steps):
            path = steps[:index]
            if not self._container(address, path, step, expected, found):
                return
            if step is EACH:
                expected, found = expected.value_type, found.value_type
                continue
            self._clash(address, path, step, found)
            was, now = child_type(expected, step), child_type(found, step)
            if was is None:
                if now is not None:
                    self._never_seen(address, (*path, step), now)
                return
            if now is None:
                self._missing(address, (*path, step), was)
                return
            expected, found = was, now
        self._value(address, steps, leaf, expected, found)

    def _container(self, address: str, path: Path, step: str | None, expected: Any, found: Any) -> bool:
        """Whether both sides have a list, or an object, where the query goes on."""
        lists, objects = ("list",), ("object", "map")
        wanted = lists if step is EACH else objects
        if family(expected) not in wanted:
            return False  # the training saw nothing here either
        if family(found) == "null":
            self._all_null(address, path, expected)
            return False
        if family(found) not in wanted:
            why = {
                ("list", "object"): "a list of objects became an object of lists (columns), or a single object",
                ("list", "string"): "text where a list was; JSON text, or values joined by a separator, must be parsed",
                ("object", "string"): "text where an object was; JSON text must be parsed",
                ("object", "list"): "a list where a single object was",
            }.get((family(expected), family(found)), "a value of another shape")
            self._add(
                "shape", "error", address, path, spell(expected), f"{spell(found)}: {why}",
                f"write {path_text(path)} as {spell(expected, width=60)} again, or train on the new shape",
            )  # fmt: skip
            return False
        if family(expected) != family(found):
            self._add("map", "warning", address, path, spell(expected), spell(found),
                      "the model looks its keys up in either; make sure that every record has them")  # fmt: skip
        return True

    def _value(self, address: str, path: Path, leaf: Leaf | None, expected: Any, found: Any) -> None:
        if family(found) == "null" and family(expected) != "null":
            self._all_null(address, path, expected)
            return
        if family(expected) == "null":
            if family(found) != "null":
                self._never_seen(address, path, found)
            return
        verdict = judge(leaf, expected, found, inferred=self.inferred)
        if verdict is not None:
            severity, why = verdict
            self._add(
                "type", severity, address, path, spell(expected), f"{spell(found)}: {why}",
                f"write {path_text(path)} as {spell(expected, width=60)} again, or train on the new type",
            )  # fmt: skip

    def _column(self, path: Path, address: str = "") -> None:
        """Compare a column that some code reads, with everything below it."""
        expected, found = self.known[path], self._at(path)
        if found is None:
            self._missing(address, path, expected)
        elif family(expected) in ("object", "list") and family(found) == family(expected):
            for below in self.known:
                if below[:-1] == path:
                    self._column(below, address)
        else:
            self._value(address, path, None, expected, found)

    def _at(self, path: Path) -> Any:
        kind = self.found
        for key in path:
            if kind is None:
                return None
            kind = (kind.value_type if family(kind) == "list" else None) if key is EACH else child_type(kind, key)
        return kind

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
        *above, name = path
        assert name is not None
        named = {at: kind for at, kind in self.new.items() if at[-1] is not EACH}
        siblings = [at for at in named if list(at[:-1]) == above]
        same = [at for at in named if _bare(at[-1]) == _bare(name)]
        for at in sorted(same, key=lambda at: at not in siblings):
            what = "is spelled differently" if at in siblings else "has its name in another place"
            return f"{path_text(at)} ({spell(named[at])}) is new and {what}"
        close = difflib.get_close_matches(name, [str(at[-1]) for at in siblings], 1, 0.6)
        alike = [at for at in siblings if str(at[-1]) in close]
        if not alike and len([at for at in siblings if family(named[at]) == family(expected)]) == 1:
            alike = [at for at in siblings if family(named[at]) == family(expected)]
        return f"{path_text(alike[0])} ({spell(named[alike[0]])}) is new; was it renamed?" if alike else None

    def _all_null(self, address: str, path: Path, expected: Any) -> None:
        severity: Severity = "info" if self._ordinary(address) else "error" if address else "warning"
        self._add("null_type", severity, address, path, spell(expected), spell(pa.null()),
                  f"fill {path_text(path)}; a column without any value has lost its source")  # fmt: skip

    def _ordinary(self, address: str) -> bool:
        """Whether rows like those of the training may well be without any value here."""
        leaf = self.profile.leaves.get(address)
        if leaf is None:
            return False
        arrays = self.profile.arrays.items()
        above = [lengths.empty_rate for array, lengths in arrays if address.startswith(f"{array}/")]
        missing = max([leaf.null_rate if leaf.occupied else 1.0, *above])
        return missing**self.rows > SURE

    def _never_seen(self, address: str, path: Path, found: Any) -> None:
        self._add("never_seen", "warning", address, path, "no value at all in training", spell(found),
                  "train again: the model has never seen a value of this column")  # fmt: skip

    def _clash(self, address: str, path: Path, name: str | None, found: Any) -> None:
        if family(found) != "object":
            return
        assert name is not None
        for field in found:
            alike = field.name != name and _bare(field.name) == _bare(name) and child_type(found, name) is not None
            if alike and (*path, field.name) in self.new and (*path, name) in self.known:
                self._add(
                    "name_clash", "warning", address, (*path, name), f"one column {name!r}",
                    f"{name!r} and {field.name!r} ({spell(field.type)})",
                    "keep one of them; make sure that the values are in the one the model reads",
                )  # fmt: skip

    def _extra(self) -> None:
        read = {breach.where for breach in self.breaches.values()}
        for path in self.new:
            inside = any(path[:n] in self.new for n in range(1, len(path)))
            if path[-1] is not EACH and not inside and path_text(path) not in read:
                self.breaches["extra", path] = Breach(
                    "extra", "info", path_text(path), "no such column", spell(self.new[path]),
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


def _bare(name: str | None) -> str:
    """A name without case and separators."""
    return re.sub(r"[\W_]+", "", name or "").casefold()


def _walk(kind: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every path below a type, with its type."""
    below: Iterable[tuple[str | None, Any]] = ()
    if family(kind) == "object":
        below = [(child.name, child.type) for child in kind]
    elif family(kind) == "list":
        below = [(EACH, kind.value_type)]
    for key, inner in below:
        yield (*path, key), inner
        yield from _walk(inner, (*path, key))
