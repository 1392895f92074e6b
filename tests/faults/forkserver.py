"""Ranks from a server process that has imported torch and lightning already: they start in milliseconds."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from j2v_dagster.launchers.base import LogLine, Status

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["json2vec.predict", "json2vec.model", "json2vec.rank_files.writer", "json2vec.data.loader"]
)


def _rank(rank: int, ranks: int, job_path: str, log: str, environment: dict[str, str]) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.update(environment, RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_RANK=str(rank))
    sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
    import torch

    from json2vec.predict.__main__ import main

    torch.set_num_threads(1)
    code = main([job_path])
    sys.stdout.flush()
    os._exit(code)


class ForkServerLauncher:
    """`j2v_dagster.launchers.base.Launcher` over a fork server on this machine."""

    def __init__(self) -> None:
        self._ranks: dict[str, list] = {}
        self._cancelled: set[str] = set()

    def submit(self, job_path: str, *, ranks: int, log_folder: str) -> str:
        folder = Path(log_folder)
        folder.mkdir(parents=True, exist_ok=True)
        environment = {
            key: value for key, value in os.environ.items() if key.startswith(("J2V_", "AWS_")) or key == "PYTHONPATH"
        }
        processes = [
            _context.Process(target=_rank, args=(rank, ranks, job_path, str(folder / f"rank-{rank}.log"), environment))
            for rank in range(ranks)
        ]
        for process in processes:
            process.start()
        handle = json.dumps([str(folder), *(process.pid for process in processes)])
        self._ranks[handle] = processes
        return handle

    def status(self, handle: str) -> Status:
        codes = {rank: process.exitcode for rank, process in enumerate(self._ranks[handle])}
        ended = {rank: code for rank, code in codes.items() if code is not None}
        if any(ended.values()):  # one rank down: end the others, as torchrun does
            for rank, process in enumerate(self._ranks[handle]):
                if codes[rank] is None:
                    process.terminate()
                    process.join(10)
            return Status("failed", {rank: process.exitcode or 0 for rank, process in enumerate(self._ranks[handle])})
        if len(ended) < len(codes):
            return Status("running", ended)
        return Status("cancelled" if handle in self._cancelled else "succeeded", ended)

    def logs(self, handle: str, *, since: dict[int, int]) -> Iterator[LogLine]:
        folder = Path(json.loads(handle)[0])
        for rank in range(len(self._ranks[handle])):
            path = folder / f"rank-{rank}.log"
            offset = since.get(rank, 0)
            data = path.read_bytes()[offset:] if path.exists() else b""
            for line in data.splitlines(keepends=True):
                if line.endswith(b"\n"):
                    offset += len(line)
                    yield LogLine(rank, offset, line.decode(errors="replace").rstrip("\n"))

    def cancel(self, handle: str) -> None:
        self._cancelled.add(handle)
        for process in self._ranks[handle]:
            if process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
            process.join(10)
