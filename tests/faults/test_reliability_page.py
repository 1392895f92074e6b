"""docs/reliability.md lists exactly the faults that have tests."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "reliability.md").read_text()
ROWS = {int(number): cells for number, cells in re.findall(r"^\| (\d+) \| (.*) \|$", PAGE, re.MULTILINE)}
TESTED = {
    int(number)
    for path in HERE.glob("test_*.py")
    for number in re.findall(r"^def test_(\d\d)_", path.read_text(), re.MULTILINE)
}


def test_the_page_lists_every_fault() -> None:
    assert sorted(ROWS) == list(range(1, 38))


def test_a_fault_has_a_test_or_says_that_it_has_none() -> None:
    not_yet = {number for number, cells in ROWS.items() if cells.startswith("not yet:")}
    assert not_yet == set(ROWS) - TESTED
    assert not TESTED - set(ROWS)


def test_every_tested_row_says_what_was_injected_what_holds_and_what_the_user_reads() -> None:
    for number in TESTED:
        cells = ROWS[number].replace("\\|", "").split(" | ")
        assert len(cells) == 3, f"row {number} has {len(cells)} cells"
        assert all(cell.strip() for cell in cells), f"row {number} has an empty cell"
