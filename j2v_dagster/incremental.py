"""Which attempt a new one may take stored predictions from: the current one, if it is whole and proven."""

from __future__ import annotations

import logging

from j2v_dagster.attempts import PartitionOutput, SealedAttempt, require_verdict, seal
from json2vec.errors import IncompletePredictions


def reusable(output: PartitionOutput, *, log: logging.Logger) -> SealedAttempt | None:
    """The partition's current attempt if its files are exactly its manifest's and its checks passed on it.

    Args:
        log: told why there is none.
    """
    try:
        current = output.current()
        if current is None:
            log.info("incremental: nothing was loaded for this partition yet, every row is predicted")
            return None
        found = [attempt for attempt in output.attempts() if attempt.name == current["attempt"]]
        if not found:
            raise IncompletePredictions(f"the current attempt {current['attempt']} is gone")
        sealed = seal(found[0])
        require_verdict(sealed)
        if sealed.manifest_sha256 != current["manifest_sha256"]:
            raise IncompletePredictions(f"the manifest of the current attempt {sealed.attempt.name} was replaced")
    except (IncompletePredictions, OSError, ValueError, KeyError) as exc:
        log.warning(f"incremental: nothing is reused, every row is predicted: {exc}")
        return None
    return sealed
