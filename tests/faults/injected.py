"""Processors that hurt the rank they run in. Ranks import this module as a user's own, by trusted_modules."""

from __future__ import annotations

import glob
import os
import signal
import time
from typing import Any

import pyarrow as pa

import json2vec as j2v


def _when(rank: str, flag: str) -> bool:
    """Only on this rank, and only while the fault is armed: repairing is running again without it."""
    return os.environ.get("RANK", "0") == rank and os.path.exists(os.environ["J2V_FAULT"]) and flag == _armed()


def _armed() -> str:
    with open(os.environ["J2V_FAULT"]) as file:
        return file.read().strip()


def _wait_for_the_other() -> None:
    """Until two files match J2V_KILL_AFTER, where it is set: what the other rank has done by then is certain."""
    if pattern := os.environ.get("J2V_KILL_AFTER"):
        deadline = time.monotonic() + 60
        while len(glob.glob(pattern)) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)


@j2v.preprocess(columnar=True)
def hurt(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Pass rows through, until the armed fault strikes in the third batch."""
    if not os.path.exists(os.environ["J2V_FAULT"]):
        return rows
    hurt_state["batches"] += 1
    if hurt_state["batches"] == 3:
        if _when("1", "kill rank 1"):
            _wait_for_the_other()
            os.kill(os.getpid(), signal.SIGKILL)
        if _when("1", "raise on rank 1"):
            raise RuntimeError("this rank was told to raise")
        if _when("1", "hang on rank 1"):
            time.sleep(3600)
    if _when("0", "kill rank 1") and os.environ.get("J2V_SLOW_RANK_0"):
        time.sleep(0.2)
    return rows


hurt_state: dict[str, Any] = {"batches": 0}


@j2v.postprocess
def one_short(context: dict, predictions: dict) -> dict:
    """Return a list one value too short for the third batch."""
    labels = predictions["record/label"]["content"]["value"]
    if context["batch_idx"] == 2 and os.path.exists(os.environ["J2V_FAULT"]):
        labels = labels[:-1]
    return {j2v.Address("record", "row"): {"label": labels}}
