"""Paths in schemas: how they are written, where they end, and which is near."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from json2vec.reading.paths import bare_name, first_absent, nearest, path_text, paths_below

ORDER: Any = pa.struct(
    {"id": pa.int64(), "items": pa.list_(pa.struct({"price": pa.float64(), "odd key": pa.string()})),
     "more": pa.map_(pa.string(), pa.int64()), "nothing": pa.null()}
)  # fmt: skip


@pytest.mark.parametrize(
    ("path", "absent"),
    [
        (("id",), None),
        (("ID",), ("ID",)),
        (("items", None, "price"), None),
        (("items", None, "cost"), ("items", None, "cost")),
        (("item", None, "cost"), ("item",)),
        (("more", "any key"), None),
        (("nothing", "below", None, "it"), None),
        (("id", "below"), None),  # a value where an object should be is another fault, which encoding names
    ],
)
def test_a_path_ends_where_an_object_lacks_its_key(path: Any, absent: Any) -> None:
    assert first_absent(ORDER, path) == absent


def test_paths_are_written_as_people_write_them() -> None:
    assert [path_text(path) for path, _ in paths_below(ORDER)] == [
        "id", "items", "items[]", "items[].price", 'items[]."odd key"', "more", "nothing",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "near"),
    [
        (("ID",), (("id",), "is spelled differently")),
        (("Price",), (("items", None, "price"), "has its name in another place")),
        (("item",), (("items",), "was it renamed?")),
        (("far away",), None),
    ],
)
def test_what_is_near(path: Any, near: Any) -> None:
    assert nearest(path, dict(paths_below(ORDER))) == near


KEYS = st.sampled_from(["a", "b", "c", "A", "b_c"])
TYPES = st.recursive(
    st.sampled_from([pa.int64(), pa.string(), pa.null()]),
    lambda inner: st.one_of(inner.map(pa.list_), st.dictionaries(KEYS, inner, min_size=1, max_size=3).map(pa.struct)),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(kind=st.dictionaries(KEYS, TYPES, min_size=1, max_size=3).map(pa.struct), key=KEYS)
def test_every_path_of_a_type_is_there_and_no_other_key_is(kind: Any, key: str) -> None:
    paths = dict(paths_below(kind))
    for path, below in paths.items():
        assert first_absent(kind, path) is None
        if pa.types.is_struct(below):
            further = (*path, key)
            assert (first_absent(kind, further) is None) == (further in paths)
    names = [field.name for field in kind]
    assert (first_absent(kind, (key,)) is None) == (key in names)
    near = nearest((key,), {(name,): None for name in names})
    if any(bare_name(name) == bare_name(key) for name in names):
        assert near is not None
        assert bare_name(near[0][0]) == bare_name(key)
