"""Optimizer factories: plain values that survive a checkpoint, and nothing but our own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from one_number import model

import json2vec as j2v
from json2vec.helpers.optimizers import adamw, factory
from json2vec.model.named_functions import Factory


def test_adamw_groups() -> None:
    made = model(adamw(1e-3, weight_decay=0.3))
    decaying, others = made.configure_optimizers().param_groups
    assert (decaying["weight_decay"], others["weight_decay"], decaying["lr"]) == (0.3, 0.0, 1e-3)
    names = {id(parameter): name for name, parameter in made.named_parameters()}
    assert all(parameter.dim() > 1 and "norm" not in names[id(parameter)] for parameter in decaying["params"])
    assert len(decaying["params"]) + len(others["params"]) == len(names)
    everything = adamw(1e-3, decay_bias=True, decay_1d=True, no_decay_name_fragments=())(made).param_groups
    assert len(everything) == 1
    with pytest.raises(j2v.SchemaError, match="learning_rate > 0"):
        adamw(0.0)


def test_factories_survive_the_round_trip(tmp_path: Path) -> None:
    optimizer = adamw(2e-3, betas=(0.8, 0.9))
    loaded = j2v.Model.load(model(optimizer).save(tmp_path / "m.ckpt"))
    assert loaded.optimizer == optimizer
    group = loaded.configure_optimizers().param_groups[0]
    assert (group["lr"], group["betas"]) == (2e-3, (0.8, 0.9))


def test_a_checkpoint_reaches_nothing_but_our_own_factories(tmp_path: Path) -> None:
    path = model(adamw(1e-3)).save(tmp_path / "m.ckpt")
    values = torch.load(path, weights_only=True)
    ours = "json2vec.helpers.optimizers"
    for name in ("os:system", f"{ours}:Factory", "json2vec.model.checkpoint:save", f"{ours}:math"):
        values["optimizer"] = {"path": name, "kwargs": {}}
        torch.save(values, path)
        with pytest.raises(j2v.CheckpointError, match=r"not trusted|no function of that module"):
            j2v.Model.load(path).configure_optimizers()
    with pytest.raises(j2v.SchemaError, match="module:name"):
        Factory("no path")
    with pytest.raises(j2v.SchemaError, match="no plain value"):
        factory("a:b", function=print)
