"""However Arrow stores values, they come in as the same values, from a shard as in `Model.encode`."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import json2vec as j2v
from json2vec.reading.plain import plain, plain_batch, plain_type
from json2vec.reading.readers import read_rows
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.local import LocalStore

NUMBERS, TEXTS, BYTES = [1, None, 3, -4, 0], ["red", None, "", "x" * 40, "red"], [b"a", None, b"", b"\xff" * 40, b"b"]


def run_ends(values: Any) -> pa.Array:
    """Run-end encoded, runs of different lengths."""
    lengths = [1 + i % 3 for i in range(len(values))]
    return pa.RunEndEncodedArray.from_arrays(pa.array(np.cumsum(lengths), pa.int32()), values)


def dictionary(values: pa.Array) -> pa.Array:
    indices = pa.array([*range(len(values)), None, 0], pa.int8())
    return pa.DictionaryArray.from_arrays(indices, values)


def ways(values: list[Any], kind: pa.DataType, views: list[pa.DataType]) -> list[pa.Array]:
    stored = [pa.array(values, one) for one in (kind, *views)]
    return [*stored, *map(dictionary, stored), *map(run_ends, stored)]


LEAVES = [
    *ways(NUMBERS, pa.int64(), []),
    *ways(TEXTS, pa.string(), [pa.large_string(), pa.string_view()]),
    *ways(BYTES, pa.binary(), [pa.large_binary(), pa.binary_view()]),
]


def python(array: Any) -> list[Any]:
    """The values, by Arrow's scalars one after the other: it knows all types."""
    return [scalar.as_py() for scalar in array]


def nested(leaf: pa.Array) -> dict[str, pa.Array]:
    """``leaf`` inside of everything that has items; lists of 0, 2 and 1 items, a null that owns one, and the rest."""
    n = len(leaf)
    offsets = [0, 0, 2, 3, 4, n]
    nulls = pa.array([False, False, False, True, False])
    sizes = [b - a for a, b in itertools.pairwise(offsets)]
    back = offsets[:-1][::-1]
    made = {
        "list": pa.ListArray.from_arrays(offsets, leaf, mask=nulls),
        "large list": pa.LargeListArray.from_arrays(offsets, leaf, mask=nulls),
        "list view": pa.ListViewArray.from_arrays(offsets[:-1], sizes, leaf, mask=nulls),
        "large list view": pa.LargeListViewArray.from_arrays(offsets[:-1], sizes, leaf, mask=nulls),
        "list view in another order": pa.ListViewArray.from_arrays(back, sizes[::-1], leaf),
        "overlapping list view": pa.ListViewArray.from_arrays([0, 1, 0], [3, 3, n], leaf),
        "list of two": pa.FixedSizeListArray.from_arrays(leaf.slice(0, n // 2 * 2), 2),
        "struct": pa.StructArray.from_arrays([leaf, leaf], ["a", "b"]),
        "map": pa.MapArray.from_arrays(offsets, pa.array([f"k{i}" for i in range(n)]), leaf),
    }
    return {name: array for name, array in made.items() if len(array)}


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: str(leaf.type))
def test_values_stay_what_they_are(leaf: pa.Array) -> None:
    arrays = {"itself": leaf, **nested(leaf)}
    views = {name: pa.ListViewArray.from_arrays([1, 0], [1, 2], one) for name, one in arrays.items()}
    arrays |= {f"list view of {name}": view for name, view in views.items()}
    for name, array in arrays.items():
        for some in (array, array.slice(1), array.slice(1, 1), array.slice(0, 0), array.slice(len(array) - 1)):
            found = plain(some)
            assert found.type.equals(plain_type(array.type)), name
            found.validate(full=True)
            assert python(found) == python(some), (name, some)


ITEMS = st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), max_size=4)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.one_of(st.none(), ITEMS), max_size=8), st.integers(0, 8), st.booleans())
def test_list_views_of_any_lists(rows: list[Any], start: int, large: bool) -> None:
    kind = pa.large_list_view(pa.int64()) if large else pa.list_view(pa.int64())
    array = pa.array(rows, kind).slice(min(start, len(rows)))
    assert plain(array).to_pylist() == rows[start:]


def test_a_batch_of_plain_columns_is_itself_and_dictionaries_stay() -> None:
    batch = pa.record_batch({"a": [1, 2], "c": pa.array(["x", "y"]).dictionary_encode()})
    assert plain_batch(batch) is batch
    viewed = pa.record_batch({"c": dictionary(pa.array(["x", "y"], pa.string_view()))})
    found = plain_batch(viewed)
    assert found.schema.field("c").type == pa.dictionary(pa.int8(), pa.large_string())
    assert python(found.column("c")) == ["x", "y", None, "x"]


@pytest.mark.parametrize("rows", [[[1, 2]], [[1], [2, 3], [4]], [[1, 2], None, [], [3]]])
@pytest.mark.parametrize("kind", [pa.list_view(pa.int64()), pa.large_list_view(pa.int64())], ids=str)
def test_a_shard_of_list_views_has_its_lists(tmp_path: Path, rows: list[Any], kind: pa.DataType) -> None:
    pyarrow.feather.write_feather(pa.table({"v": pa.array(rows, kind)}), str(tmp_path / "a.feather"))
    store = LocalStore(tmp_path)
    made = snapshot_files(store, "feather")
    batches = read_rows(made, store, [(0, made.rows)], batch_size=100)
    assert [row["v"] for batch in batches for row in batch.inputs.to_pylist()] == rows


def test_a_shard_of_categories_has_its_texts(tmp_path: Path) -> None:
    frame = pl.DataFrame({
        "c": pl.Series(["red", "blue", None], dtype=pl.Categorical),
        "e": pl.Series(["a", None, "b"], dtype=pl.Enum(["a", "b"])),
        "l": pl.Series([["x", None], [], None], dtype=pl.List(pl.Categorical)),
    })  # fmt: skip
    frame.write_ipc(tmp_path / "a.feather")
    store = LocalStore(tmp_path)
    made = snapshot_files(store, "feather")
    batches = read_rows(made, store, [(0, made.rows)], batch_size=100)
    assert [row for batch in batches for row in batch.inputs.to_pylist()] == frame.to_dicts()


def test_a_model_encodes_stored_values_as_plain_ones() -> None:
    items = j2v.Array(j2v.Number("p"), j2v.Category("c"), name="items", max_length=3)
    model = j2v.Model.from_schema(
        j2v.Number("n"), j2v.Category("t"), items, d_model=8, n_layers=1, n_heads=2, batch_size=4
    )
    struct: Any = pa.StructArray.from_arrays(
        [run_ends(pa.array([1.0, None, 2.5])), dictionary(pa.array(["red", None, "blue", "red"], pa.string_view()))],
        ["p", "c"],
    )
    viewed = pa.record_batch({
        "n": run_ends(pa.array([1.0, 2.0])),
        "t": dictionary(pa.array(["red"], pa.string_view())),
        "items": pa.ListViewArray.from_arrays([0, 2, 0], [2, 3, 0], struct, mask=pa.array([False, False, True])),
    })  # fmt: skip
    records = [{name: value.as_py() for name, value in zip(viewed.schema.names, row, strict=True)}
               for row in zip(*viewed.columns, strict=True)]  # fmt: skip
    as_plain = pa.RecordBatch.from_pylist(records)
    model.learn(viewed)
    for rows in (viewed, pa.Table.from_batches([viewed])):
        found, expected = model.encode(rows), model.encode(as_plain)
        for address, field in expected.fields.items():
            assert found.fields[address].state.equal(field.state), address
            for key, values in field.content.items():
                assert found.fields[address].content[key].equal(values), (address, key)
    assert model.vocabularies[j2v.Address("record", "t")].labels == ["red"]
