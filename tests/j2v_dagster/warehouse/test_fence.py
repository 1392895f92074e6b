"""The rule of which load is the newer, over every order in which loads may come to their commit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from j2v_dagster.warehouse.base import StaleLoad
from j2v_dagster.warehouse.contract import numbered
from j2v_dagster.warehouse.fence import check_newer, dump_note, parse_note


@given(st.lists(st.integers(0, 12), max_size=12))
def test_whatever_the_order_of_commits_the_newest_that_came_is_shown(numbers: list[int]) -> None:
    shown = None
    for number in numbers:
        try:
            check_newer("t", shown, numbered(number))
        except StaleLoad:
            continue
        shown = parse_note(dump_note(numbered(number)))
    assert shown == (numbered(max(numbers)) if numbers else None)


def test_attempts_of_earlier_versions_have_no_number_and_go_by_their_names() -> None:
    old, new = ({**numbered(0), "attempt": name} for name in ("20260131T120000Z-a-b", "20260131T130000Z-a-b"))
    check_newer("t", old, new)
    check_newer("t", new, numbered(1))
    for note in (old, {**new, "manifest_sha256": "00"}):
        with pytest.raises(StaleLoad):
            check_newer("t", new, note)
    with pytest.raises(StaleLoad):
        check_newer("t", numbered(1), new)


@pytest.mark.parametrize(("shown", "note"), [(None, numbered(1)), ({}, numbered(1)), (numbered(1), None),
                                             ({"attempt": "a"}, numbered(0)), (numbered(7), {"attempt": "a"}),
                                             (numbered(7), {**numbered(1), "counter": "another"})])  # fmt: skip
def test_what_cannot_be_compared_is_not_refused(shown: dict[str, str] | None, note: dict[str, str] | None) -> None:
    check_newer("t", shown, note)


def test_the_refusal_says_what_where_and_how_to_go_back_on_purpose() -> None:
    with pytest.raises(StaleLoad, match=r"table x, partition 'p': .*attempt-8 \(number 8\).*attempt-7 \(number 7\)"
                                        r".*Nothing was changed.*Remedy.*j2v/attempt=attempt-7"):  # fmt: skip
        check_newer("table x, partition 'p'", numbered(8), numbered(7))
