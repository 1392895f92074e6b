"""Settings: arguments first, then the environment; what cannot be meant is refused."""

from __future__ import annotations

from typing import Any

import pytest

import json2vec as j2v


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_batchsize": 3}, r"no setting 'max_batchsize' \(did you mean 'max_batch_size'\?\)"),
        ({"max_batch_size": 0}, "max_batch_size=0: Input should be greater than or equal to 1"),
        ({"batch_timeout": -1}, "batch_timeout=-1"),
        ({"accelerator": "tpu"}, "accelerator='tpu'"),
        ({"port": 70000}, "port=70000"),
        ({"workers": 2}, "workers=2 needs a checkpoint"),
        ({"checkpoint": "x.ckpt"}, "a checkpoint or a model, not both"),
    ],
)
def test_settings_that_cannot_be_meant(model: Any, settings: dict, message: str) -> None:
    with pytest.raises(j2v.SchemaError, match=message):
        j2v.Deployment(model=model, **settings)


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PORT": "1", "HOST": "bad", "JSON2VEC_PORT": "8123", "JSON2VEC_BATCH_TIMEOUT": "0.5"}.items():
        monkeypatch.setenv(name, value)
    made = j2v.Deployment("m.ckpt", batch_timeout=0.25).settings
    assert (made.port, made.batch_timeout, made.host, made.checkpoint) == (8123, 0.25, "0.0.0.0", "m.ckpt")
    monkeypatch.setenv("JSON2VEC_PORT", "many")
    with pytest.raises(j2v.SchemaError, match="environment variable JSON2VEC_PORT='many'"):
        j2v.Deployment()
    monkeypatch.delenv("JSON2VEC_PORT")
    monkeypatch.setenv("JSON2VEC_MAX_BATCHSIZE", "3")
    with pytest.raises(j2v.SchemaError, match=r"JSON2VEC_MAX_BATCHSIZE is no setting.*JSON2VEC_MAX_BATCH_SIZE"):
        j2v.Deployment()
