"""The model: one record, one prediction, whatever surrounds it; training; saving and loading; devices."""

from __future__ import annotations

import pickle
from pathlib import Path

import lightning.pytorch as lit
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.fabric.utilities import move_data_to_device

import json2vec as j2v

LABELS = ["a", "b", "c"]


def make(padding: str = "attend", **options: object) -> j2v.Model:
    torch.manual_seed(7)
    model = j2v.Model.from_schema(
        j2v.Number("amount", embed=True),
        j2v.Set("tags", max_vocab_size=8),
        j2v.DateParts("when", dateparts=["month_of_year", "hour_of_day"]),
        j2v.Vector("vec", n_dim=2),
        j2v.Array(
            j2v.Number("price", n_linear=2),
            j2v.Category("sku", max_vocab_size=8, pooling="mean"),
            j2v.Entity("who"),
            j2v.Category("returned", max_vocab_size=4, target=True, topk=[2]),
            j2v.Array(
                j2v.Category("mode", max_vocab_size=4),
                name="stops", max_length=2, overflow="tail", attention="mqa", embed=True,
            ),
            name="items", max_length=3, attention="gqa", n_linear=2, padding=padding,  # type: ignore[arg-type]
        ),
        j2v.Category("label", max_vocab_size=8, target=True, topk=[2, 3]),
        j2v.Number("score", target=True),
        **{"d_model": 16, "n_layers": 1, "n_heads": 4, "embed": True, "batch_size": 8, **options},  # type: ignore[arg-type]
    )  # fmt: skip
    model.learn(
        [
            {
                "label": label,
                "tags": [label, "z"],
                "items": [{"sku": label, "returned": label, "stops": [{"mode": label}]}],
            }
            for label in LABELS
        ]
    )
    return model.eval()


stop = st.none() | st.fixed_dictionaries(
    {}, optional={"mode": st.none() | st.sampled_from([*LABELS, "?", j2v.MASK_LITERAL])}
)
item = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "price": st.none() | st.floats(-1e6, 1e6, width=32),
        "sku": st.none() | st.sampled_from(LABELS),
        "who": st.none() | st.sampled_from("xyz"),
        "stops": st.none() | st.lists(stop, max_size=4),
    },
)
records = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "amount": st.none() | st.floats(width=32, allow_nan=True),
            "tags": st.none() | st.lists(st.sampled_from([*LABELS, "unknown"]), max_size=3),
            "when": st.none() | st.sampled_from(["2020-02-29T13:05", "1969-12-31"]),
            "vec": st.none() | st.lists(st.floats(-10, 10, width=32), min_size=2, max_size=2),
            "items": st.none() | st.lists(item, max_size=5),
        },
    ),
    min_size=1,
    max_size=12,
)
MODEL = make()


def numbers(value: object) -> list[float]:
    """All numbers of a prediction, in a fixed order."""
    if isinstance(value, dict):
        return [number for key in sorted(value) for number in numbers(value[key])]
    if isinstance(value, list):
        return [number for one in value for number in numbers(one)]
    return [value] if isinstance(value, float) else []


@settings(max_examples=40, deadline=None)
@given(records, st.integers(1, 5))
def test_a_record_predicts_the_same_alone_and_in_any_batch(rows: list[dict], batch_size: int) -> None:
    MODEL.batch_size = batch_size
    together = MODEL.predict(rows)
    MODEL.batch_size = 64
    alone = [MODEL.predict([row]) for row in rows]
    for address, payload in together.items():
        one_by_one = numbers(
            [[part[address]["content"] if "content" in part[address] else part[address]] for part in alone]
        )
        whole = numbers([payload.get("content", payload)])
        a, b = np.sort(whole), np.sort(one_by_one)
        assert a.shape == b.shape
        assert (np.abs(a - b) <= 1e-5 + 1e-5 * np.abs(b)).all(), address


def test_output_type_is_known_before_any_row() -> None:
    model = make()
    announced = model.output_type()
    for rows in ([], [{}], [{"amount": 1.0}] * 3):
        assert model.infer(model.encode(rows)).columns().type == announced
    wider = model.output_type(["items/sku"])
    assert model.infer(model.encode([{}]), ["items/sku"]).columns().type == wider
    with pytest.raises(j2v.SchemaError, match="no active leaf"):
        model.output_type(["itms/sku"])


def test_predict_nothing_gives_empty_columns() -> None:
    predicted = make().predict([])
    assert predicted["record/label"]["content"]["value"] == []
    assert list(predicted) == ["record/items/stops", "record", "record/amount", "record/items/returned", "record/label",
                               "record/score"]  # fmt: skip


def test_what_comes_out_does_not_depend_on_neighbours() -> None:
    model = make()
    masked, plain = {"items": [{"sku": j2v.MASK_LITERAL}]}, {"items": [{"sku": "a"}]}
    assert list(model.predict([masked, plain])) == list(model.predict([plain]))


def trainable() -> j2v.Model:
    return make(
        batch_size=16,
        optimizer=lambda model: torch.optim.AdamW(model.parameters(), lr=3e-3),
    )


def frame(n: int = 64) -> pl.DataFrame:
    rng = np.random.default_rng(3)
    label = rng.integers(0, 3, n)
    return pl.DataFrame(
        {
            "amount": [None if i % 9 == 0 else 100.0 + 50 * k for i, k in enumerate(label)],
            "tags": [[LABELS[k]] for k in label],
            "when": ["2020-02-29T13:05"] * n,
            "vec": [[float(k), 1.0] for k in label],
            "items": [
                [
                    {
                        "price": float(k),
                        "sku": LABELS[k],
                        "who": "x",
                        "returned": LABELS[k],
                        "stops": [{"mode": LABELS[k]}],
                    }
                ]
                for k in label
            ],
            "label": [LABELS[k] for k in label],
            "score": [None if i % 5 == 0 else 1000.0 + 100 * k for i, k in enumerate(label)],
        }
    )


def trainer(**options: object) -> lit.Trainer:
    return lit.Trainer(**{"accelerator": "cpu", "logger": False, "enable_checkpointing": False,
                          "enable_progress_bar": False, "enable_model_summary": False, **options})  # type: ignore[arg-type]  # fmt: skip


def test_it_learns_without_a_validate_split_and_speaks_raw_units() -> None:
    model, data = trainable(), frame()
    trainer(max_epochs=40).fit(model, j2v.PolarsDataModule(model=model, train=data))
    rows = data.to_dicts()
    predicted = model.predict(rows)
    right = [a == row["label"] for a, row in zip(predicted["record/label"]["content"]["value"], rows, strict=True)]
    assert np.mean(right) > 0.9
    errors = [
        abs(a - row["score"]) for a, row in zip(predicted["record/score"]["content"], rows, strict=True) if row["score"]
    ]
    assert np.mean(errors) < 40  # a head in normalised units would be about 1000 off
    norms = np.linalg.norm(predicted["record"]["embedding"], axis=1)
    assert np.allclose(norms, 1, atol=1e-5)


def test_masks_and_reconstruction_train() -> None:
    torch.manual_seed(0)
    model = j2v.Model.from_schema(
        j2v.Number("amount", p_mask=0.3),
        j2v.DateParts("when", dateparts=["hour_of_day"], p_prune=0.3),
        j2v.Vector("vec", n_dim=2, p_mask=0.5),
        j2v.Set("tags", p_mask=0.5, max_vocab_size=8),
        j2v.Array(
            j2v.Category("sku", max_vocab_size=8), j2v.Number("price"), j2v.Entity("who"),
            name="items", max_length=3, mask=j2v.Mask(count=1, exclude="price"),
        ),
        d_model=16, n_layers=1, n_heads=4, batch_size=16,
        optimizer=lambda model: torch.optim.AdamW(model.parameters(), lr=3e-3),
    )  # fmt: skip
    data = frame()
    run = trainer(max_epochs=2)
    run.fit(model, j2v.PolarsDataModule(model=model, train=data, validate=data))
    logged = set(run.callback_metrics)
    assert "loss/train" in logged
    assert "record:items:sku/validate:loss:content" in logged
    assert not any(name.startswith("record:items:price") for name in logged)
    assert all(torch.isfinite(value) for value in run.callback_metrics.values())


def test_array_masks_hide_the_items_they_name() -> None:
    rows = [{"items": [{"x": float(i)} for i in range(n)]} for n in (0, 1, 3, 5)]

    def hidden(**mask: object) -> list[list[int]]:
        model = j2v.Model.from_schema(
            j2v.Array(j2v.Number("x"), name="items", max_length=5, mask=j2v.Mask(**mask)),
            d_model=8,
            n_layers=1,
            n_heads=2,
        )
        state = model.encode(rows, strata="validate").fields[j2v.Address("record/items/x")].state
        return [np.flatnonzero(row == j2v.Tokens.masked).tolist() for row in state.reshape(4, 5).numpy()]

    assert hidden(rate=1.0) == [[], [0], [0, 1, 2], [0, 1, 2, 3, 4]]
    assert hidden(rate=1.0, window=2) == [[], [0], [1, 2], [3, 4]]
    assert hidden(rate=1.0, window=2, start=True) == [[], [0], [0, 1], [0, 1]]
    assert hidden(rate=1.0, offset=1) == [[], [], [0, 1], [0, 1, 2, 3]]
    assert hidden(rate=1.0, offset=1, start=True) == [[], [], [1, 2], [1, 2, 3, 4]]
    assert [len(row) for row in hidden(count=2)] == [0, 1, 2, 2]


def test_save_and_load(tmp_path: Path) -> None:
    model = make()
    path = model.save(tmp_path / "deep" / "m.ckpt")
    loaded = j2v.Model.load(path)
    assert loaded.fingerprint() == model.fingerprint()
    rows = frame(4).to_dicts()
    assert numbers(loaded.predict(rows)) == numbers(model.predict(rows))
    with torch.no_grad():
        next(loaded.parameters()).add_(1e-3)
    assert loaded.fingerprint() != model.fingerprint()


def test_lightning_checkpoints_load_too(tmp_path: Path) -> None:
    model, data = trainable(), frame(32)
    run = trainer(max_epochs=1)
    run.fit(model, j2v.PolarsDataModule(model=model, train=data))
    run.save_checkpoint(tmp_path / "lightning.ckpt")
    assert j2v.Model.load(tmp_path / "lightning.ckpt").fingerprint() == model.fingerprint()


class Attack:
    """Pickles into a call."""

    def __reduce__(self) -> tuple:
        return (open, ("owned", "w"))


def test_a_checkpoint_never_runs_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"schema": Attack()}, tmp_path / "evil.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Attack()))
    for name in ("evil.ckpt", "plain.ckpt"):
        with pytest.raises(j2v.CheckpointError, match=name):
            j2v.Model.load(tmp_path / name)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_checkpoint_says_so(tmp_path: Path, share: float) -> None:
    whole = make().save(tmp_path / "m.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(j2v.CheckpointError, match=r"cut\.ckpt"):
        j2v.Model.load(tmp_path / "cut.ckpt")


def test_foreign_checkpoints_and_untrusted_types(tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(1)}, tmp_path / "foreign.ckpt")
    with pytest.raises(j2v.CheckpointError, match="expected the keys schema"):
        j2v.Model.load(tmp_path / "foreign.ckpt")
    with pytest.raises(j2v.CheckpointError, match="does not exist"):
        j2v.Model.load(tmp_path / "none.ckpt")
    path = make().save(tmp_path / "m.ckpt")
    values = torch.load(path, weights_only=True)
    values["field_types"]["geo"] = "os:system"
    torch.save(values, path)
    with pytest.raises(j2v.CheckpointError, match="neither registered nor trusted"):
        j2v.Model.load(path)


def test_fit_without_an_optimizer_is_explained() -> None:
    model = make()
    with pytest.raises(j2v.SchemaError, match="no optimizer"):
        trainer(max_epochs=1).fit(model, j2v.PolarsDataModule(model=model, train=frame(16)))


def test_arrow_tables_and_records_encode_alike() -> None:
    model, data = make(), frame(5)
    table = model.encode(data.to_arrow())
    rows = model.encode(data.to_dicts())
    for address, field in table.fields.items():
        assert torch.equal(field.state, rows.fields[address].state), address
        for key, value in field.content.items():
            assert torch.equal(value, rows.fields[address].content[key]), address
    assert model.encode(pa.table({"amount": pa.array([], pa.float64())})).size == 0


DEVICE_ROWS = [
    {"amount": 1.5, "tags": ["a"], "when": "2020-02-29T13:05", "vec": [1.0, 2.0], "label": "a",
     "items": [{"price": 2.0, "sku": "b", "who": "x"}]},
    {"tags": [], "items": []},
]  # fmt: skip


@pytest.mark.parametrize("padding", ["attend", "skip"])
def test_the_network_never_waits_for_the_device(padding: str) -> None:
    """A decision by a tensor's value, or a shape that depends on one, fails on torch's ``meta`` device, where
    there are no values; on a GPU it would wait."""
    model = make(padding)
    batch, every_leaf = model.encode(DEVICE_ROWS), list(model.schema.active)
    expected = model.infer(batch, every_leaf).emitted
    found = model.to("meta").infer(batch.to("meta"), every_leaf).emitted
    assert set(found) >= set(every_leaf)
    for address, tensors in found.items():
        assert {key: tensor.shape for key, tensor in tensors.items()} == {
            key: tensor.shape for key, tensor in expected[address].items()
        }
        assert all(tensor.is_meta for tensor in tensors.values())


@pytest.mark.parametrize(("device", "asked"), [("cuda", True), ("cuda:1", True), ("cpu", False), ("mps", False)])
def test_batches_go_to_a_gpu_without_waiting(monkeypatch: pytest.MonkeyPatch, device: str, asked: bool) -> None:
    """By Lightning's way of moving them, which passes ``non_blocking`` to plain tensors only."""
    batch = make().encode(DEVICE_ROWS)
    calls: list[tuple[str, bool]] = []

    def to(tensor: torch.Tensor, device: torch.device, non_blocking: bool = False) -> torch.Tensor:
        calls.append((str(device), non_blocking))
        return tensor

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "to", to)
        move_data_to_device(batch, torch.device(device))
    assert set(calls) == {(device, asked)}
    assert len(calls) == sum(1 + len(field.content) for field in batch.fields.values())
