"""Of the built-in field types one is surest of a column."""

from __future__ import annotations

import pyarrow as pa
import pytest
from built_in import OURS

from json2vec.fields.recognition import Evidence, Fit, InferenceConfig, Proposal


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        ([True, False], {"category"}),
        ([1, 2], {"category", "number"}),
        (list(range(99)), {"number"}),
        ([1.5], {"number"}),
        (["2024-01-01"], {"category", "dateparts"}),
        (["one two three four five"], {"category", "text"}),
        ([["a"]], {"set"}),
        ([[1.5, 2.5]], {"vector"}),
        ([b"x"], set()),
    ],
)
def test_of_the_built_in_field_types_one_is_surest(values: list, kinds: set[str]) -> None:
    """The order in which they are registered decides nothing among them."""
    column, config = Evidence("x", pa.array(values)), InferenceConfig(infer_text=True)
    answers = {name: kind.recognise(column, config) for name, kind in OURS.items() if kind.recognise is not None}
    fits: dict[str, Fit] = {name: found.fit for name, found in answers.items() if isinstance(found, Proposal)}
    assert set(fits) == kinds
    assert len(set(fits.values())) == len(fits)
