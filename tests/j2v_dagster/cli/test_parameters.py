"""Options that take several values after one flag."""

from __future__ import annotations

import click
import pytest

from j2v_dagster.cli.parameters import Command, Several, spread


@click.command(cls=Command)
@click.argument("path", required=False)
@click.option("-r", "--require", cls=Several, type=int, required=True)
@click.option("--flag", is_flag=True)
@click.option("--days", type=float)
def command(path: str | None, require: tuple[int, ...], flag: bool, days: float | None) -> object:
    return path, require, flag, days


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["--require", "1"], (None, (1,), False, None)),
        (["--require", "1", "2", "3"], (None, (1, 2, 3), False, None)),
        (["--require", "1", "--require", "2"], (None, (1, 2), False, None)),
        (["--require", "1", "2", "-r", "3", "4"], (None, (1, 2, 3, 4), False, None)),
        (["--require=1", "path"], ("path", (1,), False, None)),
        (["path", "--require", "1", "2", "--days", "-0.5"], ("path", (1, 2), False, -0.5)),
        (["--require", "1", "2", "--flag", "path"], ("path", (1, 2), True, None)),
        (["--require", "1", "2", "--", "path"], ("path", (1, 2), False, None)),
        (["--days", "0.5", "path", "--require", "1"], ("path", (1,), False, 0.5)),
    ],
)
def test_values_come_after_one_flag_or_after_several(words: list[str], meant: object) -> None:
    assert command.main(words, standalone_mode=False) == meant


@pytest.mark.parametrize(
    "words", [["--require"], ["path"], ["--require", "1", "path"], ["--require", "--flag"], ["--require", "one"]]
)
def test_no_value_or_a_wrong_one_is_wrong_use(words: list[str]) -> None:
    with pytest.raises(click.UsageError):
        command.main(words, standalone_mode=False)


def test_what_follows_other_options_stays_as_it_is() -> None:
    words = ["a", "--x", "1", "2", "-", "--", "--require", "1", "2"]
    assert spread(words, {"--require"}) == words
