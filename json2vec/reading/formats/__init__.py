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
    return csv.csv_format(options.csv) if suffix is Suffix.csv else FORMATS[suffix]


def read_error(where: str, suffix: Suffix, exc: BaseException) -> ReadError:
    """What to raise when a library could not read the file ``where``."""
    return ReadError(
        f"{where}: cannot be read as {FORMATS[suffix].name}: {exc or type(exc).__name__}. Remedy: write the file again "
        "(it may be corrupt, cut short or of another format), or leave it out with match= or paths="
    )


def foreign(exc: BaseException) -> bool:
    """Whether ``exc`` comes from the reading of a file and is not yet one of ours."""
    if isinstance(exc, Json2VecError):
        return False
    return isinstance(exc, pa.ArrowException | OSError | ValueError | EOFError | KeyError | IndexError | TypeError)


def declares_types(suffix: str) -> bool:
    """Whether files of this suffix say themselves of which type a column is; an unknown one counts as such."""
    return suffix not in list(Suffix) or FORMATS[Suffix(suffix)].types == "declared"


def ends_with(path: str, suffix: Suffix) -> bool:
    return os.path.basename(path).lower().endswith(FORMATS[suffix].endings)
