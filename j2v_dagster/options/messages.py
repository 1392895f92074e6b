"""What is said of options that cannot be meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from j2v_dagster.options.option import Option

PRIVATE = frozenset({"storage_options", "warehouse"})
"""Options whose values may hold credentials, so that no message shows them."""
NOT_SHOWN = "(not shown)"


class OptionError(ValueError):
    """Options of a pipeline that cannot be meant; says which, what was expected, and what was given."""


def said_of(errors: Sequence[Mapping[str, Any]], known: Sequence[Option]) -> str:
    """Pydantic's errors in our words: of each option what was given and what is expected.

    Args:
        errors: as `pydantic.ValidationError.errors` gives them.
        known: the options that there are.
    """
    of_option = {str(error["loc"][0]): error for error in reversed(errors)}
    missing = [one.name for one in known if of_option.get(one.name, {}).get("type") == "missing"]
    parts = [_said(error, known) for name, error in reversed(of_option.items()) if name not in missing]
    return "; ".join([*parts, *([f"{', '.join(missing)} must be said"] if missing else [])])


def unknown_names(names: Iterable[str], known: Iterable[Option]) -> str:
    """What to say of names that are no options; empty where all are."""
    words = [one.name for one in known]
    unknown = sorted(set(names) - set(words))
    if not unknown:
        return ""
    close = {name: difflib.get_close_matches(name, words, 1) for name in unknown}
    hints = [f"did you mean {found[0]!r} for {name!r}?" for name, found in close.items() if found]
    return f"unknown keys {unknown}; {' '.join(hints) if all(close.values()) else f'expected some of {sorted(words)}'}"


def _said(error: Mapping[str, Any], known: Sequence[Option]) -> str:
    """One of pydantic's errors in our words: what, what was given, what was expected."""
    name, given, kind, context = str(error["loc"][0]), error["input"], error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown_names([name], known)
    if kind == "value_error":  # of our own validators, whose messages say all that may be said
        return str(context["error"])
    shown = NOT_SHOWN if name in PRIVATE else repr(given)
    if kind in ("greater_than_equal", "greater_than"):
        least = context.get("ge", context.get("gt"))
        more = "at least" if kind == "greater_than_equal" else "more than"
        return f"{name} is {shown}; expected {more} {least}"
    if kind == "literal_error":
        return f"{name} is {shown}; expected {context['expected']}"
    described = next(one.description for one in known if one.name == name)
    return f"{name} is {shown}; {error['msg'][0].lower()}{error['msg'][1:]}. {described.rstrip('.')}"
