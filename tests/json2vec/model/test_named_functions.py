"""Functions by import path: only trusted modules are imported, and lambdas are not kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from one_number import model

import json2vec as j2v
from json2vec.helpers.optimizers import factory
from json2vec.model.named_functions import Factory


def by_path(module: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), lr=0.5)


CUSTOM = """
import torch

print("imported")


def make(model, *, lr):
    return torch.optim.SGD(model.parameters(), lr=lr)


def plan(model, optimizer):
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=0.5)
"""


def test_only_trusted_modules_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_training.py").write_text(CUSTOM)
    monkeypatch.syspath_prepend(tmp_path)
    path = model(factory("my_training:make", lr=0.25), "my_training:plan").save(tmp_path / "m.ckpt")
    code = """
import sys
import json2vec as j2v
model = j2v.Model.load("m.ckpt")
assert model.predict([{"y": 1.0}])
try:
    model.configure_optimizers()
except j2v.CheckpointError as exc:
    assert "trusted_modules=['my_training']" in str(exc), exc
else:
    raise AssertionError
assert "my_training" not in sys.modules
model = j2v.Model.load("m.ckpt", trusted_modules=["my_training"])
made = model.configure_optimizers()
assert made["optimizer"].defaults["lr"] == 0.25
assert made["lr_scheduler"].factor == 0.5
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(j2v.__file__).parents[1]), str(tmp_path)])}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=path.parent, env=env, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "imported\n"


def test_functions_of_a_module_are_kept_and_lambdas_are_not(tmp_path: Path) -> None:
    loaded = j2v.Model.load(model(by_path).save(tmp_path / "m.ckpt"))
    assert isinstance(loaded.optimizer, Factory)
    assert loaded.optimizer.path == f"{__name__}:by_path"
    assert not loaded.optimizer.trusted
    loaded = j2v.Model.load(model(lambda module: by_path(module)).save(tmp_path / "m.ckpt"))
    assert loaded.optimizer is None
