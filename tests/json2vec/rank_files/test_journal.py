"""The journal holds what the files are, and no more is believed."""

from __future__ import annotations

import json

from dying_attempts import Partition

from json2vec.rank_files.journal import read_segments
from json2vec.storage.local import LocalStore


def test_a_journal_cannot_name_files_elsewhere(partition: Partition) -> None:
    partition.predict("a1", 1)
    journal = partition.root / "a1" / "rank-0.segments.jsonl"
    outside = partition.root / "outside.parquet"
    outside.write_bytes((partition.root / "a1" / "rank-0.0.parquet").read_bytes())
    journal.write_text(journal.read_text().replace("rank-0.0.parquet", "../outside.parquet"))
    found = partition.resume("a2", ["a1"])
    assert "is no name of a rank file" in found.refused[0]
    assert found.intervals == ((0, 16),)


def test_a_line_that_was_cut_short_ends_its_journal(partition: Partition) -> None:
    partition.predict("a1", 1)
    journal = partition.root / "a1" / "rank-0.segments.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:3]) + lines[3][:-40])
    assert [one.file.segment for one in read_segments(LocalStore(partition.root / "a1"))] == [0, 1, 2]


def test_the_journal_holds_what_the_files_are(partition: Partition) -> None:
    partition.predict("a1", 2)
    lines = [json.loads(line) for line in (partition.root / "a1" / "rank-1.segments.jsonl").read_text().splitlines()]
    marker = json.loads((partition.root / "a1" / "rank-1.json").read_text())
    assert [line["file"] for line in lines] == marker["files"]
    assert {line["settings"] for line in lines} == {"s"}
