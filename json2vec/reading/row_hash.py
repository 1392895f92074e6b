"""A 64-bit hash of a row's values, the same whatever the batching, the file format or the library version.

The hash stands in every rank file beside the row it was made of, so its definition may never change under its name;
another definition gets another `ROW_HASH`. All arithmetic is modulo 2**64. ``mix`` is the finaliser of splitmix64::

    mix(x):  x ^= x >> 30;  x *= 0xbf58476d1ce4e5b9;  x ^= x >> 27;  x *= 0x94d049bb133111eb;  x ^= x >> 31

    row      = mix(sum over columns of field(name, value))
    field    = 0 where the value is null, else mix(value + key(name)), key(name) = value of the name as text
    number   = mix(bits of the value as float64 + NUMBER); -0.0 counts as 0.0, every NaN as 0x7ff8000000000000
               an integer that float64 cannot hold: mix(its 64 bits + INTEGER, or + UNSIGNED from 2**63 on)
    boolean  = mix((1 if true else 0) + BOOLEAN)
    text     = mix(length in bytes + TEXT + sum over j of mix(word j XOR mix(j + 1))), word j being bytes 8j to 8j + 7,
               little-endian, filled up with zeros
    bytes    = as text with BYTES for TEXT
    decimal  = as text with DECIMAL for TEXT, of "cEe" where the value is c * 10**e and c does not end in 0;
               zero is "0E0"
    time     = mix(microseconds + TIME for dates and timestamps (UTC, since 1970), + CLOCK for times of day,
               + DURATION for durations; nanoseconds below the microsecond, if any, add mix(nanoseconds + SUBMICRO)
               before that outer mix)
    struct   = mix(STRUCT + sum over children of field(name, child))
    list     = mix(LIST + length * STEP + sum over j of mix(item j + (j + 1) * STEP), null items adding nothing)

A map is the list of its entries, a struct of ``key`` and ``value``; dictionary-encoded values are the values. A null
adds nothing, so that an absent field equals a null one and unifying schemas changes no hash.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

ROW_HASH = "j2v-rowhash-1"

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them

_TAGS = {name: np.uint64(0x9E3779B97F4A7C15 * (i + 1) % 2**64) for i, name in enumerate(
    ("NUMBER", "INTEGER", "UNSIGNED", "BOOLEAN", "TEXT", "BYTES", "DECIMAL", "TIME", "CLOCK", "DURATION", "SUBMICRO",
     "STRUCT", "LIST", "STEP"))}  # fmt: skip
_STEP = _TAGS["STEP"]
_NAN = np.uint64(0x7FF8000000000000)
_BLOCK = 16384  # rows hashed at a time: the temporaries of one column stay in the processor's cache
_NANOSECONDS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1000, "ns": 1}

Hashes = tuple[np.ndarray, "np.ndarray | None"]  # uint64 (n,), and bool (n,): not null; None where no value is null


def row_hash(batch: pa.RecordBatch | pa.Table) -> np.ndarray:
    """The hash of every row.

    Args:
        batch: N rows of any Arrow types but unions and calendar intervals.

    Returns:
        uint64 (N,).

    Raises:
        TypeError: a column of a type that has no hash; names the type.
    """
    if isinstance(batch, pa.Table):
        parts = [row_hash(part) for part in batch.to_batches()]
        return np.concatenate(parts) if parts else np.zeros(0, np.uint64)
    out = np.empty(batch.num_rows, np.uint64)
    for start in range(0, batch.num_rows, _BLOCK):
        block = batch.slice(start, _BLOCK)
        total = np.zeros(block.num_rows, np.uint64)
        for name, column in zip(block.schema.names, block.columns, strict=True):
            _add_field(total, name, column)
        out[start : start + _BLOCK] = mix(total)
    return out


def mix(x: np.ndarray) -> np.ndarray:
    """splitmix64's finaliser of each number (uint64), in place; returns the same array."""
    shifted = x >> np.uint64(30)
    x ^= shifted
    x *= np.uint64(0xBF58476D1CE4E5B9)
    np.right_shift(x, np.uint64(27), out=shifted)
    x ^= shifted
    x *= np.uint64(0x94D049BB133111EB)
    np.right_shift(x, np.uint64(31), out=shifted)
    x ^= shifted
    return x


@lru_cache(maxsize=65536)
def _key(name: str) -> np.uint64:
    return _text(pa.array([name], pa.large_binary()), _TAGS["TEXT"])[0]


def _add_field(total: np.ndarray, name: str, column: pa.Array) -> None:
    hashes, valid = _values(column)
    hashes += _key(name)
    mix(hashes)
    if valid is not None:
        hashes *= valid
    total += hashes


def _values(array: pa.Array) -> Hashes:
    """The value hash of each element; what stands at nulls means nothing. The array returned may be written to."""
    kind = array.type
    if pa.types.is_null(kind):
        return np.zeros(len(array), np.uint64), np.zeros(len(array), bool)
    if isinstance(array, pa.ExtensionArray):
        return _values(array.storage)
    if isinstance(array, pa.DictionaryArray):
        return _dictionary(array)
    if pa.types.is_run_end_encoded(kind):
        return _values(pc.run_end_decode(array))
    valid = array.is_valid().to_numpy(zero_copy_only=False) if array.null_count else None
    if isinstance(array, pa.StructArray):
        total = np.full(len(array), _TAGS["STRUCT"])
        for i in range(kind.num_fields):
            _add_field(total, kind.field(i).name, array.field(i))
        return mix(total), valid
    if pa.types.is_boolean(kind):
        return mix(array.cast(pa.uint8()).fill_null(0).to_numpy().astype(np.uint64) + _TAGS["BOOLEAN"]), valid
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _numbers(_primitive(array, kind.to_pandas_dtype())), valid
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _text(array.cast(pa.large_string()).cast(pa.large_binary()), _TAGS["TEXT"]), valid
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return _text(array.cast(pa.large_binary()), _TAGS["BYTES"]), valid
    if pa.types.is_fixed_size_binary(kind):
        return _text(array.cast(pa.binary()).cast(pa.large_binary()), _TAGS["BYTES"]), valid
    if pa.types.is_decimal(kind):
        return _text(decimal_texts(array), _TAGS["DECIMAL"]), valid
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        return _times(array), valid
    if pa.types.is_nested(kind) and not pa.types.is_union(kind):
        return _lists(array), valid
    raise TypeError(f"a column of type {kind} has no row hash. Remedy: cast it, or leave it out")


def _primitive(array: pa.Array, dtype: Any) -> np.ndarray:
    """The values buffer of a fixed-width array, whatever stands at its nulls; no copy."""
    data = array.buffers()[1]
    if data is None or len(array) == 0:
        return np.zeros(len(array), dtype)
    width = np.dtype(dtype).itemsize
    return np.frombuffer(data, dtype, len(array), array.offset * width)


def _numbers(values: np.ndarray) -> np.ndarray:
    floats = values.astype(np.float64)
    if values.dtype.kind == "f":
        floats += 0.0  # -0.0 + 0.0 is 0.0
        bits = floats.view(np.uint64)
        bits[np.isnan(floats)] = _NAN
        bits += _TAGS["NUMBER"]
        return mix(bits)
    bits = floats.view(np.uint64)
    if values.dtype.itemsize < 8 or not len(values) or (values.max() <= 2**53 and values.min() >= -(2**53)):
        bits += _TAGS["NUMBER"]
        return mix(bits)
    limit = 2.0**64 if values.dtype.kind == "u" else 2.0**63
    fits = floats < limit  # rounding up to the limit itself would overflow the way back
    inexact = ~fits
    inexact[fits] = floats[fits].astype(values.dtype) != values[fits]
    bits += _TAGS["NUMBER"]
    large = values[inexact]
    raw = large.astype(np.uint64)
    raw += np.where((values.dtype.kind == "u") & (raw >= np.uint64(2**63)), _TAGS["UNSIGNED"], _TAGS["INTEGER"])
    bits[inexact] = raw
    return mix(bits)


def _text(array: pa.Array, tag: np.uint64) -> np.ndarray:
    """``array``: large_binary."""
    n = len(array)
    _, offset_buffer, data = array.buffers()
    if n == 0 or offset_buffer is None:
        return np.full(n, tag)
    offsets = np.frombuffer(offset_buffer, np.int64, n + 1, array.offset * 8)
    begin, end = int(offsets[0]), int(offsets[-1])
    lengths = offsets[1:] - offsets[:-1]
    # The bytes of this slice as aligned words, with two spare words so that reading past the end is harmless.
    padded = np.zeros((end - begin + 7) // 8 * 8 + 16, np.uint8)
    if data is not None:
        padded[: end - begin] = np.frombuffer(data, np.uint8, end - begin, begin)
    words = padded.view("<u8")
    counts = (lengths + 7) >> 3
    if n == 0 or counts.max(initial=0) <= 1:
        hashed = _word_hashes(words, offsets[:-1] - begin, np.minimum(lengths, 8), None)
        hashed *= counts.astype(np.uint64)  # an empty text has no word
        hashed += lengths.astype(np.uint64)
        hashed += tag
        return mix(hashed)
    stops = np.cumsum(counts)
    word = np.arange(int(stops[-1])) - np.repeat(stops - counts, counts)
    at = np.repeat(offsets[:-1] - begin, counts) + word * 8
    left = np.repeat(lengths, counts) - word * 8
    sums = _segment_sums(_word_hashes(words, at, np.minimum(left, 8), word), stops)
    sums += lengths.astype(np.uint64)
    sums += tag
    return mix(sums)


def _word_hashes(words: np.ndarray, at: np.ndarray, size: np.ndarray, position: np.ndarray | None) -> np.ndarray:
    """mix(word XOR mix(position + 1)) of the words of ``size`` (0..8) bytes that begin at byte ``at``."""
    low = ((at & 7) << 3).astype(np.uint64)
    index = at >> 3
    value = words[index] >> low
    # A shift by 64 is undefined, so the upper part is shifted in two steps.
    value |= (words[index + 1] << (np.uint64(56) - low + np.uint64(7))) << np.uint64(1)
    drop = ((8 - size) << 3).astype(np.uint64)
    half = drop >> np.uint64(1)
    value <<= half
    value <<= half
    value >>= half
    value >>= half
    value ^= mix(np.ones(1, np.uint64)) if position is None else mix((position + 1).astype(np.uint64))
    return mix(value)


def _segment_sums(values: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Sums (n,) of consecutive segments that end before ``stops``; wrapping makes the differences exact."""
    running = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values, out=running[1:])
    ends = running[stops]
    ends[1:] -= running[stops[:-1]]
    return ends


def decimal_texts(array: Any) -> Any:
    """``cEe`` of each decimal, in large_binary: ``125E-1`` for 12.5 of any scale."""
    kind = array.type
    make = {32: pa.decimal32, 64: pa.decimal64, 128: pa.decimal128, 256: pa.decimal256}[kind.bit_width]
    whole = make(kind.precision, 0)  # the same digits without the point
    unscaled = pa.Array.from_buffers(whole, len(array), array.buffers(), array.null_count, array.offset)
    digits = unscaled.cast(pa.string())
    shorter = pc.utf8_rtrim(digits, "0")
    zero = pc.equal(digits, "0")
    cut = pc.subtract(pc.binary_length(digits), pc.binary_length(shorter))
    exponent = pc.if_else(zero, 0, pc.subtract(cut, kind.scale)).cast(pa.string())
    text = pc.binary_join_element_wise(pc.if_else(zero, "0", shorter), exponent, "E")
    return text.cast(pa.large_binary())


def _times(array: pa.Array) -> np.ndarray:
    kind = array.type
    tag = _TAGS["DURATION" if pa.types.is_duration(kind) else "CLOCK" if pa.types.is_time(kind) else "TIME"]
    if pa.types.is_date32(kind):
        values = _primitive(array, np.int32).astype(np.int64) * 86_400_000_000
    elif pa.types.is_date64(kind):
        values = _primitive(array, np.int64) * 1000
    else:
        values = _primitive(array, np.int32 if pa.types.is_time32(kind) else np.int64).astype(np.int64)
        if kind.unit == "ns":
            values, rest = np.divmod(values, 1000)
            extra = mix(rest.astype(np.uint64) + _TAGS["SUBMICRO"]) * (rest != 0)
            return mix(values.astype(np.uint64) + tag + extra)
        values = values * (_NANOSECONDS[kind.unit] // 1000)
    return mix(values.astype(np.uint64) + tag)


def _dictionary(array: pa.DictionaryArray) -> Hashes:
    hashes, valid = _values(array.dictionary)
    indices = array.indices
    present = indices.is_valid().to_numpy(zero_copy_only=False)
    at = indices.fill_null(0).to_numpy().astype(np.int64)
    if not len(hashes):
        return np.zeros(len(array), np.uint64), np.zeros(len(array), bool)
    return hashes[at], present if valid is None else present & valid[at]


def _lists(array: Any) -> np.ndarray:
    kind = array.type
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        array = array.cast(pa.large_list(kind.value_field))
        kind = array.type
    if pa.types.is_fixed_size_list(kind):
        offsets = np.arange(len(array) + 1, dtype=np.int64) * kind.list_size
        values = array.values.slice(array.offset * kind.list_size, len(array) * kind.list_size)
    else:  # a slice's offsets and values agree: values holds all of them
        offsets = array.offsets.to_numpy().astype(np.int64)
        begin = int(offsets[0]) if len(offsets) else 0
        end = int(offsets[-1]) if len(offsets) else 0
        offsets = offsets - begin
        values = _entries(array, kind).slice(begin, end - begin)
    if len(array) == 0:
        return np.zeros(0, np.uint64)
    items, valid = _values(values)
    lengths = offsets[1:] - offsets[:-1]
    position = np.arange(1, len(items) + 1, dtype=np.uint64) - np.repeat(offsets[:-1], lengths).astype(np.uint64)
    items += position * _STEP
    mix(items)
    if valid is not None:
        items *= valid
    sums = _segment_sums(items, offsets[1:])
    sums += lengths.astype(np.uint64) * _STEP
    sums += _TAGS["LIST"]
    return mix(sums)


def _entries(array: Any, kind: pa.DataType) -> pa.Array:
    if not pa.types.is_map(kind):
        return array.values
    return pa.StructArray.from_arrays([array.keys, array.items], names=["key", "value"])
