"""Columns that a model reads and that no file has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as lit
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import json2vec as j2v
from json2vec.errors import ContractBroken, EncodeError, ReadError, SchemaError
from json2vec.profile.missing import ColumnCheck, columns_read
from json2vec.reading.snapshot import snapshot_files, snapshot_frame
from json2vec.storage.opening import open_store


def model(*fields: Any) -> Any:
    return j2v.Model.from_schema(
        *(fields or (j2v.Number("amount"),)), j2v.Number("y", target=True), d_model=16, n_layers=1, n_heads=2,
        batch_size=4,
    ).eval()  # fmt: skip


def predicted(data: Any, out: Path) -> list[Any]:
    trainer = lit.Trainer(
        accelerator="cpu", callbacks=[j2v.Writer(str(out))], logger=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.predict(data.model, datamodule=data, return_predictions=False)
    return pq.read_table(out / sorted(path.name for path in out.glob("rank-*.parquet"))[0])["inputs"].to_pylist()


def files(root: Path, suffix: str, **options: Any) -> Any:
    m = options.pop("model", None) or model()
    return j2v.StreamingDataModule(model=m, root=root, suffix=suffix, predict=rf"\.{suffix}$", **options)


CASES = {
    "case": (b"ID,v\n1,2\n", [j2v.Number("id")], "did you mean 'ID'?"),
    "renamed": (b"amounts,v\n1,2\n", [j2v.Number("amount")], "did you mean 'amounts'?"),
    "far": (b"u,v\n1,2\n", [j2v.Number("amount")], r"amount \(of record/amount\)\n"),
    "jmespath": (b"u,v\n1,2\n", [j2v.Number("amount", query="[*].a || [*].b")], r"a \(of record/amount\)"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_column_that_no_file_has_is_refused_and_the_nearest_named(case: str, tmp_path: Path) -> None:
    content, fields, said = CASES[case]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_bytes(content)
    data = files(tmp_path / "in", "csv", model=model(*fields))
    with pytest.raises(ContractBroken, match=said):
        predicted(data, tmp_path / "out")
    assert not list((tmp_path / "out").glob("rank-*"))


@pytest.mark.parametrize("separator", [";", "\t"])
def test_another_separator_is_named_with_its_option(separator: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text(f"amount{separator}country\n1{separator}at\n")
    with pytest.raises(ReadError, match=r"the header is one column .*csv=\{'separator'"):
        predicted(files(tmp_path / "in", "csv"), tmp_path / "out")
    options = {"model": model(j2v.Number("amount")), "csv": {"separator": separator}}
    predicted(files(tmp_path / "in", "csv", **options), tmp_path / "out")


def test_a_column_in_the_folders_name_only(tmp_path: Path) -> None:
    (tmp_path / "in" / "region=eu").mkdir(parents=True)
    pq.write_table(pa.table({"amount": [1.0]}), tmp_path / "in" / "region=eu" / "a.parquet")
    options = {"model": model(j2v.Category("region"))}
    with pytest.raises(ContractBroken, match="name of a folder, region=eu/") as caught:
        predicted(files(tmp_path / "in", "parquet", **options), tmp_path / "out")
    assert "Remedy: say folder_columns=['region']" in str(caught.value)
    predicted(files(tmp_path / "in", "parquet", folder_columns=["region"], **options), tmp_path / "out")


def test_a_nested_path_and_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.ndjson").write_text('{"orders": [{"price": 1.0}]}\n')
    m = model(j2v.Array(j2v.Number("price"), name="order", max_length=2))
    with pytest.raises(ContractBroken, match=r"order \(of record/order/price\): did you mean 'orders'\?"):
        predicted(files(tmp_path / "in", "ndjson", model=m), tmp_path / "out")


def test_what_is_said_works(tmp_path: Path) -> None:
    """Each remedy of the message: allow, a query, the column itself in one file of two."""
    root = tmp_path / "in"
    root.mkdir()
    (root / "a.csv").write_bytes(b"ID\n1\n")
    assert predicted(files(root, "csv", missing_columns="allow"), tmp_path / "allowed") == [{"ID": 1}]
    queried = model(j2v.Number("amount", query="[*].ID"))
    assert predicted(files(root, "csv", model=queried), tmp_path / "queried") == [{"ID": 1}]
    (root / "b.csv").write_bytes(b"ID,amount\n2,3\n")
    assert predicted(files(root, "csv"), tmp_path / "partly") == [{"ID": 1, "amount": None}, {"ID": 2, "amount": 3}]


def test_what_need_not_be_there(tmp_path: Path) -> None:
    """A target in prediction, a column of nulls, anything in no rows."""
    pq.write_table(pa.table({"amount": pa.nulls(2)}), tmp_path / "a.parquet")
    check = ColumnCheck(model().schema, None, snapshot_files(open_store(tmp_path), "parquet"))
    check(check.snapshot.schema)
    pq.write_table(pa.table({"other": pa.array([], pa.int64())}), tmp_path / "a.parquet")
    empty = snapshot_files(open_store(tmp_path), "parquet")
    ColumnCheck(model().schema, None, empty)(empty.schema)


def test_training_needs_its_target() -> None:
    frame = pl.DataFrame({"amount": [1.0, 2.0]})
    data = j2v.PolarsDataModule(model=model(), train=frame)
    with pytest.raises(ContractBroken, match="y \\(of record/y\\)"):
        data.setup("fit")
    j2v.PolarsDataModule(model=model(), train=frame, missing_columns="allow").setup("fit")


def test_a_key_that_was_rare_in_training_may_be_missing_in_json_but_not_in_parquet(tmp_path: Path) -> None:
    rows = pl.DataFrame({"amount": [None] * 95 + [1.0] * 5, "v": [1.0] * 100, "y": [1.0] * 100})
    m = model(j2v.Number("amount"), j2v.Number("v"))
    j2v.PolarsDataModule(model=m, train=rows).learn_profile()
    (tmp_path / "a.ndjson").write_text('{"v": 1.0}\n' * 3)
    pq.write_table(pa.table({"v": [1.0] * 3}), tmp_path / "a.parquet")
    files(tmp_path, "ndjson", model=m).predict_dataloader()
    with pytest.raises(ContractBroken, match="amount"):
        files(tmp_path, "parquet", model=m).predict_dataloader()
    (tmp_path / "a.ndjson").write_text('{"v": 1.0}\n' * 3000)  # so many rows without it are no chance any more
    with pytest.raises(ContractBroken, match="amount"):
        files(tmp_path, "ndjson", model=m).predict_dataloader()


def makes_amount(row: dict[str, Any]) -> dict[str, Any]:
    return {"amount": row["v"]}


def makes_other(row: dict[str, Any]) -> dict[str, Any]:
    return {"Amount": row["v"]}


@pytest.mark.parametrize("declared", [False, True])
def test_with_a_preprocessor_the_columns_that_it_makes_count(declared: bool, tmp_path: Path) -> None:
    pq.write_table(pa.table({"v": [1.0]}), tmp_path / "a.parquet")
    schema = {"schema": pa.schema({"amount": pa.float64()})} if declared else {}
    right = j2v.preprocess(makes_amount, **schema)
    assert predicted(files(tmp_path, "parquet", preprocessor=right), tmp_path / "right") == [{"v": 1.0}]
    schema = {"schema": pa.schema({"Amount": pa.float64()})} if declared else {}
    wrong = j2v.preprocess(makes_other, **schema)
    with pytest.raises(ContractBroken, match=r"preprocessor 'makes_other' makes .*\n.*did you mean 'Amount'"):
        predicted(files(tmp_path, "parquet", preprocessor=wrong), tmp_path / "wrong")
    snapshot = snapshot_files(open_store(tmp_path), "parquet", paths=["a.parquet"])
    check = ColumnCheck(model().schema, None, snapshot)
    check.before_ranks(right, open_store(tmp_path), "raise")
    with pytest.raises(ContractBroken, match="did you mean 'Amount'"):
        check.before_ranks(wrong, open_store(tmp_path), "raise")


def test_tables_in_memory() -> None:
    table = pa.table({"Amount": [1.0]})
    with pytest.raises(ContractBroken, match="did you mean 'Amount'"):
        model().encode(table)
    assert model().encode(table, missing_columns="allow").size == 1
    assert model().encode(pa.table({"amount": [1.0]})).size == 1


def test_records_may_lack_keys_but_not_all_of_them() -> None:
    m = model(j2v.Number("amount"), j2v.Number("v"))
    m.predict([{"v": 1.0}, {}])
    m.predict([{}])
    with pytest.raises(EncodeError, match="did you mean 'Amount' for 'amount'"):
        m.predict([{"Amount": 1.0, "V": 2.0}])


def test_an_option_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="missing_columns must be"):
        files(tmp_path, "csv", missing_columns="null")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("[*].a", ["a"]),
        ("[*].items[0].price", ["items"]),
        ("[*].join('-', [a, b])", ["a", "b"]),
        ("[*].a || [*].b", ["a", "b"]),
        ("[*].items[?k==`1`].v | [0]", ["items"]),
        ("[*][0]", []),
    ],
)
def test_what_a_query_begins_with(query: str, names: list[str]) -> None:
    assert columns_read(model(j2v.Number("x", query=query)).schema) == names


def test_every_spelling_of_a_name_is_either_read_or_refused() -> None:
    """Whatever columns there are, a prediction is made of values or there is an error: never of nothing."""
    for names in (["amount"], ["AMOUNT"], ["amount "], ["amount", "Amount"], ["x"], []):
        table = pa.table({name: [1.0] for name in names} | {"more": [1]})
        snapshot = snapshot_frame(table)
        check = ColumnCheck(model().schema, None, snapshot)
        if "amount" in names:
            check(snapshot.schema)
        else:
            with pytest.raises(ContractBroken):
                check(snapshot.schema)
