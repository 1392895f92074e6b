"""`verify_predictions`: is a folder of predictions whole, aligned with its inputs, and right?

One pass over the rank files, a row group at a time; memory does not grow with the number of rows. The checks import
without torch, except `replay` and a model given as a path.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from json2vec.errors import IncompletePredictions, Json2VecError, StoreError
from json2vec.processors import (
    PostprocessorLike,
    PreprocessorLike,
    as_postprocessor,
    as_preprocessor,
    postprocessor_of,
    preprocessor_of,
)
from json2vec.rank_files.commit import file_problem
from json2vec.rank_files.layout import REJECTED_SCHEMA, SOURCE_STORED, schema_digest, stored_type
from json2vec.rank_files.locator import Locator
from json2vec.rank_files.manifest import Manifest, RankedFile, marker_name, parse_name, read_manifest
from json2vec.rank_files.rank_writer import row_namer
from json2vec.rank_files.reader import read_snapshot, row_batches
from json2vec.reading.snapshot import Snapshot
from json2vec.storage.opening import open_store
from json2vec.storage.store import Store, stored_sha256
from json2vec.verify.consistency import footer_problem, kept_problem, manifest_problems, settings_problems
from json2vec.verify.coverage import Coverage
from json2vec.verify.findings import FINDINGS, MAX_EXAMPLES, REQUIRED, Finding, Report
from json2vec.verify.input_checks import InputCheck, SourceRows
from json2vec.verify.source import Inputs, NoSource, Source, open_inputs, open_source
from json2vec.verify.source_check import SourceCheck, unread_source
from json2vec.verify.tolerance import TOLERANCE, tolerance_of
from json2vec.verify.uncommitted import foreign_findings
from json2vec.verify.value_checks import ValueCheck

if TYPE_CHECKING:
    from json2vec.model.model import Model
    from json2vec.verify.replay import Replay


def verify_predictions(
    path: str | os.PathLike[str] | Store,
    *,
    inputs: Inputs | None = None,
    model: Model | str | os.PathLike[str] | None = None,
    require: Iterable[str] = REQUIRED,
    sample: int | None = 64,
    source_sample: int | None = 64,
    storage_options: dict[str, Any] | None = None,
    preprocessor: PreprocessorLike = None,
    postprocessor: PostprocessorLike = None,
    trusted_modules: Iterable[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> Report:
    """Check a prediction folder.

    Args:
        path: the folder, local or in an object store.
        inputs: where the input rows are now, a root or the frame; default: where the snapshot read them.
        model: the model or its checkpoint, for ``replay``, and for its half of ``schema`` and ``values``.
        require: findings that must be proven for the report to pass; the others may also stay unproven. One that failed
            fails the report in any case.
        sample: rows that ``replay`` predicts again, drawn by the attempt's id; None predicts all.
        source_sample: rows that ``source`` compares with what a second reader sees in the input files, drawn likewise,
            in a few runs of consecutive rows; None compares all.
        storage_options: options for the object stores' clients; unused for local folders.
        preprocessor: the preprocessor that predicted, for ``replay``; default: the one that the manifest names, if its
            module is in ``trusted_modules``, and the one of ``settings`` where they are given.
        postprocessor: the postprocessor that predicted, for ``replay``; default: likewise.
        trusted_modules: modules that may be imported for the checkpoint and for processors that the manifest names.
        settings: how the rows ought to have been predicted, by the names of `json2vec.rank_files.settings.SETTINGS`.
            They decide how rows are predicted again and how far off they may be, and a manifest that says otherwise
            fails ``files``. Without them the folder is judged by its own word; ``replay`` is then proven in float32
            only.

    Returns:
        a report with all of `FINDINGS`; nothing is raised for a folder that is wrong.

    Raises:
        ValueError: ``require`` has an unknown name.
        CheckpointError: ``model`` is a path that cannot be loaded.
    """
    required = tuple(require)
    if unknown := sorted(set(required) - set(FINDINGS)):
        raise ValueError(f"require={unknown} are no findings; expected some of {list(FINDINGS)}")
    started = time.monotonic()
    store = open_store(path, storage_options)
    if isinstance(model, str | os.PathLike):
        from json2vec.model.model import Model

        model = Model.load(os.fspath(model), trusted_modules=list(trusted_modules))
    try:
        manifest = read_manifest(store)
        snapshot = read_snapshot(store, manifest)
    except IncompletePredictions as exc:
        input_rows: Source | None = None
        with contextlib.suppress(StoreError):
            input_rows = None if inputs is None else open_inputs(inputs, storage_options)
        rows, findings = foreign_findings(store, exc, input_rows)
        return Report(store.uri(), rows, findings, time.monotonic() - started, required)
    source, no_inputs = None, ""
    try:
        source = open_source(inputs, snapshot, storage_options)
    except (NoSource, StoreError) as exc:
        no_inputs = str(exc)
    check = _Verification(
        store, manifest, snapshot, model, source, no_inputs, check_source=inputs is None, settings=settings
    )
    check.open_second_reader(source_sample)
    check.open_replay(sample, preprocessor, postprocessor, trusted_modules)
    check.read_all()
    return Report(store.uri(), manifest.rows, check.findings(), time.monotonic() - started, required)


class _Verification:
    """The state of one verification: what each finding has seen so far.

    Args:
        store: the prediction folder.
        manifest: the folder's manifest.
        snapshot: the input as the manifest holds it.
        model: the model to replay with; None where there is none.
        source: the input rows; None where there are none.
        no_inputs: why there are no input rows; empty where there are.
        check_source: whether the inputs' files must have the versions that the snapshot saw. A copy of the inputs has
            other versions; there the values alone decide.
        settings: how the rows ought to have been predicted; None where the manifest's word is all there is.
    """

    def __init__(
        self,
        store: Store,
        manifest: Manifest,
        snapshot: Snapshot,
        model: Model | None,
        source: Source | None,
        no_inputs: str,
        *,
        check_source: bool,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.store, self.manifest, self.snapshot, self.model = store, manifest, snapshot, model
        self.locator = Locator(snapshot)
        self.coverage = Coverage(self.locator)
        self.broken: dict[str, str] = {}  # path: why it cannot be trusted
        self.unread: set[str] = set()  # those of them whose bytes are not the manifest's
        self.schemas: dict[str, pa.Schema] = {}
        labels = None
        if model is not None:
            labels = {str(address): list(vocabulary.labels) for address, vocabulary in model.vocabularies.items()}
        self.values = ValueCheck(labels)
        self.inputs: InputCheck | None = None
        self.source, self.check_source = source, check_source
        self.no_inputs, self.no_replay = no_inputs, ""
        self.replay: Replay | None = None
        self.second: SourceCheck | None = None
        self.expected = settings
        self.settings = {**manifest.settings, **(settings or {})}

    # -- what to compare with ------------------------------------------------------------------------------------------

    def open_second_reader(self, sample: int | None) -> None:
        """Prepare to read a sample of the input files a second time, if there are files."""
        if self.source is not None and not isinstance(self.source, pa.Table):
            self.second = SourceCheck(self.manifest.rows, sample, self.manifest.attempt, self.snapshot, self.source,
                                      check=self.check_source)  # fmt: skip

    def open_replay(
        self,
        sample: int | None,
        preprocessor: PreprocessorLike,
        postprocessor: PostprocessorLike,
        trusted: Iterable[str],
    ) -> None:
        """Prepare to predict again, or say in ``no_replay`` why that is not possible."""
        settings = self.settings
        if self.model is None:
            self.no_replay = "no model was given; pass model="
            return
        if self.source is None:
            self.no_replay = self.no_inputs
            return
        before, after = as_preprocessor(preprocessor), as_postprocessor(postprocessor)
        part, name = "preprocessor", settings.get("preprocessor")
        try:
            before = preprocessor_of(before, name, trusted)
            part, name = "postprocessor", settings.get("postprocessor")
            after = postprocessor_of(after, name, trusted)
        except Json2VecError as exc:
            self.no_replay = f"the {part} {name!r} is needed; pass {part}= ({exc})"
            return
        from json2vec.verify.replay import Replay, sample_positions

        self.model.eval()
        self.replay = Replay(
            sample_positions(self.manifest.rows, sample, self.manifest.attempt), self.model, self.snapshot, self.source,
            reconstruct=settings.get("reconstruct") or (),
            tolerance=tolerance_of(settings.get("precision"), settings.get("device")),
            check=self.check_source, preprocessor=before, postprocessor=after,
        )  # fmt: skip

    # -- reading -------------------------------------------------------------------------------------------------------

    def read_all(self) -> None:
        """One pass over all files: bytes first, then rows."""
        first = 0
        for file in (*self.manifest.files, *self.manifest.rejected):
            # Bytes that are not the manifest's are never decoded: a damaged footer can do anything to a Parquet reader.
            if why := self._bytes_problem(file):
                self.unread.add(file.path)
            if why := why or file_problem(self.store, file, self.manifest):
                self.broken[file.path] = why
        for file in self.manifest.files:
            self._read(file, lambda batch, at, file=file, first=first: self._rows(file, batch, first + at))
            first += file.rows
        for file in self.manifest.rejected:
            self._read(file, lambda batch, at, file=file: self._rejected(file, batch))

    def _bytes_problem(self, file: RankedFile) -> str | None:
        """What is wrong with a file's size or SHA-256."""
        try:
            size = self.store.stat(file.path).size
            if size != file.bytes:
                return f"has {size} bytes, expected {file.bytes}"
            digest = stored_sha256(self.store, file.path)
        except FileNotFoundError:
            return "is missing"
        except OSError as exc:
            return f"cannot be read: {exc}"
        return None if digest == file.sha256 else f"has SHA-256 {digest[:12]}..., expected {file.sha256[:12]}..."

    def _read(self, file: RankedFile, use: Callable[[pa.RecordBatch, int], None]) -> None:
        """Give every batch of a file to ``use``, unless its bytes are not the manifest's."""
        if file.path in self.unread:
            return
        try:
            with self.store.open(file.path) as handle:
                # No page checksums: SHA-256 has just seen every byte. Fetching ahead pays over a network only.
                parquet = pq.ParquetFile(handle, pre_buffer=not isinstance(handle, io.BufferedReader))
                self.schemas[file.path] = parquet.schema_arrow
                at = 0
                why = footer_problem(parquet.metadata.metadata, self.snapshot, self.manifest)
                if why is not None:
                    self.broken.setdefault(file.path, why)
                for batch in row_batches(parquet):
                    use(batch, at)
                    at += batch.num_rows
        except (OSError, pa.ArrowException, KeyError, ValueError) as exc:
            self.broken.setdefault(file.path, f"cannot be read: {exc}")

    def _rows(self, file: RankedFile, batch: pa.RecordBatch, first: int) -> None:
        source = batch.column("source")
        if source.type != SOURCE_STORED:
            raise KeyError(f"column source is {source.type}, expected {SOURCE_STORED}")
        plan_rows = self.locator.plan_rows(source)
        self.coverage.add(source, plan_rows, file.path)
        self.values.add(batch.column("predictions"), row_namer(source))
        if self.source is not None:
            if self.inputs is None:
                kept = batch.schema.field("inputs").type if "inputs" in batch.schema.names else None
                rows = SourceRows(self.snapshot, self.source, check=self.check_source)
                self.inputs = InputCheck(rows, self.locator, kept)
            self.inputs.add(batch, plan_rows, file.path)
        if self.second is not None:
            self.second.add(batch, plan_rows, first, file.path)
        if self.replay is not None:
            self.replay.add(batch, plan_rows, first)

    def _rejected(self, file: RankedFile, batch: pa.RecordBatch) -> None:
        if not batch.schema.equals(REJECTED_SCHEMA):
            raise KeyError(f"columns are {batch.schema.names}, expected {REJECTED_SCHEMA.names}")
        self.coverage.add_rejected(batch, self.locator.plan_rows(batch), file.path)

    # -- findings ------------------------------------------------------------------------------------------------------

    def findings(self) -> tuple[Finding, ...]:
        files = self._files_finding()  # last to look, so that it knows what could not be read
        postprocessed = bool(self.settings.get("postprocessor"))
        source = unread_source(self.no_inputs) if self.second is None else self.second.finding()
        return (files, self.coverage.finding(), self._inputs_finding(), source, self._schema_finding(postprocessed),
                self.values.finding(postprocessed=postprocessed), self._replay_finding())  # fmt: skip

    def _files_finding(self) -> Finding:
        listed = {file.path: file for file in (*self.manifest.files, *self.manifest.rejected)}
        ranks = set(range(self.manifest.world_size)) - {
            file.rank for file in self.manifest.files if file.attempt == self.manifest.attempt
        }
        markers = {marker_name(rank) for rank in range(self.manifest.world_size)}
        stale = [path for path in _own_files(self.store) if path not in listed and path not in markers]
        examples = [f"rank {listed[path].rank}: {path} {why}" for path, why in self.broken.items()]
        examples += [f"rank {rank} has no file" for rank in sorted(ranks)[:MAX_EXAMPLES]]
        examples += [f"{path} is not in the manifest" for path in stale]
        contradictions = list(manifest_problems(self.store, self.manifest, self.snapshot))
        contradictions += settings_problems(self.manifest, self.expected or {})
        examples += contradictions
        counts = {"files": len(listed), "broken": len(self.broken), "missing_ranks": len(ranks), "stale": len(stale),
                  "contradictions": len(contradictions)}  # fmt: skip
        return Finding(
            "files", not examples,
            f"exactly {len(listed)} files of {self.manifest.world_size} ranks, of the manifest's sizes and SHA-256",
            f"{len(listed) - len(self.broken)} intact, {len(self.broken)} broken, {len(stale)} stale, "
            f"{len(ranks)} ranks without a file, {len(contradictions)} contradictions between manifest and markers",
            "" if not examples else "do not load this folder; predict again" if self.broken or ranks or contradictions
            else "remove the stale files, or predict again", counts, tuple(examples[: 2 * MAX_EXAMPLES]),
        )  # fmt: skip

    def _inputs_finding(self) -> Finding:
        if self.inputs is not None:
            return self.inputs.finding()
        if not self.no_inputs and self.manifest.rows == 0:
            return Finding("inputs", True, "the inputs of every row equal to its source row", "no rows to compare")
        why = self.no_inputs or "no rank file could be read"
        return Finding("inputs", None, "the inputs of every row equal to its source row", f"not compared: {why}",
                       "pass inputs=, or leave `inputs` out of require=")  # fmt: skip

    def _schema_finding(self, postprocessed: bool) -> Finding:
        wrong: list[str] = []
        for file in self.manifest.files:
            schema = self.schemas.get(file.path)
            if schema is not None and (why := self._schema_problem(schema, postprocessed)):
                wrong.append(f"{file.path}: {why}")
        counts = {"files": len(self.schemas), "wrong": len(wrong)}
        expected = "one schema in all files, the one that the model and the input imply"
        found = f"{len(wrong)} of {len(self.schemas)} files have another schema"
        if wrong:
            return Finding("schema", False, expected, found, "predict again with schema=, or with the right model",
                           counts, tuple(wrong[:MAX_EXAMPLES]))  # fmt: skip
        if not self.schemas:
            return Finding("schema", None, expected, "no file could be read", "predict again", counts)
        if self.model is None:
            return Finding("schema", None, expected, "one schema that fits the input; the model's half is not compared",
                           "pass model=, or leave `schema` out of require=", counts)  # fmt: skip
        return Finding("schema", True, expected, f"one schema in {len(self.schemas)} files", "", counts)

    def _schema_problem(self, schema: pa.Schema, postprocessed: bool) -> str | None:
        if schema_digest(schema) != self.manifest.schema_digest:
            return f"columns {schema.names} do not have the digest of the manifest's schema"
        if why := kept_problem(self.manifest, self.snapshot, schema):
            return why
        if "inputs" in schema.names:
            for column in schema.field("inputs").type:
                place = self.snapshot.schema.get_field_index(column.name)
                if place < 0:
                    return f"inputs column {column.name!r} is not in the input"
                arrow_type = self.snapshot.schema.field(place).type
                if stored_type(arrow_type) != stored_type(column.type):
                    return f"inputs column {column.name!r} is {column.type}, the input's {arrow_type}"
        if self.model is not None and not postprocessed:
            implied = stored_type(self.model.output_type(self.settings.get("reconstruct") or ()))
            if implied != stored_type(schema.field("predictions").type):
                return f"predictions are {schema.field('predictions').type}, the model gives {implied}"
        return None

    def _replay_finding(self) -> Finding:
        expected = "stored predictions equal to those predicted again from the source rows"
        if self.replay is None or self.model is None:
            return Finding("replay", None, expected, f"not predicted again: {self.no_replay}",
                           "leave `replay` out of require=, or give what is missing")  # fmt: skip
        if (fingerprint := self.model.fingerprint()) != self.manifest.model:
            return Finding(
                "replay", False, f"the model with fingerprint {self.manifest.model[:12]}...",
                f"another model: {fingerprint[:12]}...", "pass the checkpoint that predicted, or predict again",
            )  # fmt: skip
        finding = self.replay.finding()
        precision = self.settings.get("precision")
        if finding.passed and self.expected is None and tolerance_of(precision, None) > TOLERANCE:
            return replace(
                finding, passed=None, found=f"{finding.found}; that it may be as far off, the folder says itself",
                remedy=f"pass settings={{'precision': {precision!r}}} if that is how it was predicted",
            )  # fmt: skip
        return finding


def _own_files(store: Store) -> Iterator[str]:
    """Files at the top of the folder whose names are the writer's, but for error reports, and any other Parquet file:
    somebody who lists ``*.parquet`` instead of reading the manifest would take it for predictions."""
    for entry in store.list():
        name = parse_name(entry.path)
        if (name is not None and name.kind != "error") or ("/" not in entry.path and entry.path.endswith(".parquet")):
            yield entry.path
