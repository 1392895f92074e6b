"""The contract of a pipeline's shards: compared before any rank starts, and measured again as drift by a check.

The comparison itself is `json2vec.contract`; here are its options, what a run shows of it, and the drift of a sample.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg

from j2v_dagster.checks import drift_result
from json2vec.contract import NO_PROFILE, SAMPLE_ROWS, Limits, Outcome, check_shards
from json2vec.errors import ContractBroken, Json2VecError
from json2vec.profile.profile import LeafProfile, drift, profile_of
from json2vec.rank_files.settings import PredictSettings
from json2vec.reading.snapshot import Snapshot

if TYPE_CHECKING:
    from json2vec.storage.store import Store

Mode = Literal["raise", "warn", "off"]


@dataclass(frozen=True)
class ContractOptions:
    """How a pipeline holds its shards to the contract.

    Attributes:
        mode: what happens where a breach makes predictions fail or mean nothing: ``raise`` stops the run, ``warn``
            logs it, and ``off`` compares nothing.
        sample: number of rows of a partition that are read for the comparison; 0 compares schemas alone.
        limits: the rates above which a difference counts as a breach.
    """

    mode: Mode = "raise"
    sample: int = SAMPLE_ROWS
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def of(cls, mode: str, sample: int, limits: Mapping[str, Any] | None) -> ContractOptions:
        """Options from plain values.

        Raises:
            ValueError: an option that cannot be meant; the message names it.
        """
        if mode not in ("raise", "warn", "off"):
            raise ValueError(f"contract is {mode!r}; expected 'raise', 'warn' or 'off'")
        if sample < 0:
            raise ValueError(f"contract_sample is {sample}; expected a number of rows, 0 for none")
        return cls(mode, sample, Limits.of(limits))

    def compare(
        self,
        checkpoint: Mapping[str, Any],
        snapshot: Snapshot,
        store: Store,
        settings: PredictSettings,
        *,
        subject: str,
        log: logging.Logger,
    ) -> Outcome | None:
        """Compare a partition's shards with what the checkpoint was trained on, before anything is started.

        Args:
            checkpoint: the plain values that the checkpoint's file holds.
            snapshot: the frozen list of the partition's shards.
            store: the partition's folder, where the shards lie.
            settings: the settings with which the ranks will predict.
            subject: pipeline and partition in words; the messages begin with it.
            log: gets a line about the outcome.

        Returns:
            The comparison's outcome; None where nothing was compared.

        Raises:
            json2vec.errors.ContractBroken: the shards differ so that predictions would fail or mean nothing.
        """
        if self.mode == "off":
            return None
        outcome = self._outcome(checkpoint, snapshot, store, settings)
        if outcome.profile is None:
            log.info(f"contract: {NO_PROFILE}")
            return None
        where = f"{subject}: the {snapshot.files.num_rows} shards with {snapshot.rows:,} rows in {snapshot.root}"
        if self.mode == "raise":
            outcome.raise_if_broken(f"{where} (no rank was started, the table keeps its rows)")
        if outcome.of("error", "warning"):
            log.warning(f"{where} differ from the training: {outcome.summary()}\n{outcome.text()}")
        else:
            log.info(f"contract: {outcome.summary()}")
        return outcome

    def _outcome(
        self, checkpoint: Mapping[str, Any], snapshot: Snapshot, store: Store, settings: PredictSettings
    ) -> Outcome:
        from json2vec.processors import as_preprocessor, resolve

        trusted = settings.trusted_modules
        return check_shards(
            checkpoint, snapshot, store, sample_rows=self.sample, on_bad_row=settings.on_bad_row, limits=self.limits,
            preprocessor=as_preprocessor(resolve(settings.preprocessor, trusted)) if settings.preprocessor else None,
            trusted_modules=trusted,
        )  # fmt: skip

    def drift_result(
        self, checkpoint: Path, attempt: Store, store: Store, settings: PredictSettings, *, asset: dg.AssetKey
    ) -> dg.AssetCheckResult:
        """The check `input_drift`, of a sample of the rows that an attempt predicted.

        Args:
            checkpoint: the model's checkpoint, a file on this machine.
            attempt: the attempt's folder.
            store: the partition's folder, where the shards lie.
            settings: the settings with which the ranks predicted.
            asset: the asset that the check belongs to.
        """
        import pyarrow as pa

        from json2vec.model.checkpoint import load
        from json2vec.rank_files.manifest import read_manifest

        try:
            snapshot = Snapshot.from_json(read_manifest(attempt).snapshot)
            outcome = self._outcome(load(checkpoint), snapshot, store, settings)
        except (Json2VecError, OSError, pa.ArrowException) as exc:
            return drift_result(False, f"drift cannot be measured: {exc}", asset=asset)
        if outcome.profile is None:
            return drift_result(True, f"not measured: {NO_PROFILE}", asset=asset)
        if outcome.sample is None and not outcome.broken:
            return drift_result(True, "not measured: contract_sample is 0, or there is no row", asset=asset)
        rows = drift_rows(outcome, self.limits)
        moved = [str(row["leaf"]) for row in rows if row["drifted"]]
        breaches = outcome.of("error", "warning")
        lines = [outcome.summary()]
        if moved:
            lines.append(
                f"Drifted: {', '.join(moved)}. Remedy: look at the table; if the data are right, train again; "
                "contract_limits raises psi or names columns to ignore."
            )
        lines += [breach.text() for breach in breaches]
        numbers = {f"psi {row['leaf']}": float(row["psi"]) for row in rows[:_PLOTTED] if row["psi"] is not None}
        metadata: dict[str, Any] = {
            **numbers,
            "max_psi": max(numbers.values(), default=0.0),
            "drifted_leaves": len(moved),
            "breaches": len(breaches),
            "sampled_rows": outcome.sample.rows if outcome.sample is not None else 0,
            "drift": _table(rows),
            "contract": _table([breach.row() for breach in outcome.breaches]),
        }
        return drift_result(not moved and not breaches, "\n".join(lines), asset=asset, metadata=metadata)


def check_columns(
    checkpoint: Mapping[str, Any], snapshot: Snapshot, store: Store, settings: PredictSettings, *, subject: str
) -> None:
    """Refuse shards that lack a column which the model reads, whatever the contract says and whether there is one.

    Args:
        checkpoint: the plain values that the checkpoint's file holds.
        snapshot: the frozen list of the partition's shards.
        store: the partition's folder, where the shards lie.
        settings: the settings with which the ranks will predict.
        subject: pipeline and partition in words; the message begins with it.

    Raises:
        json2vec.errors.ContractBroken: a column is in none of the shards, and ``missing_columns`` is not ``allow``.
    """
    from json2vec.model.checkpoint import described
    from json2vec.processors import preprocessor_of
    from json2vec.profile.missing import ColumnCheck

    if settings.missing_columns == "allow":
        return
    schema, _ = described(dict(checkpoint), trusted_modules=settings.trusted_modules)
    preprocessor = preprocessor_of(None, settings.preprocessor, settings.trusted_modules)
    try:
        ColumnCheck(schema, profile_of(checkpoint), snapshot).before_ranks(preprocessor, store, settings.on_bad_row)
    except ContractBroken as exc:
        raise ContractBroken(f"{subject} (no rank was started, the table keeps its rows): {exc}") from exc


_PLOTTED = 50


def contract_metadata(outcome: Outcome | None) -> dict[str, Any]:
    """What `prediction_rank_files` shows of the comparison."""
    if outcome is None:
        return {}
    return {
        "contract": _table([breach.row() for breach in outcome.breaches]),
        "contract_errors": len(outcome.of("error")),
        "contract_warnings": len(outcome.of("warning")),
    }


def drift_rows(outcome: Outcome, limits: Limits) -> list[dict[str, Any]]:
    """For each leaf that both profiles have: what it was, what it is, and how far it moved."""
    if outcome.profile is None or outcome.sample is None:
        return []
    rows = []
    for address, expected in outcome.profile.leaves.items():
        sampled = outcome.sample.leaves.get(address)
        if sampled is None:
            continue
        moved = drift(expected, sampled, outcome.sample.rows)
        drifted = moved.exceeds(limits.psi[0]) and address not in limits.ignore
        rows.append(
            {
                "leaf": address, "type": expected.type, "expected": _spelled(expected), "found": _spelled(sampled),
                "psi": None if moved.psi is None else round(moved.psi, 4), "noise": round(moved.noise, 4),
                "natural": round(moved.natural, 4), "drifted": drifted,
            }
        )  # fmt: skip
    return rows


def _spelled(leaf: LeafProfile) -> str:
    parts = [f"{leaf.null_rate:.1%} null"]
    if leaf.labels is not None and leaf.labels.count:
        best = max(leaf.labels.top, key=lambda pair: pair[1], default=None)
        parts.append(f"{leaf.labels.unknown_rate:.1%} unknown")
        if best is not None:
            parts.append(f"{best[1] / leaf.labels.count:.1%} {best[0]!r}")
    if leaf.numbers is not None and leaf.numbers.count:
        parts.append(f"mean {leaf.numbers.mean:.5g}, std {leaf.numbers.std:.5g}")
    return ", ".join(parts)


def _table(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """Rows of equal keys; numbers that may be missing are shown as text."""
    records = [
        dg.TableRecord({name: "" if value is None else value for name, value in row.items()}) for row in rows
    ]
    names = list(rows[0]) if rows else ["nothing"]
    return dg.TableMetadataValue(records=records, schema=dg.TableSchema([dg.TableColumn(name) for name in names]))


__all__ = ["ContractOptions", "check_columns", "contract_metadata", "drift_rows"]
