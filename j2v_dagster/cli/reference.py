"""docs/cli.md, made of the commands themselves: ``python -m j2v_dagster.cli.reference > docs/cli.md``."""

from __future__ import annotations

import click

from j2v_dagster.cli.main import NAME, cli

WIDTH = 100
INTRODUCTION = f"""\
# The command line

This page is made of the commands' own help: `python -m j2v_dagster.cli.reference > docs/cli.md`.

```
{NAME} verify data/predictions/orders/dt=2026-01-31 --model model.ckpt --json > report.json || echo "not loaded"
```

Every command follows one rule of exit statuses:

| status | |
|---|---|
| 0 | All is well. |
| 1 | A finding: something was checked and is not well, or a command cannot do its work because of what lies there. |
| 2 | Wrong use: the command line itself cannot be meant. |
| 130 | Ctrl-C ended it. |

An error is one line on stderr, `error: ...`. With `--json` stdout holds exactly one JSON document, also where there is
an error: then it has the key `error` with the message. Wrong use is told on stderr in both forms, and stdout stays
empty. A new version may add keys to a document; it does not remove or rename any.

An option that takes several values takes them after one flag (`--require files coverage`) or each after its own
(`--require files --require coverage`). The values end at the next word that begins with a dash, so that an argument
such as `PATH` comes before the option, or after `--`.
"""


def reference() -> str:
    """The page, in Markdown."""
    context = _context(cli, NAME)
    parts = [INTRODUCTION, _fenced(cli, context)]
    for name in cli.list_commands(context):
        command = cli.commands[name]
        parts += [f"\n## {name}\n", _fenced(command, _context(command, name, context)), _document(command)]
    return "\n".join(part for part in parts if part)


def _context(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    return click.Context(command, parent, name, terminal_width=WIDTH, max_content_width=WIDTH)


def _fenced(command: click.Command, context: click.Context) -> str:
    return f"```\n{command.get_help(context)}\n```"


def _document(command: click.Command) -> str:
    """What ``--json`` prints, as a table; nothing for a command that has no such option."""
    keys = getattr(command.callback, "document", None)
    if keys is None:
        return ""
    failed = getattr(command.callback, "failed", ())
    also = "".join(f", `{key}`" for key in failed)
    rows = "\n".join(f"| `{key}` | {meaning} |" for key, meaning in keys.items())
    return f"\n| `--json` | |\n|---|---|\n{rows}\n\nAn error's document has `error`{also}."


if __name__ == "__main__":
    print(reference())
