"""``j2v-dagster``, the command line: one file a group of commands."""

from j2v_dagster.cli.main import main

__all__ = ["main"]
