"""The contract before launch: new shards against what a checkpoint was trained on, before any row is predicted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from json2vec.address import Address
from json2vec.contract.breach import SEVERITIES, Breach, Limits, Severity
from json2vec.contract.rates import check_rates
from json2vec.contract.schema import check_schema
from json2vec.enums import Tokens
from json2vec.errors import ContractBroken, EncodeError, ProcessorError
from json2vec.profile.profile import Profile, profile_of
from json2vec.reading.exact import shown
from json2vec.reading.paths import path_text
from json2vec.reading.row_batch import RowBatch
from json2vec.schema.schema import Schema

if TYPE_CHECKING:
    from json2vec.fields.vocabulary import Vocabulary
    from json2vec.processors import Preprocessor
    from json2vec.reading.readers import OnBadRow
    from json2vec.reading.snapshot import Snapshot
    from json2vec.reading.source import Source

SAMPLE_ROWS = 4096
"""Rows that the contract reads, by default."""
NO_PROFILE = (
    "the checkpoint holds no profile of its training data, so that its contract is not known. Remedy: train it with a "
    "data module of this version, or add a profile with `j2v-dagster profile CKPT --inputs ROOT`"
)
_MOST_BAD = 10  # rows of a sample that may be unreadable before the rest of it is left alone


@dataclass(frozen=True)
class Outcome:
    """What a comparison found.

    Attributes:
        profile: the profile of the training; None where the checkpoint has none, and then nothing was compared.
        sample: the profile of a sample of the new rows; None where only the schemas were compared.
        breaches: what differs, the worst first.
    """

    profile: Profile | None
    sample: Profile | None = None
    breaches: tuple[Breach, ...] = ()

    @property
    def broken(self) -> bool:
        """Whether predictions would fail or mean nothing."""
        return any(breach.severity == "error" for breach in self.breaches)

    def of(self, *severities: Severity) -> list[Breach]:
        """The breaches of these severities, the worst first."""
        return [breach for breach in self.breaches if breach.severity in severities]

    def text(self) -> str:
        """Every error and warning, in a form to forward; the columns that are merely new in one line."""
        if self.profile is None:
            return NO_PROFILE
        lines = [breach.text() for breach in self.of("error", "warning")]
        if harmless := self.of("info"):
            named = (f"{breach.where}: {breach.kind} ({breach.found})" for breach in harmless[:20])
            lines.append("without effect: " + "; ".join(named))
        return "\n".join(lines) or "nothing differs"

    def summary(self) -> str:
        """One line."""
        if self.profile is None:
            return NO_PROFILE
        counts = {severity: len(self.of(severity)) for severity in SEVERITIES}
        sampled = f"{self.sample.rows:,} rows sampled" if self.sample is not None else "no row sampled"
        return (
            f"{counts['error']} errors, {counts['warning']} warnings, {counts['info']} without effect; {sampled}, "
            f"compared with {self.profile.rows:,} rows of the training"
        )

    def raise_if_broken(self, what: str) -> None:
        """Raise with every breach, unless there is no error.

        Args:
            what: the first words of the message, which name the pipeline, the partition and the folder.

        Raises:
            ContractBroken: a breach is an error; the exception's ``breaches`` are all of them.
        """
        if self.broken:
            raise ContractBroken(
                f"{what} break the contract of the checkpoint: {self.summary()}\n{self.text()}", breaches=self.breaches
            )


def check_contract(
    found: pa.Schema, profile: Profile, schema: Schema, *, suffix: str = "parquet", rows: int = 1_000_000,
    sample: Profile | None = None, limits: Limits | None = None,
) -> list[Breach]:  # fmt: skip
    """Compare a schema, and a sample, with the training.

    Args:
        found: the schema of the new shards, as read.
        profile: the profile of the training.
        schema: the schema of the model.
        suffix: the format of the new shards, such as ``parquet``.
        rows: how many rows the new shards have.
        sample: the profile of some of these rows, counted by a `Profiler` with ``reference=profile``; None compares
            schemas alone.
        limits: which rates are tolerated, and which columns are left alone.

    Returns:
        the breaches, the worst first.
    """
    limits = limits or Limits()
    breaches = check_schema(found, profile, schema, suffix=suffix, rows=rows)
    if sample is not None:
        breaches += check_rates(sample, profile, schema, limits)
    return _worst_first(_tolerated(breaches, limits))


def check_shards(
    checkpoint: Mapping[str, Any],
    snapshot: Snapshot,
    source: Source,
    *,
    sample_rows: int = SAMPLE_ROWS,
    preprocessor: Preprocessor | None = None,
    on_bad_row: OnBadRow = "raise",
    limits: Limits | None = None,
    trusted_modules: Sequence[str] = (),
) -> Outcome:
    """Compare shards with the training: their schema first and, unless that is broken, a sample of their rows.

    Args:
        checkpoint: the values of a checkpoint, as `json2vec.model.checkpoint.load` gives them.
        snapshot: the frozen list of the shards.
        source: the store of the shards, or the table that stands for them.
        sample_rows: how many rows to read, spread over all shards; 0 compares schemas alone.
        preprocessor: what makes observations of rows; None takes the rows as they are.
        on_bad_row: how the prediction to come will treat bad rows. With ``quarantine`` a row that cannot be encoded is
            a warning, not an error.
        limits: which rates are tolerated, and which columns are left alone.
        trusted_modules: modules that may be imported for the checkpoint's field types.

    Raises:
        ReadError: a shard cannot be read.
        SnapshotChanged: a shard is not the one that the snapshot lists.
        CheckpointError: the checkpoint needs a field type that is not trusted.
    """
    from json2vec.model.checkpoint import described

    profile = profile_of(checkpoint)
    if profile is None:
        return Outcome(None)
    limits = limits or Limits()
    schema, vocabularies = described(dict(checkpoint), trusted_modules=trusted_modules)
    suffix = str(snapshot.suffix)
    breaches = check_contract(snapshot.schema, profile, schema, suffix=suffix, rows=snapshot.rows, limits=limits)
    outcome = Outcome(profile, None, tuple(breaches))
    if outcome.broken or not sample_rows or not snapshot.rows:
        return outcome
    sampled = Sample(schema, vocabularies, profile, on_bad_row=on_bad_row)
    sampled.read(snapshot, source, sample_rows, preprocessor)
    breaches = check_contract(
        snapshot.schema, profile, schema, suffix=suffix, rows=snapshot.rows, sample=sampled.profile, limits=limits
    )
    breaches = _worst_first([*_tolerated(sampled.breaches, limits), *breaches])
    return Outcome(profile, sampled.profile, tuple(sampled.illustrate(breach) for breach in breaches))


def _tolerated(breaches: Iterable[Breach], limits: Limits) -> list[Breach]:
    """The breaches, with those that ``limits`` ignores made ``info``."""
    return [replace(breach, severity="info") if limits.tolerates(breach) else breach for breach in breaches]


def _worst_first(breaches: Iterable[Breach]) -> list[Breach]:
    return sorted(breaches, key=lambda breach: SEVERITIES.index(breach.severity))


class Sample:
    """Rows that were read from new shards, and errors of those that the model cannot take.

    Args:
        schema: the schema of the model.
        vocabularies: the labels that the model knows, by address of the leaf.
        reference: the profile of the training, in whose bins the sample is counted.
        on_bad_row: how the prediction to come will treat bad rows: ``raise`` or ``quarantine``.

    Attributes:
        profile: the profile of the rows that can be encoded; None where a whole column cannot.
    """

    def __init__(
        self, schema: Schema, vocabularies: Mapping[Address, Vocabulary], reference: Profile, *, on_bad_row: OnBadRow
    ) -> None:
        self._schema, self._vocabularies, self._reference = schema, vocabularies, reference
        self._on_bad_row: OnBadRow = on_bad_row
        self._batches: list[RowBatch] = []
        self._errors: dict[Address, list[EncodeError]] = {}
        self._preprocessor: ProcessorError | None = None
        self.profile: Profile | None = None

    @property
    def breaches(self) -> list[Breach]:
        """Values that their fields cannot encode, and an error of the preprocessor."""
        breaches = [self._unencodable(address, errors) for address, errors in self._errors.items()]
        if self._preprocessor is not None:
            breaches.append(
                Breach("preprocessor", "error", "(the record)", "rows that the preprocessor takes",
                       str(self._preprocessor), "write the rows as in training, or correct the preprocessor")
            )  # fmt: skip
        return breaches

    def read(self, snapshot: Snapshot, source: Source, rows: int, preprocessor: Preprocessor | None) -> None:
        """Read about ``rows`` rows, spread over all shards; see `check_shards` for what it raises."""
        from json2vec.profile.profiler import Profiler
        from json2vec.profile.sampling import sample_rows

        profiler = Profiler(self._schema, self._vocabularies, self._reference)
        try:
            for batch in sample_rows(
                snapshot, source, rows, preprocessor=preprocessor, on_bad_row=self._on_bad_row
            ):
                good = self._encodable(batch)
                if good is None:
                    return
                if len(good):
                    profiler.update(good)
                    self._batches.append(good)
        except ProcessorError as exc:
            self._preprocessor = exc
            return
        self.profile = profiler.finish(
            snapshot.schema, suffix=str(snapshot.suffix), preprocessed=preprocessor is not None
        )

    def _encodable(self, batch: RowBatch) -> RowBatch | None:
        """The rows that every field can encode; None where no single row is to blame, or too many are."""
        from json2vec.data.quarantine import reject
        from json2vec.fields.encode import located, resolve
        from json2vec.fields.registry import field_type
        from json2vec.fields.vocabulary import NO_VOCABULARY

        for address, leaf in self._schema.inputs.items():
            while len(batch) and field_type(leaf).encodes_cheaply:
                column = None
                try:
                    column = resolve(batch.observations, self._schema, address, predict=True)
                    field_type(leaf).encode(column, leaf, self._vocabularies.get(address, NO_VOCABULARY))
                    break
                except EncodeError as exc:
                    if exc.row is None and exc.item is not None and column is not None:
                        exc.row = int(column.rows()[exc.item])
                    error = located(exc, address, batch)
                self._errors.setdefault(address, []).append(error)
                if error.row is None or sum(map(len, self._errors.values())) > _MOST_BAD:
                    return None
                batch = reject(batch, error.row, str(error))
        return batch

    def _unencodable(self, address: Address, errors: list[EncodeError]) -> Breach:
        leaf, query = self._schema.leaves[address], self._schema.query(address)
        where = query.text if query.steps is None else path_text(query.steps)
        single = errors[0].row is not None
        messages = [str(error).removeprefix(f"{address}: ") for error in errors]
        return Breach(
            "unencodable",
            "warning" if single and self._on_bad_row == "quarantine" else "error",
            where,
            f"values that a {leaf.type} field can encode",
            messages[0] if len(messages) == 1 else f"{len(messages)} rows or more that it cannot: {messages[0]}",
            "mend the rows, or predict with on_bad_row='quarantine'" if single else f"write {where} as in training",
            examples=tuple(messages[1:4]),
            addresses=(str(address),),
        )

    def illustrate(self, breach: Breach) -> Breach:
        """A breach of a rate with up to three rows that make it."""
        if breach.examples or breach.kind not in _EXAMPLES or not breach.addresses:
            return breach
        examples: list[str] = []
        for batch in self._batches:
            for row, value in self._culprits(batch, breach):
                source = batch.source[row].as_py()
                examples.append(f"{source['file']}, row {source['row']}: {value}")
                if len(examples) == 3:
                    return replace(breach, examples=tuple(examples))
        return replace(breach, examples=tuple(examples))

    def _culprits(self, batch: RowBatch, breach: Breach) -> list[tuple[int, str]]:
        from json2vec.fields.encode import resolve
        from json2vec.fields.registry import field_type

        address = Address(breach.addresses[0])
        leaf = self._schema.leaves[address]
        labels, measure = field_type(leaf).labels, field_type(leaf).measure
        column = resolve(batch.observations, self._schema, address, predict=True)
        per_row = max(1, len(column.state) // max(1, len(batch)))
        if breach.kind == "null_rate":
            rows = np.unique(np.flatnonzero(column.state == Tokens.null) // per_row)
            return [(int(row), "null") for row in rows[:3]]
        values = column.values
        if breach.kind == "unknown_rate":
            vocabulary = self._vocabularies[address]
            if labels is not None:
                return []
            chosen = np.flatnonzero(vocabulary.lookup(values) >= vocabulary.capacity)
        else:
            trained = self._reference.leaves[address].numbers
            if trained is None or measure is None or _nested(values):
                return []
            numbers = measure(column, leaf)
            chosen = np.argsort(-np.maximum(trained.min - numbers, numbers - trained.max), kind="stable")
        owners = column.rows()
        picked = [(int(owners[i]), values[int(i)]) for i in chosen[:3]]
        return [(row, shown(value) if isinstance(value, pa.Scalar) else f"{value!r:.80}") for row, value in picked]


def _nested(values: Any) -> bool:
    """Whether values are lists or objects, which no line could quote; an Arrow array, or a list of Python values."""
    if isinstance(values, pa.Array):
        return pa.types.is_nested(values.type)
    return any(isinstance(value, (list, tuple, dict)) for value in values)


_EXAMPLES = ("null_rate", "unknown_rate", "outside_rate", "unit_change")
