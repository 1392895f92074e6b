"""What all commands share: documents that say what the text says, tracebacks for our own mistakes only."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from command_lines import ROW

from j2v_dagster.cli.console import MOST_LISTED
from json2vec.verify.findings import FINDINGS


def test_documents_say_what_the_text_says(run: Any) -> None:
    document = run(["verify", "predictions", "--inputs", "inputs", "--json"]).document
    assert document["passed"] is True
    assert [finding["name"] for finding in document["findings"]] == list(FINDINGS)
    assert run(["verify", "pointer-without-json", "--json"]).document | {"error": "..."} == {
        "path": "pointer-without-json", "passed": False, "error": "...",
    }  # fmt: skip
    document = run(["check-certificate", "other.json", "predictions", "--json"]).document
    assert (document["holds"], len(document["problems"])) == (False, 1)
    assert document["problems"][0].startswith("root is ")
    document = run(f"explain predictions --inputs inputs {ROW} --json".split()).document
    assert document["row"] == {"file": "a.parquet", "row": 1, "part": 0}
    assert {"name": "id", "source": '"1"', "stored": '"1"', "same": True} in document["inputs"]
    assert [leaf["predicted_again"] for leaf in document["predictions"]][:1] == ["(not predicted again)"]
    document = run(["contract", "--inputs", "other", "--model", "profiled.ckpt", "--json"]).document
    assert (document["kept"], document["known"]) == (False, True)
    assert "missing" in {breach["kind"] for breach in document["breaches"]}
    document = run(["contract", "--inputs", "inputs", "--model", "model.ckpt", "--json"]).document
    assert (document["kept"], document["known"], document["breaches"]) == (False, False, [])


def test_a_document_of_clean_counts_all_and_lists_some(monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
    from j2v_dagster.attempts import clean as cleaning

    many = MOST_LISTED + 7
    removed = tuple(cleaning.Removal(Path(f"attempt-{number}"), 1.5, 10, "failed") for number in range(many))
    report = cleaning.CleanReport(removed, ("dt=1: busy",), dry_run=True)
    monkeypatch.setattr(cleaning, "clean", lambda *_, **__: report)
    document = run(["clean", "cleaned", "--older-than", "1", "--json"]).document
    assert (document["attempts"], document["bytes"], len(document["removed"])) == (many, 10 * many, MOST_LISTED)
    assert document["removed"][0] == {"path": "attempt-0", "state": "failed", "age_days": 1.5, "bytes": 10}
    assert (document["partitions_left_alone"], document["left_alone"]) == (1, ["dt=1: busy"])


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
    from json2vec.verify import verify

    def broken(*_: Any, **__: Any) -> None:
        raise KeyError("a mistake")

    monkeypatch.setattr(verify, "verify_predictions", broken)
    with pytest.raises(KeyError, match="a mistake"):
        run(["verify", "predictions"])


def test_interrupting_is_no_finding(monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
    from json2vec.verify import verify

    monkeypatch.setattr(verify, "verify_predictions", lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background ignores Ctrl-C
    try:
        ended = run(["verify", "predictions", "--json"])
    finally:
        signal.signal(signal.SIGINT, before)
    assert (ended.status, ended.out, ended.err.strip()) == (130, "", "interrupted")
