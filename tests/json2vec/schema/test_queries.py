"""Queries: the default ones, and those that go step by step through lists and keys."""

from __future__ import annotations

from json2vec.schema.queries import EACH, default_query, parse_query


def test_queries() -> None:
    assert default_query(["items", "odd-key"]).text == '[*].items[*]."odd-key"'
    assert default_query(["items", "odd-key"]).steps == ("items", EACH, "odd-key")
    assert parse_query('[*].a."b c".d', arrays_above=0, where="x").steps == ("a", "b c", "d")
    assert parse_query("[*].a[0].b", arrays_above=0, where="x").steps is None
    assert parse_query("[*].a[?b=='x'].c", arrays_above=1, where="x").steps is None
