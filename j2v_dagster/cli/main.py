"""``j2v-dagster``: begin a project, estimate, verify, explain, clean up, run the demo. Imports neither torch nor
dagster before it must."""

from __future__ import annotations

from collections.abc import Sequence

import click

from j2v_dagster.cli.adopt import adopt
from j2v_dagster.cli.certificates import certify, check_certificate, explain
from j2v_dagster.cli.clean import clean
from j2v_dagster.cli.console import INTERRUPTED, WRONG_USE
from j2v_dagster.cli.contract import contract, profile
from j2v_dagster.cli.demo import demo
from j2v_dagster.cli.parameters import Group
from j2v_dagster.cli.project import estimate, init
from j2v_dagster.cli.verify import verify

NAME = "j2v-dagster"
# 100 columns where the terminal has them.
SETTINGS = {"help_option_names": ["--help"], "max_content_width": 100}


def _show_version(context: click.Context, _: click.Parameter, requested: bool) -> None:
    if requested:
        from importlib.metadata import PackageNotFoundError, version

        try:
            installed = version("json2vec-dagster")
        except PackageNotFoundError:
            installed = "(a source folder that is not installed)"
        click.echo(f"{NAME} {installed}")
        context.exit()


@click.group(
    NAME, cls=Group, context_settings=SETTINGS, invoke_without_command=True, subcommand_metavar="COMMAND [ARGS]..."
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version.",
)  # fmt: skip
@click.pass_context
def cli(context: click.Context) -> None:
    """Batch inference that proves it lost no row.

    Exit status: 0 where all is well; 1 where something was checked and is not well, or cannot be done because of what
    lies there; 2 for wrong use.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(WRONG_USE)


for _command in (init, contract, profile, estimate, verify, explain, certify, check_certificate, clean, adopt, demo):
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status.

    Args:
        arguments: the words after ``j2v-dagster``; default: this process's.

    Raises:
        SystemExit: the words cannot be parsed; its code is 2.
    """
    words = None if arguments is None else list(arguments)
    try:
        return cli.main(words, prog_name=NAME, standalone_mode=False) or 0
    except click.ClickException as exc:
        exc.show()
        raise SystemExit(exc.exit_code) from None
    except click.Abort:
        click.echo("interrupted", err=True)
        return INTERRUPTED
