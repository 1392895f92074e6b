"""How deep Python values nest."""

from __future__ import annotations

from typing import Any

from hostile import deep, endless
from hypothesis import given
from hypothesis import strategies as st

from json2vec.reading.limits import MAX_DEPTH, first_too_deep, too_deep

VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=1), inner, max_size=3)
    | st.tuples(inner, inner),
    max_leaves=12,
)  # fmt: skip


def depth(value: Any) -> int:
    if not isinstance(value, dict | list | tuple):
        return 0
    return 1 + max((depth(item) for item in (value.values() if isinstance(value, dict) else value)), default=0)


@given(st.lists(VALUES, max_size=4), st.integers(1, 5))
def test_the_depth_is_compared_exactly(values: list[Any], most: int) -> None:
    assert too_deep(values, most) == any(depth(value) > most for value in values)
    records = [{"v": value} for value in values]
    over = [index for index, value in enumerate(values) if depth(value) > most]
    assert first_too_deep(records, most) == (over[0] if over else None)


def test_neither_depth_nor_a_circle_is_a_danger() -> None:
    assert not too_deep([deep(MAX_DEPTH)])
    assert too_deep([deep(MAX_DEPTH + 1)])
    assert too_deep([deep(1_000_000)])
    assert too_deep([endless()])
    shared: Any = 1
    for _ in range(MAX_DEPTH):
        shared = [shared, shared]  # 2**48 ways down
    assert not too_deep([shared])
