"""One row's story: its source, who wrote its prediction where, and what the model says of it now."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from json2vec.errors import Json2VecError, VerificationFailed
from json2vec.processors import (
    Postprocessor,
    PostprocessorLike,
    Preprocessor,
    PreprocessorLike,
    postprocessor_of,
    preprocessor_of,
)
from json2vec.rank_files.manifest import Manifest, RankedFile, read_manifest
from json2vec.rank_files.reader import read_snapshot, row_batches
from json2vec.reading.readers import read_rows
from json2vec.reading.row_batch import RowBatch
from json2vec.reading.snapshot import Snapshot
from json2vec.storage.opening import open_store
from json2vec.storage.store import Store
from json2vec.verify.certificate import RowName
from json2vec.verify.input_checks import unequal_rows
from json2vec.verify.row_json import row_to_json
from json2vec.verify.source import Inputs, NoSource, Source, open_source
from json2vec.verify.tolerance import TOLERANCE, far, tolerance_of

if TYPE_CHECKING:
    from json2vec.model.model import Model

_MAX_VALUES = 6


@dataclass
class Explanation:
    """What `explain` found.

    Attributes:
        title: names the row and the folder.
        facts: what is known of the row, each with a name and a text.
        inputs: for each input column its name, the source's value now, the stored value, and whether they agree.
        predictions: for each predicted value its name, the stored value, the one predicted again, and whether they
            agree.
        ok: False where the row is missing, there twice, or differs from source or replay.
    """

    title: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    inputs: list[tuple[str, str, str, bool]] = field(default_factory=list)
    predictions: list[tuple[str, str, str, bool]] = field(default_factory=list)
    ok: bool = True

    def text(self) -> str:
        """For a terminal: facts, then a table of source and stored inputs, then one of stored and replayed values."""
        width = max(len(name) for name, _ in self.facts)
        lines = [self.title, *(f"  {name:<{width}}  {value}" for name, value in self.facts)]
        for heading, left, right, rows in (
            ("inputs", "source now", "stored", self.inputs),
            ("prediction", "stored", "predicted again", self.predictions),
        ):
            if rows:
                lines += ["", *_table((heading, left, right), rows)]
        return "\n".join(lines)

    def wrong(self, name: str, value: str) -> None:
        self.ok = False
        self.facts.append((name, f"WRONG: {value}"))


def explain(
    path: str | os.PathLike[str] | Store,
    row: RowName,
    *,
    inputs: Inputs | None = None,
    model: Model | str | os.PathLike[str] | None = None,
    preprocessor: PreprocessorLike = None,
    postprocessor: PostprocessorLike = None,
    trusted_modules: Iterable[str] = (),
    storage_options: dict[str, Any] | None = None,
) -> Explanation:
    """Tell where a row of the input went.

    Args:
        path: the folder, local or in an object store.
        row: the row, as input file, row in it and part.
        inputs: where the input rows are now, a root or the frame; default: where the snapshot read them.
        model: the model or its checkpoint, which predicts the row again; None does without.
        preprocessor: the one that predicted; default: the one that the manifest names, if its module is trusted.
        postprocessor: the one that predicted; default: likewise.
        trusted_modules: modules that may be imported for the checkpoint and for processors that the manifest names.
        storage_options: options for the object stores' clients; unused for local folders.

    Raises:
        IncompletePredictions: the folder has no manifest.
        VerificationFailed: the snapshot has no such file or row.
    """
    store = open_store(path, storage_options)
    manifest = read_manifest(store)
    snapshot = read_snapshot(store, manifest)
    plan_row = _plan_row(snapshot, row)
    story = Explanation(f"{row} (plan row {plan_row} of {snapshot.rows}) in {store.uri()}")
    story.facts += [
        ("attempt", f"{manifest.attempt}, committed {manifest.created:%Y-%m-%d %H:%M:%S} UTC"),
        ("model", manifest.model),
        ("settings", ", ".join(f"{key}={value}" for key, value in manifest.settings.items() if value is not None)),
    ]
    stored = _find(store, manifest, plan_row, row, story)
    source: Source | None = None
    try:
        source = open_source(inputs, snapshot, storage_options)
    except NoSource as exc:
        story.facts.append(("source", str(exc)))
    if stored is None or source is None:
        _show_alone(source, snapshot, stored, plan_row, story)
        return story
    try:
        again = _read_one(snapshot, source, plan_row, None, check=inputs is None)
        _compare_inputs(again, stored, story)
        if model is None:
            story.facts.append(("replay", "not done: no model was given; pass --model"))
            _show_stored(stored, story)
        else:
            settings = manifest.settings
            before = preprocessor_of(preprocessor, settings.get("preprocessor"), trusted_modules)
            after = postprocessor_of(postprocessor, settings.get("postprocessor"), trusted_modules)
            _replay(stored, snapshot, source, plan_row, row, model, manifest, (before, after), trusted_modules,
                    inputs is None, story)  # fmt: skip
    except (Json2VecError, OSError, pa.ArrowException) as exc:
        story.wrong("source", str(exc))
        _show_stored(stored, story)
    return story


def _plan_row(snapshot: Snapshot, row: RowName) -> int:
    paths = snapshot.files["path"].to_pylist()
    if row.file not in paths:
        raise VerificationFailed(
            f"{row.file!r} is none of the snapshot's {len(paths)} files below {snapshot.root}; the first are "
            f"{paths[:3]}. Remedy: name the file relative to that root"
        )
    file = paths.index(row.file)
    rows = int(snapshot.starts[file + 1] - snapshot.starts[file])
    if not 0 <= row.row < rows:
        raise VerificationFailed(f"{row.file} has {rows} rows, counted from 0; row {row.row} is not among them")
    return int(snapshot.starts[file]) + row.row


def _find(store: Store, manifest: Manifest, plan_row: int, row: RowName, story: Explanation) -> pa.RecordBatch | None:
    """The stored row, a batch of one; notes which file, segment and rank it is in, or what became of it instead."""
    responsible = [file for file in manifest.files if any(a <= plan_row < b for a, b in file.spans)]
    for file in responsible:
        story.facts.append(("accounted for by", _who(file, manifest)))
    if not responsible:
        story.wrong("accounted for by", "no file of the manifest")
    matches: list[tuple[RankedFile, int, pa.RecordBatch]] = []
    for file in sorted(manifest.files, key=lambda file: file not in responsible):
        if matches and file not in responsible:
            break
        try:
            matches += [(file, at, batch) for at, batch in _matches(store, file, row, "source")]
        except (OSError, ValueError, pa.ArrowException) as exc:
            story.wrong("file", f"{file.path} cannot be read: {exc}")
    if len(matches) > 1:
        story.wrong("there twice", ", ".join(f"{file.path} position {at}" for file, at, _ in matches))
    if matches:
        file, at, batch = matches[0]
        where = f"{store.uri(file.path)}, position {at} of {file.rows}"
        if file not in responsible:
            story.wrong("found in", f"{where}, which does not account for it")
        else:
            story.facts.append(("found in", where))
        return batch
    for file in manifest.rejected:
        for _, batch in _matches(store, file, row, None):
            reason, raw = batch.column("reason")[0].as_py(), batch.column("raw")[0].as_py()
            story.facts.append(("rejected", f"{reason} ({file.path}, rank {file.rank})"))
            if raw is not None:
                story.facts.append(("its text", raw[:500]))
            return None
    story.wrong("prediction", "MISSING: the row is neither predicted nor rejected; do not load this folder")
    return None


def _who(file: RankedFile, manifest: Manifest) -> str:
    adopted = "" if file.attempt == manifest.attempt else ", adopted by this attempt"
    return f"{file.path}: rank {file.rank}, segment {file.segment} of attempt {file.attempt}{adopted}"


def _matches(store: Store, file: RankedFile, row: RowName, column: str | None) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Positions and one-row batches of a file that name ``row``."""
    with store.open(file.path) as handle:
        at = 0
        for batch in row_batches(pq.ParquetFile(handle)):
            names = batch if column is None else pa.RecordBatch.from_struct_array(batch.column(column))
            hits = names.column("row").to_numpy() == row.row
            if column is not None:
                hits &= names.column("part").to_numpy() == row.part
            for index in np.flatnonzero(hits):
                if names.column("file")[int(index)].as_py() == row.file:
                    yield at + int(index), batch.slice(int(index), 1)
            at += batch.num_rows


def _read_one(
    snapshot: Snapshot, source: Source, plan_row: int, preprocessor: Preprocessor | None, *, check: bool
) -> RowBatch:
    ranges = ((plan_row, plan_row + 1),)
    batches = read_rows(snapshot, source, ranges, batch_size=1 << 20, preprocessor=preprocessor,
                        on_bad_row="quarantine", check=check)  # fmt: skip
    return next(iter(batches))


def _compare_inputs(again: RowBatch, stored: pa.RecordBatch, story: Explanation) -> None:
    if not len(again):
        story.wrong("source", "the row cannot be read from its file any more")
        return
    now, then = (source[0]["hash"].as_py() for source in (again.source, stored.column("source")))
    if now == then:
        story.facts.append(("row hash", f"{then:016x}, as the source has it"))
    else:
        story.wrong("row hash", f"stored {then:016x}, the source row now has {now:016x}")
    kept = stored.column("inputs") if "inputs" in stored.schema.names else None
    for column in again.inputs.schema:
        here = again.inputs.column(column.name)
        if kept is None or kept.type.get_field_index(column.name) < 0:
            story.inputs.append((column.name, _shown(here[0]), "(not kept)", True))
            continue
        there = kept.field(column.name)
        unequal = unequal_rows(there, here)
        same = unequal is None or not unequal.any()
        story.ok &= same
        story.inputs.append((column.name, _shown(here[0]), _shown(there[0]), same))


def _replay(
    stored: pa.RecordBatch, snapshot: Snapshot, source: Source, plan_row: int, row: RowName,
    model: Model | str | os.PathLike[str], manifest: Manifest,
    processors: tuple[Preprocessor | None, Postprocessor | None], trusted: Iterable[str], check: bool,
    story: Explanation,
) -> None:  # fmt: skip
    from json2vec.model.model import Model
    from json2vec.verify.replay import predict_columns

    if isinstance(model, str | os.PathLike):
        model = Model.load(os.fspath(model), trusted_modules=list(trusted))
    if (fingerprint := model.fingerprint()) != manifest.model:
        story.wrong("model", f"the given model is another one: {fingerprint}")
    rows = _read_one(snapshot, source, plan_row, processors[0], check=check)
    if len(rows) <= row.part:
        story.wrong("replay", f"the source now gives {len(rows)} rows here, part {row.part} is not among them")
        _show_stored(stored, story)
        return
    arrow_type = stored.schema.field("predictions").type
    again = predict_columns(model.eval(), rows, arrow_type, manifest.settings.get("reconstruct") or (),
                            processors[1]).slice(row.part, 1)  # fmt: skip
    tolerance = tolerance_of(manifest.settings.get("precision"), manifest.settings.get("device"))
    for (name, mine), (_, theirs) in zip(_leaves(stored.column("predictions")), _leaves(again), strict=True):
        same = not far(mine, theirs, tolerance).any()
        story.ok &= same
        story.predictions.append((name, _shown(mine[0]), _shown(theirs[0]), same))
    agree = all(same for *_, same in story.predictions)
    story.facts.append(("replay", f"{'agrees' if agree else 'DIFFERS'} (tolerance {tolerance or TOLERANCE:g})"))


def _leaves(array: pa.StructArray, path: str = "") -> Iterator[tuple[str, pa.Array]]:
    for index, child in enumerate(array.type):
        name = f"{path}.{child.name}" if path else child.name
        if pa.types.is_struct(child.type):
            yield from _leaves(array.field(index), name)
        else:
            yield name, array.field(index)


def _show_stored(stored: pa.RecordBatch, story: Explanation) -> None:
    if not story.predictions:
        story.predictions = [(name, _shown(values[0]), "(not predicted again)", True)
                             for name, values in _leaves(stored.column("predictions"))]  # fmt: skip


def _show_alone(
    source: Source | None, snapshot: Snapshot, stored: pa.RecordBatch | None, plan_row: int, story: Explanation
) -> None:
    """What there is to show where there is nothing to compare."""
    if stored is not None:
        _show_stored(stored, story)
        return
    if source is not None:
        try:
            again = _read_one(snapshot, source, plan_row, None, check=False)
        except (Json2VecError, OSError, pa.ArrowException) as exc:
            story.wrong("source", str(exc))
            return
        for column in again.inputs.schema if len(again) else ():
            story.inputs.append((column.name, _shown(again.inputs.column(column.name)[0]), "(no prediction)", True))


def _shown(value: pa.Scalar) -> str:
    plain = row_to_json(value)
    if isinstance(plain, list) and len(plain) > _MAX_VALUES:
        head = ", ".join(_text(item) for item in plain[:_MAX_VALUES])
        return f"[{head}, ... {len(plain)} values]"
    text = _text(plain)
    return text if len(text) <= 60 else text[:57] + "..."


def _text(plain: object) -> str:
    return f"{plain:.7g}" if isinstance(plain, float) else json.dumps(plain, ensure_ascii=False)


def _table(header: tuple[str, str, str], rows: list[tuple[str, str, str, bool]]) -> Iterator[str]:
    cells = [header, *(row[:3] for row in rows)]
    widths = [max(len(cell[i]) for cell in cells) for i in range(3)]
    for index, cell in enumerate(cells):
        mark = "" if index == 0 or rows[index - 1][3] else "   <-- differs"
        yield "  " + "  ".join(f"{text:<{width}}" for text, width in zip(cell, widths, strict=True)).rstrip() + mark
