"""Which slots hold an item, however long an array is padded."""

from __future__ import annotations

import numpy as np
import pytest
from padded import item, make, rows, vectors


@pytest.mark.parametrize("nested", [True, False])
def test_the_length_that_arrays_are_padded_to_does_not_matter(nested: bool) -> None:
    records = rows()
    short, long = make("skip", 6, nested), make("skip", 17, nested)
    long.load_state_dict({**long.state_dict(), **{
        name: value for name, value in short.state_dict().items() if long.state_dict()[name].shape == value.shape
    }})  # fmt: skip
    for address in ("record", "record/items"):
        assert np.allclose(vectors(short, records, address), vectors(long, records, address), atol=1e-5), address
    assert not np.allclose(vectors(make("attend", 6, nested), records), vectors(make("attend", 17, nested), records),
                           atol=1e-3)  # fmt: skip


def test_items_still_count_and_so_does_their_order() -> None:
    model = make("skip", nested=False)
    one, two = item(), item()
    found = vectors(model, [{"items": [one]}, {"items": [one, two]}, {"items": [two, one]}, {"items": [one, None]},
                            {"items": []}, {}])  # fmt: skip
    different = [(0, 1), (1, 2), (0, 3), (0, 4)]
    assert all(np.abs(found[a] - found[b]).max() > 1e-3 for a, b in different)
    assert np.allclose(found[4], found[5])
    assert np.isfinite(found).all()
