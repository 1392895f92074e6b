"""The options as the table in docs/dagster.md: ``python -m j2v_dagster.options.table`` prints it."""

from __future__ import annotations

from typing import Any, cast

from j2v_dagster.options.model import options

_CHANGES = {"values": " *Changes predictions.*", "rows": " *Changes which rows are stored.*", "nothing": ""}


def options_table() -> str:
    """The options as a Markdown table, the required ones first."""
    lines = ["| option | default | unit | meaning |", "|---|---|---|---|"]
    for option in options():
        default = "required" if option.required else "" if option.default is None else f"`{_spelled(option.default)}`"
        meaning = f"{option.description}{_CHANGES[option.changes]}"
        lines.append(f"| `{option.name}` | {default} | {option.unit} | {meaning} |")
    return "\n".join(lines)


def _spelled(value: Any) -> str:
    """A default as YAML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(str(part) for part in cast('tuple[object, ...]', value))}]"
    return f"{value}"


if __name__ == "__main__":
    print(options_table())
