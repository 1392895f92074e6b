"""The table of options on the page on Dagster is current."""

from __future__ import annotations

from pathlib import Path

import j2v_dagster
from j2v_dagster.options.table import options_table


def test_the_page_on_dagster_has_the_table_of_options() -> None:
    """Its remedy: ``python -m j2v_dagster.options.table`` prints the table as it must stand there."""
    page = (Path(j2v_dagster.__file__).parents[1] / "docs" / "dagster.md").read_text()
    assert options_table() in page
