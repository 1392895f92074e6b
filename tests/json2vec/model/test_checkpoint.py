"""Checkpoints: what is saved is loaded, nothing runs, and what is damaged or foreign says so."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from every_field import frame, make, numbers, trainable, trainer

import json2vec as j2v


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


@pytest.mark.parametrize(
    ("name", "where"),
    [("d_model", ()), ("n_layers", ("root",)), ("max_vocab_size", ("root", "fields", 0))],
)
def test_a_checkpoint_that_asks_for_more_than_it_holds_is_refused(name: str, where: tuple, tmp_path: Path) -> None:
    model = j2v.Model.from_schema(j2v.Category("a"), j2v.Number("b", target=True), d_model=16, n_layers=1, n_heads=2)
    path = model.save(tmp_path / "m.ckpt")
    values = torch.load(path, weights_only=True)
    node = values["schema"]
    for key in where:
        node = node[key]
    node[name] = 10**12
    torch.save(values, path)
    with pytest.raises(j2v.CheckpointError, match=rf"m\.ckpt: its schema says {name}=1000000000000; expected at most"):
        j2v.Model.load(path)
