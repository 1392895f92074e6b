"""Over all pairs of Arrow types: what they unite to, and that every value comes out as it was or an error names it."""

from __future__ import annotations

import datetime as dt
import itertools
import math
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from json2vec.errors import ReadError
from json2vec.reading.conform import Unifier, conform
from json2vec.reading.lasting import lasting_type
from json2vec.reading.plain import plain_type
from json2vec.reading.readers import read_rows
from json2vec.reading.snapshot import snapshot_files
from json2vec.reading.unite import unite, unite_schemas
from json2vec.storage.local import LocalStore

INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
FLOATS = [pa.float16(), pa.float32(), pa.float64()]
DECIMALS = [pa.decimal32(5, 2), pa.decimal64(12, 3), pa.decimal128(10, 2), pa.decimal128(38, 0), pa.decimal128(38, 30),
            pa.decimal128(3, -2), pa.decimal256(50, 2)]  # fmt: skip
TEXTS = [pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.binary(2)]
UNITS = ("s", "ms", "us", "ns")
TIMES = [pa.date32(), pa.date64(), *(pa.timestamp(unit) for unit in UNITS), pa.timestamp("us", "UTC"),
         pa.timestamp("ns", "UTC"), pa.timestamp("us", "Europe/Berlin"), pa.time32("s"), pa.time32("ms"),
         pa.time64("us"), pa.time64("ns"), *(pa.duration(unit) for unit in UNITS)]  # fmt: skip
FLAT = [pa.null(), pa.bool_(), *INTEGERS, *FLOATS, *DECIMALS, *TEXTS, *TIMES]
NESTED = [pa.list_(pa.int32()), pa.list_(pa.float64()), pa.large_list(pa.int64()), pa.list_(pa.int64(), 2),
          pa.list_(pa.int8(), 2), pa.list_(pa.int8(), 3), pa.struct([("a", pa.int32())]),
          pa.struct([("b", pa.int8()), ("a", pa.float64())]), pa.map_(pa.string(), pa.int32()),
          pa.map_(pa.string(), pa.float32())]  # fmt: skip
PAIRS = list(itertools.product([*FLAT, *NESTED], repeat=2))


def arrow(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    try:
        schemas = [pa.schema([("x", a)]), pa.schema([("x", b)])]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return None


def test_what_arrow_unites_well_stays_as_it_was() -> None:
    """Snapshots of files whose values came in as they were keep their digests."""
    for a, b in PAIRS:
        if pa.types.is_decimal(a) != pa.types.is_decimal(b) and not pa.types.is_null(a) and not pa.types.is_null(b):
            continue
        found, expected = unite(a, b), arrow(a, b)
        assert (found is None) == (expected is None), (a, b, found, expected)
        assert found is None or (found.equals(expected) and str(found) == str(expected)), (a, b, found, expected)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (pa.int32(), pa.decimal128(10, 2), pa.decimal128(12, 2)),
        (pa.int64(), pa.decimal128(10, 2), pa.decimal128(21, 2)),
        (pa.uint64(), pa.decimal128(10, 2), pa.decimal128(22, 2)),
        (pa.int8(), pa.decimal32(5, 2), pa.decimal32(5, 2)),
        (pa.int32(), pa.decimal32(5, 2), pa.decimal64(12, 2)),
        (pa.int64(), pa.decimal64(12, 3), pa.decimal128(22, 3)),
        (pa.int64(), pa.decimal128(38, 30), pa.decimal128(38, 30)),  # no wider: what does not fit is its row's error
        (pa.int64(), pa.decimal128(38, 0), pa.decimal128(38, 0)),
        (pa.int64(), pa.decimal256(50, 2), pa.decimal256(50, 2)),
        (pa.float16(), pa.decimal128(10, 2), pa.float64()),
        (pa.float32(), pa.decimal128(10, 2), pa.float64()),
        (pa.float64(), pa.decimal256(50, 2), pa.float64()),
        (pa.string(), pa.decimal128(10, 2), None),
        (pa.date32(), pa.timestamp("us"), None),
        (pa.timestamp("us"), pa.timestamp("us", "UTC"), None),
        (pa.timestamp("us", "Europe/Berlin"), pa.timestamp("us", "UTC"), None),
        (pa.timestamp("s", "UTC"), pa.timestamp("ns", "UTC"), pa.timestamp("ns", "UTC")),
        (pa.list_(pa.float32()), pa.large_list(pa.decimal128(5, 1)), pa.large_list(pa.float64())),
        (pa.struct([("a", pa.int32())]), pa.struct([("a", pa.decimal128(5, 1))]),
         pa.struct([("a", pa.decimal128(11, 1))])),
    ],
)  # fmt: skip
def test_what_we_decide(a: pa.DataType, b: pa.DataType, expected: pa.DataType | None) -> None:
    for found in (unite(a, b), unite(b, a)):
        assert found == expected


def test_a_clash_names_file_column_and_both_types() -> None:
    for a, b in PAIRS:
        unifier = Unifier()
        unifier.add(pa.schema([("x", a)]), "a")
        if unite(a, b) is not None or unite(lasting_type(a), lasting_type(b)) is not None:
            unifier.add(pa.schema([("x", b)]), "b.parquet")
            kind = unifier.schema.field("x").type
            united = [one for one in (unite(a, b), unite(lasting_type(a), lasting_type(b))) if one is not None]
            assert kind in [lasting_type(one) for one in united]
            continue
        with pytest.raises(ReadError, match=r"b\.parquet: column 'x'.*Remedy") as caught:
            unifier.add(pa.schema([("x", b)]), "b.parquet")
        assert f"{lasting_type(a)}" in str(caught.value)
        assert f"{lasting_type(b)}" in str(caught.value)
        with pytest.raises(pa.ArrowTypeError, match="'x'"):
            unite_schemas(pa.schema([("x", a)]), pa.schema([("x", b)]))


def decimal(unscaled: int, scale: int) -> Decimal:
    return Decimal((int(unscaled < 0), tuple(map(int, str(abs(unscaled)))), -scale))


def values(kind: Any) -> st.SearchStrategy:
    """Arrow scalars of a flat type, as the integers, floats, ... of which it is made; the corners often."""
    types = pa.types
    if types.is_null(kind):
        return st.none()
    if types.is_boolean(kind):
        return st.booleans()
    if types.is_decimal(kind):
        most = 10**kind.precision - 1
        corners = st.sampled_from([0, 1, -most, most, 10 ** min(kind.precision - 1, max(kind.scale, 0))])
        return st.one_of(corners, st.integers(-most, most)).map(lambda i: decimal(i, kind.scale))
    if types.is_floating(kind):
        return st.floats(width=kind.bit_width)
    if types.is_string(kind) or types.is_large_string(kind):
        return st.one_of(st.text(st.characters(codec="utf-8"), max_size=4), st.integers(-(2**65), 2**65).map(str))
    if types.is_fixed_size_binary(kind):
        return st.binary(min_size=kind.byte_width, max_size=kind.byte_width)
    if types.is_binary(kind) or types.is_large_binary(kind):
        return st.binary(max_size=4)
    bits = kind.bit_width
    low, high = (0, 2**bits - 1) if types.is_unsigned_integer(kind) else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if types.is_time(kind):
        low, high = 0, 86400 * 1000 ** UNITS.index(kind.unit) - 1
    if types.is_date64(kind):
        return st.integers(-(10**6), 10**6).map(lambda day: day * 86_400_000)
    corners = (0, 1, -1, low, high, 2**53, 2**53 + 1, 2**24 + 1, 2**11 + 1, 253_402_214_400)
    fitting = st.sampled_from([i for i in corners if low <= i <= high])
    return st.one_of(fitting, st.integers(low, high), st.integers(max(low, -300), min(high, 300)))


def array_of(some: list[Any], kind: Any) -> pa.Array:
    if pa.types.is_temporal(kind):
        return pa.array(some, pa.int32() if kind.bit_width == 32 else pa.int64()).cast(kind)
    if pa.types.is_floating(kind):
        return pa.array(np.array([math.nan if v is None else v for v in some], kind.to_pandas_dtype()),
                        mask=np.array([v is None for v in some], bool))  # fmt: skip
    return pa.array(some, kind)


def meaning(array: Any) -> list[Any]:
    """Each value as something exact: numbers as numbers, times as nanoseconds since 1970, texts as bytes."""
    kind = array.type
    if pa.types.is_temporal(kind):
        unit = 86400 * 10**9 if pa.types.is_date32(kind) else 10**6 if pa.types.is_date64(kind) else (
            10**9 // 1000 ** UNITS.index(kind.unit)
        )  # fmt: skip
        raw = array.cast(pa.int32() if kind.bit_width == 32 else pa.int64()).to_pylist()
        family = "instant" if pa.types.is_date(kind) or pa.types.is_timestamp(kind) else str(kind)[:4]
        return [None if v is None else (family, v * unit) for v in raw]
    return [v.encode("utf-8", "surrogatepass") if isinstance(v, str) else v for v in array.to_pylist()]


def same(before: Any, after: Any) -> bool:
    with np.errstate(over="ignore"):
        return _same(before, after)


def _same(before: Any, after: Any) -> bool:
    if isinstance(before, float) and math.isnan(before):
        return isinstance(after, float) and math.isnan(after)
    if isinstance(before, Decimal) and isinstance(after, float):
        shortest = [Decimal(str(kind(after))) for kind in (float, np.float32, np.float16) if math.isfinite(kind(after))]
        return math.isfinite(after) and before in (*shortest, Decimal(after))
    if isinstance(before, float) and isinstance(after, float):  # a declared narrower float is the nearest, and finite
        nearest = any(float(kind(before)) == after for kind in (float, np.float32, np.float16))
        return nearest and math.isfinite(before) == math.isfinite(after)
    if isinstance(before, float) and isinstance(after, Decimal):
        return any(kind(float(after)) == kind(before) for kind in (float, np.float32, np.float16))
    if isinstance(before, tuple) and isinstance(after, tuple):
        return before == after
    return before == after and (before is None) == (after is None)


def where(row: int) -> str:
    return f"b.feather: row {row}"


@pytest.mark.parametrize("kind", FLAT, ids=str)
@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_values_survive_exactly_or_the_error_names_them(kind: pa.DataType, data: st.DataObject) -> None:
    """For every other type, the united one or the other itself, as with input_schema=."""
    some = data.draw(st.lists(st.one_of(st.none(), values(kind)), min_size=1, max_size=5))
    array = array_of(some, kind)
    batch = pa.RecordBatch.from_arrays([array], ["x"])
    before = meaning(array)
    for other in FLAT:
        for target in {str(t): t for t in (unite(kind, other), other) if t is not None}.values():
            schema, made, message = pa.schema([("x", target)]), None, ""
            try:
                made = conform(batch, schema, where).column(0)
            except ReadError as error:
                message = str(error)
            if made is None:
                named = re.match(r"b\.feather: row (\d+): column 'x' holds .*Remedy", message, re.DOTALL)
                assert named, message
                with pytest.raises(ReadError):  # the row named is one that does not fit
                    conform(batch.slice(int(named[1]), 1), schema, where)
                continue
            assert made.type == target
            # An integer is a time of an arbitrary unit by input_schema= only: nobody unites them.
            comparable = pa.types.is_temporal(kind) == pa.types.is_temporal(target) or target == kind
            if comparable and kind not in TEXTS and target not in TEXTS:
                assert all(map(same, before, meaning(made))), (kind, target, array, made)
            elif {kind, target} <= set(TEXTS):
                assert meaning(made) == before


def small(kind: pa.DataType) -> list[Any]:
    """0 and 1, or what is like them."""
    if pa.types.is_boolean(kind):
        return [False, True]
    if kind == pa.date64():
        return [0, 86_400_000]
    if kind in DECIMALS:
        return [Decimal(0), Decimal(100)]
    if kind == pa.binary(2):
        return [b"00", b"01"]
    return ["0", "1"] if kind in TEXTS else [0, 1]


def test_every_pair_that_unites_holds_what_both_can_hold() -> None:
    """0 and 1, or their like, fit every united type: a type that fits nothing is no union."""
    for a, b in itertools.product(FLAT, repeat=2):
        target = unite(a, b)
        if target is None:
            continue
        array = pa.nulls(2) if pa.types.is_null(a) else array_of(small(a), a)
        made = conform(pa.RecordBatch.from_arrays([array], ["x"]), pa.schema([("x", target)]), where).column(0)
        assert all(map(same, meaning(array), meaning(made))) or a in TEXTS, (a, b, target)


def read(root: Path, suffix: str, **options: Any) -> list[dict[str, Any]]:
    store = LocalStore(root)
    made = snapshot_files(store, suffix, **options)
    batches = read_rows(made, store, [(0, made.rows)], batch_size=100)
    return [row for batch in batches for row in batch.inputs.to_pylist()]


def feather(path: Path, some: list[Any], kind: pa.DataType) -> None:
    pyarrow.feather.write_feather(pa.table({"v": pa.array(some, kind)}), str(path))


def test_decimals_beside_integers_fit(tmp_path: Path) -> None:
    feather(tmp_path / "a.feather", [Decimal("1.10"), None], pa.decimal128(10, 2))
    feather(tmp_path / "b.feather", [2, -(2**63), 2**63 - 1], pa.int64())
    expected = [Decimal("1.10"), None, Decimal(2), Decimal(-(2**63)), Decimal(2**63 - 1)]
    assert [row["v"] for row in read(tmp_path, "feather")] == expected


@pytest.mark.parametrize(
    ("value", "decimal", "other", "fits"),
    [
        ("0.30", pa.decimal128(10, 2), pa.float32(), True),
        ("16777217.25", pa.decimal128(10, 2), pa.float32(), True),
        ("1152921504606846976", pa.decimal128(38, 0), pa.float64(), True),  # 2 ** 60
        ("0.1234567890123456", pa.decimal128(38, 16), pa.float64(), True),
        ("123456789012345678.12", pa.decimal128(20, 2), pa.float32(), False),
        ("12345678901234567890.12", pa.decimal128(38, 2), pa.float64(), False),
        ("0.12345678901234567891", pa.decimal128(38, 20), pa.float16(), False),
    ],
)
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [v], lambda v: {"a": v}, lambda v: {"a": [None, v]}])
def test_decimals_beside_floats(
    tmp_path: Path, value: str, decimal: pa.DataType, other: pa.DataType, fits: bool, wrap: Any
) -> None:
    def typed(kind: pa.DataType) -> pa.DataType:
        example = wrap(None)
        if isinstance(example, list):
            return pa.list_(kind)
        inner = pa.list_(kind) if isinstance(example, dict) and isinstance(example["a"], list) else kind
        return pa.struct([("a", inner)]) if isinstance(example, dict) else kind

    feather(tmp_path / "a.feather", [None, wrap(Decimal(value))], typed(decimal))
    feather(tmp_path / "b.feather", [wrap(np.float16(1.5) if other == pa.float16() else 1.5)], typed(other))
    if fits:
        assert read(tmp_path, "feather")[1]["v"] == wrap(float(value))
    else:
        with pytest.raises(ReadError, match=r"a\.feather: row 1: column 'v' holds .*double.* holds exactly.*Remedy"):
            read(tmp_path, "feather")


def test_dictionaries_views_and_plain_texts_unite() -> None:
    dictionaries = [pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.string_view())]
    run_ends = pa.run_end_encoded(pa.int32(), pa.string())
    kinds = [pa.string(), *dictionaries, pa.string_view(), run_ends, pa.large_string()]
    for a, b in itertools.product(kinds, repeat=2):
        found = unite(plain_type(a), plain_type(b))
        assert found in (pa.string(), pa.large_string())


def test_far_dates_beside_nanoseconds_are_named(tmp_path: Path) -> None:
    feather(tmp_path / "a.feather", [dt.datetime(2024, 1, 1)], pa.timestamp("ns"))
    feather(tmp_path / "b.feather", [None, dt.datetime(9999, 12, 31)], pa.timestamp("us"))
    with pytest.raises(ReadError, match=r"b\.feather: row 1: column 'v'.*9999.*timestamp\[ns\].*Remedy"):
        read(tmp_path, "feather")
    found = read(tmp_path, "feather", input_schema=pa.schema([("v", pa.timestamp("us"))]))
    assert [row["v"] for row in found] == [dt.datetime(2024, 1, 1), None, dt.datetime(9999, 12, 31)]
