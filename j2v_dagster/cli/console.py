"""What all commands share: how they answer, how they fail, and the one rule of exit statuses.

    0   all is well
    1   a finding: something was checked and is not well, or a command cannot do its work because of what lies there
    2   wrong use: the command line itself cannot be meant

A command returns an `Answer`; `reporting` prints it as text or, with ``--json``, as one JSON document on stdout.
Known errors become one line ``error: ...`` on stderr or, with ``--json``, a document with the key ``error``. Wrong use
is told on stderr in both forms, and stdout stays empty.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import click

from json2vec.errors import Json2VecError

WELL, FINDING, WRONG_USE = 0, 1, 2
INTERRUPTED = 130
"""The status of a program that Ctrl-C ended, as shells have it."""
KNOWN = (Json2VecError, OSError, ValueError)
"""Errors whose message is all that a user needs. Any other one is a mistake of ours and keeps its traceback."""
MOST_LISTED = 1_000
"""The longest list in a JSON document; the number of all entries stands beside it."""


@dataclass(frozen=True)
class Answer:
    """What a command found or did.

    Attributes:
        text: for people, on stdout; nothing is printed where it is empty.
        document: for programs: plain values, with the keys that the command announced to `reporting`.
        well: False where there is a finding; it decides the exit status.
        problems: for people, on stderr, a line each.
    """

    text: str
    document: Mapping[str, Any]
    well: bool = True
    problems: tuple[str, ...] = field(default=())


def catch_errors(command: Callable[..., int], failed: Mapping[str, Any] | None = None) -> Callable[..., int]:
    """Decorate a command's function so that it tells known errors without a traceback and returns the exit status.

    Args:
        command: takes the options by name, and returns its own exit status.
        failed: the keys that a JSON document of an error has besides ``error``. The value of a key that is an option
            of the command is that option's.
    """

    @functools.wraps(command)
    def run(**options: Any) -> int:
        try:
            return command(**options)
        except click.UsageError as exc:
            exc.ctx = exc.ctx or click.get_current_context()
            exc.show()
            return WRONG_USE
        except BrokenPipeError:
            raise  # whoever read our output has seen enough; click ends quietly
        except KNOWN as exc:
            message = str(exc) or type(exc).__name__
            if options.get("as_json"):
                defaults = {key: options.get(key, value) for key, value in (failed or {}).items()}
                click.echo(_dumps({**defaults, "error": message}))
            else:
                click.echo(f"error: {message}", err=True)
            return FINDING

    return run


def reporting(
    document: Mapping[str, str], *, failed: Mapping[str, Any] | None = None
) -> Callable[[Callable[..., Answer]], Callable[..., int]]:
    """Decorate a command's function that returns an `Answer`: adds ``--json``, prints the answer, catches known errors.

    Args:
        document: what ``--json`` prints: a sentence for each key. docs/cli.md lists them, and a test compares them with
            what is printed.
        failed: as in `catch_errors`.
    """

    def decorate(command: Callable[..., Answer]) -> Callable[..., int]:
        @functools.wraps(command)
        def run(*, as_json: bool, **options: Any) -> int:
            answer = command(**options)
            if as_json:
                click.echo(_dumps(answer.document))
            else:
                for problem in answer.problems:
                    click.echo(problem, err=True)
                if answer.text:
                    click.echo(answer.text)
            return WELL if answer.well else FINDING

        handled = catch_errors(run, failed)
        vars(handled).update(document=dict(document), failed=tuple(failed or ()))
        option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
        return option(handled)

    return decorate


def _dumps(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2)
