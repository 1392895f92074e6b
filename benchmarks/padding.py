"""`Array(padding="skip")` beside `"attend"`: prediction speed and what a model learns, on lists that are mostly short.

    python benchmarks/padding.py [--data orders flights] [--rows 8192] [--epochs 6] [--seeds 0 1 2]

flights: the demo's model and data (up to 5 legs of the day and 8 recent ones), trained on its three weeks, scored on
its first week of February. orders, made up: up to 16 items, 3 on average, of a price and a sku. The label is one of
four: whether the dearest item is of an even or an odd sku, and whether the first and the last item have skus of the
same parity. Both depend on several items at a time, and the second on their places; scored on 4,096 rows of their own.
Every model is trained anew on the same rows for each seed; forward rates are measured in turns.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import common

common.limit_threads()
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this repository, installed or not

import lightning.pytorch as lit  # noqa: E402
import numpy as np  # noqa: E402
import polars as pl  # noqa: E402
import pyarrow as pa  # noqa: E402

import json2vec as j2v  # noqa: E402
from j2v_dagster.demo import shards  # noqa: E402
from j2v_dagster.demo.baselines import score  # noqa: E402
from j2v_dagster.demo.model import TrainingSettings, train_model  # noqa: E402
from j2v_dagster.demo.report import probabilities  # noqa: E402
from j2v_dagster.demo.run import PREDICT, TRAIN  # noqa: E402
from json2vec.model.memory import keep_freed_memory  # noqa: E402

SLOTS, MEAN, SKUS, SCORED = 16, 3.0, 12, 4096
WAYS = ("attend", "skip")


def make_rows(count: int, seed: int) -> pl.DataFrame:
    """`count` orders with their label."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.geometric(1 / MEAN, count), 1, SLOTS)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    price, sku = np.round(rng.lognormal(1, 1, offsets[-1]), 2), rng.integers(0, SKUS, offsets[-1])
    labels = []
    for start, stop in itertools.pairwise(offsets):
        dearest = sku[start + int(np.argmax(price[start:stop]))] % 2
        alike = sku[start] % 2 == sku[stop - 1] % 2
        labels.append(f"{'odd' if dearest else 'even'}, {'same' if alike else 'other'}")
    items = pa.StructArray.from_arrays(
        [pa.array(price), pa.array([f"s{n}" for n in range(SKUS)]).take(pa.array(sku))], names=["price", "sku"]
    )
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), items)
    made = pl.from_arrow(pa.table({"id": np.arange(count), "items": lists, "label": labels}))
    assert isinstance(made, pl.DataFrame)
    return made


class Orders:
    """Made-up orders, 3 items on average."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.epochs, self.rows, self.scored = options.epochs, make_rows(options.rows, 1000), make_rows(SCORED, 2000)

    def fit(self, padding: str, seed: int) -> Any:
        lit.seed_everything(seed, verbose=False)
        model: Any = j2v.Model.from_schema(
            j2v.Array(j2v.Number("price"), j2v.Category("sku", max_vocab_size=16), name="items", max_length=SLOTS,
                      padding=padding),
            j2v.Category("label", target=True, max_vocab_size=8), d_model=32, n_layers=1, n_heads=4, batch_size=128,
            optimizer=j2v.helpers.optimizers.adamw(2e-3),
        )  # fmt: skip
        trainer = lit.Trainer(accelerator="cpu", max_epochs=self.epochs, logger=False, enable_checkpointing=False,
                              enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
        trainer.fit(model, j2v.PolarsDataModule(model=model, train=self.rows))
        return model

    def score(self, model: Any) -> dict[str, float]:
        predicted = model.infer(self.encode(model)).to_python()[j2v.Address("record/label")]["content"]
        truth = self.scored["label"].to_list()
        right = [value == label for value, label in zip(predicted["value"], truth, strict=True)]
        share = [p if hit else (1 - p) / 3 for p, hit in zip(predicted["probability"], right, strict=True)]
        return {"log_loss": float(-np.log(np.maximum(share, 1e-9)).mean()), "accuracy": float(np.mean(right))}

    def encode(self, model: Any) -> j2v.Batch:
        return model.encode(self.scored.drop("label").to_arrow())


class Flights:
    """The demo's aircraft-days: 1.3 legs of 5 slots and 6.6 recent legs of 8 on average."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.root, self.days = folder / "shards", shards.days_between(*TRAIN)
        judged = shards.days_between(*PREDICT)
        shards.write_missing(self.root, [*self.days, *judged])
        self.scored = shards.read_days(self.root, judged)

    def fit(self, padding: Any, seed: int) -> Any:
        return train_model(TrainingSettings(padding=padding, seed=seed, threads=1), self.root, self.days)

    def score(self, model: Any) -> dict[str, float]:
        columns = model.infer(self.encode(model)).columns()
        best = pl.Series(columns.field("record/day_delay").field("content").field("topk"))
        found = score("model", self.scored["day_delay"], probabilities(best))
        return {"log_loss": found.log_loss, "accuracy": found.accuracy}

    def encode(self, model: Any) -> j2v.Batch:
        return model.encode(shards.to_table(self.scored))


DATA = {"orders": Orders, "flights": Flights}


def measure(data: Orders | Flights, seeds: list[int]) -> dict[str, Any]:
    """Scores over the seeds, and rates of the last seed's models, by padding."""
    scores: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    spent: dict[str, list[float]] = {way: [] for way in WAYS}
    models: dict[str, Any] = {}
    for seed in seeds:
        for way in WAYS:
            before = time.process_time()
            models[way] = data.fit(way, seed).eval()
            spent[way].append(time.process_time() - before)
            scores[way].append(data.score(models[way]))
            print(f"seed {seed}, {way}: {scores[way][-1]}, {spent[way][-1]:.0f} CPU s", flush=True)
    batches = {way: data.encode(model).slice(0, 1024) for way, model in models.items()}
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(11):
        for way, model in models.items():
            before = time.process_time()
            for _ in range(3):
                model.infer(batches[way])
            rates[way].append(3 * 1024 / (time.process_time() - before))
    return {
        way: {"rows_per_cpu_s": common.spread(rates[way][1:]), "fit_cpu_s": statistics.median(spent[way]),
              **{key: common.spread([one[key] for one in scores[way]]) for key in ("log_loss", "accuracy")}}
        for way in WAYS
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=list(DATA))
    parser.add_argument("--rows", type=int, default=8192, help="of orders to learn from")
    parser.add_argument("--epochs", type=int, default=6, help="over the orders")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    common.set_library_threads()
    keep_freed_memory()
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.data:
            result[name] = measure(DATA[name](Path(folder), arguments), arguments.seeds)
    table = [[f"{name}: {way}", f"{one['rows_per_cpu_s']['median']:,.0f}", f"{one['fit_cpu_s']:.0f}",
              *(f"{one[key]['median']:.4f} ({one[key]['min']:.4f} to {one[key]['max']:.4f})"
                for key in ("log_loss", "accuracy"))]
             for name, ways in result.items() for way, one in ways.items()]  # fmt: skip
    print(common.table(["padding", "forward, rows/CPU s", "training, CPU s", "log loss", "accuracy"], table))
    print(f"written to {common.save_result('padding', {'machine': common.machine(), 'threads': 1, **result})}")


if __name__ == "__main__":
    main()
