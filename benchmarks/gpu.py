"""A CUDA device: rows/s of the forward by batch size and precision, the error of the lower precisions, and how busy
the pipeline keeps it.

    python benchmarks/gpu.py [--workloads flat nested] [--batches 1024 8192 65536] [--pipeline-rows 1000000]

Every rate is the median of 5 loops of ready batches on the device, with the device awaited at the end; the error is the
largest difference of any emitted number from float32 on the CPU. bf16 is `Trainer(precision="bf16-mixed")`'s autocast,
which a pipeline sets with its option `precision`.

Then `trainer.predict` with the Writer, on *nested* with d_model 256: its rows/s beside the bare forward's, and from
torch's profiler the share of the time in which a kernel ran, how much of the copies lay beside kernels, and whether
they came from page-locked memory. The trace goes to `benchmarks/results/gpu-trace.json` (chrome://tracing, Perfetto).

Where torch finds no CUDA device, there are no rates, and the error of bf16 is that of autocast on the CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import common

common.limit_threads()
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this repository, installed or not

import torch  # noqa: E402
import workload as workload_files  # noqa: E402
from arithmetic import flops_per_row  # noqa: E402
from stages import make_model, predict  # noqa: E402

Emitted = dict[Any, dict[str, torch.Tensor]]
WAYS = {"float32": ("highest", None), "tf32": ("high", None), "bf16": ("highest", torch.bfloat16)}


def context(kind: torch.dtype | None, device: str = "cuda") -> Any:
    return contextlib.nullcontext() if kind is None else torch.autocast(device, kind)


def largest_difference(expected: Emitted, found: Emitted) -> float:
    """Over every number emitted for the rows of ``expected``."""
    return max(
        float((found[at][key][: len(value)] - value).abs().max())
        for at, tensors in expected.items() for key, value in tensors.items() if value.is_floating_point()
    )  # fmt: skip


def error_on_cpu(name: str) -> list[str]:
    """The error of bf16, without a GPU."""
    workload = workload_files.load(workload_files.FOLDER / f"{name}.json")
    model = make_model(workload)
    rows = workload_files.make_rows(workload, 1024, workload["seed"]).combine_chunks().to_batches()[0]
    batch = model.encode(rows)
    expected = model.infer(batch).cpu().emitted
    with context(torch.bfloat16, "cpu"):
        return [name, f"{largest_difference(expected, model.infer(batch).cpu().emitted):.1e}"]


def measure(name: str, sizes: list[int]) -> list[list[str]]:
    """One row of the table for every batch size and precision."""
    workload = workload_files.load(workload_files.FOLDER / f"{name}.json")
    model = make_model(workload)
    lines = []
    for size in sizes:
        rows = workload_files.make_rows(workload, size, workload["seed"]).combine_chunks().to_batches()[0]
        batch = model.cpu().encode(rows)
        expected = model.infer(batch.slice(0, 1024)).cpu().emitted
        ready, _ = batch.to("cuda"), model.cuda()
        for way, (matmul, kind) in WAYS.items():
            torch.set_float32_matmul_precision(matmul)
            with context(kind):
                found = model.infer(ready).cpu().emitted
                error = largest_difference(expected, found)
                rates = []
                for _ in range(5):
                    torch.cuda.synchronize()
                    start = time.perf_counter()
                    for _ in range(10):
                        model.infer(ready)
                    torch.cuda.synchronize()
                    rates.append(10 * size / (time.perf_counter() - start))
            rate = common.spread(rates)["median"]
            lines.append([name, str(size), way, f"{rate:,.0f}", f"{rate * flops_per_row(model) / 1e12:.2f}",
                          f"{error:.1e}", f"{torch.cuda.max_memory_allocated() / 2**20:,.0f}"])  # fmt: skip
            torch.cuda.reset_peak_memory_stats()
    return lines


def covered(intervals: list[tuple[float, float]]) -> float:
    """Length of the union of half-open intervals."""
    total, end = 0.0, float("-inf")
    for start, stop in sorted(intervals):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def profile_pipeline(model: Any, rows: Path, output: Path) -> dict[str, Any]:
    """One profiled `trainer.predict`: what ran on the device between its first and last event."""
    kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profiler:
        predict(model, rows, output, "cuda")
    common.RESULTS.mkdir(parents=True, exist_ok=True)
    profiler.export_chrome_trace(str(common.RESULTS / "gpu-trace.json"))
    kernels: list[tuple[float, float]] = []
    copies: dict[str, list[tuple[float, float]]] = {}
    for event in profiler.events():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            span = (event.time_range.start, event.time_range.end)
            (copies.setdefault(event.name, []) if event.name.startswith("Memcpy") else kernels).append(span)
    both = [span for spans in copies.values() for span in spans]
    everything = kernels + both
    wall = max(stop for _, stop in everything) - min(start for start, _ in everything)
    beside = covered(kernels) + covered(both) - covered(everything)
    return {
        "busy": covered(kernels) / wall, "copies_beside_kernels": beside / covered(both),
        "copies": {name: len(spans) for name, spans in copies.items()},
    }  # fmt: skip


def measure_pipeline(count: int) -> dict[str, Any]:
    """`trainer.predict` on CUDA over ``count`` rows beside the forward on batches that are there already."""
    workload = workload_files.load(workload_files.FOLDER / "nested.json")
    workload |= {"rows": count, "d_model": 256, "n_heads": 8, "batch_size": 8192}
    model, size = make_model(workload), workload["batch_size"]
    loops = max(1, count // size)
    head = workload_files.make_rows(workload, size, workload["seed"]).combine_chunks().to_batches()[0]
    ready = model.encode(head).to("cuda")
    rates: dict[str, list[float]] = {"pipeline": [], "forward": []}
    with tempfile.TemporaryDirectory() as folder:
        rows, output = Path(folder, "rows"), Path(folder, "predictions")
        workload_files.write_rows(workload, rows)
        for run in range(6):  # the first warms up
            seconds = predict(model, rows, output, "cuda")
            shutil.rmtree(output)
            model.cuda()  # where the trainer left it on the host
            start = time.perf_counter()
            for _ in range(loops):
                model.infer(ready)
            torch.cuda.synchronize()
            if run:
                rates["pipeline"].append(count / seconds)
                rates["forward"].append(loops * size / (time.perf_counter() - start))
        profiled = profile_pipeline(model, rows, output)
    share = statistics.median(p / f for p, f in zip(rates["pipeline"], rates["forward"], strict=True))
    return {**{name: common.spread(one) for name, one in rates.items()}, "pipeline/forward": share, **profiled}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", default=workload_files.names(), choices=workload_files.names())
    parser.add_argument("--batches", nargs="+", type=int, default=[1024, 8192, 65536])
    parser.add_argument("--pipeline-rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("no rates: torch finds no CUDA device. bf16 autocast on the CPU, largest difference from float32:")
        print(common.table(["workload", "error"], [error_on_cpu(name) for name in arguments.workloads]))
        return
    lines = [line for name in arguments.workloads for line in measure(name, arguments.batches)]
    print(torch.cuda.get_device_name())
    print(common.table(["workload", "batch", "precision", "rows/s", "TFLOP/s", "largest error", "MiB"], lines))
    torch.set_float32_matmul_precision("highest")
    result = {"card": torch.cuda.get_device_name(), "machine": common.machine(),
              "versions": common.versions("torch", "lightning", "pyarrow"),
              "nested, d_model 256": measure_pipeline(arguments.pipeline_rows)}  # fmt: skip
    print(json.dumps(result, indent=2))
    print(f"written to {common.save_result('gpu', result)}")


if __name__ == "__main__":
    main()
