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


def said_of(errors: Sequence[Mapping[str, Any]], options: Sequence[Option]) -> str:
    """Pydantic's errors in our words: of each option what was given and what is expected.

    Args:
        errors: as `pydantic.ValidationError.errors` gives them.
        options: the options that there are.
    """
    # An error without a place is of several options together; its message names them.
    of_option = {str(error["loc"][0] if error["loc"] else ""): error for error in reversed(errors)}
    missing = [option.name for option in options if of_option.get(option.name, {}).get("type") == "missing"]
    parts = [_said(error, options) for name, error in reversed(of_option.items()) if name not in missing]
    return "; ".join([*parts, *([f"{', '.join(missing)} must be said"] if missing else [])])


def unknown_names(names: Iterable[str], options: Iterable[Option]) -> str:
    """What to say of names that are no options; empty where all are."""
    words = [option.name for option in options]
    unknown = sorted(set(names) - set(words))
    if not unknown:
        return ""
    close = {name: difflib.get_close_matches(name, words, 1) for name in unknown}
    hints = [f"did you mean {matches[0]!r} for {name!r}?" for name, matches in close.items() if matches]
    return f"unknown keys {unknown}; {' '.join(hints) if all(close.values()) else f'expected some of {sorted(words)}'}"


def _said(error: Mapping[str, Any], options: Sequence[Option]) -> str:
    """One of pydantic's errors in our words: what, what was given, what was expected."""
    name, value, error_type, context = str((*error["loc"], "")[0]), error["input"], error["type"], error.get("ctx", {})
    if error_type == "extra_forbidden":
        return unknown_names([name], options)
    if error_type == "value_error":  # of our own validators, whose messages say all that may be said
        return str(context["error"])
    shown = NOT_SHOWN if name in PRIVATE else repr(value)
    if error_type in ("greater_than_equal", "greater_than"):
        least = context.get("ge", context.get("gt"))
        more = "at least" if error_type == "greater_than_equal" else "more than"
        return f"{name} is {shown}; expected {more} {least}"
    if error_type == "literal_error":
        return f"{name} is {shown}; expected {context['expected']}"
    described = next(option.description for option in options if option.name == name)
    return f"{name} is {shown}; {error['msg'][0].lower()}{error['msg'][1:]}. {described.rstrip('.')}"
