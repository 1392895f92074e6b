"""One random change to a small prediction folder at a time, and whether verification sees it.

Two families. *Plain*: somebody changes a byte, a file or a field and nothing else. *Covered up*: a value, a row or a
footer changes, and sizes, counts and SHA-256 in footer, marker and manifest are made to agree, so that only the content
can tell.

Not counted as mutations, because nothing that anybody could prove changes:

- bytes of a marker or manifest after which it still says the same (a letter of a hex escape, white space);
- `DESCRIPTIVE` fields: how and when it was predicted, and the preprocessor's name, which is passed by hand here. No row
  follows from them; a certificate's digest of the manifest tells them all the same;
- padding within the snapshot's Arrow schema, after which it is the same schema;
- the last label of a top-k replaced by another known label of equal probability: replay takes it for a tie;
- the order of rows within a file, and the text of ``reason`` and ``raw`` in rejected rows, with all digests adjusted;
- predictions that differ by less than the replay's tolerance.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import json2vec as j2v
from json2vec.errors import IncompletePredictions
from json2vec.rank_files.commit import commit_predictions
from json2vec.rank_files.layout import rank_schema
from json2vec.rank_files.manifest import FOOTER_KEY, Manifest, Marker, parse_document
from json2vec.rank_files.rank_writer import RankFiles
from json2vec.reading.plan import Plan
from json2vec.reading.readers import read_rows
from json2vec.reading.snapshot import Snapshot, snapshot_files
from json2vec.storage.local import LocalStore

DESCRIPTIVE = ("settings.device", "settings.precision", "settings.batch_size", "settings.threads",
               "settings.preprocessor", "versions", "started", "finished", "batches")  # fmt: skip
INPUTS = pa.schema([("id", pa.string()), ("amount", pa.float64()), ("merchant", pa.string()),
                    ("items", pa.list_(pa.struct([("price", pa.float64())])))])  # fmt: skip
MADE = pa.schema([field for field in INPUTS if field.name != "id"])


@j2v.preprocess(yields=True, schema=MADE)
def some_twice(row: dict[str, Any], strata: str) -> list[dict[str, Any]]:
    """Drop every ninth row, make two of every seventh."""
    number = int(row["id"])
    made = {name: row[name] for name in MADE.names}
    return [] if number % 9 == 8 else [made] * (2 if number % 7 == 3 else 1)


def make_model() -> Any:
    """A model with an array, labels, top-k, a number and embeddings."""
    import torch

    torch.manual_seed(7)
    model = j2v.Model.from_schema(
        j2v.Number("amount"), j2v.Category("merchant", max_vocab_size=8),
        j2v.Array(j2v.Number("price"), name="items", max_length=3),
        j2v.Category("label", max_vocab_size=6, target=True, topk=[2]), j2v.Number("score", target=True),
        d_model=8, n_layers=1, n_heads=2, batch_size=64, embed=True,
    )  # fmt: skip
    labels = (("books", "late"), ("coffee", "on_time"), ("tea", "cancelled"))
    model.learn([{"merchant": merchant, "label": label} for merchant, label in labels])
    return model.eval()


def write_shards(root: Path, rng: np.random.Generator) -> None:
    """Three small files with nulls, NaN and empty lists."""
    root.mkdir(parents=True)
    number = 0
    for name, count in (("a.parquet", 11), ("b.parquet", 0), ("c ü#.parquet", 21)):
        rows = []
        for _ in range(count):
            amount = [float(rng.normal(10, 5)), None, float("nan"), -float(rng.integers(9))][number % 4]
            items = None if number % 5 == 0 else [{"price": float(rng.normal())} for _ in range(number % 3)]
            rows.append({"id": str(number), "amount": amount, "items": items,
                         "merchant": ["books", "coffee", None, "rare"][number % 4]})  # fmt: skip
            number += 1
        pq.write_table(pa.Table.from_pylist(rows, INPUTS), root / name)


Mutation = tuple[str, str, Callable[[], None]]  # kind, description, what to do


@dataclass
class Case:
    """A folder of two ranks with several segments, as it was, and a source of random changes to it."""

    path: Path
    model: Any
    rng: np.random.Generator
    original: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def make(cls, root: Path, seed: int) -> Case:
        rng = np.random.default_rng(seed)
        write_shards(root / "inputs", rng)
        model, store = make_model(), LocalStore(root / "inputs")
        plan = Plan(snapshot_files(store, "parquet"), 2)
        schema = rank_schema(plan.snapshot.schema, model.output_type())
        for rank in range(2):
            files = RankFiles(LocalStore(root / "out"), plan=plan, rank=rank, attempt="attempt-1", schema=schema,
                              segment_rows=10, model_fingerprint=model.fingerprint())  # fmt: skip
            for rows in read_rows(plan.snapshot, store, plan.share(rank), batch_size=4, preprocessor=some_twice):
                predictions = model.infer(model.encode(rows)).cpu().columns()
                files.write(rows.inputs, predictions, rows.source, rows.span, rows.rejected)
            files.close()
        settings = {"device": "cpu", "precision": "32-true", "batch_size": 4, "preprocessor": "mutations:some_twice"}
        commit_predictions(root / "out", plan, settings=settings)
        case = cls(root / "out", model, rng)
        case.original = {file.name: file.read_bytes() for file in case.path.iterdir()}
        assert case.verify().passed, case.verify().summary()
        return case

    def verify(self) -> Any:
        return j2v.verify_predictions(self.path, model=self.model, sample=None, preprocessor=some_twice)

    def restore(self) -> None:
        for file in self.path.iterdir():
            if file.name not in self.original:
                file.unlink()
        for name, data in self.original.items():
            file = self.path / name
            if not file.exists() or file.read_bytes() != data:
                file.write_bytes(data)

    def run(self, count: int) -> dict[str, Any]:
        """Try ``count`` mutations: how many of each kind were made and caught, and what was missed."""
        kinds: dict[str, dict[str, int]] = {}
        missed: list[str] = []
        for kind, description, act in self.mutations(count):
            act()
            caught = not self.verify().passed
            self.restore()
            tally = kinds.setdefault(kind, {"made": 0, "caught": 0})
            tally["made"] += 1
            tally["caught"] += caught
            if not caught:
                missed.append(f"{kind}: {description}")
        return {"mutations": count, "kinds": kinds, "missed": missed}

    # -- drawing ---------------------------------------------------------------------------------------------------

    def mutations(self, count: int) -> Iterator[Mutation]:
        makers = (self._byte, self._footer_byte, self._json_byte, self._field, self._field, self._file, self._value,
                  self._value, self._value, self._row, self._swap, self._footer_field, self._rejected)  # fmt: skip
        done = 0
        while done < count:
            made = makers[self.rng.integers(len(makers))]()
            if made is not None:
                done += 1
                yield made

    def _pick(self, values: list[Any]) -> Any:
        return values[self.rng.integers(len(values))]

    def _parquet(self, prefix: str = "") -> str:
        return self._pick(sorted(n for n in self.original if n.endswith(".parquet") and n.startswith(prefix)))

    def _document(self) -> str:
        return self._pick(sorted(name for name in self.original if name.endswith(".json")))

    def _put(self, name: str, data: bytes) -> Callable[[], None]:
        return lambda: (self.path / name).write_bytes(data) and None

    # -- plain -----------------------------------------------------------------------------------------------------

    def _flipped(self, name: str, first: int) -> tuple[int, bytes]:
        data = bytearray(self.original[name])
        at = int(self.rng.integers(first, len(data)))
        data[at] ^= int(self.rng.integers(1, 256))
        return at, bytes(data)

    def _byte(self) -> Mutation:
        name = self._parquet()
        at, data = self._flipped(name, 0)
        return "byte of a Parquet file", f"{name} at {at}", self._put(name, data)

    def _footer_byte(self) -> Mutation:
        name = self._parquet()
        whole = self.original[name]
        footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
        at, data = self._flipped(name, footer)
        return "byte of a footer", f"{name} at {at}", self._put(name, data)

    def _json_byte(self) -> Mutation | None:
        name = self._document()
        at, data = self._flipped(name, 0)
        if self._same(name, data):
            return None
        was, now = self.original[name][at : at + 1], data[at : at + 1]
        return "byte of a marker or manifest", f"{name} at {at}: {was!r} to {now!r}", self._put(name, data)

    def _field(self) -> Mutation | None:
        name = self._document()
        value = json.loads(self.original[name])
        keys = self._change_field(value)
        data = json.dumps(value).encode()
        if self._same(name, data):
            return None
        kind = "field of the manifest" if name == "_manifest.json" else "field of a marker"
        return kind, f"{name}: {keys}", self._put(name, data)

    def _change_field(self, value: Any) -> str:
        """Change one random leaf of a JSON value in place; where it is."""
        path: list[Any] = []
        while True:
            keys = sorted(value) if isinstance(value, dict) else list(range(len(value)))
            key = self._pick(keys)
            path.append(key)
            if isinstance(value[key], dict | list) and len(value[key]) and self.rng.random() < 0.9:
                value = value[key]
                continue
            if self.rng.random() < 0.1:
                del value[key]
            else:
                value[key] = self._other(value[key])
            return ".".join(map(str, path))

    def _other(self, value: Any) -> Any:
        if isinstance(value, bool):
            return not value
        if isinstance(value, int):
            return value + int(self._pick([-1, 1, 100]))
        if isinstance(value, str):
            return value + "0" if self.rng.random() < 0.5 or not value else value[:-1]
        return {} if isinstance(value, list) else None if isinstance(value, dict) else "something"

    def _same(self, name: str, data: bytes) -> bool:
        """Whether a changed document still claims the same: it parses, and differs in `DESCRIPTIVE` fields at most."""
        kind = Manifest if name == "_manifest.json" else Marker
        try:
            now, was = (parse_document(kind, one, name).model_dump(mode="json") for one in (data, self.original[name]))
            for document in (now, was) if kind is Manifest else ():
                document["snapshot"] = [document["snapshot"]["root"], Snapshot.from_json(document["snapshot"]).digest]
        except (IncompletePredictions, ValueError, KeyError, TypeError, OSError, pa.ArrowException):
            return False
        for document in (now, was):
            for path in DESCRIPTIVE:
                outer, _, inner = path.rpartition(".")
                (document.get(outer) or {} if outer else document).pop(inner or path, None)
        if kind is Marker:  # the manifest's `created` is the last rank's `finished`
            finished = [json.loads(one)["finished"] for one in (data, self.original[name])]
            return now == was and (finished[0] == finished[1] or not self._is_last(name, finished[0]))
        return now == was

    def _is_last(self, name: str, finished: str) -> bool:
        """Whether changing this rank's ``finished`` changes when the last one ended."""
        created = parse_document(Manifest, self.original["_manifest.json"], "manifest").created
        changed = json.dumps(json.loads(self.original[name]) | {"finished": finished})
        was, now = (parse_document(Marker, data, name) for data in (self.original[name], changed))
        return was.finished == created or now.finished > created

    def _file(self) -> Mutation:
        name, other = self._pick(sorted(self.original)), self._parquet("rank-")
        data = self.original[name]
        stray = self._pick(
            ["rank-7.parquet", "rank-0.9.parquet", "rank-1.0.parquet.tmp", "copy.parquet", "rank-9.json"]
        )
        cut = int(self.rng.integers(0, len(data)))
        another = self._pick(
            sorted(n for n in self.original if n != other and n.startswith("rank-") and n[-4:] != "json")
        )

        def swap() -> None:
            (self.path / other).write_bytes(self.original[another])
            (self.path / another).write_bytes(self.original[other])

        return self._pick([
            ("a file deleted", name, lambda: (self.path / name).unlink()),
            ("a file renamed", name, lambda: (self.path / name).rename(self.path / f"{name}.old") and None),
            ("a file cut short", f"{name} to {cut} bytes", self._put(name, data[:cut])),
            ("a file with bytes after its end", name, self._put(name, data + b"0")),
            ("two files exchanged", f"{other} and {another}", swap),
            ("a file too many", stray, self._put(stray, self.original[other])),
        ])  # fmt: skip

    # -- covered up ------------------------------------------------------------------------------------------------

    def _cover_up(self, name: str, table: pa.Table, **footer: Any) -> Callable[[], None]:
        """Replace a Parquet file's rows and footer, and make marker and manifest agree with it."""

        def act() -> None:
            file = self.path / name
            old = json.loads(pq.read_metadata(file).metadata[FOOTER_KEY])
            with pq.ParquetWriter(file, table.schema, write_page_checksum=True) as writer:
                writer.write_table(table)
                writer.add_key_value_metadata(
                    {FOOTER_KEY.decode(): json.dumps(old | {"rows": table.num_rows} | footer)}
                )
            data = file.read_bytes()
            entry = {"rows": table.num_rows, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for document in ("_manifest.json", f"rank-{old['rank']}.json"):
                value = json.loads((self.path / document).read_bytes())
                for one in (*value["files"], *value["rejected"]):
                    if one["path"] == name:
                        one.update(entry)
                value["rows"] = sum(one["rows"] for one in value["files"])
                value["rejected_rows"] = sum(one["rows"] for one in value["rejected"])
                (self.path / document).write_text(json.dumps(value))

        return act

    def _table(self, name: str) -> pa.Table:
        return pq.ParquetFile(pa.BufferReader(self.original[name])).read()

    def _value(self) -> Mutation | None:
        name = self._parquet("rank-")
        table = self._table(name)
        if not table.num_rows:
            return None
        column, row = self._pick(table.schema.names), int(self.rng.integers(table.num_rows))
        kind = table.schema.field(column)
        values = table[column].to_pylist()
        values[row], path = self._change(values[row], kind)
        array = pa.array(values, kind.type)
        if array.equals(table[column].combine_chunks()):
            return None
        changed = table.set_column(table.schema.get_field_index(column), kind, array)
        return f"a value of {column}", f"{name} row {row} {path}", self._cover_up(name, changed)

    def _change(self, value: Any, kind: pa.Field) -> tuple[Any, str]:
        """Another value of the same type, and where it differs."""
        type_, here = kind.type, kind.name
        if value is not None and kind.nullable and self.rng.random() < 0.05:
            return None, f"{here} to null"
        if pa.types.is_struct(type_):
            child = type_.field(int(self.rng.integers(type_.num_fields)))
            value = dict(value or {})
            value[child.name], path = self._change(value.get(child.name), child)
            return value, f"{here}.{path}"
        if pa.types.is_list(type_):
            items = list(value or [])
            if items and self.rng.random() < 0.8:
                at = int(self.rng.integers(len(items)))
                items[at], path = self._change(items[at], type_.value_field)
                return items, f"{here}[{at}].{path}"
            if items and self.rng.random() < 0.5:
                return items[:-1], f"{here} without its last item"
            return [*items, self._change(None, type_.value_field)[0]], f"{here} with another item"
        if pa.types.is_floating(type_):
            if value is None or value != value:
                return 0.5, f"{here} to 0.5"
            step = (0.01 + self.rng.random()) * (1 + abs(value)) * self._pick([-1, 1])
            return value + step, f"{here} by {step}"
        if pa.types.is_integer(type_):
            top = 2**64 - 1 if pa.types.is_uint64(type_) else 2**31 - 1
            return (value + 1 if value is not None and value < top else 0), f"{here} by 1"
        return (value or "") + "x", f"{here} with an x"

    def _row(self) -> Mutation | None:
        name = self._parquet("rank-")
        table = self._table(name)
        if table.num_rows < 2:
            return None
        a, b = (int(i) for i in self.rng.choice(table.num_rows, 2, replace=False))
        keep = np.arange(table.num_rows)
        kind, order = self._pick([
            ("a row dropped", np.delete(keep, a)),
            ("a row twice", np.append(keep, a)),
            ("a row over another", np.where(keep == b, a, keep)),
        ])  # fmt: skip
        return kind, f"{name} rows {a}, {b}", self._cover_up(name, table.take(pa.array(order)))

    def _swap(self) -> Mutation | None:
        """A column exchanged between two rows in which it differs."""
        name = self._parquet("rank-")
        table = self._table(name)
        if table.num_rows < 2:
            return None
        column = self._pick(["inputs", "predictions"])
        a, b = (int(i) for i in self.rng.choice(table.num_rows, 2, replace=False))
        if column == "predictions" and self._close(table[column][a].as_py(), table[column][b].as_py()):
            return None
        if column == "inputs" and table[column][a].as_py()["id"] == table[column][b].as_py()["id"]:
            return None  # two parts of one row
        order = np.arange(table.num_rows)
        order[[a, b]] = [b, a]
        index = table.schema.get_field_index(column)
        changed = table.set_column(index, table.schema.field(index), table[column].take(pa.array(order)))
        return f"{column} of two rows exchanged", f"{name} rows {a}, {b}", self._cover_up(name, changed)

    def _close(self, one: Any, other: Any) -> bool:
        a, b = (np.array([one_["record/score"]["content"], *one_["record"]["embedding"]]) for one_ in (one, other))
        return bool(np.allclose(a, b, rtol=1e-4, atol=1e-4))

    def _footer_field(self) -> Mutation:
        name = self._parquet()
        key = FOOTER_KEY
        footer = json.loads(pq.read_metadata(pa.BufferReader(self.original[name])).metadata[key])
        field_ = self._pick(sorted(footer))
        changed = self._other(footer[field_])
        act = self._cover_up(name, self._table(name), **{field_: changed})
        return "field of a footer", f"{name}: {field_} to {changed!r}", act

    def _rejected(self) -> Mutation | None:
        name = self._parquet("rejected-")
        table = self._table(name)
        row = int(self.rng.integers(table.num_rows))
        column = self._pick(["file", "row"])
        values = table[column].to_pylist()
        values[row] = values[row] + 1 if column == "row" else values[row] + "x"
        index = table.schema.get_field_index(column)
        changed = table.set_column(index, table.schema.field(index), pa.array(values, table.schema.field(index).type))
        return "a rejected row", f"{name} row {row} {column}", self._cover_up(name, changed)
