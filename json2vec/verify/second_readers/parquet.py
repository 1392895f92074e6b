"""Parquet by DuckDB: rows as the row groups and their columns say, values from the row groups of the sampled rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from json2vec.verify.same_value import plain_value
from json2vec.verify.second_readers.duck import name, query, text
from json2vec.verify.second_readers.nearby import NearbyFile, NotCompared
from json2vec.verify.second_readers.reader import Rows, SecondReader, spans

_END = 8  # bytes at the end of every file: the length of its footer, and PAR1


def _with_footer(file: NearbyFile) -> Path:
    size, end = file.size(), file.tail(_END)
    footer = int.from_bytes(end[:4], "little") + _END
    if len(end) < _END or footer > size:
        raise NotCompared("the footer is longer than the file")
    return file.parts([(size - footer, size)])


def count_parquet(file: NearbyFile) -> int:
    """The sum over the row groups: of the values of a column without lists, which has one or null a row, if any."""
    groups = query(f"""
        with leaves as (select path_in_schema as path, row_group_id, row_group_num_rows as rows, num_values
                        from parquet_metadata({text(_with_footer(file))})),
             flat as (select name from parquet_schema({text(_with_footer(file))})
                      where type is not null and num_children is null and repetition_type in ('REQUIRED', 'OPTIONAL'))
        select row_group_id, max(rows) as rows,
               max(num_values) filter (path in (select name from flat) and not contains(path, ', ')) as flat
        from leaves group by row_group_id""").to_pylist()  # fmt: skip
    for group in groups:
        if group["flat"] is not None and group["flat"] != group["rows"]:
            raise NotCompared(
                f"row group {group['row_group_id']} says {group['rows']} rows, its columns {group['flat']} values"
            )
    return sum(group["rows"] for group in groups)


def _columns(path: Path) -> list[str]:
    """Names of the top-level columns, in the file's order."""
    nodes = query(f"select name, num_children from parquet_schema({text(path)})").to_pylist()
    names, at = [], 1

    def after(at: int) -> int:
        children = nodes[at]["num_children"] or 0
        at += 1
        for _ in range(children):
            at = after(at)
        return at

    while at < len(nodes):
        names.append(nodes[at]["name"])
        at = after(at)
    return names


def rows_parquet(file: NearbyFile, rows: Sequence[int]) -> Rows:
    path = _with_footer(file)
    chunks = query(f"""
        select row_group_id as "group", row_group_num_rows as rows, total_compressed_size as size,
               case when dictionary_page_offset > 0 then least(dictionary_page_offset, data_page_offset)
                    else data_page_offset end as start
        from parquet_metadata({text(path)}) order by all""").to_pylist()  # fmt: skip
    begins, begin = {}, 0
    for chunk in chunks:
        if chunk["group"] not in begins:
            begins[chunk["group"]] = begin
            begin += chunk["rows"]
    wanted = {group for group in begins for row in rows
              if begins[group] <= row < begins[group] + next(c["rows"] for c in chunks if c["group"] == group)}
    path = file.parts([(chunk["start"], chunk["start"] + chunk["size"]) for chunk in chunks
                       if chunk["group"] in wanted and chunk["start"]])  # fmt: skip
    names = _columns(path)
    where = " or ".join(f"file_row_number between {a} and {b - 1}" for a, b in spans(rows))
    source = (f"from read_parquet({text(path)}, file_row_number=true, hive_partitioning=false) where {where} "
              "order by file_row_number")  # fmt: skip
    try:
        table, unread = query(f"select *, file_row_number {source}"), {}
        columns = dict(zip(names, table.columns, strict=False))
    except NotCompared as whole:
        table, columns, unread = query(f"select file_row_number {source}"), {}, {}
        for column in names:  # one column that DuckDB does not know must not hide the others
            try:
                columns[column] = query(f"select {name(column)} {source}").column(0)
            except NotCompared as exc:
                unread[column] = str(exc)
        if len(unread) == len(names):
            raise whole
    found: dict[int, dict[str, Any]] = {}
    for at, row in enumerate(table.columns[-1].to_pylist()):
        found[row] = {column: plain_value(values[at]) for column, values in columns.items()}
    return Rows(found, unread)


READER = SecondReader("DuckDB", count_parquet, rows_parquet, places=4)
