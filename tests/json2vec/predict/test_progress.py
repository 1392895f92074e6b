"""Lines of progress: what a rank prints is what its watcher reads, and nothing else is taken for one."""

from __future__ import annotations

import pytest

from json2vec.predict.progress import Progress, ProgressLine, parse_progress


def test_what_is_printed_is_what_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(rank=1, of=10)
    progress.begin()
    progress.add(4)
    progress.end_job()
    read = [parse_progress(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line.rows, line.of, line.done) for line in read if line] == [(0, 10, 0), (4, 10, 1)]
    assert None not in read
    assert read[-1].rows_per_s > 0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "line", ["", "loaded the model", "{", "{}", "[1]", '{"j2v": "progress"}', '{"rows": 1, "of": 2}', '{"j2v": 1}']
)
def test_other_lines_are_no_progress(line: str) -> None:
    assert parse_progress(line) is None


def test_a_line_of_a_rank_of_an_older_version_counts_no_jobs() -> None:
    assert parse_progress('{"j2v": "progress", "rank": 0, "rows": 1, "of": 2}') == ProgressLine(1, 2, 0, 0.0)
