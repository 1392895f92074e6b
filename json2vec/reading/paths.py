"""Where values lie in a schema, as paths, and which path may be meant by one that is not there.

A path is what leads to a value: keys, and None for the items of a list. In ``legs: list<struct<carrier: string>>`` the
carriers lie at ``("legs", None, "carrier")``, written ``legs[].carrier``.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from json2vec.reading.type_family import family

Path = tuple[str | None, ...]
EACH = None
"""The part of a path that goes into every item of a list."""
_PLAIN = re.compile(r"[\w-]+")


def path_text(path: Path) -> str:
    """``legs[].carrier``; names with odd characters stand in quotes."""
    keys = ["[]" if key is None else "." + (key if _PLAIN.fullmatch(key) else json.dumps(key)) for key in path]
    return "".join(keys).removeprefix(".")


def bare_name(name: str | None) -> str:
    """A name without case and separators: ``Order_ID`` and ``orderId`` are the same."""
    return re.sub(r"[\W_]+", "", name or "").casefold()


def child_type(arrow_type: Any, key: str | None) -> pa.DataType | None:
    """The type below a key of an object or map; None where an object has no such key."""
    if pa.types.is_map(arrow_type):
        return arrow_type.item_type
    index = arrow_type.get_field_index(key) if key is not None and pa.types.is_struct(arrow_type) else -1
    return arrow_type.field(index).type if index >= 0 else None


def paths_below(arrow_type: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every path below a type, with its type."""
    below: Iterable[tuple[str | None, Any]] = ()
    if family(arrow_type) == "object":
        below = [(child.name, child.type) for child in arrow_type]
    elif family(arrow_type) == "list":
        below = [(EACH, arrow_type.value_type)]
    for key, inner in below:
        yield (*path, key), inner
        yield from paths_below(inner, (*path, key))


def first_absent(arrow_type: Any, path: Path) -> Path | None:
    """The beginning of ``path`` up to the first key that an object lacks; None where no object lacks any.

    A column of nulls alone may hold anything, and a map may have any key: neither lacks one. Nor does a value that is
    no object at all, which is another fault than a missing key.

    Args:
        arrow_type: a plain type (`json2vec.reading.plain`), such as a schema's columns as one struct.
        path: what to look for below it.
    """
    for index, key in enumerate(path):
        kind = family(arrow_type)
        if key is EACH:
            if kind != "list":
                return None
            arrow_type = arrow_type.value_type
        elif kind in ("object", "map"):
            below = child_type(arrow_type, key)
            if below is None:
                return path[: index + 1]
            arrow_type = below
        else:
            return None
    return None


def nearest(path: Path, candidates: Mapping[Path, Any], expected: Any = None) -> tuple[Path, str] | None:
    """The path that may be meant by one that is not there, and what is different: a few words, or a question.

    Args:
        path: what is not there; it ends with a key.
        candidates: the paths to choose from, each with its type.
        expected: the type of what is not there; with it, the only sibling of this type is a candidate by its type
            alone.
    """
    *above, name = path
    assert name is not None
    named = [at for at in candidates if at[-1] is not EACH]
    siblings = [at for at in named if list(at[:-1]) == above]
    same = [at for at in named if bare_name(at[-1]) == bare_name(name)]
    for at in sorted(same, key=lambda at: at not in siblings):
        return at, "is spelled differently" if at in siblings else "has its name in another place"
    close = difflib.get_close_matches(name, [str(at[-1]) for at in siblings], 1, 0.6)
    alike = [at for at in siblings if str(at[-1]) in close]
    if not alike and expected is not None:
        of_type = [at for at in siblings if family(candidates[at]) == family(expected)]
        alike = of_type if len(of_type) == 1 else []
    return (alike[0], "was it renamed?") if alike else None
