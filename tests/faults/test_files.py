"""Faults 6 to 8 and 12 to 14: somebody tampers with the files between the prediction and the checks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from json2vec.rank_files.manifest import FOOTER_KEY
from json2vec.storage.local import file_sha256

pytestmark = [pytest.mark.slow, pytest.mark.faults]

PREDICT = ("input_shards", "model_checkpoint", "prediction_rank_files")


class TamperingLauncher:
    """Lets the ranks end well, then tampers with the attempt before anybody commits or checks."""

    def __init__(self, launcher, tamper: Callable[[Path], None]) -> None:
        self._launcher, self._tamper, self.done = launcher, tamper, False

    def submit(self, job_path: str, *, ranks: int, log_folder: str) -> str:
        self._folder = Path(job_path).parent
        return self._launcher.submit(job_path, ranks=ranks, log_folder=log_folder)

    def status(self, handle: str):
        status = self._launcher.status(handle)
        if status.state == "succeeded" and not self.done:
            self.done = True
            self._tamper(self._folder)
        return status

    def logs(self, handle: str, *, since: dict[int, int]):
        return self._launcher.logs(handle, since=since)

    def cancel(self, handle: str) -> None:
        self._launcher.cancel(handle)


def rewrite(folder: Path, change: Callable[[pa.Table], pa.Table], rank: int = 1) -> None:
    """Change a rank file and adjust footer and marker, so that every size, hash and count agrees: only the rows lie."""
    path, marker_path = folder / f"rank-{rank}.parquet", folder / f"rank-{rank}.json"
    table = pq.read_table(path)
    footer = json.loads(pq.read_metadata(path).metadata[FOOTER_KEY])
    changed = change(table)
    metadata = {
        FOOTER_KEY: json.dumps(footer | {"rows": changed.num_rows}, sort_keys=True, separators=(",", ":")).encode()
    }
    schema = changed.schema.remove_metadata()
    with pq.ParquetWriter(path, schema, write_page_checksum=True) as writer:
        writer.write_table(changed.cast(schema))
        writer.add_key_value_metadata(metadata)
    marker = json.loads(marker_path.read_bytes())
    marker["rows"] = changed.num_rows
    marker["files"][0] |= {"rows": changed.num_rows, "bytes": path.stat().st_size, "sha256": file_sha256(path)}
    marker_path.write_bytes(json.dumps(marker, sort_keys=True, separators=(",", ":")).encode())


def swap_two_predictions(table: pa.Table) -> pa.Table:
    """The two rows whose predictions differ most, so that a sample is not needed to tell them apart."""
    order = np.arange(table.num_rows)
    order[:2] = [1, 0]
    index = table.schema.get_field_index("predictions")
    return table.set_column(index, table.schema.field(index), table.column(index).take(pa.array(order)))


def tampered(station, tamper: Callable[[Path], None], **options):
    honest = station.launcher
    return station.run(launcher=TamperingLauncher(honest, tamper), **options)


def safe_then_repaired(station, before: list[tuple], outcome) -> None:
    assert not outcome.success
    assert station.table() == before, "the warehouse must still show the old rows"
    again = station.run()
    assert again.success, again.errors
    assert [row[1] for row in station.table()] == station.expected_ids()


@pytest.mark.parametrize("where", [0, 4, 0.5, -1], ids=["empty", "4 bytes", "half", "all but one byte"])
def test_06_a_truncated_rank_file_is_refused(station, where) -> None:
    def cut(folder: Path) -> None:
        path = folder / "rank-1.parquet"
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * where) if isinstance(where, float) else where])

    before = station.table()
    outcome = tampered(station, cut)
    assert "rank-1.parquet" in outcome.errors
    assert "bytes, expected" in outcome.errors
    safe_then_repaired(station, before, outcome)


def test_07_a_flipped_byte_is_refused_by_its_checksum(station) -> None:
    def flip(folder: Path) -> None:
        path = folder / "rank-0.parquet"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0x40
        path.write_bytes(bytes(data))

    before = station.table()
    outcome = tampered(station, flip)
    assert "rank-0.parquet" in outcome.errors
    assert "SHA-256" in outcome.errors
    safe_then_repaired(station, before, outcome)


def test_08_a_deleted_rank_file_fails_the_check_and_names_the_rank(station) -> None:
    """Deleted between the commit and the check, as a clean-up script would."""
    before = station.table()
    predicted = station.run(only=PREDICT)
    (station.attempts[-1] / "rank-1.parquet").unlink()
    outcome = station.run(only=("predictions",))
    assert predicted.checks["row_alignment"].passed, "the file was there when the checks ran first"
    assert "rank 1" in outcome.errors
    assert "rank-1.parquet" in outcome.errors
    safe_then_repaired(station, before, outcome)


def test_08_a_rank_file_deleted_before_the_check(station) -> None:
    before = station.table()
    outcome = tampered(station, lambda folder: (folder / "rank-1.parquet").unlink())
    assert "rank-1.parquet: is missing" in outcome.errors
    safe_then_repaired(station, before, outcome)


def test_12_predictions_of_two_rows_swapped(station) -> None:
    before = station.table()
    outcome = tampered(station, lambda folder: rewrite(folder, swap_two_predictions), replay_sample=10_000)
    assert set(outcome.failed_checks()) == {"row_alignment"}
    assert "replay" in outcome.failed_checks()["row_alignment"]
    assert "part-" in outcome.failed_checks()["row_alignment"], "the message names file and row"
    safe_then_repaired(station, before, outcome)


def test_13_duplicated_rows(station) -> None:
    before = station.table()
    outcome = tampered(
        station, lambda folder: rewrite(folder, lambda table: pa.concat_tables([table, table.slice(0, 5)]))
    )
    assert "coverage" in outcome.failed_checks()["row_alignment"]
    safe_then_repaired(station, before, outcome)


def test_14_missing_rows_with_an_adjusted_marker(station) -> None:
    before = station.table()
    outcome = tampered(station, lambda folder: rewrite(folder, lambda table: table.slice(3)))
    assert "coverage" in outcome.failed_checks()["row_alignment"]
    safe_then_repaired(station, before, outcome)
