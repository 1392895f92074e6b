"""What happens by itself: conditions under which assets follow one another, retries, freshness, pools."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Literal

import dagster as dg

from j2v_dagster.attempts.owner import NotTheOwner
from j2v_dagster.steps.watch import RanksFailed
from j2v_dagster.translator import Role
from j2v_dagster.warehouse.base import SchemaDrift, StaleLoad
from j2v_dagster.warehouse.columns import ColumnPathError
from json2vec.errors import (
    CheckpointError,
    ContractBroken,
    EncodeError,
    IncompletePredictions,
    ProcessorError,
    ReadError,
    SchemaError,
    SnapshotChanged,
    VerificationFailed,
)

Automation = Literal["off", "table", "all"]

PERMANENT = (
    SchemaError, EncodeError, ProcessorError, CheckpointError, SnapshotChanged, IncompletePredictions,
    VerificationFailed, SchemaDrift, StaleLoad, NotTheOwner, ColumnPathError, ContractBroken,
)  # fmt: skip
"""Errors that trying again in the same run cannot mend: the input, the model or a contract is at fault."""


def conditions(automation: Automation, *, checkpoint: dg.AssetKey) -> dict[Role, dg.AutomationCondition]:
    """The automation condition of each asset that has one.

    Unlike `AutomationCondition.eager`, of all partitions and not of the newest only: an old day may be written again.
    """
    if automation == "off":
        return {}
    follows = dg.AutomationCondition.eager().without(dg.AutomationCondition.in_latest_time_window())
    table = (follows & dg.AutomationCondition.all_deps_blocking_checks_passed()).with_label(
        "rank files were predicted and their blocking checks passed"
    )
    if automation == "table":
        return {"predictions": table}
    # A new model makes every partition stale; predicting years again is a person's decision, not a condition's.
    updated = dg.AutomationCondition.any_deps_updated()
    shards = follows.replace(updated, updated.ignore(dg.AssetSelection.assets(checkpoint))).with_label(
        "the snapshot of the shards is new"
    )
    return {"predictions": table, "prediction_rank_files": shards}


def freshness_policy(fail_s: float | None, warn_s: float | None) -> dg.FreshnessPolicy | None:
    """Seconds since the last load after which the table counts as failing, and as late.

    Raises:
        ValueError: a warning without a failure, one that is not before it, or less than Dagster's least of 60 s.
    """
    if fail_s is None:
        if warn_s is not None:
            raise ValueError("freshness_warn_s needs freshness_fail_s")
        return None
    if fail_s < 60 or (warn_s is not None and not 60 <= warn_s < fail_s):
        raise ValueError(
            f"freshness_warn_s is {warn_s} and freshness_fail_s is {fail_s}; expected at least 60 s each, and the "
            "warning before the failure"
        )
    warn = None if warn_s is None else timedelta(seconds=warn_s)
    return dg.FreshnessPolicy.time_window(timedelta(seconds=fail_s), warn)


def retry_policy(retries: int, delay_s: float) -> dg.RetryPolicy | None:
    """Tries after the first, each twice as long after the one before, and a little apart from those of other runs."""
    if not retries:
        return None
    return dg.RetryPolicy(
        max_retries=retries, delay=delay_s, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
    )


def may_pass(error: BaseException) -> bool:
    """Whether the same step may succeed when it is tried again as it is: a rank was killed or hung, a store did not
    answer, somebody else held a lock; not a broken contract, a refused checkpoint or a bad row."""
    if isinstance(error, RanksFailed):  # what ranks raised is known by name only; those that were killed left none
        names = set(error.errors)
        refused = names & {error_type.__name__ for error_type in PERMANENT} or "AlignmentError" in names
        unreadable = "ReadError" in names and not names & {"StoreError", "OSError", "TimeoutError", "ConnectionError"}
        return not refused and not unreadable
    if isinstance(error, ReadError):
        cause = error.__cause__
        return isinstance(cause, OSError) and not isinstance(cause, ReadError | FileNotFoundError)
    if isinstance(error, IncompletePredictions):
        return bool(error.ranks)  # a rank is at fault; else too many rows were rejected, or a check failed
    return not isinstance(error, PERMANENT)


@contextmanager
def no_retry_of_permanent_errors(retries: int) -> Iterator[None]:
    """Ends a step at once, however many tries it has left, where trying again is in vain."""
    try:
        yield
    except Exception as exc:
        if not retries or may_pass(exc):
            raise
        raise dg.Failure(description=f"{type(exc).__name__}: {exc}", allow_retries=False) from exc
