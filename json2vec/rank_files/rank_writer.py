"""`RankFiles`: one rank's Parquet files, written so that a file under its final name is whole and on disk.

Order: ``*.tmp`` -> flush, fsync, close -> rename, fsync of the folder (in an object store: upload, with its SHA-256);
then the segment's line in the journal; the marker ``rank-N.json`` last of all. Works without Lightning and torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from json2vec.errors import IncompletePredictions, StoreError
from json2vec.rank_files.journal import Journal
from json2vec.rank_files.layout import REJECTED_SCHEMA, check_lengths, fit_array, schema_digest
from json2vec.rank_files.manifest import (
    FOOTER_KEY,
    REJECTED_SEGMENT,
    Footer,
    Marker,
    Reused,
    SealedFile,
    Segment,
    Span,
    marker_name,
    merge_spans,
    rejected_name,
    rows_name,
)
from json2vec.rank_files.rejected import check_rejected, is_quarantined
from json2vec.reading.row_hash import ROW_HASH
from json2vec.storage.lock import Lock, LockHeld
from json2vec.storage.store import Store

if TYPE_CHECKING:
    from json2vec.reading.plan import Plan
    from json2vec.reading.readers import RejectedRows

ROW_GROUP_ROWS = 65_536
ROW_GROUP_BYTES = 64 << 20
_TEXT = {text.id for text in (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary())}


class _OpenFile:
    """One Parquet file on its way from ``*.tmp`` to its name. Batches are buffered and written as whole row groups."""

    def __init__(self, store: Store, folder: Path, name: str, schema: pa.Schema, flush_every: int | None) -> None:
        self.store, self.name, self.schema = store, name, schema
        self.temporary = folder / f"{name}.tmp"
        self.rows = self.input_rows = 0
        self.spans: list[Span] = []
        self.reused: Reused | None = None
        self._flush_every = flush_every
        self._buffer: list[pa.RecordBatch] = []
        self._bytes = self._batches = 0
        try:
            with _disk(self.temporary):
                self._writer = pq.ParquetWriter(self.temporary, schema, **_options(schema))
        except StoreError:
            self.temporary.unlink(missing_ok=True)
            raise

    def write(self, batch: pa.RecordBatch) -> None:
        self.rows += batch.num_rows
        self._batches += 1
        for part in _parts(batch):
            if self._buffer and self._bytes + part.nbytes > ROW_GROUP_BYTES:
                self._write_group()
            self._buffer.append(part)
            self._bytes += part.nbytes
        buffered = sum(waiting.num_rows for waiting in self._buffer) if self._flush_every is None else 0
        if buffered >= ROW_GROUP_ROWS if self._flush_every is None else self._batches >= self._flush_every:
            self.flush()

    def flush(self) -> None:
        """Write what is buffered as one row group."""
        self._write_group()
        self._batches = 0

    def _write_group(self) -> None:
        table = pa.Table.from_batches(self._buffer, self.schema)
        self._buffer, self._bytes = [], 0
        if table.num_rows:
            with _disk(self.temporary):
                self._writer.write_table(table, row_group_size=table.num_rows)

    def seal(self, footer: Footer) -> SealedFile:
        self.flush()
        with _disk(self.temporary):
            self._writer.add_key_value_metadata({FOOTER_KEY.decode(): footer.dumps().decode()})
            self._writer.close()
            with open(self.temporary, "rb") as file:
                os.fsync(file.fileno())
                size = os.fstat(file.fileno()).st_size
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            self.store.upload(self.temporary, self.name, sha256=digest)
        return SealedFile(path=self.name, rows=self.rows, bytes=size, sha256=digest, segment=footer.segment,
                          spans=merge_spans(self.spans), attempt=footer.attempt, reused=self.reused)  # fmt: skip

    def abort(self) -> None:
        # Closing completes a readable, short file; it must go before anybody can mistake it for a whole one.
        with contextlib.suppress(OSError, pa.ArrowException):
            self._writer.close()
        self.temporary.unlink(missing_ok=True)


class RankFiles:
    """Streams one rank's rows into its sealed files and ends with its marker.

    Args:
        store: the prediction folder, made where it is missing. A file appears in it when it is sealed; until then it
            lies in the store's workspace.
        plan: the plan of all ranks. Its ``share(rank)`` decides the names: ``rank-R.parquet``, or ``rank-R.K.parquet``
            where the share has more than ``segment_rows`` rows.
        rank: global rank of this process, 0 <= rank < plan.world_size.
        attempt: the id that all ranks of this try share.
        model_fingerprint: digest (hex) of the model, from `Model.fingerprint`.
        schema: the files' schema, from `layout.rank_schema`; the same on every rank.
        segment_rows: input rows after which a segment is sealed, at the next batch border.
        flush_every_n_batches: batches in a row group; default: row groups of about 65,536 rows. Either way a row group
            holds at most 64 MiB, or one row.
        settings: digest (hex) of the settings, from `settings.settings_digest`; with it, every sealed segment is noted
            in the rank's journal, so that a later attempt can adopt it.
        max_rejected: share (float) or number (int) of the snapshot's rows that may be quarantined; None sets no limit.
        scratch: local folder for open files where the store is in no folder of this machine; default: the system's for
            temporary files. It needs room for one segment a rank.

    Raises:
        StoreError: the disk or the store refused; the message names the file.
    """

    def __init__(
        self,
        store: Store,
        *,
        plan: Plan,
        rank: int,
        attempt: str,
        model_fingerprint: str,
        schema: pa.Schema,
        segment_rows: int = 1_000_000,
        flush_every_n_batches: int | None = None,
        settings: str | None = None,
        max_rejected: float | None = None,
        scratch: str | os.PathLike[str] | None = None,
    ) -> None:
        self.store = store
        self.plan, self.rank, self.attempt, self.schema = plan, rank, attempt, schema
        self.segment_rows, self.flush_every = segment_rows, flush_every_n_batches
        self.share = merge_spans(plan.share(rank))
        self.segmented = sum(stop - start for start, stop in self.share) > segment_rows
        self.sealed: list[SealedFile] = []
        self.sealed_rejected: list[SealedFile] = []
        self.batches = 0
        self._settings, self._max_rejected = settings, max_rejected
        self._quarantined = self._segment_quarantined = 0
        self._digests: dict[str, Any] = {
            "plan": plan.digest, "snapshot": plan.snapshot.digest, "model": model_fingerprint,
            "schema": schema_digest(schema),
        }  # fmt: skip
        self._started = datetime.now(UTC)
        self._segment = 0
        self._file: _OpenFile | None = None
        self._rejected: _OpenFile | None = None
        # Of this process alone: two that write for one rank (the first not quite dead yet) must not share open files.
        self._stack = contextlib.ExitStack()
        self._held: Lock | None = None
        self._scratch = Path(scratch or tempfile.gettempdir(), f"j2v-rank-{rank}-{secrets.token_hex(8)}")
        self.folder = store.workspace(self._scratch)
        with _disk(self.folder):
            store.prepare()
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if settings is not None:
                self._held = self._hold()
            self._journal = Journal(self.store, rank) if settings is not None else None

    def _hold(self) -> Lock:
        """Keep every other process from being this rank of this attempt, before anything of it is touched.

        Raises:
            StoreError: one that lives is it already.
        """
        name = f"_rank-{self.rank}.lock"
        us = {"attempt": self.attempt, "rank": self.rank, "pid": os.getpid(), "host": socket.gethostname()}
        try:
            return self._stack.enter_context(self.store.lock(name, us, wait_s=0.0))
        except LockHeld as exc:
            note = exc.note if isinstance(exc.note, dict) else {}
            raise StoreError(
                f"rank {self.rank} of attempt {self.attempt!r} in {self.store.uri()} is at work already: process "
                f"{note.get('pid')} on {note.get('host')} ({exc.where}); expected one process a rank. This one changed "
                "nothing. Remedy: have the launcher give each process a rank of its own, or end the other one first"
            ) from exc

    def _check_held(self) -> None:
        """Raise `LockLost` where another process may be this rank by now, because this one stood still."""
        if self._held is not None:
            self._held.check()

    @property
    def rows(self) -> int:
        """Output rows written so far."""
        return sum(file.rows for file in self.sealed) + (self._file.rows if self._file else 0)

    def write(
        self,
        inputs: pa.RecordBatch,
        predictions: pa.StructArray,
        source: pa.StructArray,
        span: Span,
        rejected: RejectedRows | None = None,
        reused: Reused | None = None,
    ) -> None:
        """Append one batch of N rows.

        Args:
            inputs: the rows as read; columns that the schema leaves out are dropped.
            predictions: N values of the schema's ``predictions`` type.
            source: N values of `SOURCE_TYPE`.
            span: half-open range of plan row numbers that the batch accounts for.
            rejected: rows of ``span`` that gave no output row.
            reused: how many of the predictions are of which earlier attempt: the same one for all batches.

        Raises:
            AlignmentError: the columns have different lengths.
            ProcessorError: a column does not fit the schema; the message names file and row.
            IncompletePredictions: this rank alone quarantined more rows than ``max_rejected`` allows.
        """
        where = f"rank {self.rank}, batch {self.batches}, plan rows [{span[0]}, {span[1]})"
        check_lengths(len(source), f"source ({where})", inputs=inputs.num_rows, predictions=len(predictions))
        row_name = row_namer(source)
        columns: list[pa.Array] = []
        for column in self.schema:
            if column.name == "inputs":
                children = [inputs.column(child.name) for child in column.type]
                fitted = [fit_array(array, child.type, f"inputs column {child.name!r}", row_name)
                          for array, child in zip(children, column.type, strict=True)]  # fmt: skip
                columns.append(pa.StructArray.from_arrays(fitted, fields=list(column.type)))
            else:
                array = predictions if column.name == "predictions" else source
                columns.append(fit_array(array, column.type, f"column {column.name!r}", row_name))
        if self._file is None:
            self._file = self._open()
        self._file.write(pa.RecordBatch.from_arrays(columns, schema=self.schema))
        self._file.spans.append(span)
        self._file.input_rows += span[1] - span[0]
        if reused is not None and reused.rows:
            before = self._file.reused.rows if self._file.reused is not None else 0
            self._file.reused = reused.model_copy(update={"rows": before + reused.rows})
        if rejected is not None and len(rejected):
            self._reject(rejected)
        self.batches += 1
        if self.segmented and self._file.input_rows >= self.segment_rows:
            self.seal()

    def seal(self) -> None:
        """Finish the open segment, if there is one: its rejected rows first, then its rows, then the journal."""
        if self._file is None:
            return
        self._check_held()
        rejected = None
        if self._rejected is not None:
            rejected = self._rejected.seal(self._footer(REJECTED_SEGMENT, self._rejected.rows))
            self.sealed_rejected.append(rejected)
            self._rejected = None
        file = self._file.seal(self._footer(self._segment, self._file.rows))
        self.sealed.append(file)
        self._file = None
        self._segment += 1
        if self._journal is not None and file.spans:
            assert self._settings is not None
            with _disk(self._journal.uri):
                self._journal.append(Segment(
                    attempt=self.attempt, rank=self.rank, world_size=self.plan.world_size, row_hash=ROW_HASH,
                    settings=self._settings, file=file, rejected=rejected, quarantined=self._segment_quarantined,
                    **self._digests,
                ))  # fmt: skip
        self._segment_quarantined = 0

    def close(self) -> Marker:
        """Seal what is open and write the marker: from here on the rank is done.

        Raises:
            IncompletePredictions: the batches did not account for exactly the rank's share; no marker is written.
        """
        if self._file is None and not self.sealed:
            self._file = self._open()  # a rank without rows still says so, with the schema
        spans = [span for file in self.sealed for span in file.spans] + (self._file.spans if self._file else [])
        if merge_spans(spans) != self.share:
            raise IncompletePredictions(
                f"rank {self.rank} wrote plan rows {list(merge_spans(spans))}, expected its share {list(self.share)}. "
                "Remedy: predict without limit_predict_batches or fast_dev_run, and let the data module read the plan",
                ranks=[self.rank],
            )
        self.seal()
        marker = Marker(
            attempt=self.attempt, rank=self.rank, world_size=self.plan.world_size, **self._digests,
            rows=self.rows, input_rows=sum(stop - start for start, stop in self.share),
            rejected_rows=sum(file.rows for file in self.sealed_rejected), files=tuple(self.sealed),
            rejected=tuple(self.sealed_rejected),
            started=self._started, finished=datetime.now(UTC), batches=self.batches,
        )  # fmt: skip
        self._check_held()
        self.store.write(marker_name(self.rank), marker.dumps())
        self._clear_scratch()
        return marker

    def abort(self) -> None:
        """Remove the open ``*.tmp`` files; sealed segments stay for a later attempt to adopt."""
        for file in (self._file, self._rejected):
            if file is not None:
                file.abort()
        self._file = self._rejected = None
        self._clear_scratch()

    def _clear_scratch(self) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._stack.close()

    def _open(self) -> _OpenFile:
        name = rows_name(self.rank, self._segment, segmented=self.segmented)
        return _OpenFile(self.store, self.folder, name, self.schema, self.flush_every)

    def _reject(self, rejected: RejectedRows) -> None:
        if self._rejected is None:
            name = rejected_name(self.rank, self._segment, segmented=self.segmented)
            self._rejected = _OpenFile(self.store, self.folder, name, REJECTED_SCHEMA, None)
        columns = [rejected.file, rejected.row, rejected.reason, rejected.raw]
        batch = pa.RecordBatch.from_arrays(columns, schema=REJECTED_SCHEMA)
        self._rejected.write(batch)
        bad = batch.filter(is_quarantined(rejected.reason))
        self._quarantined += bad.num_rows
        self._segment_quarantined += bad.num_rows
        if bad.num_rows and self._max_rejected is not None:  # no use in predicting the rest
            examples = (f"{row['file']}, row {row['row']}: {row['reason']}" for row in bad.slice(0, 5).to_pylist())
            check_rejected(self._quarantined, self._max_rejected, self.plan.snapshot.rows, where=f"rank {self.rank}",
                           examples=examples, ranks=[self.rank])  # fmt: skip

    def _footer(self, segment: int, rows: int) -> Footer:
        return Footer(attempt=self.attempt, rank=self.rank, segment=segment, world_size=self.plan.world_size, rows=rows,
                      row_hash=ROW_HASH, **self._digests)  # fmt: skip


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """``batch`` in pieces of at most `ROW_GROUP_BYTES`, or of one row."""
    if batch.num_rows <= 1 or batch.nbytes <= ROW_GROUP_BYTES:
        yield batch
        return
    half = batch.num_rows // 2
    yield from _parts(batch.slice(0, half))
    yield from _parts(batch.slice(half))


def row_namer(source: pa.StructArray) -> Callable[[int], str]:
    """A function from the index of a row in ``source`` to its name in messages."""

    def name(index: int) -> str:
        return f"{source.field('file')[index].as_py()}, row {source.field('row')[index].as_py()}"

    return name


def _options(schema: pa.Schema) -> dict[str, Any]:
    # Page checksums: without them 148 of 200 flipped bytes went unseen.
    # Dictionaries pay for text only; floats and hashes hardly repeat. 1M rows of 8 input columns and 2 targets, one
    # core: zstd 1 with dictionaries of text 0.89 s and 96 MB, of everything 1.58 s and 109 MB; snappy with those of
    # text 0.91 s and 113 MB, lz4 0.85 s and 112 MB, no compression 0.98 s and 136 MB.
    text = [path for column in schema for path in _text_paths(column.type, column.name)]
    return {"write_page_checksum": True, "compression": "zstd", "compression_level": 1, "use_dictionary": text}


def _text_paths(arrow_type: pa.DataType, path: str) -> Iterator[str]:
    """Parquet's paths of the leaves that hold text or bytes."""
    if pa.types.is_map(arrow_type):
        yield from _text_paths(arrow_type.key_type, f"{path}.key_value.key")
        yield from _text_paths(arrow_type.item_type, f"{path}.key_value.value")
    elif pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type) or pa.types.is_fixed_size_list(arrow_type):
        yield from _text_paths(arrow_type.value_type, f"{path}.list.element")
    elif pa.types.is_struct(arrow_type):
        for child in arrow_type:
            yield from _text_paths(child.type, f"{path}.{child.name}")
    elif arrow_type.id in _TEXT:
        yield path


@contextlib.contextmanager
def _disk(path: str | os.PathLike[str]) -> Iterator[None]:
    """Name the file in an error of the disk; a schema that Parquet refuses is no error of the disk."""
    try:
        yield
    except StoreError:
        raise
    except OSError as exc:
        raise StoreError(
            f"cannot write {path}: {exc}. Nothing of it counts as written. Remedy: make room or fix permissions, then "
            "predict again"
        ) from exc
