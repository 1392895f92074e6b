"""Help and docs/cli.md: nothing is left out, numbers in the help are the code's own, and asking for help is cheap."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import click
import pytest

import j2v_dagster
from j2v_dagster.cli.main import cli, main
from j2v_dagster.cli.reference import reference

ROOT = Path(j2v_dagster.__file__).parents[1]
PAGE = ROOT / "docs" / "cli.md"
OPTIONS = [
    pytest.param(command, option, id=f"{name} {option.opts[0]}")
    for name, command in cli.commands.items()
    for option in command.params
    if isinstance(option, click.Option)
]


def help_of(command: click.Command) -> str:
    """In one line."""
    return " ".join(command.get_help(click.Context(command, terminal_width=100)).split())


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == f"{reference()}\n", "run: python -m j2v_dagster.cli.reference > docs/cli.md"


@pytest.mark.parametrize("name", cli.commands)
def test_a_command_says_what_it_does_and_shows_an_example(name: str) -> None:
    command = cli.commands[name]
    said = command.help or ""
    assert re.match(r"[A-Z].*\.\n\n", said), "the first paragraph is one sentence on one line"
    assert command.get_short_help_str() == said.partition("\n")[0], "the list shows it uncut"
    assert re.search(rf"\x08\n *Examples?:\n +j2v-dagster {name} ", said)
    for argument in command.params:
        if isinstance(argument, click.Argument):
            words = (argument.metavar or argument.name or "").strip("[]").upper()
            assert re.search(rf"\b{words}\b", said), f"{words} is not explained"
    assert f"## {name}\n" in PAGE.read_text()


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_an_option_says_what_it_is_its_unit_and_its_default(command: click.Command, option: click.Option) -> None:
    said = (option.help or "").partition("  [default")[0]
    assert re.fullmatch(r"[A-Z].*\.", said, re.DOTALL)
    if option.is_flag:
        return
    assert option.metavar or isinstance(option.type, click.Choice), "a word for the value, which tells its unit"
    assert " ".join((option.help or "").split()) in help_of(command)
    # An option without a default may be left out, and then what its help says is not done.
    assert option.show_default or option.to_info_dict()["default"] in (None, ())


def test_numbers_that_help_repeats_are_those_of_the_code() -> None:
    """Importing the modules that hold them takes longer than help may."""
    from j2v_dagster.attempts.clean import PENDING_DAYS
    from j2v_dagster.cli.contract import contract, profile
    from j2v_dagster.demo.model import TrainingSettings
    from j2v_dagster.options import PipelineOptions
    from json2vec.contract import SAMPLE_ROWS
    from json2vec.profile.sampling import PROFILE_ROWS

    said = help_of(cli.commands["estimate"])
    for name in ("suffix", "folder"):
        assert f"[default: {PipelineOptions.model_fields[name].default}]" in said
    assert f"[default: {SAMPLE_ROWS}]" in help_of(contract)
    assert f"[default: {PROFILE_ROWS}]" in help_of(profile)
    assert f"[default: {TrainingSettings().epochs}]" in help_of(cli.commands["demo"])
    assert f"--older-than and {PENDING_DAYS:g}]" in help_of(cli.commands["clean"])


def test_help_and_version_are_printed_and_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["verify"], ["demo"]):
        assert main([*words, "--help"]) == 0
        assert capsys.readouterr().out.startswith(f"Usage: {' '.join(['j2v-dagster', *words])} ")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"j2v-dagster {version('json2vec-dagster')}\n"


def test_without_a_command_help_is_shown_as_for_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Commands:\n  init " in shown.err


def test_help_imports_neither_torch_nor_dagster() -> None:
    code = (
        "import sys\n"
        "from j2v_dagster.cli.main import cli, main\n"
        "for words in ([], *([name] for name in cli.commands)): main([*words, '--help'])\n"
        "heavy = ('torch', 'lightning', 'dagster', 'pyarrow', 'polars', 'numpy')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ast.literal_eval(done.stdout.splitlines()[-1]) == []
    assert done.stdout.count("Usage: j2v-dagster") == 1 + len(cli.commands)
