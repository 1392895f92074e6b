"""Labels are learned in order and are of one type."""

from __future__ import annotations

import pyarrow as pa
import pytest

from json2vec.fields.vocabulary import Vocabulary


def test_vocabulary_learns_in_order_until_full() -> None:
    vocabulary = Vocabulary(3)
    vocabulary.learn(pa.array(["b", "a", "b"]))
    vocabulary.learn(pa.array(["c", "d"]).dictionary_encode())
    assert vocabulary.labels == ["b", "a", "c"]
    assert vocabulary.lookup(pa.array(["d", "c", "a"]).dictionary_encode()).tolist() == [3, 2, 1]


@pytest.mark.parametrize(
    ("labels", "kind"),
    [(["a"], pa.string()), ([1, 2], pa.int64()), ([True, False], pa.bool_()), ([1, 2.5], pa.float64()),
     ([1, "a"], pa.string()), ([], pa.string())],
)  # fmt: skip
def test_a_vocabulary_speaks_one_type(labels: list, kind: pa.DataType) -> None:
    assert Vocabulary(9, labels).arrow_type == kind
