"""Parquet by DuckDB: rows as the row groups and their columns say, values from the row groups of the sampled rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from json2vec.verify.same_value import plain_value
from json2vec.verify.second_readers.duck import name, query, text
from json2vec.verify.second_readers.nearby import NearbyFile, NotCompared
from json2vec.verify.second_readers.reader import Options, Rows, SecondReader, spans

_END = 8  # bytes at the end of every file: the length of its footer, and PAR1


def _with_footer(file: NearbyFile) -> Path:
    size, end = file.size(), file.tail(_END)
    footer = int.from_bytes(end[:4], "little") + _END
    if len(end) < _END or footer > size:
        raise NotCompared("the footer is longer than the file")
    return file.parts([(size - footer, size)])


def count_parquet(file: NearbyFile, options: Options) -> int:
    """The sum over the row groups, each of which has as many rows as a top-level column without lists has values and
    nulls; without such a column, as many as it says."""
    path = text(_with_footer(file))
    return query(f"""
        with flat as (select name from parquet_schema({path})
                      where type is not null and num_children is null and repetition_type in ('REQUIRED', 'OPTIONAL')),
             leaves as (select row_group_id, row_group_num_rows as rows, num_values,
                               path_in_schema in (select name from flat) as is_flat
                        from parquet_metadata({path})),
             groups as (select coalesce(max(num_values) filter (is_flat), max(rows)) as rows
                        from leaves group by row_group_id)
        select coalesce(sum(rows), 0)::bigint from groups""").column(0)[0].as_py()  # fmt: skip


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


def _with_groups(file: NearbyFile, rows: Sequence[int]) -> Path:
    """The file with its footer and the row groups of ``rows``, which alone are fetched."""
    path = _with_footer(file)
    if not file.is_far():
        return path
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
    return file.parts([(chunk["start"], chunk["start"] + chunk["size"]) for chunk in chunks
                       if chunk["group"] in wanted and chunk["start"]])  # fmt: skip


def rows_parquet(file: NearbyFile, rows: Sequence[int], options: Options) -> Rows:
    path = _with_groups(file, rows)
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


READER = SecondReader("DuckDB", count_parquet, rows_parquet, places=2)
