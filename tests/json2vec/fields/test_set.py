"""What Set encodes."""

from __future__ import annotations

from encoded import N, V, encode

import json2vec as j2v


def test_set() -> None:
    field = j2v.Set("x", max_vocab_size=4)
    learn = [["d", "e"], ["c"]]
    state, content = encode(field, [["c", "zz", None, "d", "c"], [], None], learn=learn)
    assert state == [V, V, N]
    assert [sorted(labels) for labels in content["labels"]] == [[0, 2], [4, 4], [4, 4]]
    assert encode(field, ["e", "q"], learn=learn)[1]["labels"] == [[1], [4]]
