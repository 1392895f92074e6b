"""Errors of the thread that writes come back to its caller."""

from __future__ import annotations

from functools import partial

import pytest

from json2vec.rank_files.write_thread import Background


def test_background_errors_come_back() -> None:
    done: list[int] = []

    def work(item: int) -> None:
        if item == 3:
            raise OSError("disk full")
        done.append(item)

    worker = Background(depth=1)

    def put_all() -> None:
        for item in range(1000):
            worker.put(partial(work, item))

    with pytest.raises(OSError, match="disk full"):
        put_all()
    with pytest.raises(OSError, match="disk full"):
        worker.finish()
    assert done == [0, 1, 2]
    worker.cancel()
    fine = Background()
    fine.put(partial(done.append, 9))
    fine.finish()
    assert done[-1] == 9
