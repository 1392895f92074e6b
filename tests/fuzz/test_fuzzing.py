"""Damaged files of every format: the rows that another reader sees, or an error of ours; see `make fuzz`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from fuzz_seeds import SEEDS
from fuzzing import KINDS, Fuzzer, mutate, plain, read_ours

# Seeds that ended the process, or raised what is not ours.
FOUND = [2023, 2040, 2122, 2089, 2301, 2742, 3178, 4295, 4390, 4482, 393]


@pytest.mark.parametrize("name", SEEDS)
def test_undamaged_files_are_read_by_both(name: str, tmp_path: Path) -> None:
    from fuzz_seeds import reference

    suffix, write = SEEDS[name]
    path = tmp_path / f"a.{suffix}"
    write(path)
    kind, rows = read_ours(suffix, path)
    assert kind == "rows", rows
    theirs = [plain(row) for row in reference(suffix, path)]
    assert len(rows) == len(theirs) == 40
    assert suffix == "csv" or rows == theirs


def test_damage_is_the_same_for_the_same_seed_and_of_every_kind() -> None:
    data = bytes(range(256)) * 4
    made = [mutate(data, random.Random(seed)) for seed in range(200)]
    assert made == [mutate(data, random.Random(seed)) for seed in range(200)]
    assert {kind for names, _ in made for kind in names.split(", ")} == set(KINDS)
    assert sum(changed != data for _, changed in made) > 190


def test_what_was_found_stays_mended(tmp_path: Path) -> None:
    fuzzer = Fuzzer(tmp_path, 0)
    for seed in FOUND:
        fuzzer.one(seed)
    fuzzer.stop()
    assert fuzzer.faults == []
    assert fuzzer.outcomes["refused"] >= len(FOUND) - 2


def test_a_short_run(tmp_path: Path) -> None:
    fuzzer = Fuzzer(tmp_path, 1)
    fuzzer.run(seconds=12, most=400)
    assert fuzzer.faults == []
    assert fuzzer.outcomes["refused"] > 20
    assert fuzzer.outcomes["read as the other reader"] > 5


def test_crashes_hangs_and_foreign_errors_are_faults(tmp_path: Path) -> None:
    class Stub:
        def __init__(self, *answers: object) -> None:
            self.answers = list(answers)

        def send(self, case: object) -> None: ...

        def poll(self, seconds: float) -> bool:
            return self.answers[0] != "hang"

        def recv(self) -> object:
            answer = self.answers.pop(0)
            if answer == "crash":
                raise EOFError
            return answer

    path = tmp_path / "a.csv"
    for answers, expected in [
        (["crash"], "fault: crash"), (["hang"], "fault: hang"), ([("foreign", "KeyError", 0)], "fault: foreign error"),
        ([("rows", 1, 2 << 30)], "fault: memory"), ([("ours", "no name", 0)], "fault: no file named"),
        ([("ours", "a.csv is bad", 0)], "refused"), ([("rows", 1, 0), (False, "")], "fault: other rows"),
        ([("rows", 1, 0), (True, "")], "read as the other reader"),
        ([("rows", 1, 0), None], "read; the other reader refuses"),
    ]:  # fmt: skip
        fuzzer = Fuzzer(tmp_path, 0)
        fuzzer._pipe, fuzzer._process = Stub(*answers), type("Done", (), {
            "join": lambda *_: None, "kill": lambda *_: None, "exitcode": -11})()  # fmt: skip
        assert fuzzer.judged("csv", path)[0] == expected
