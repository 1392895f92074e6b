"""Every command, well, with a finding and used wrongly: exit status, text and JSON, and never a traceback.

The case is a copy of the frozen prediction folder with some things beside it that no command can use.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_lines import ROW, WRONG_PIPELINES

import j2v_dagster
from j2v_dagster.cli.console import FINDING, WELL, WRONG_USE
from j2v_dagster.cli.main import cli, main

REPORTING = [name for name, command in cli.commands.items() if hasattr(command.callback, "document")]

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
    "adopt absent orders",
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
    "adopt",
    "adopt orders",
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
    assert named[0] == {*REPORTING} - {"init", "adopt"}  # tested below, and in test_adopt.py
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


def test_the_command_line_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--help"]) == 0
    assert "--require" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["verify"])
    assert ended.value.code == 2
