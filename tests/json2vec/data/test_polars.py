"""Frames as data module: fit, validate, test and predict, and rows shared by the ranks of a launcher."""

from __future__ import annotations

from collections import Counter

import pytest
from row_ids import Model, frame, ids, trainer

from json2vec.data.polars import PolarsDataModule

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",  # on purpose: a thread encodes
    "ignore:.*_pytree.*",
    "ignore:.*LeafSpec.*",
    "ignore:.*barrier.*",
    "ignore:Total length of `list` across ranks is zero",  # fit without a validate split
)


@pytest.mark.parametrize("lazy", [False, True])
def test_fit_without_validation_and_predict(lazy: bool) -> None:
    model = Model()
    data = PolarsDataModule(model, train=frame(10), predict=frame(9).lazy() if lazy else frame(9))
    trainer(max_epochs=2).fit(model, datamodule=data)
    assert Counter(model.seen) == Counter(list(range(10)) * 2)
    assert model.learned == list(range(10))
    predicted = trainer().predict(model, datamodule=data)
    assert predicted == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    assert data.predict_plan(3).share(2) == ((6, 9),)


def test_validation_and_test() -> None:
    model = Model(vocabularies=())
    data = PolarsDataModule(model, dataframe={"train": frame(4), "validate": frame(3, 100), "test": frame(2, 200)})
    trainer(max_epochs=1, num_sanity_val_steps=0).fit(model, datamodule=data)
    assert (sorted(model.seen), model.learned) == ([0, 1, 2, 3, 100, 101, 102], [])
    model.seen = []
    trainer().validate(model, datamodule=data, verbose=False)
    trainer().test(model, datamodule=data, verbose=False)
    assert model.seen == [100, 101, 102, 200, 201]


def test_ranks_of_a_launcher_share_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        data = PolarsDataModule(Model(), predict=frame(10))
        found.append(ids(data.predict_dataloader()))
    assert [len(one) for one in found] == [4, 3, 3]
    assert [i for one in found for i in one] == list(range(10))
