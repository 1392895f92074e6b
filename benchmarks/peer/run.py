"""Rows/s of `trainer.predict` with the Writer, beside PyPI json2vec 0.4.11: same weights, rows, batch size and threads.

    python benchmarks/peer/run.py [--workloads flat nested] [--runs 5] [--python312 PATH]

Makes benchmarks/peer/.venv on first use (Python 3.12; about 2 GB to download, 4.4 GB on disk), lets the peer train and
export one small model a workload, then starts both sides as child processes and times them in turns, A B A B. A timing
counts only after both sides' predictions have been found to agree, to 1e-4, on every row.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BENCHMARKS, REPOSITORY = HERE.parent, HERE.parents[1]
sys.path[:0] = [str(BENCHMARKS), str(HERE), str(REPOSITORY)]

import common  # noqa: E402
import workload as workload_files  # noqa: E402

MEASURED = {"predict": "trainer.predict + Writer", "forward": "forward", "encode": "encode"}
UNITS = {"rows_per_s": "rows/s", "rows_per_cpu_s": "rows/CPU s"}
VENV = HERE / ".venv"
REQUIREMENTS = HERE / "requirements.txt"


def find_python312(given: str | None) -> str:
    """The Python 3.12 to make the peer's environment with: `given`, $PYTHON312, pyenv's, or python3.12 on PATH."""
    pyenv = sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/3.12.*/bin/python"))
    for candidate in (given, os.environ.get("PYTHON312"), *map(str, reversed(pyenv)), shutil.which("python3.12")):
        # pyenv's shim is on PATH whether or not the version is selected, so ask it to run.
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
            return candidate
    raise SystemExit("the peer needs Python 3.12: none found; pass --python312 PATH or set PYTHON312")


def prepare_environment(python312: str | None) -> Path:
    """Make the peer's virtual environment, or keep it if it was made from the same requirements."""
    python, stamp = VENV / "bin" / "python", VENV / "requirements.sha256"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print("making benchmarks/peer/.venv (about 2 GB to download) ...", flush=True)
    subprocess.run([find_python312(python312), "-m", "venv", "--clear", str(VENV)], check=True)
    # --no-deps: requirements.txt is complete, and leaves out what the CPU does without.
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "-r", str(REQUIREMENTS)]
    subprocess.run(install, check=True)
    stamp.write_text(wanted)
    return python


def environment(side: str, threads: int = 1) -> dict[str, str]:
    """A child's environment. The peer must not see this repository: both packages are called json2vec."""
    paths = [BENCHMARKS] if side == "peer" else [BENCHMARKS, REPOSITORY]
    return common.thread_environment(threads) | {"PYTHONPATH": os.pathsep.join(map(str, paths))}


class Side:
    """A child process that answers commands; its stderr goes to a log file beside its data."""

    def __init__(self, name: str, python: str | Path, workload: Path, folder: Path, pin: int | None) -> None:
        self.name, self.log = name, folder / f"{name}.log"
        script = HERE / ("peer_side.py" if name == "peer" else "our_side.py")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [str(python), str(script), "serve", str(workload), str(folder)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment(name), cwd=folder,
            )  # fmt: skip
        if pin is not None:
            os.sched_setaffinity(self.process.pid, {pin})
        self.about = self.receive()
        self.peak_rss_mib = 0.0

    def receive(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            tail = "\n".join(self.log.read_text().splitlines()[-30:])
            raise SystemExit(f"{self.name}: the child ended with {self.process.wait()}; {self.log}:\n{tail}")
        return json.loads(line)

    def ask(self, command: str, **arguments: Any) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": command, **arguments}) + "\n")
        self.process.stdin.flush()
        answer = self.receive()
        self.peak_rss_mib = answer["peak_rss_mib"]
        return answer["result"]

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


def prepare(name: str, folder: Path, peer_python: Path) -> Path:
    """Rows, the peer's model and its export in `folder`; returns the workload's path."""
    workload = workload_files.FOLDER / f"{name}.json"
    shutil.rmtree(folder, ignore_errors=True)
    workload_files.write_rows(workload_files.load(workload), folder / "rows")
    print(f"{name}: the peer trains and exports its model ...", flush=True)
    build = [str(peer_python), str(HERE / "peer_side.py"), "build", str(workload), str(folder)]
    done = subprocess.run(build, env=environment("peer"), cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name}: building the peer's model failed:\n{done.stderr[-3000:]}")
    return workload


def check_agreement(folder: Path) -> dict[str, float | int]:
    """Compare the predictions that both sides have just written."""
    import pyarrow.parquet as pq
    from compare import compare

    import json2vec as j2v

    ours = j2v.read_predictions(folder / "out-ours").select("inputs", "predictions").collect().to_arrow()
    return compare(pq.read_table(folder / "out-peer" / "rank-0.parquet"), ours)


def rates(rows: int, timing: dict[str, float]) -> dict[str, float]:
    """Rows per second and per processor second of one timed `trainer.predict`."""
    return {"rows_per_s": rows / timing["seconds"], "rows_per_cpu_s": rows / timing["cpu_seconds"]}


def measure(name: str, runs: int, seconds: float, sides: dict[str, Side], folder: Path) -> dict[str, Any]:
    """The first run of each side warms up and is checked; then `runs` timed ones in turns."""
    rows = workload_files.load(workload_files.FOLDER / f"{name}.json")["rows"]
    print(f"{name}: warming up and comparing predictions ...", flush=True)
    for key, side in sides.items():
        side.ask("predict", output=str(folder / f"out-{key}"))
    agreement = check_agreement(folder) if len(sides) == 2 else None
    if agreement:
        found = ", ".join(f"{key} {value:,g}" for key, value in agreement.items())
        print(f"{name}: both sides agree: {found}", flush=True)
    measured: dict[str, dict[str, list[dict[str, float]]]] = {key: {what: [] for what in MEASURED} for key in sides}
    for run in range(runs):
        for key, side in sides.items():
            shutil.rmtree(folder / f"out-{key}")
            timing = side.ask("predict", output=str(folder / f"out-{key}"))
            measured[key]["predict"].append(rates(rows, timing))
        taken = ", ".join(f"{key} {rows / measured[key]['predict'][-1]['rows_per_s']:.2f} s" for key in sides)
        print(f"{name}: run {run + 1} of {runs}: {taken}", flush=True)
    peaks = {key: side.peak_rss_mib for key, side in sides.items()}
    for _ in range(runs):
        for what in ("forward", "encode"):
            for key, side in sides.items():
                measured[key][what].append(side.ask(what, seconds=seconds))
    result: dict[str, Any] = {"rows": rows, "agreement": agreement, "ratio": ratios(measured)}
    for key, side in sides.items():
        result[key] = {
            **side.about,
            "peak_rss_mib": peaks[key],
            "sgemm_gflops": side.ask("sgemm"),
            "runs": measured[key],
        }
        for what, done in measured[key].items():
            result[key][what] = {unit: common.spread([run[unit] for run in done]) for unit in UNITS}
    return result


def ratios(measured: dict[str, dict[str, list[dict[str, float]]]]) -> dict[str, dict[str, float]]:
    """Ours over the peer's: the median over turns, since the machine may be busier in one turn than in the next."""
    if len(measured) < 2:
        return {}
    found: dict[str, dict[str, float]] = {}
    for what in MEASURED:
        turns = list(zip(measured["peer"][what], measured["ours"][what], strict=True))
        found[what] = {unit: statistics.median(ours[unit] / peer[unit] for peer, ours in turns) for unit in UNITS}
    return found


def report(results: dict[str, dict[str, Any]], unit: str) -> str:
    """Medians of every measurement, and how many times the peer's ours is."""
    sides = ("peer", "ours")
    rows = []
    for name, result in results.items():
        for what, label in MEASURED.items():
            cells = [f"{result[side][what][unit]['median']:,.0f}" if side in result else "-" for side in sides]
            ratio = f"{result['ratio'][what][unit]:.1f}x" if result["ratio"] else "-"
            rows.append([f"{name}: {label}", *cells, ratio])
        memory = [f"{result[side]['peak_rss_mib']:,.0f}" if side in result else "-" for side in sides]
        rows.append([f"{name}: peak memory, MiB", *memory, ""])
    return common.table([UNITS[unit], *sides, "ours/peer"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", default=workload_files.names(), choices=workload_files.names())
    parser.add_argument("--runs", type=int, default=5, help="timed runs a side (default 5)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of one forward or encode loop")
    parser.add_argument("--python312", help="interpreter to make the peer's environment with (default $PYTHON312)")
    parser.add_argument("--ours", default=sys.executable, help="interpreter of our side (default: this one)")
    parser.add_argument("--only", choices=("peer", "ours"), help="time one side, without comparison")
    parser.add_argument("--pin", type=int, metavar="CORE", help="bind both sides to one core")
    parser.add_argument("--keep", action="store_true", help="use the models and rows of the run before")
    arguments = parser.parse_args()

    peer_python = prepare_environment(arguments.python312)
    pythons = {"peer": peer_python, "ours": arguments.ours}
    results: dict[str, dict[str, Any]] = {}
    for name in arguments.workloads:
        folder = common.RESULTS / "peer" / name
        workload = workload_files.FOLDER / f"{name}.json"
        if not (arguments.keep and (folder / "exported").exists()):
            workload = prepare(name, folder, peer_python)
        wanted = [side for side in ("peer", "ours") if arguments.only in (None, side)]
        sides = {side: Side(side, pythons[side], workload, folder, arguments.pin) for side in wanted}
        try:
            results[name] = measure(name, arguments.runs, arguments.seconds, sides, folder)
        finally:
            for side in sides.values():
                side.close()
    path = common.save_result(
        "peer", {"machine": common.machine(), "threads": 1, "pinned": arguments.pin is not None,
                 "runs": arguments.runs, "workloads": results},
    )  # fmt: skip
    tables = "\n\n".join(report(results, unit) for unit in UNITS)
    print(f"\n{tables}\n\nwritten to {path.relative_to(REPOSITORY)}")


if __name__ == "__main__":
    main()
