"""``python -m j2v_dagster.launchers.contract_rank JOB.json``: a rank that does what a test asks of it.

The job is ``{"what": ["ends", "killed"]}``, one word a rank. Every rank prints a line of progress, as a rank that
predicts does, and says who and where it is; then it does what its word says. It imports nothing that takes time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ODD_LINES = b"\xff is no text\nh\xc3\xbc\n\nlast\r\nhalf a line"
"""What the word ``speaks`` prints, in bytes; the end of the last line comes when the file ``go-on`` lies by the job."""


def main(job: Path) -> int:
    """Do what the job says of this rank; returns the exit code."""
    rank = int(os.environ["RANK"])
    progress(rank, 0)
    say("hello from", rank, "of", os.environ["WORLD_SIZE"])
    pipes = "DAGSTER_PIPES_CONTEXT" in os.environ
    say("environment", json.dumps({"pid": os.getpid(), "pipes": pipes, "path": sys.path}))
    WORDS[json.loads(job.read_text())["what"][rank]](rank, job.parent)
    return 0


def say(*words: object) -> None:
    print(*words, flush=True)


def progress(rank: int, rows: int, **more: int) -> None:
    say(json.dumps({"j2v": "progress", "rank": rank, "rows": rows, "of": 10, "rows_per_s": 0.0, **more}))


def wait_for(file: Path) -> None:
    while not file.exists():
        time.sleep(0.05)


def ends(rank: int, folder: Path) -> None:
    """Nothing more."""


def slow(rank: int, folder: Path) -> None:
    """Longer than any test waits."""
    time.sleep(300)


def killed(rank: int, folder: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fails(rank: int, folder: Path) -> None:
    raise SystemExit(3)


def killed_later(rank: int, folder: Path) -> None:
    """Once the file ``go-on`` lies by the job, when the others have said what they had to say."""
    wait_for(folder / "go-on")
    killed(rank, folder)


def fails_later(rank: int, folder: Path) -> None:
    """As `killed_later`."""
    wait_for(folder / "go-on")
    fails(rank, folder)


def raises(rank: int, folder: Path) -> None:
    """Fail as a rank that predicts does: with a file that says why."""
    error = {"rank": rank, "error": "ValueError", "message": "bad shard x.parquet", "traceback": ""}
    (folder / f"rank-{rank}.error.json").write_text(json.dumps(error))
    raise SystemExit(3)


def hangs(rank: int, folder: Path) -> None:
    """Go on printing the same number of rows: a reporting thread may outlive the work."""
    while True:
        progress(rank, 4)
        time.sleep(0.2)


def stubborn(rank: int, folder: Path) -> None:
    """Deaf to polite signals, with a child in a session of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
    say("ready", child.pid)
    time.sleep(300)


def two_jobs(rank: int, folder: Path) -> None:
    """End a first job, and a second one once the file ``first-is-over`` lies by the job."""
    progress(rank, 5, done=1)
    wait_for(folder / "first-is-over")
    progress(rank, 10, done=2)


def speaks(rank: int, folder: Path) -> None:
    """Print what is hard to read; see `ODD_LINES`."""
    os.write(1, ODD_LINES)
    wait_for(folder / "go-on")
    os.write(1, b", and its end\n")


WORDS = {
    word.__name__.replace("_", " "): word
    for word in (ends, slow, killed, killed_later, fails, fails_later, raises, hangs, stubborn, two_jobs, speaks)
}

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
