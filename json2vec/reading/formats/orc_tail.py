"""How many rows each stripe of an ORC file has, as its tail says; the ORC reader tells the sum alone.

The tail is a protobuf message (orc_proto.proto of Apache ORC): FileTail.footer is field 2, Footer.stripes field 3,
StripeInformation.numberOfRows field 5. ``orc_stripe_rows(reader.serialized_file_tail())`` is ``[1024, 1024, 952]``.
"""

from __future__ import annotations

from collections.abc import Iterator


def orc_stripe_rows(tail: bytes) -> list[int]:
    """Rows of each stripe.

    Args:
        tail: a serialized FileTail.

    Raises:
        ValueError: the bytes are no protobuf message.
    """
    footers = [value for number, value in _fields(tail) if number == 2 and isinstance(value, bytes)]
    stripes = [value for footer in footers for number, value in _fields(footer) if number == 3]
    return [
        sum(value for number, value in _fields(stripe) if number == 5 and isinstance(value, int))
        for stripe in stripes
        if isinstance(stripe, bytes)
    ]


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field: an int for a varint, else bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"the tail of the ORC file has a field of wire type {kind}; expected 0, 1, 2 or 5")
        if at + size > len(message):
            raise ValueError("the tail of the ORC file ends within a field")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message):
            raise ValueError("the tail of the ORC file ends within a number")
        value |= (message[at] & 127) << shift
        if message[at] < 128:
            return value, at + 1
        at, shift = at + 1, shift + 7
