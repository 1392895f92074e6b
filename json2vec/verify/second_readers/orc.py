"""ORC by pyorc, the binding of the Apache C++ reader, where it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from json2vec.errors import missing_extra
from json2vec.verify.same_value import plain_object
from json2vec.verify.second_readers.nearby import NearbyFile, NotCompared
from json2vec.verify.second_readers.reader import Options, Rows, SecondReader, spans


def _reader(handle: Any) -> Any:
    if missing := missing_extra("orc", "a second reader of ORC"):
        raise NotCompared(missing)
    import pyorc

    return pyorc.Reader(handle, struct_repr=pyorc.StructRepr.DICT)


def count_orc(file: NearbyFile, options: Options) -> int:
    with file.open() as handle:
        return len(_reader(handle))


def rows_orc(file: NearbyFile, rows: Sequence[int], options: Options) -> Rows:
    values: dict[int, dict[str, Any]] = {}
    with file.open() as handle:
        reader = _reader(handle)
        for start, stop in spans(rows):
            reader.seek(start)
            for i, row in enumerate(reader.read(stop - start)):
                values[start + i] = plain_object(row)
    return Rows(values)


READER = SecondReader("pyorc", count_orc, rows_orc, places=4)
