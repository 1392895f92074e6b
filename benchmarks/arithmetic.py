"""How many floating-point operations one row's prediction needs: the matrix products of the formulas, nothing else.

A multiplication and an addition count as two. Where an array's or a decoder's learned query reads a memory, the cheaper
order is counted (query through the key projection once, values after mixing), as the code does it. Norms, softmax,
GELU and lookups count nothing, so a share of the processor's matrix-product speed computed from this can never be 1.
"""

from __future__ import annotations

from typing import Any


def flops_per_row(model: Any) -> int:
    """Of a `json2vec.Model`, all targets and embedded nodes decoded."""
    schema = model.schema
    c = schema.d_model
    total = sum(schema.slots(at) * _embedding(leaf, c) for at, leaf in schema.inputs.items())
    tokens: dict[str, int] = {}  # children with tokens of each array
    for address in schema.deepest_first:
        array = schema.arrays[address]
        below = [type(address)(address, child.name) for child in array.fields]
        children = sum(at in schema.inputs or bool(tokens.get(at)) for at in below)
        tokens[address] = children
        length = children * array.max_length
        if not length:
            continue
        keys = {"mha": array.n_heads, "gqa": max(1, array.n_heads // 2), "mqa": 1}.get(str(array.attention), 0)
        key_width = keys * c // array.n_heads
        layer = 2 * length * c * (2 * c + 2 * key_width + 8 * c) + 4 * length * length * c
        layers = 0 if keys == 0 else array.n_layers
        places = schema.slots(address)
        total += places * (layers * layer + array.n_linear * _pool(1, length, c, array.n_heads))
    for address in model.written():
        leaf = schema.leaves.get(address)
        if leaf is None:
            continue
        slots = schema.slots(address)
        memory = len(schema.above(address)) + (slots if address in schema.inputs else 0)
        total += leaf.n_linear * _pool(slots, memory, c, leaf.n_heads) + 2 * slots * c * (5 + _content(leaf))
    return total


def _embedding(leaf: Any, c: int) -> int:
    return 2 * 2 * (leaf.n_bands + leaf.offset + 1) * c if leaf.type == "number" else 0


def _content(leaf: Any) -> int:
    return getattr(leaf, "max_vocab_size", 1)


def _pool(queries: int, memory: int, c: int, heads: int) -> int:
    shared = 4 * memory * heads * c + 2 * c * c  # scores and mixing of whole memory tokens, then values
    each = 4 * memory * c * c // queries + 4 * memory * c  # memory projected once for all queries
    return queries * (min(shared, each) + 2 * c * c + 16 * c * c)
