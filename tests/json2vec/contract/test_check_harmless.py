"""What changes nothing is no breach: the same data again, other formats, wider types. Small samples prove nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pytest
from flight_shards import LEG, SCHEMA, Trained, as_json, good_table, write_ndjson, write_parquet

import json2vec as j2v
from json2vec.model.checkpoint import load
from json2vec.profile.profile import profile_of


def wider(table: pa.Table) -> pa.Table:
    """Other physical types of the same logical ones."""
    kinds = {
        "id": pa.large_string(), "temp": pa.float64(), "gate": pa.int32(), "note": pa.large_string(),
        "codes": pa.large_list(pa.string()), "legs": pa.large_list(LEG), "vector": pa.list_(pa.float64()),
    }  # fmt: skip
    return table.cast(pa.schema([(f.name, kinds.get(f.name, f.type)) for f in table.schema]))


def dictionaries(table: pa.Table) -> pa.Table:
    for name in ("note", "id"):
        index = table.schema.get_field_index(name)
        table = table.set_column(index, name, table[name].dictionary_encode())
    return table


def floats(table: pa.Table) -> pa.Table:
    """What pandas makes of whole numbers with a null among them."""
    return table.set_column(table.schema.get_field_index("gate"), "gate", table["gate"].cast(pa.float64()))


NULLS = ("temp", "note")
HARMLESS: dict[str, Callable[[pa.Table], pa.Table]] = {
    "as it was": lambda table: table,
    "extra column": lambda table: table.append_column("extra", table["temp"]),
    "columns in another order": lambda table: table.select(table.schema.names[::-1]),
    "no target": lambda table: table.drop_columns(["label"]),
    "no column that nothing reads": lambda table: table.drop_columns(["id"]),
    "dictionaries": dictionaries,
    "wider types": wider,
    "whole numbers as floats": floats,
    "not null": lambda table: table.cast(pa.schema([f.with_nullable(f.name in NULLS) for f in table.schema])),
    "sorted": lambda table: table.sort_by("temp"),
    "one row": lambda table: table.slice(0, 1),
    "seven rows": lambda table: table.slice(0, 7),
    "twenty rows, sorted": lambda table: table.sort_by("temp").slice(0, 20),
}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", HARMLESS)
def test_no_breach(name: str, seed: int, trained: Trained, shards: Callable[[pa.Table], Path]) -> None:
    outcome = trained.check(shards(HARMLESS[name](good_table(seed, 600))))
    assert outcome.of("error", "warning") == [], outcome.text()
    assert outcome.sample is not None


def test_more_rows_than_the_sample(trained: Trained, shards: Callable[[pa.Table], Path]) -> None:
    outcome = trained.check(shards(good_table(3, 3000)), sample_rows=500)
    assert outcome.of("error", "warning") == [], outcome.text()
    assert outcome.sample is not None
    assert outcome.sample.rows == 500


@pytest.mark.parametrize("suffix", ["feather", "orc", "ndjson"])
def test_another_format_of_the_same_rows(suffix: str, trained: Trained, tmp_path: Path) -> None:
    table = good_table(4, 400)
    if suffix == "feather":
        pyarrow.feather.write_feather(table, tmp_path / "a.feather")
    elif suffix == "orc":
        lists = table["vector"].cast(pa.list_(pa.float32()))  # ORC has no lists of a fixed size
        pyarrow.orc.write_table(table.set_column(4, "vector", lists), tmp_path / "a.orc")
    else:
        write_ndjson(tmp_path, as_json(4, 400))
    outcome = trained.check(tmp_path, suffix)
    assert outcome.of("error", "warning") == [], outcome.text()


def test_trained_on_json_where_optional_keys_are_left_out(trained_on_ndjson: Trained, tmp_path: Path) -> None:
    outcome = trained_on_ndjson.check(tmp_path_with(tmp_path / "more", as_json(5, 400)), "ndjson")
    assert outcome.of("error", "warning") == [], outcome.text()
    # 'note' is there in 3% of the training's rows: twenty rows may well have none. Forty times as many may not.
    few = [{key: value for key, value in row.items() if key != "note"} for row in as_json(6, 20)]
    outcome = trained_on_ndjson.check(tmp_path_with(tmp_path / "few", few), "ndjson")
    assert outcome.of("error", "warning") == [], outcome.text()
    assert [one.kind for one in outcome.breaches if one.where == "note"] == ["missing"]
    many = [{key: value for key, value in row.items() if key != "note"} for row in as_json(6, 800)]
    outcome = trained_on_ndjson.check(tmp_path_with(tmp_path / "many", many), "ndjson")
    assert [(one.kind, one.where) for one in outcome.of("error")] == [("missing", "note")]
    # A temperature that happens to have no fractions that day is inferred as whole.
    whole = [row | ({"temp": 12} if "temp" in row else {}) for row in as_json(7, 30)]
    outcome = trained_on_ndjson.check(tmp_path_with(tmp_path / "whole", whole), "ndjson")
    assert not outcome.broken, outcome.text()


def tmp_path_with(folder: Path, rows: list[dict[str, Any]]) -> Path:
    write_ndjson(folder, rows)
    return folder


def test_a_checkpoint_without_a_profile_has_no_known_contract(tmp_path: Path, trained: Trained) -> None:
    write_parquet(tmp_path / "in", good_table(1, 10))
    old = Trained(trained.path, {key: value for key, value in trained.values.items() if key != "profile"})
    outcome = old.check(tmp_path / "in")
    assert (outcome.profile, outcome.breaches, outcome.broken) == (None, (), False)
    assert "j2v-dagster profile" in outcome.summary()


def test_a_quarantining_run_may_have_rows_that_cannot_be_encoded(
    trained: Trained, shards: Callable[[pa.Table], Path]
) -> None:
    table = good_table(10, 400)
    vectors = table["vector"].to_pylist()
    vectors[7] = vectors[7][:2]
    table = table.set_column(4, "vector", pa.array(vectors, pa.list_(pa.float32())))
    folder = shards(table)
    assert trained.check(folder).broken
    outcome = trained.check(folder, on_bad_row="quarantine")
    assert not outcome.broken
    assert [(one.kind, one.severity) for one in outcome.of("error", "warning")] == [("unencodable", "warning")]
    assert "part-0.parquet, row 7" in outcome.text()
    assert outcome.sample is not None
    assert outcome.sample.rows == 399


def celsius(row: dict[str, Any]) -> dict[str, Any]:
    """A preprocessor that reads columns by name."""
    return {"temp": row["temp"], "where": row["plane"]["engine"], "label": row.get("label")}


def test_with_a_preprocessor_every_column_counts_but_the_targets(tmp_path: Path) -> None:
    model = j2v.Model.from_schema(
        j2v.Number("temp"), j2v.Category("where", max_vocab_size=4),
        j2v.Category("label", max_vocab_size=4, target=True),
        d_model=8, n_layers=1, n_heads=2,
    )  # fmt: skip
    write_parquet(tmp_path / "train", good_table(0, 500))
    data = j2v.StreamingDataModule(model, tmp_path / "train", "parquet", train=".", preprocessor=celsius)
    data.setup("fit")
    kept = Trained(tmp_path, load(model.save(tmp_path / "m.ckpt")))
    profile = profile_of(kept.values)
    assert profile is not None
    assert profile.preprocessed
    assert profile.schema.names == SCHEMA.names
    made = data.preprocessor

    def check(name: str, table: pa.Table) -> Any:
        write_parquet(tmp_path / name, table)
        return kept.check(tmp_path / name, preprocessor=made)

    good = good_table(1, 400)
    assert check("good", good.drop_columns(["label"])).of("error", "warning") == []
    missing = check("missing", good.drop_columns(["gate"]))
    assert [(one.where, one.kind) for one in missing.of("error")] == [("gate", "missing")]
    text = check("text", good.set_column(2, "temp", good["temp"].cast(pa.string())))
    assert [(one.where, one.kind) for one in text.of("error")] == [("temp", "type")]
    # The columns are all there, but what the preprocessor makes of them is not what it was.
    plane = [row | {"engine": "warp"} for row in good["plane"].to_pylist()]
    rates = check("rates", good.set_column(1, "plane", pa.array(plane, SCHEMA.field("plane").type)))
    assert ("where", "unknown_rate") in [(one.where, one.kind) for one in rates.of("error")]
    # And where it raises, the contract says so, with file and row.
    nothing = good.set_column(1, "plane", pa.nulls(400, SCHEMA.field("plane").type))
    raised = check("raises", nothing)
    assert [one.kind for one in raised.of("error")] == ["preprocessor"]
    assert "part-0.parquet: row 0" in raised.text()


def test_csv_without_types(tmp_path: Path) -> None:
    """Everything in CSV is inferred; a day of whole numbers, and a column without values, are nothing to report."""
    (tmp_path / "train").mkdir()
    (tmp_path / "new").mkdir()
    lines = [f"{i / 2},{'ab'[i % 2]},{'' if i % 3 else 'x'}" for i in range(400)]
    (tmp_path / "train" / "a.csv").write_text("n,kind,rare\n" + "\n".join(lines) + "\n")
    model = j2v.Model.from_schema(
        j2v.Number("n"), j2v.Category("kind", max_vocab_size=4), j2v.Category("rare", max_vocab_size=4),
        d_model=8, n_layers=1, n_heads=2,
    )  # fmt: skip
    j2v.StreamingDataModule(model, tmp_path / "train", "csv", train=".").setup("fit")
    kept = Trained(tmp_path, load(model.save(tmp_path / "m.ckpt")))
    (tmp_path / "new" / "a.csv").write_text("n,kind,rare\n" + "\n".join(f"{i},{'ab'[i % 2]}," for i in range(6)) + "\n")
    outcome = kept.check(tmp_path / "new", "csv")
    assert outcome.of("error", "warning") == [], outcome.text()
