"""Compressed NDJSON and CSV: the same rows as of the plain file, or an error that names the file; never fewer."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from read_back import read
from snapped import snap

from json2vec.errors import ReadError
from json2vec.reading.formats import ends_with
from json2vec.reading.formats.compression import plain_blocks
from json2vec.reading.readers import read_rows
from json2vec.reading.snapshot import Suffix
from json2vec.storage.local import LocalStore


def zstd(data: bytes) -> bytes:
    return pa.Codec("zstd").compress(data, asbytes=True)


PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress, ".zst": zstd, ".bz2": bz2.compress, ".xz": lzma.compress
}  # fmt: skip
TEXTS = {
    "ndjson": b"".join(b'{"id": %d, "t": "x%d"}\n' % (i, i % 7) for i in range(400)),
    "csv": b"id,t\n" + b"".join(b"%d,x%d\n" % (i, i % 7) for i in range(400)),
}


def rows(root: Path, suffix: str, **options: Any) -> list[dict[str, Any]]:
    store = LocalStore(root)
    made = snap(root, suffix)
    batches = read_rows(made, store, [(0, made.rows)], batch_size=64, **options)
    return [row for batch in batches for row in batch.inputs.to_pylist()]


def whole(data: bytes, block_bytes: int = 64, where: str = "a.ndjson") -> bytes:
    return b"".join(plain_blocks(io.BytesIO(data), where, block_bytes))


@pytest.mark.parametrize("suffix", TEXTS)
@pytest.mark.parametrize("ending", PACK)
def test_a_compressed_file_has_the_rows_of_the_plain_one(tmp_path: Path, suffix: str, ending: str) -> None:
    for folder, name, data in (
        ("plain", f"a.{suffix}", TEXTS[suffix]),
        ("named", f"a.{suffix}{ending}", PACK[ending](TEXTS[suffix])),
        ("unnamed", f"a.{suffix}", PACK[ending](TEXTS[suffix])),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(data)
    plain = rows(tmp_path / "plain", suffix)
    assert len(plain) == 400
    assert rows(tmp_path / "named", suffix) == plain
    assert rows(tmp_path / "unnamed", suffix) == plain
    made = snap(tmp_path / "named", suffix)
    some = read(made, LocalStore(tmp_path / "named"), [(100, 103), (399, 400)])
    assert [row["id"] for batch in some for row in batch.inputs.to_pylist()] == [100, 101, 102, 399]


def test_a_listing_holds_compressed_texts_and_no_others() -> None:
    for name in ("a.ndjson.gz", "a.jsonl.zst", "A.JSON.BZ2", "a.json.xz"):
        assert ends_with(name, Suffix.ndjson), name
    assert ends_with("b/a.csv.gz", Suffix.csv)
    assert not ends_with("a.csv.gz", Suffix.ndjson)
    assert not ends_with("a.parquet.gz", Suffix.parquet)
    assert not ends_with("a.csv.zip", Suffix.csv)


@pytest.mark.parametrize("ending", PACK)
def test_members_follow_one_another(ending: str) -> None:
    pack = PACK[ending]
    for size in (1, 7, 1 << 20):
        assert whole(pack(b"one\n") + pack(b"two\n") + pack(b"") + pack(b"three\n"), size) == b"one\ntwo\nthree\n"


@pytest.mark.parametrize("ending", PACK)
def test_no_cut_and_no_appendix_passes_for_less(ending: str) -> None:
    """At every byte; the name tells even where the first bytes are gone."""
    pack, text, where = PACK[ending], TEXTS["ndjson"][:600], f"a.ndjson{ending}"
    data = pack(text)
    assert whole(data, where=where) == text
    for cut in range(1, len(data)):
        with pytest.raises(ReadError, match=r"a\.ndjson"):
            whole(data[:cut], where=where)
    for cut in range(1, len(data)):
        with pytest.raises(ReadError, match=r"a\.ndjson"):
            whole(data + data[:cut], where=where)
    for tail in (b"x", b'{"id": 1}\n', b"\0\0x", random.Random(0).randbytes(100)):
        with pytest.raises(ReadError, match=r"a\.ndjson"):
            whole(data + tail, where=where)


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz"])
def test_no_flipped_bit_changes_a_text(ending: str) -> None:
    """These have checksums; a frame of Zstandard has one only where its writer wanted it."""
    text = TEXTS["ndjson"][:600]
    data = PACK[ending](text)
    for at in range(len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 1 << (at % 8)
        with contextlib.suppress(ReadError):
            assert whole(bytes(flipped), where=f"a{ending}") == text


def test_zeros_behind_the_last_member_are_no_data() -> None:
    assert whole(gzip.compress(b"a\n") + bytes(3_000_000)) == b"a\n"


def test_a_short_file_becomes_an_error_of_reading(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(TEXTS["csv"])[:-9])
    with pytest.raises(ReadError, match=r"a\.csv\.gz: its gzip stream is cut short or damaged.*Remedy: write the file"):
        snap(tmp_path, "csv")


@pytest.mark.parametrize("ending", PACK)
def test_what_decompresses_to_much_takes_little_memory(ending: str) -> None:
    """300 MB of zeros in a few kB, with a part of it in memory at a time."""
    one = PACK[ending](b"\n" * 30_000_000)
    file = io.BytesIO(one * 10)
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    total = most = 0
    for block in plain_blocks(file, "a", 1 << 20):
        total += len(block)
        most = max(most, pa.total_allocated_bytes() - before)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 300_000_000
    assert peak < 24 << 20
    assert most < 24 << 20


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(gzip.compress(b"{}\n")), "compressed twice: gzip around gzip"),
        (b"PK\x03\x04" + bytes(30), "is a zip archive; expected text"),
        (b"\x04\x22\x4d\x18" + bytes(30), "is LZ4"),
        (b"PAR1" + bytes(30), "is Parquet"),
        (gzip.compress(b"PAR1\x15\x00" + bytes(30)), "is Parquet"),
        (b"Obj\x01\x04\x16", "is Avro"),
    ],
    ids=["gzip twice", "zip", "lz4", "parquet", "parquet in gzip", "avro"],
)
def test_other_kinds_are_refused_by_name(data: bytes, message: str) -> None:
    with pytest.raises(ReadError, match=message):
        whole(data)


def test_a_text_may_begin_like_another_kind() -> None:
    for text in (b"ORC,elf\n1,2\n", b"PAR1,x\n", b"BZh9 is a name\n", b"ARROW1,b\n1,2\n", b"PK\n1\n", b"Obj\n1\n"):
        assert whole(text) == text


def test_a_plain_file_may_not_be_named_as_compressed(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(TEXTS["csv"])
    with pytest.raises(ReadError, match=r"a\.csv\.gz: its name says that it is compressed.*Remedy: give a plain file"):
        snap(tmp_path, "csv")
