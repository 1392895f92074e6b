"""Damage files of every format and read them: ``PYTHONPATH=tests/support python -m fuzzing --minutes 5 --seed 1``.

Of a damaged file there are two right outcomes: the rows that another reader sees, or an error of ours that names the
file. All else is a fault, and its file is kept: a crash (files are read in a process of their own), a hang, more memory
than such a file may take, an error of another library, or other rows than the other reader's.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz_seeds import SEEDS, reference

DEADLINE_S = 20.0
MOST_MEMORY = 1 << 30  # bytes that the reading of a file of a few kB may take beyond what the process has
_ADDRESSES = 12 << 30  # bytes of address space of the process that reads


def mutate(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """``data`` with one to three kinds of damage, and their names."""
    names = []
    for _ in range(rng.choice([1, 1, 2, 3])):
        name = rng.choice(list(KINDS))
        names.append(name)
        data = KINDS[name](data, rng) if data else data
    return ", ".join(names), data


def _span(data: bytes, rng: random.Random, most: int = 64) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(len(data), start + rng.randint(1, most))


def _flipped(data: bytes, rng: random.Random, first: int = 0) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 4])):
        changed[rng.randrange(first, len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _replaced(data: bytes, rng: random.Random, new: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + new + data[at + len(new) :]


def _swapped(data: bytes, rng: random.Random) -> bytes:
    a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    c = rng.randrange(b, len(data) + 1)
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def _duplicated(data: bytes, rng: random.Random) -> bytes:
    start, stop = _span(data, rng, 256)
    return data[:stop] + data[start:stop] + data[stop:]


def _zeroed(data: bytes, rng: random.Random) -> bytes:
    start, stop = _span(data, rng)
    return data[:start] + bytes(stop - start) + data[stop:]


def _removed(data: bytes, rng: random.Random) -> bytes:
    start, stop = _span(data, rng)
    return data[:start] + data[stop:]


_LENGTHS = (b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\xff" * 8, b"\xff" * 9 + b"\x01", bytes(4))
KINDS = {
    "cut short": lambda data, rng: data[: rng.randrange(len(data))],
    "bits flipped": _flipped,
    "bits of the end flipped": lambda data, rng: _flipped(data, rng, max(0, len(data) - 600)),
    "a length": lambda data, rng: _replaced(data, rng, rng.choice(_LENGTHS)),
    "a byte": lambda data, rng: _replaced(data, rng, bytes([rng.randrange(256)])),
    "swapped": _swapped,
    "duplicated": _duplicated,
    "zeroed": _zeroed,
    "removed": _removed,
}


# -- in the process that reads -----------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """A value of either reader in one form; what readers may spell otherwise (times, bytes) counts as its type."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value + 0.0
    return value if isinstance(value, bool | int | str) or value is None else type(value).__name__


def read_ours(suffix: str, path: Path) -> tuple[str, Any]:
    """("rows", rows), ("ours", message) or ("foreign", what was raised)."""
    from json2vec.errors import Json2VecError
    from json2vec.reading.readers import read_rows
    from json2vec.reading.snapshot import snapshot_files
    from json2vec.storage.local import LocalStore

    store = LocalStore(path.parent)
    try:
        made = snapshot_files(store, suffix, paths=[path.name])
        rows: list[Any] = []
        for batch in read_rows(made, store, [(0, made.rows)], batch_size=100):
            batch.inputs.validate(full=True)
            rows += batch.inputs.to_pylist()
            if len(rows) > 1_000_000:
                return "foreign", f"{made.rows} rows out of a file of {path.stat().st_size} bytes"
    except Json2VecError as exc:
        return "ours", str(exc)
    except BaseException as exc:  # what Arrow's validation says of our own rows is a fault of ours as well
        return "foreign", f"{type(exc).__module__}.{type(exc).__name__}: {exc}"[:500]
    return "rows", [plain(row) for row in rows]


def _reader(pipe: Any) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what other readers say of their panics
    import polars  # noqa: F401 - loaded before memory is counted

    import json2vec.reading.snapshot  # noqa: F401

    while True:
        suffix, path = pipe.recv()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        outcome = read_ours(suffix, path)
        taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        pipe.send((outcome[0], outcome[1] if outcome[0] != "rows" else len(outcome[1]), taken))
        if outcome[0] == "rows":  # from here on only the other reader can fail
            try:
                theirs = [plain(row) for row in reference(suffix, path)]
            except BaseException:
                pipe.send(None)
                continue
            ours = outcome[1] if suffix != "csv" else [{"row": i + 1} for i in range(len(outcome[1]))]
            pipe.send((ours == theirs, f"ours {str(ours)[:300]} theirs {str(theirs)[:300]}"))


# -- in the process that judges ----------------------------------------------------------------------------------------


@dataclass
class Fuzzer:
    """Damaged files, one after the other.

    Args:
        folder: where damaged files are written, and those with a fault stay.
        seed: of the first file; each further file has the next number.
    """

    folder: Path
    seed: int
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._process: Any = None
        self._pipe: Any = None
        self._seeds = {}
        for name, (suffix, write) in SEEDS.items():
            path = self.folder / f"seed.{suffix}"
            write(path)
            self._seeds[name] = (suffix, path.read_bytes())
            path.unlink()

    def run(self, seconds: float, most: int = sys.maxsize) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and sum(self.outcomes.values()) < most:
            self.one(self.seed)
            self.seed += 1
        self.stop()

    def one(self, seed: int) -> None:
        rng = random.Random(seed)
        name = rng.choice(list(SEEDS))
        suffix, data = self._seeds[name]
        kinds, data = mutate(data, rng)
        path = self.folder / f"case-{seed}.{suffix}"
        path.write_bytes(data)
        outcome, said = self.judged(suffix, path)
        self.outcomes[outcome] += 1
        if outcome.startswith("fault"):
            self.faults.append(f"seed {seed}: {name}; {kinds}: {outcome}: {said}; {path}")
        else:
            path.unlink()

    def judged(self, suffix: str, path: Path) -> tuple[str, str]:
        """What comes of a file; begins with ``fault`` where that is neither of the two right outcomes."""
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=_reader, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
        self._pipe.send((suffix, path))
        answer = self._answer()
        if isinstance(answer, str):
            return f"fault: {answer}", f"exit {self.stop()}"
        kind, said, taken = answer
        if taken > MOST_MEMORY:
            return "fault: memory", f"{taken >> 20} MiB"
        if kind == "foreign":
            return "fault: foreign error", said
        if kind == "ours":
            return ("refused", "") if path.name in said else ("fault: no file named", said)
        verdict = self._answer()
        if isinstance(verdict, str):  # the other reader died or hangs
            self.stop()
            verdict = None
        if verdict is None:
            return "read; the other reader refuses", ""
        return ("read as the other reader", "") if verdict[0] else ("fault: other rows", verdict[1])

    def _answer(self) -> Any:
        try:
            return self._pipe.recv() if self._pipe.poll(DEADLINE_S) else "hang"
        except EOFError:
            return "crash"

    def stop(self) -> int | None:
        if self._process is None:
            return None
        self._process.join(0.2)
        self._process.kill()
        self._process.join()
        code, self._process = self._process.exitcode, None
        return code


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", type=int, default=sys.maxsize, help="stop after so many files")
    options = parser.parse_args()
    fuzzer = Fuzzer(Path(tempfile.mkdtemp(prefix="fuzz-")), options.seed)
    fuzzer.run(options.minutes * 60, options.files)
    for outcome, count in sorted(fuzzer.outcomes.items()):
        print(f"{count:8,} {outcome}")
    print("\n".join(fuzzer.faults))
    sys.exit(bool(fuzzer.faults))


if __name__ == "__main__":
    main()
