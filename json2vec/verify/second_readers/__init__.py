"""One `SecondReader` for each suffix: the same files, read by a library that our own reader does not use."""

from __future__ import annotations

from json2vec.enums import Suffix
from json2vec.verify.second_readers import avro, csv, feather, ndjson, orc, parquet
from json2vec.verify.second_readers.reader import SecondReader

SECOND_READERS: dict[Suffix, SecondReader] = {
    Suffix.parquet: parquet.READER,
    Suffix.feather: feather.READER,
    Suffix.orc: orc.READER,
    Suffix.csv: csv.READER,
    Suffix.ndjson: ndjson.READER,
    Suffix.json: ndjson.READER,
    Suffix.avro: avro.READER,
}
