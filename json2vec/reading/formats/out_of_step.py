"""Lines of NDJSON that are not one JSON object each, by name: ``[{"a": 1},`` is the beginning of an array."""

from __future__ import annotations

_SHOWN = 40  # bytes of a line


def why_out_of_step(line: bytes, objects: int | None = None) -> str:
    """Why a line is not one JSON object, and what makes it one.

    Args:
        line: its bytes, not blank.
        objects: how many JSON objects it holds, where that is known.
    """
    text = line.strip()
    if b"\r" in text and objects != 0 and text.startswith(b"{"):
        return (
            f"it holds {objects or 'several'} JSON objects, ended by CR alone; expected LF or CRLF after each. Write "
            "the file again with tr '\\r' '\\n'"
        )
    if text == b"null":
        return "the line is null; expected a JSON object"
    if text.startswith(b"["):
        return "an array begins here; expected one JSON object a line without an array, as jq -c '.[]' writes it"
    if text.endswith(b","):
        return "a comma follows the line's last value; expected one JSON object a line and nothing after it"
    if text.startswith(b"{") and objects is not None and objects > 1:
        return f"it holds {objects} JSON objects; expected one a line, as jq -c . writes them"
    if text.startswith(b"{"):
        return "the JSON object is not closed on its line; expected one object a line, as jq -c . writes it"
    if text[:1] in (b"}", b"]"):
        return f"it begins with {text[:1].decode()!r}; expected one whole JSON object a line, as jq -c . writes it"
    return f"it begins with {text[:_SHOWN].decode('utf-8', 'replace')!r}; expected a JSON object"
