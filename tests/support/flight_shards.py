"""A trained model's checkpoint, and good shards that tests mutate. Nested: an aircraft's flight with its legs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import json2vec as j2v
from json2vec.contract import Outcome, check_shards
from json2vec.model.checkpoint import load
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.opening import open_store

LEG = pa.struct([("carrier", pa.string()), ("distance", pa.float64()), ("plane_id", pa.string())])
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("plane", pa.struct([("seats", pa.int64()), ("engine", pa.string()), ("weight", pa.float64())])),
        ("temp", pa.float64()),
        ("departed", pa.timestamp("us", tz="UTC")),
        ("vector", pa.list_(pa.float32(), 3)),
        ("codes", pa.list_(pa.string())),
        ("gate", pa.int64()),
        ("night", pa.bool_()),
        ("note", pa.string()),
        ("legs", pa.list_(LEG)),
        ("label", pa.string()),
    ]
)


def good_rows(seed: int, rows: int) -> list[dict[str, Any]]:
    """Rows as the producers write them; ``label`` is what the model predicts."""
    rng = np.random.default_rng(seed)
    engines, carriers = ["fan", "jet", "prop"], ["AA", "DL", "UA", "WN", "B6"]
    made = []
    for i in range(rows):
        legs = [
            {
                "carrier": carriers[rng.integers(5)],
                "distance": float(rng.uniform(200, 3000)),
                "plane_id": f"N{rng.integers(9)}",
            }
            for _ in range(rng.integers(0, 4))
        ]
        made.append(
            {
                "id": f"{seed}-{i}",
                "plane": {
                    "seats": int(rng.integers(50, 300)),
                    "engine": None if rng.random() < 0.05 else engines[rng.integers(3)],
                    "weight": float(rng.normal(60, 8)),
                },
                "temp": None if rng.random() < 0.1 else float(rng.normal(12, 6)),
                "departed": 1_700_000_000_000_000 + int(rng.integers(0, 86_400)) * 1_000_000,
                "vector": [float(x) for x in rng.normal(size=3)],
                "codes": [f"c{k}" for k in rng.integers(0, 6, rng.integers(0, 3))],
                "gate": int(rng.integers(0, 20)),
                "night": bool(rng.integers(2)),
                "note": None if rng.random() < 0.97 else "de-iced",
                "legs": legs,
                "label": ["late", "on time"][rng.integers(2)],
            }
        )
    return made


def good_table(seed: int, rows: int) -> pa.Table:
    return pa.Table.from_pylist(good_rows(seed, rows), schema=SCHEMA)


def make_model() -> j2v.Model:
    return j2v.Model.from_schema(
        j2v.Number("seats", query="[*].plane.seats"),
        j2v.Category("engine", query="[*].plane.engine", max_vocab_size=8),
        j2v.Number("weight", query="[*].plane.weight"),
        j2v.Number("temp"),
        j2v.DateParts("departed", dateparts=["hour_of_day"]),
        j2v.Vector("vector", n_dim=3),
        j2v.Set("codes", max_vocab_size=16),
        j2v.Category("gate", max_vocab_size=32),
        j2v.Category("night", max_vocab_size=4),
        j2v.Category("note", max_vocab_size=4),
        j2v.Array(
            j2v.Category("carrier", max_vocab_size=8), j2v.Number("distance"), j2v.Entity("plane_id"),
            name="legs", max_length=3,
        ),
        j2v.Category("label", max_vocab_size=4, target=True),
        d_model=8, n_layers=1, n_heads=2, batch_size=64,
    )  # fmt: skip


def write_parquet(folder: Path, table: pa.Table, files: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    step = -(-table.num_rows // files)
    for number in range(files):
        pq.write_table(table.slice(number * step, step), folder / f"part-{number}.parquet")


def write_ndjson(folder: Path, rows: list[dict[str, Any]], files: int = 2) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    step = -(-len(rows) // files)
    for number in range(files):
        lines = [json.dumps(row) + "\n" for row in rows[number * step : (number + 1) * step]]
        (folder / f"part-{number}.ndjson").write_text("".join(lines))


@dataclass(frozen=True)
class Trained:
    """A checkpoint, as its file holds it."""

    path: Path
    values: dict[str, Any]

    def check(self, folder: Path, suffix: str = "parquet", **options: Any) -> Outcome:
        store = open_store(folder)
        return check_shards(self.values, snapshot_files(store, suffix), store, **options)


def train(folder: Path, suffix: str, path: Path) -> Trained:
    """What fitting does before its first step: vocabularies and profile, by one pass over the shards."""
    model = make_model()
    j2v.StreamingDataModule(model, folder, suffix, train=".").setup("fit")
    assert model.profile is not None
    return Trained(path, load(model.save(path)))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Trained on 3,000 rows of Parquet."""
    base = tmp_path_factory.mktemp("contract")
    write_parquet(base / "train", good_table(0, 3000), files=3)
    return train(base / "train", "parquet", base / "model.ckpt")


@pytest.fixture(scope="session")
def trained_on_ndjson(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Trained on the same rows as NDJSON, whose types are inferred and whose nulls may be left out."""
    base = tmp_path_factory.mktemp("contract-ndjson")
    write_ndjson(base / "train", as_json(0, 3000))
    return train(base / "train", "ndjson", base / "model.ckpt")


def as_json(seed: int, rows: int) -> list[dict[str, Any]]:
    """Rows as a JSON producer writes them: times as text, optional keys left out where they are null."""
    made = good_rows(seed, rows)
    for row in made:
        seconds = row["departed"] // 1_000_000
        row["departed"] = str(np.datetime64(seconds, "s")) + "Z"
        for key in ("note", "temp"):
            if row[key] is None:
                del row[key]
    return made


@pytest.fixture
def shards(tmp_path: Path) -> Callable[[pa.Table], Path]:
    """Write a table as Parquet shards; returns their folder."""

    def write(table: pa.Table) -> Path:
        write_parquet(tmp_path / "shards", table)
        return tmp_path / "shards"

    return write
