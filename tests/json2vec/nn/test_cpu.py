"""Prediction on a CPU takes its own way through the network; it gives what the formulas give."""

from __future__ import annotations

import pytest
import torch

from json2vec.nn import cpu
from json2vec.nn.encoder import ArrayEncoder

SHAPES = [  # d_model, n_heads, attention, tokens
    (32, 4, "mha", 48), (32, 4, "gqa", 48), (32, 4, "mqa", 20), (32, 4, "none", 12), (32, 4, "mha", 7),
    (32, 4, "gqa", 7), (12, 4, "mqa", 7), (12, 4, "mqa", 13), (10, 2, "mha", 30), (128, 4, "mha", 40),
    (32, 4, "mha", 1), (16, 2, "mha", 300),
]  # fmt: skip


def make(d_model: int, n_heads: int, attention: str, n_linear: int = 2) -> ArrayEncoder:
    torch.manual_seed(d_model + n_heads)
    return ArrayEncoder(d_model, n_heads, attention, 2, n_linear, 0.0).eval()


def by_the_formulas(encoder: ArrayEncoder, tokens: torch.Tensor) -> torch.Tensor:
    assert not cpu.applies(encoder.train(), tokens)
    with torch.no_grad():
        found = encoder(tokens)
    encoder.eval()
    return found


def predicted(encoder: ArrayEncoder, tokens: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        assert cpu.applies(encoder, tokens)
        return encoder(tokens).clone()


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_shape_agrees_with_the_formulas(shape: tuple[int, int, str, int], scale: float) -> None:
    """With weights 100 times as large scores reach thousands, whose exponentials overflow."""
    d_model, n_heads, attention, length = shape
    encoder, tokens = make(d_model, n_heads, attention), torch.randn(70, length, d_model)
    with torch.no_grad():
        for layer in encoder.encoder:
            layer.attention.q_proj.weight.mul_(scale)  # type: ignore[union-attr, operator]
    expected = by_the_formulas(encoder, tokens)
    assert expected.isfinite().all()
    assert torch.allclose(predicted(encoder, tokens), expected, atol=2e-5)


def test_a_row_of_nan_stays_alone() -> None:
    encoder, tokens = make(32, 4, "mha"), torch.randn(5, 48, 32)
    expected = predicted(encoder, tokens)
    tokens[2, 7] = torch.nan
    found = predicted(encoder, tokens)
    others = [0, 1, 3, 4]
    assert torch.allclose(found[others], expected[others], atol=1e-5)
    assert found[2].isnan().any()


def test_no_sequences_give_no_vectors() -> None:
    assert predicted_shape(make(32, 4, "mha"), torch.empty(0, 48, 32)) == (0, 32)


def predicted_shape(encoder: ArrayEncoder, tokens: torch.Tensor) -> tuple[int, ...]:
    with torch.inference_mode():
        return tuple(encoder(tokens).shape)


def test_training_and_its_gradients_go_by_the_formulas() -> None:
    encoder, tokens = make(32, 4, "mha"), torch.randn(3, 48, 32, requires_grad=True)
    assert not cpu.applies(encoder, tokens)
    encoder(tokens).sum().backward()
    assert tokens.grad is not None
