"""Real shards, a real model and a folder of rank files written without Lightning."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import json2vec as j2v
from json2vec.rank_files.commit import commit_predictions
from json2vec.rank_files.layout import rank_schema
from json2vec.rank_files.manifest import FOOTER_KEY
from json2vec.rank_files.rank_writer import RankFiles
from json2vec.reading.plan import Plan
from json2vec.reading.readers import read_rows
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.local import LocalStore

SIZES = {"a.parquet": 40, "b.parquet": 0, "sub/c.parquet": 75, "sub/d ü#.parquet": 21}
INPUTS = pa.schema(
    [("id", pa.string()), ("amount", pa.float64()), ("merchant", pa.string()),
     ("items", pa.list_(pa.struct([("price", pa.float64())])))]
)  # fmt: skip


LABELS = (("books", "late"), ("coffee", "on_time"), (None, "cancelled"))


def rows_table(name: str, count: int) -> pa.Table:
    merchants = ["books", "coffee", None, "rare"]
    rows = [
        {
            "id": f"{name}-{i}",
            "amount": [1.5 * i, None, float("nan"), -3.0 * i][i % 4],
            "merchant": merchants[i % 3],
            "items": None if i % 5 == 0 else [{"price": float(j * i)} for j in range(i % 3)],
        }
        for i in range(count)
    ]
    return pa.Table.from_pylist(rows, INPUTS)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    root = tmp_path / "inputs"
    for name, count in SIZES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows_table(name, count), root / name, row_group_size=16)
    return root


@pytest.fixture(scope="session")
def model() -> Any:
    torch.manual_seed(7)
    made = j2v.Model.from_schema(
        j2v.Number("amount"),
        j2v.Category("merchant", max_vocab_size=8),
        j2v.Array(j2v.Number("price"), name="items", max_length=3),
        j2v.Category("label", max_vocab_size=6, target=True, topk=[2]),
        j2v.Number("score", target=True),
        d_model=16, n_layers=1, n_heads=2, batch_size=8, embed=True,
    )  # fmt: skip
    made.learn([{"merchant": merchant, "label": label} for merchant, label in LABELS])
    return made.eval()


@dataclass
class Folder:
    """A prediction folder that was made by `write`, with what it was made of."""

    path: Path
    plan: Plan
    model: Any
    inputs: Path

    def edit(self, name: str, change: Callable[[pa.Table], pa.Table]) -> None:
        """Replace a rank file's rows and make footer, marker and manifest agree: only the content tells."""
        file = self.path / name
        footer = json.loads(pq.read_metadata(file).metadata[FOOTER_KEY])
        table = change(pq.ParquetFile(file).read())
        footer["rows"] = table.num_rows
        writer = pq.ParquetWriter(file, table.schema, write_page_checksum=True)
        writer.write_table(table)
        writer.add_key_value_metadata({FOOTER_KEY.decode(): json.dumps(footer)})
        writer.close()
        self.amend(name, rows=table.num_rows)

    def amend(self, name: str, **entry: Any) -> None:
        """Make marker and manifest tell the size, digest and ``entry`` of the file as it is now."""
        import hashlib

        data = (self.path / name).read_bytes()
        entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for document in ("_manifest.json", f"rank-{name.split('-')[1].split('.')[0]}.json"):
            value = json.loads((self.path / document).read_text())
            for one in value["files"]:
                if one["path"] == name:
                    one.update(entry)
            value["rows"] = sum(one["rows"] for one in value["files"])
            (self.path / document).write_text(json.dumps(value))

    def verify(self, **options: Any) -> Any:
        return j2v.verify_predictions(self.path, **{"model": self.model, **options})


@pytest.fixture
def write(tmp_path: Path, shards: Path, model: Any) -> Callable[..., Folder]:
    def make(
        *, ranks: int = 2, inputs: Any = True, commit: bool = True, segment_rows: int = 1_000_000, name: str = "out",
        preprocessor: Any = None, attempt: str = "attempt-1", only: Iterator[int] | None = None, **options: Any,
    ) -> Folder:  # fmt: skip
        store = LocalStore(shards)
        plan = Plan(snapshot_files(store, "parquet"), ranks)
        schema = rank_schema(plan.snapshot.schema, model.output_type(), inputs)
        for rank in range(ranks) if only is None else only:
            files = RankFiles(
                LocalStore(tmp_path / name), plan=plan, rank=rank, attempt=attempt,
                model_fingerprint=model.fingerprint(), schema=schema, segment_rows=segment_rows, **options,
            )  # fmt: skip
            for rows in read_rows(plan.snapshot, store, plan.share(rank), batch_size=8, preprocessor=preprocessor):
                predictions = model.infer(model.encode(rows)).cpu().columns()
                files.write(rows.inputs, predictions, rows.source, rows.span, rows.rejected)
            files.close()
        if commit:
            settings = {"inputs": inputs, "device": "cpu", "precision": "32-true", "batch_size": 8}
            commit_predictions(tmp_path / name, plan, settings=settings)
        return Folder(tmp_path / name, plan, model, shards)

    return make


@pytest.fixture
def swap() -> Callable[[pa.Table], pa.Table]:
    """Exchange the predictions of the first two rows, and nothing else."""

    def change(table: pa.Table) -> pa.Table:
        order = np.arange(table.num_rows)
        order[[0, 1]] = [1, 0]
        place = table.schema.get_field_index("predictions")
        return table.set_column(place, table.schema.field(place), table["predictions"].take(pa.array(order)))

    return change
