"""Floats are equal within a tolerance, and all else exactly, but for ties."""

from __future__ import annotations

import pyarrow as pa

from json2vec.verify.tolerance import far


def test_far_compares_floats_within_the_tolerance_and_all_else_exactly() -> None:
    kind = pa.struct([("f", pa.list_(pa.float32())), ("s", pa.string()), ("m", pa.map_(pa.string(), pa.float32()))])
    base = {"f": [1.0, None, float("nan")], "s": "a", "m": [("x", 0.5)]}
    nan = float("nan")
    others = [{}, {"f": [1.000001, None, nan]}, {"f": [1.1, None, nan]}, {"f": [1.0, 0.0, 0.0]}, {"f": []},
              {"f": None}, {"s": "b"}, {"s": None}, {"m": [("x", 0.6)]}, {"m": [("y", 0.5)]}, {"m": []}]  # fmt: skip
    expected = [False, False, True, True, True, True, True, True, True, True, True]
    stored = pa.array([base] * (len(others) + 1), kind).slice(1)  # a slice, as record batches are
    again = pa.array([base, *({**base, **other} for other in others)], kind).slice(1)
    assert far(stored, again).tolist() == expected
    assert far(again, stored).tolist() == expected


def test_a_tie_may_name_another_label() -> None:
    top = pa.struct([("label", pa.string()), ("probability", pa.float32())])
    kind = pa.struct([("value", pa.string()), ("probability", pa.float32()), ("topk", pa.list_(top))])

    def content(*top: tuple[str, float]) -> dict:
        return {"value": top[0][0], "probability": top[0][1],
                "topk": [{"label": label, "probability": p} for label, p in top]}  # fmt: skip

    def differs(one: dict, other: dict) -> bool:
        return bool(far(pa.array([one], kind), pa.array([other], kind))[0])

    assert not differs(content(("a", 0.4), ("b", 0.4)), content(("b", 0.4), ("a", 0.4)))
    assert not differs(content(("a", 0.5), ("b", 0.25)), content(("a", 0.5), ("c", 0.25)))
    assert differs(content(("a", 0.5), ("b", 0.3)), content(("b", 0.5), ("a", 0.3)))
    assert differs(content(("a", 0.5), ("b", 0.3)), content(("c", 0.5), ("b", 0.3)))
