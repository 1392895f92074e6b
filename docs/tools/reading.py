"""Write docs/reading.md: what becomes of each Arrow type and of each format. All of it is tried out.

`python docs/tools/reading.py` writes the page; a test compares it with what this finds.
"""

from __future__ import annotations

import datetime as dt
import decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

import json2vec as j2v
from json2vec.enums import Suffix
from json2vec.errors import Json2VecError
from json2vec.reading.formats import FORMATS
from json2vec.reading.lasting import MAX_LISTS, Refused, lasting_type
from json2vec.reading.limits import MAX_DEPTH
from json2vec.reading.plain import plain_type
from json2vec.reading.records import values
from json2vec.verify.second_readers import SECOND_READERS

PAGE = Path(__file__).parents[1] / "reading.md"
DAY, NOON = dt.date(2024, 2, 29), dt.datetime(2024, 2, 29, 12)
TYPES: list[tuple[pa.DataType, Any]] = [
    (pa.bool_(), True), (pa.int8(), 7), (pa.int64(), 7), (pa.uint64(), 2**63), (pa.float16(), 0.5), (pa.float64(), 0.5),
    (pa.decimal32(9, 2), decimal.Decimal("1.50")), (pa.decimal128(38, 2), decimal.Decimal("1.50")),
    (pa.decimal256(60, 2), decimal.Decimal("1.50")), (pa.string(), "red"), (pa.large_string(), "red"),
    (pa.string_view(), "red"), (pa.dictionary(pa.int32(), pa.string()), "red"), (pa.binary(), b"red"),
    (pa.binary(3), b"red"), (pa.date32(), DAY), (pa.date64(), DAY), (pa.time32("s"), dt.time(9, 30)),
    (pa.time32("ms"), dt.time(9, 30)), (pa.time64("us"), dt.time(9, 30)), (pa.timestamp("s"), NOON),
    (pa.timestamp("us"), NOON), (pa.timestamp("ns"), NOON), (pa.timestamp("us", "UTC"), NOON),
    (pa.timestamp("us", "+05:30"), NOON), (pa.duration("ms"), dt.timedelta(seconds=90)),
    (pa.list_(pa.int64()), [1, 2]), (pa.list_view(pa.int64()), [1, 2]), (pa.list_(pa.int64(), 2), [1, 2]),
    (pa.struct({"a": pa.int64()}), {"a": 1}), (pa.map_(pa.string(), pa.int64()), [("a", 1)]),
    (pa.map_(pa.int64(), pa.string()), [(1, "a")]), (pa.month_day_nano_interval(), (1, 2, 3)),
    (pa.dense_union([pa.field("a", pa.int64())]), None),
]  # fmt: skip
FIELDS: dict[str, Any] = {
    "Number": j2v.Number("v"), "Category": j2v.Category("v"),
    "DateParts": j2v.DateParts("v", dateparts=["day_of_month"]), "Set": j2v.Set("v"),
    "Vector": j2v.Vector("v", n_dim=2),
}  # fmt: skip
ROWS = {
    "parquet": ("a row", "row counts of footer, row groups and columns that differ; a row beyond 256 MiB"),
    "feather": ("a row", "lengths, offsets and counts that differ"),
    "orc": ("a row", "row counts of footer and stripes that differ"),
    "avro": ("a record", "recursive types; a union without a common type; bytes left over in a block"),
    "ndjson": ("a line that is not blank", "lines that are no object of their own; an enclosing array; UTF-16"),
    "csv": ("a record behind the header", "a quote that is not closed; another separator; doubled column names"),
}
FROM = {"declared": "the file declares it", "inferred": "the values, all of a column together",
        "texts": "the texts, all of a column together"}  # fmt: skip
HEAD = f"""# What is read how

An example: a Parquet file has a column of `timestamp[s]`. Parquet has no such type, so the snapshot has
`timestamp[ms]`, which holds every second. The prediction's `inputs`, the warehouse table and
every later reader have it too.

The rule: before the first row is predicted each column has a type that lasts in Parquet and that its readers know.
It becomes such a type without losing anything, or is refused with its name and a remedy. A *value* that does not fit
(a text that is no UTF-8, a time beyond its type) is an error of its row, or `on_bad_row="quarantine"` sets it aside.
At most {MAX_LISTS} lists and maps, and {MAX_DEPTH} levels in all, may lie in one another.

`python docs/tools/reading.py` writes this page from what the code does with each type.

## Types

*Row* is what a row-wise preprocessor sees. The fields are those that encode such a value.

"""
TAIL = """

Options of CSV and NDJSON, compression and encodings: [texts](texts.md). What a row looks like to functions of your own:
[processors](processors.md). What a second reader is for: [rank files](rank-files.md).
"""


def type_rows() -> list[str]:
    """A line of the table for each type."""
    lines = ["| Arrow type | in the snapshot | in rank files | row | fields |", "|---|---|---|---|---|"]
    for kind, value in TYPES:
        becomes, stored = lasting_type(plain_type(kind), zones=True), lasting_type(plain_type(kind))
        if isinstance(becomes, Refused):
            lines.append(f"| `{kind}` | refused: a type {becomes.reason} | | | |")
            continue
        array = pa.array([value], kind)
        fields = ", ".join(name for name, leaf in FIELDS.items() if encodes(leaf, array))
        lines.append(f"| `{kind}` | `{becomes}` | `{stored}` | `{values(array)[0]!r}` | {fields or 'none'} |")
    return lines


def encodes(leaf: Any, array: Any) -> bool:
    """Whether the field ``leaf`` takes the values of ``array``."""
    model = j2v.Model.from_schema(leaf, j2v.Number("y", target=True), d_model=8, n_layers=1, n_heads=2)
    try:
        model.encode(pa.record_batch({"v": array}))
    except (Json2VecError, TypeError):
        return False
    return True


def format_rows() -> list[str]:
    """A line of the table for each format."""
    head = "| format | files | a type comes from | a row is | second reader | refused |"
    lines = [head, "|---|---|---|---|---|---|"]
    for suffix, (row, refused) in ROWS.items():
        one = FORMATS[Suffix(suffix)]
        endings = ", ".join(f"`{ending}`" for ending in one.endings[:4])
        second = SECOND_READERS[Suffix(suffix)].name
        lines.append(f"| {one.name} | {endings} | {FROM[one.types]} | {row} | {second} | {refused} |")
    return lines


def page() -> str:
    """The whole page."""
    return HEAD + "\n".join([*type_rows(), "\n## Formats\n", *format_rows()]) + TAIL


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
