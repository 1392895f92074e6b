"""The pool of an encoder gives on a CPU what the formulas give."""

from __future__ import annotations

import pytest
import torch

from json2vec.nn.encoder import Pool


@pytest.mark.parametrize(("queries", "blocks"), [(1, 1), (5, 1), (5, 2), (16, 1)])
def test_pools_agree_with_the_formulas(queries: int, blocks: int) -> None:
    torch.manual_seed(queries)
    pool, memory = Pool(queries, 32, 4, blocks, 0.0).eval(), torch.randn(9, 21, 32)
    with torch.no_grad():
        torch.nn.init.normal_(pool.queries)
        assert torch.allclose(pool(memory), pool.layers.read(memory), atol=1e-5)
