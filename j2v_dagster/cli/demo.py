"""``j2v-dagster demo``: the demo's own command, as one of ours."""

from __future__ import annotations

from j2v_dagster.cli.console import catch_errors
from j2v_dagster.cli.parameters import Command
from j2v_dagster.demo import run

assert run.demo.callback is not None
demo = Command("demo", params=run.demo.params, callback=catch_errors(run.demo.callback), help=run.demo.help)
