"""Every command, well, with a finding and used wrongly: exit status, text and JSON, and never a traceback.

The case is a copy of the frozen prediction folder with some things beside it that no command can use.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import j2v_dagster
from j2v_dagster.cli.console import FINDING, MOST_LISTED, WELL, WRONG_USE
from j2v_dagster.cli.main import cli, main
from json2vec.verify.findings import FINDINGS

FROZEN = Path(__file__).parents[2] / "data" / "format-1"
REPORTING = [name for name, command in cli.commands.items() if hasattr(command.callback, "document")]
ROW = "--file a.parquet --row 1"
PIPELINE: dict[str, Any] = {
    "name": "a", "inputs": "orders", "output": "estimated", "checkpoint": "model.ckpt", "table": "t",
    "warehouse": "w.duckdb", "partitions": {"kind": "dynamic"}, "columns": {"id": "inputs.id"},
}  # fmt: skip
WRONG_PIPELINES: dict[str, Any] = {
    "no-inputs": {name: value for name, value in PIPELINE.items() if name != "inputs"},
    "number-as-inputs": {**PIPELINE, "inputs": 5},
    "text-as-batch-size": {**PIPELINE, "batch_size": "many"},
    "text-as-storage-options": {**PIPELINE, "storage_options": "none"},
    "number-as-checkpoint": {**PIPELINE, "checkpoint": 7},
    "text-as-ranks": {**PIPELINE, "ranks": "all"},
    "no-ranks": {**PIPELINE, "ranks": 0},
    "unknown-format": {**PIPELINE, "suffix": "docx"},
    "folder-without-key": {**PIPELINE, "folder": "here"},
    "unknown-option": {**PIPELINE, "rank": 2},
}

# What is on the command line, by the status that it ends with.
GOOD = [
    "verify predictions --inputs inputs",
    "verify predictions --inputs inputs --require files coverage",
    "verify predictions --inputs inputs --require files --require coverage",
    "certify predictions --output certified.json",
    f"certify predictions --output certified.json --proof proven.json {ROW}",
    "check-certificate certificate.json predictions",
    f"check-certificate certificate.json predictions {ROW}",
    "check-certificate certificate.json --proof proof.json",
    f"explain predictions --inputs inputs {ROW}",
    "profile model.ckpt --inputs inputs --output written.ckpt",
    "contract --inputs inputs --model profiled.ckpt",
    "contract --inputs inputs --model profiled.ckpt --sample 0",
    "estimate --inputs orders --output estimated --partition d1",
    "estimate --inputs orders --output estimated --partition d1 --partition d2",
    "estimate --inputs orders --output estimated --partition d1 d2 --ranks 2",
    "estimate good.yaml --partition d1 d2",
    "clean cleaned --older-than 1000 --dry-run",
    "clean cleaned --older-than 1000.5",
]
BAD = [
    "verify predictions",  # its inputs were elsewhere
    "verify predictions --inputs absent",
    "verify predictions --inputs inputs --model junk.ckpt",
    "verify predictions --inputs inputs --model absent.ckpt",
    "verify predictions --inputs inputs --model empty",
    "verify absent",
    "verify empty",
    "verify damaged --inputs inputs",
    "verify pointer-without-attempt",
    "verify pointer-without-json",
    "verify pointer-to-nothing",
    "verify ftp://host/predictions",
    "certify absent",
    "certify empty",
    "certify damaged",
    "certify pointer-without-json",
    "certify predictions --output absent/certificate.json",
    "certify predictions --file a.parquet --row 99 --proof proven.json",
    "check-certificate certificate.json absent",
    "check-certificate certificate.json empty",
    "check-certificate certificate.json damaged",
    "check-certificate other.json predictions",
    "check-certificate absent predictions",
    "check-certificate empty predictions",
    "check-certificate junk.json predictions",
    "check-certificate certificate.json --proof certificate.json",
    "check-certificate certificate.json --proof proof.json --row-json absent",
    "check-certificate certificate.json --proof proof.json --row-json junk.json",
    "check-certificate certificate.json --proof proof.json --row-json list.json",
    "check-certificate certificate.json --proof proof.json --row-json other-row.json",
    f"explain absent {ROW}",
    f"explain empty {ROW}",
    f"explain predictions --inputs absent {ROW}",
    f"explain predictions --inputs inputs {ROW} --model junk.ckpt",
    f"explain predictions --inputs inputs {ROW} --model absent.ckpt",
    "explain predictions --inputs inputs --file a.parquet --row 99",
    "explain predictions --inputs inputs --file b.parquet --row 1",
    "profile absent.ckpt --inputs inputs",
    "profile junk.ckpt --inputs inputs",
    "profile empty --inputs inputs",
    "profile model.ckpt --inputs absent --output written.ckpt",
    "profile model.ckpt --inputs unreadable --output written.ckpt",
    "profile model.ckpt --inputs inputs --output junk.json/written.ckpt",
    "contract --inputs inputs --model model.ckpt",  # no profile: not known
    "contract --inputs inputs --model junk.ckpt",
    "contract --inputs inputs --model absent.ckpt",
    "contract --inputs absent --model profiled.ckpt",
    "contract --inputs empty --model profiled.ckpt",
    "contract --inputs unreadable --model profiled.ckpt",
    "contract --inputs other --model profiled.ckpt",
    "contract --inputs inputs --model profiled.ckpt --preprocessor absent_module:function --trust absent_module",
    "contract --inputs inputs --model profiled.ckpt --preprocessor json:dumps",
    "estimate --inputs orders --output estimated --partition d7",
    "estimate --inputs absent --output estimated --partition d1",
    "estimate --inputs orders --output junk.json --partition d1",
    "estimate --partition d1",
    "estimate absent.yaml --partition d1",
    "estimate empty --partition d1",
    "estimate junk.json --partition d1",
    "estimate good.yaml --pipeline b --partition d1",
    *(f"estimate {name}.yaml --partition d1" for name in WRONG_PIPELINES),
    "clean absent --older-than 1",
    "clean junk.json --older-than 1",
    "clean cleaned --older-than -1",
    "clean cleaned --older-than nan",
    "clean ftp://host/predictions --older-than 1",
    "init new --inputs absent",
    "init new --inputs unreadable",
    "init new --checkpoint absent.ckpt",
    "init new --checkpoint junk.ckpt",
    "init 2nd",
    "init project",
    "init junk.json",
]
WRONG = [
    "nothing",
    "--nothing",
    "verify",
    "verify predictions --sample many",
    "verify predictions --sample -1",
    "verify predictions --require everything",
    "verify predictions --require",
    "verify predictions --nothing",
    "certify predictions --file a.parquet",
    "certify predictions --row 1",
    f"certify predictions {ROW}",
    "certify predictions --proof proven.json",
    "check-certificate",
    "check-certificate certificate.json",
    "check-certificate certificate.json predictions --proof proof.json",
    "check-certificate certificate.json predictions --row 1",
    "explain predictions --file a.parquet",
    "explain predictions --file a.parquet --row one",
    "explain predictions --file a.parquet --row -1",
    "profile model.ckpt",
    "profile model.ckpt --inputs inputs --sample 0",
    "contract --inputs inputs",
    "contract --inputs inputs --model profiled.ckpt --suffix docx",
    "contract --inputs inputs --model profiled.ckpt --match (",
    "estimate good.yaml",
    "estimate good.yaml --partition d1 --ranks 0",
    "clean cleaned",
    "clean cleaned --older-than soon",
    "init",
    "init new --suffix docx",
    "demo --first tomorrow",
    "demo --first 2013-02-02 --last 2013-02-01",
    "demo --epochs 0",
]


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        document = json.loads(self.out, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
        assert isinstance(document, dict)
        return document


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("case")
    shutil.copytree(FROZEN, root, dirs_exist_ok=True)
    for day in ("d1", "d2"):
        (root / "orders" / f"dt={day}").mkdir(parents=True)
        shutil.copy(FROZEN / "inputs" / "a.parquet", root / "orders" / f"dt={day}")
    shutil.copytree(FROZEN / "predictions", root / "damaged")
    (root / "damaged" / "rank-1.0.parquet").unlink()
    for name, content in {
        "pointer-without-attempt": b"{}", "pointer-without-json": b"[", "pointer-to-nothing": b'{"attempt": "x"}',
    }.items():  # fmt: skip
        (root / name).mkdir()
        (root / name / "_current.json").write_bytes(content)
    for name in ("empty", "cleaned", "unreadable", "other"):
        (root / name).mkdir()
    (root / "unreadable" / "a.parquet").write_bytes(bytes(range(256)))
    _other_columns(root / "other" / "a.parquet")
    (root / "junk.ckpt").write_bytes(bytes(range(256)))
    (root / "junk.json").write_text("no JSON\n")
    (root / "list.json").write_text("[1]\n")
    proof = json.loads((root / "proof.json").read_text())
    (root / "other-row.json").write_text(json.dumps({"source": {**proof["source"], "row": 5}}))
    certificate = json.loads((root / "certificate.json").read_text())
    (root / "other.json").write_text(json.dumps({**certificate, "root": "00" * 32}))
    for name, pipeline in {"good": PIPELINE, **WRONG_PIPELINES}.items():
        (root / f"{name}.yaml").write_text(json.dumps({"pipelines": [pipeline]}))
    (root / "project").mkdir()
    (root / "project" / "pipelines.yaml").write_text("mine\n")
    arguments = ["profile", str(root / "model.ckpt"), "--inputs", str(root / "inputs")]
    assert main([*arguments, "--output", str(root / "profiled.ckpt")]) == WELL
    return root


def _other_columns(path: Path) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(FROZEN / "inputs" / "a.parquet")
    pq.write_table(table.rename_columns([f"other_{name}" for name in table.schema.names]), path)


@pytest.fixture
def run(case: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(case)

    def ended(arguments: Sequence[str]) -> Ended:
        capsys.readouterr()
        try:
            status = main(arguments)
        except SystemExit as exc:
            status = exc.code
        assert isinstance(status, int)
        return Ended(status, *capsys.readouterr())

    return ended


def keys_of(name: str) -> tuple[set[str], set[str]]:
    """Keys of a command's document where it has an answer, and where there was an error."""
    callback: Any = cli.commands[name].callback
    return set(callback.document), {*callback.failed, "error"}


@pytest.mark.parametrize("line", GOOD)
def test_a_command_ends_with_0_where_all_is_well(run: Any, line: str) -> None:
    ended = run(line.split())
    assert (ended.status, ended.err) == (WELL, "")
    assert ended.out.strip()
    ended = run([*line.split(), "--json"])
    assert (ended.status, ended.err) == (WELL, "")
    assert ended.document.keys() == keys_of(line.split()[0])[0]


@pytest.mark.parametrize("line", BAD)
def test_a_command_ends_with_1_where_something_is_not_well(run: Any, line: str) -> None:
    ended = run(line.split())
    assert ended.status == FINDING
    assert ended.out or ended.err.startswith(("error: ", "FAILED  "))
    ended = run([*line.split(), "--json"])
    assert (ended.status, ended.err) == (FINDING, "")
    answer, error = keys_of(line.split()[0])
    assert ended.document.keys() == (error if "error" in ended.document else answer)
    assert ended.document.get("error", "it failed")
    for verdict in ("passed", "holds", "ok", "kept"):
        assert ended.document.get(verdict, False) is False


@pytest.mark.parametrize("line", WRONG)
def test_wrong_use_ends_with_2_and_says_on_stderr_how_it_is_used(run: Any, line: str) -> None:
    for words in (line.split(), [*line.split(), "--json"]):
        ended = run(words)
        assert (ended.status, ended.out) == (WRONG_USE, "")
        assert ended.err.startswith("Usage: j2v-dagster")
        assert "--help" in ended.err


def test_every_command_is_in_the_tables_and_every_one_but_the_demo_reports() -> None:
    assert {*cli.commands} - {*REPORTING} == {"demo"}
    named = [{line.split()[0] for line in lines} for lines in (GOOD, BAD, WRONG)]
    assert named[0] == {*REPORTING} - {"init"}  # it works once: tested below
    assert named[1] == {*REPORTING}
    assert named[2] >= {*cli.commands}


def test_a_new_project_is_told_as_json(run: Any, tmp_path: Path) -> None:
    ended = run(["init", str(tmp_path / "shop"), "--inputs", "orders", "--json"])
    assert (ended.status, ended.err) == (WELL, "")
    assert ended.document.keys() == keys_of("init")[0]
    assert len(ended.document["files"]) == 6
    assert all(Path(path).is_file() for path in ended.document["files"])
    assert ended.document["found"] == {
        "suffix": "parquet", "folder": "dt={partition}", "partitions": {"kind": "static", "keys": ["d1", "d2"]},
    }  # fmt: skip
    ended = run(["init", str(tmp_path / "days"), "--json"])
    assert ended.document["found"] is None


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
    ended = run(["verify", "predictions", "--json"])
    assert (ended.status, ended.out, ended.err.strip()) == (130, "", "interrupted")


def test_a_process_ends_with_the_same_status_and_no_traceback(case: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(j2v_dagster.__file__).parents[1])}
    for line, status in (
        ("check-certificate certificate.json predictions", WELL), ("certify empty", FINDING),
        ("certify predictions --row 1", WRONG_USE), ("certify --nothing", WRONG_USE),
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "j2v_dagster.cli", *line.split()], capture_output=True, text=True, cwd=case,
            env=environment, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
