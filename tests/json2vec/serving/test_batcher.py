"""The batcher: together in work, one by one in result."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from json2vec.serving.batcher import Batcher, Overloaded


class Gate:
    """Records the batches it is given; the first one waits until it is opened, so that others pile up behind it."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self, items: list[Any]) -> list[Any]:
        self.batches.append(items)
        self.entered.set()
        assert self.opened.wait(20)
        return [ValueError(item) if item == "bad" else f"<{item}>" for item in items]


def behind_a_gate(items: list[Any], **options: Any) -> tuple[Gate, Batcher, list[Any]]:
    gate = Gate()
    batcher: Batcher = Batcher(gate, **{"max_batch_size": 3, **options})
    first = batcher.submit(["first"])
    assert gate.entered.wait(20)
    return gate, batcher, first + batcher.submit(items)


def test_what_waits_is_handled_together_and_in_order() -> None:
    gate, batcher, futures = behind_a_gate([1, 2, 3, 4, 5])
    gate.opened.set()
    assert [one.result(20) for one in futures] == ["<first>", "<1>", "<2>", "<3>", "<4>", "<5>"]
    assert gate.batches == [["first"], [1, 2, 3], [4, 5]]
    batcher.close()


def test_an_exception_among_the_results_is_of_its_item_alone() -> None:
    gate, batcher, futures = behind_a_gate([1, "bad", 2])
    gate.opened.set()
    assert isinstance(futures[2].exception(20), ValueError)
    assert [futures[1].result(20), futures[3].result(20)] == ["<1>", "<2>"]
    batcher.close()


@pytest.mark.parametrize("handle", [lambda items: 1 / 0, lambda items: []])
def test_a_handler_that_fails_is_answered_and_the_next_batch_is_tried(handle: Any) -> None:
    calls: list[Any] = []

    def sometimes(items: list[Any]) -> Any:
        calls.append(items)
        return handle(items) if len(calls) == 1 else items

    batcher: Batcher = Batcher(sometimes, max_batch_size=3)
    assert isinstance(batcher.submit([1])[0].exception(20), Exception)
    assert batcher.submit([2])[0].result(20) == 2
    batcher.close()


def test_a_cancelled_item_is_not_worked_on() -> None:
    gate, batcher, futures = behind_a_gate([1, 2])
    assert futures[1].cancel()
    gate.opened.set()
    assert futures[2].result(20) == "<2>"
    assert gate.batches == [["first"], [2]]
    batcher.close()


def test_too_many_waiting_items_are_refused_all_together() -> None:
    gate, batcher, futures = behind_a_gate([1, 2], max_waiting=3)
    with pytest.raises(Overloaded, match="2 records are waiting and 2 more came; at most 3"):
        batcher.submit([3, 4])
    gate.opened.set()
    assert [one.result(20) for one in futures] == ["<first>", "<1>", "<2>"]
    assert batcher.submit([5])[0].result(20) == "<5>"
    batcher.close()


def test_a_timeout_waits_for_more() -> None:
    gate = Gate()
    gate.opened.set()
    batcher: Batcher = Batcher(gate, max_batch_size=2, batch_timeout=20)
    one, two = batcher.submit([1])[0], batcher.submit([2])[0]
    assert (one.result(20), two.result(20)) == ("<1>", "<2>")
    assert gate.batches == [[1, 2]]
    batcher.close()


def test_close_finishes_what_waits_and_a_later_item_starts_again() -> None:
    gate, batcher, futures = behind_a_gate([1, 2])
    gate.opened.set()
    batcher.close()
    assert [one.done() for one in futures] == [True, True, True]
    assert batcher.submit([3])[0].result(20) == "<3>"
    batcher.close()
