"""ORC: the footer says rows and types; rows come stripe by stripe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import pyarrow as pa
import pyarrow.orc

from json2vec.reading.formats.format import Counted, Format, agree, between
from json2vec.reading.formats.orc_tail import orc_stripe_rows
from json2vec.reading.formats.piece import Piece


def _count_orc(file: IO[bytes], where: str, infer: bool) -> Counted:
    reader = pyarrow.orc.ORCFile(file)
    rows = sum(orc_stripe_rows(reader.reader.serialized_file_tail()))
    agree(where, "the footer's numberOfRows and the sum of its stripes differ", reader.nrows, rows)
    return rows, reader.schema


def _read_orc(file: IO[bytes], where: str, start: int, stop: int, schema: pa.Schema) -> Iterator[Piece]:
    reader = pyarrow.orc.ORCFile(file)
    at = 0
    for i, rows in enumerate(orc_stripe_rows(reader.reader.serialized_file_tail())):
        if at >= stop:
            return
        if at + rows > start:
            stripe = reader.read_stripe(i)
            agree(where, f"the footer and stripe {i} differ", rows, stripe.num_rows)
            yield from between([stripe], at, start, stop)
        at += rows


FORMAT = Format("ORC", _count_orc, _read_orc, (".orc",))
