"""One `Format` for each suffix: how many rows a file has of which schema, and its rows from one to another."""

from __future__ import annotations

import os

import pyarrow as pa

from json2vec.enums import Suffix
from json2vec.errors import Json2VecError, ReadError
from json2vec.reading.formats import avro, csv, feather, ndjson, orc, parquet
from json2vec.reading.formats.format import Format
from json2vec.reading.options import ReadOptions

FORMATS: dict[Suffix, Format] = {
    Suffix.parquet: parquet.FORMAT,
    Suffix.feather: feather.FORMAT,
    Suffix.orc: orc.FORMAT,
    Suffix.csv: csv.FORMAT,
    Suffix.ndjson: ndjson.FORMAT,
    Suffix.json: ndjson.FORMAT,
    Suffix.avro: avro.FORMAT,
}


def format_of(suffix: Suffix, options: ReadOptions) -> Format:
    """How files of ``suffix`` are read with ``options``."""
    if suffix is Suffix.csv and options.csv.to_plain():
        return csv.csv_format(options.csv)
    return FORMATS[suffix]


def read_error(where: str, suffix: Suffix, exc: BaseException) -> ReadError:
    """What to raise when a library could not read the file ``where``."""
    what = str(exc).strip().rstrip(".")[:_MOST_SAID]
    if not what or not isinstance(exc, pa.ArrowException | OSError | ValueError):
        what = f"{type(exc).__name__}: {what}".removesuffix(": ")  # 'KeyError: 7' says more than '7'
    return ReadError(
        f"{where}: cannot be read as {FORMATS[suffix].name}: {what}. Remedy: write the file again "
        "(it may be corrupt, cut short or of another format), or leave it out with match= or paths="
    )


def foreign(exc: Exception) -> bool:
    """Whether ``exc``, raised by the reading of a file, is not yet one of ours.

    A damaged file makes a parser raise whatever it finds on its way, from MemoryError to AttributeError.
    """
    return not isinstance(exc, Json2VecError)


_MOST_SAID = 1000  # characters of another library's message; some of them print the file


def declares_types(suffix: str) -> bool:
    """Whether files of this suffix say themselves of which type a column is; an unknown one counts as such."""
    return suffix not in list(Suffix) or FORMATS[Suffix(suffix)].types == "declared"


def ends_with(path: str, suffix: Suffix) -> bool:
    return os.path.basename(path).lower().endswith(FORMATS[suffix].endings)
