"""What several commands' options need, and what click does not have, such as several values after one flag."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import click

from json2vec.enums import Suffix

SUFFIXES = click.Choice([str(suffix) for suffix in Suffix])
"""The file formats of shards."""


class Several(click.Option):
    """An option that takes one or more values, after one flag or after several.

        --require files coverage
        --require files --require coverage

    Values end at the next word that begins with a dash: arguments come before the option, or after ``--``. What the
    function gets is a tuple. The option's command must be a `Command`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "multiple": True})


class Command(click.Command):
    """A command whose options may be `Several`, and whose first sentence stands uncut in the list of commands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        flags = {flag for option in self.params if isinstance(option, Several) for flag in option.opts}
        try:
            return super().parse_args(ctx, spread(args, flags))
        except click.UsageError as exc:
            exc.ctx = exc.ctx or ctx  # so that each kind of wrong use says how the command is used
            raise

    def get_short_help_str(self, limit: int = 45) -> str:
        return super().get_short_help_str(limit=10 * limit)


class Group(click.Group):
    """Commands in the order in which they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


def spread(words: Sequence[str], flags: set[str]) -> list[str]:
    """Repeat each of ``flags`` before every one of its values: ``-r a b`` becomes ``-r a -r b``."""
    repeated: list[str] = []
    flag, first = None, False
    for number, word in enumerate(words):
        if word == "--":
            return [*repeated, *words[number:]]
        if word.startswith("-") and word != "-":
            flag, first = (word if word in flags else None), True
            repeated.append(word)
        else:
            repeated += [word] if flag is None or first else [flag, word]
            first = False
    return repeated


class Regex(click.ParamType):
    """A regular expression, compiled."""

    name = "regex"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> re.Pattern[str]:
        try:
            return re.compile(value)
        except re.error as exc:
            self.fail(f"{value!r} is no regular expression: {exc}", param, ctx)
