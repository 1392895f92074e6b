"""What a file says of itself is no proof: where it says its rows twice, both have to agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

from json2vec.errors import ReadError
from json2vec.reading.formats.orc_tail import orc_stripe_rows
from json2vec.reading.readers import read_rows
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.local import LocalStore


def read(root: Path, suffix: str, **options: Any) -> list[dict[str, Any]]:
    store = LocalStore(root)
    made = snapshot_files(store, suffix, **options)
    batches = read_rows(made, store, [(0, made.rows)], batch_size=100)
    return [row for batch in batches for row in batch.inputs.to_pylist()]


def patch(path: Path, old: bytes, new: bytes) -> None:
    """Write ``new`` over the last place that holds ``old``."""
    data = path.read_bytes()
    at = data.rfind(old)
    assert at >= 0, f"{path} does not hold {old!r}"
    assert len(old) == len(new)
    path.write_bytes(data[:at] + new + data[at + len(old) :])


@pytest.mark.parametrize("said", [0, 2, 9])
def test_a_parquet_footer_that_contradicts_its_row_groups_is_refused(tmp_path: Path, said: int) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": list(range(6))}), path, row_group_size=3)
    assert [row["id"] for row in read(tmp_path, "parquet")] == list(range(6))
    patch(path, b"\x16\x0c\x19", bytes([0x16, 2 * said, 0x19]))  # FileMetaData: field 3, zigzag 6; then a list
    with pytest.raises(ReadError, match=rf"a\.parquet: .*num_rows.*expected {said} rows, found 6.*Remedy"):
        read(tmp_path, "parquet")


def test_a_row_group_that_contradicts_its_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": list(range(6))}), path, compression="none")
    groups = pq.ParquetFile(path).metadata
    assert groups.row_group(0).column(0).num_values == 6
    patch(path, b"\x16\x0c\x19", b"\x16\x04\x19")  # the file says 2 ...
    patch(path, b"\x16\x0c&\x08\x16", b"\x16\x04&\x08\x16")  # ... and so does RowGroup: field 3
    assert (pq.ParquetFile(path).metadata.num_rows, pq.ParquetFile(path).metadata.row_group(0).num_rows) == (2, 2)
    with pytest.raises(ReadError, match=r"a\.parquet: row group 0 and its column 'id'.*expected 2 rows, found 6"):
        read(tmp_path, "parquet")


def orc(path: Path, rows: int = 6) -> None:
    pyarrow.orc.write_table(pa.table({"id": list(range(rows))}), str(path), compression="uncompressed", stripe_size=1)


@pytest.mark.parametrize("said", [0, 2, 9])
def test_an_orc_footer_that_contradicts_its_stripes_is_refused(tmp_path: Path, said: int) -> None:
    orc(tmp_path / "a.orc")
    assert len(read(tmp_path, "orc")) == 6
    patch(tmp_path / "a.orc", b"\x30\x06\x3a", bytes([0x30, said, 0x3A]))  # Footer: field 6, then field 7
    with pytest.raises(ReadError, match=rf"a\.orc: .*expected {said} rows, found 6.*Remedy"):
        read(tmp_path, "orc")


def test_the_tail_of_an_orc_file_tells_the_rows_of_its_stripes(tmp_path: Path) -> None:
    orc(tmp_path / "a.orc", 5000)
    reader = pyarrow.orc.ORCFile(str(tmp_path / "a.orc"))
    tail = reader.reader.serialized_file_tail()
    assert orc_stripe_rows(tail) == [reader.read_stripe(i).num_rows for i in range(reader.nstripes)]
    with pytest.raises(ValueError, match="ends within"):
        orc_stripe_rows(tail[:-1])


@pytest.mark.parametrize("said", [0, 2])
def test_a_feather_batch_that_contradicts_its_columns_is_refused(tmp_path: Path, said: int) -> None:
    path = tmp_path / "a.feather"
    pyarrow.feather.write_feather(pa.table({"id": list(range(6))}), str(path), compression="uncompressed")
    data = bytearray(path.read_bytes())
    begin = data.find(b"\xff\xff\xff\xff", data.find(b"\xff\xff\xff\xff") + 4)  # the message after the schema
    places = [i for i in range(begin, begin + 300, 4) if data[i : i + 8] == (6).to_bytes(8, "little")]
    seen = 0
    for at in places:  # the batch's length, and each column's
        mutated = data[:at] + said.to_bytes(8, "little") + data[at + 8 :]
        path.write_bytes(mutated)
        with pytest.raises(ReadError, match=r"a\.feather.*Remedy"):
            read(tmp_path, "feather")
        seen += 1
    assert seen >= 2


@pytest.mark.parametrize("said", [0, 2, 9])
@pytest.mark.parametrize("schema", [None, pa.schema([("id", pa.int64())])])
def test_an_avro_block_that_contradicts_its_bytes_is_refused(
    tmp_path: Path, said: int, schema: pa.Schema | None
) -> None:
    fastavro = pytest.importorskip("fastavro")
    kind = {"type": "record", "name": "r", "fields": [{"name": "id", "type": "int"}]}
    with open(tmp_path / "a.avro", "wb") as file:
        fastavro.writer(file, kind, [{"id": i} for i in range(6)])
    assert len(read(tmp_path, "avro")) == 6
    patch(tmp_path / "a.avro", b"\x0c\x0c\x00", bytes([2 * said, 12, 0]))  # 6 records, 6 bytes, the first of them
    with pytest.raises(ReadError, match=r"a\.avro.*Remedy"):
        read(tmp_path, "avro", input_schema=schema)
