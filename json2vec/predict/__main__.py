"""``python -m json2vec.predict JOB.json``, which every rank of a prediction runs."""

from __future__ import annotations

import os
import signal
import socket
import sys
from types import FrameType

from json2vec.predict.job import PredictJobs
from json2vec.predict.worker import run_jobs


def main(arguments: list[str] | None = None) -> int:
    """Run one rank of the job, or jobs, in the file given on the command line.

    Args:
        arguments: the path of the job's file and nothing else; None takes what stands on the command line.

    Returns:
        1 where a single job raised. With several jobs 0 as long as the rank itself lives: torchrun would end the other
        ranks, in the middle of other partitions, as soon as one of them said anything else.
    """
    paths = sys.argv[1:] if arguments is None else arguments
    if len(paths) != 1:
        print("usage: python -m json2vec.predict JOB.json", file=sys.stderr)
        return 2
    # Said before the libraries are loaded, which takes seconds: who watches knows that the rank lives.
    print(f"rank {os.environ.get('RANK', 0)} started, process {os.getpid()} on {socket.gethostname()}", flush=True)
    jobs = PredictJobs.read(paths[0]).jobs
    # A launcher that cancels sends SIGTERM; raised as an exception it lets the writer remove its open file.
    signal.signal(signal.SIGTERM, _terminated)
    try:
        failed = run_jobs(jobs)
    except Exception:
        return 1
    if failed:
        attempts = ", ".join(jobs[number].attempt for number in failed)
        print(f"{len(failed)} of {len(jobs)} jobs failed: {attempts}", flush=True)
    return 0


def _terminated(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
