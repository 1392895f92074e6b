"""Lines that nest too deep are known before a parser sees them, and only those."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from read_back import read

from json2vec.errors import ReadError
from json2vec.reading.formats.json_depth import deep_lines
from json2vec.reading.limits import MAX_DEPTH
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.local import LocalStore


def depth(line: str) -> int:
    """The same, a character at a time."""
    inside = escaped = False
    now = most = 0
    for character in line:
        if inside:
            escaped, inside = character == "\\" and not escaped, escaped or character != '"'
        elif character == '"':
            inside = True
        elif character in "[{":
            now += 1
            most = max(most, now)
        elif character in "]}":
            now -= 1
    return most


TEXTS = st.lists(st.sampled_from(["[", "]", "{", "}", '\\"', "\\\\", "a"]), max_size=6).map(lambda x: f'"{"".join(x)}"')
LINES = st.lists(st.one_of(st.sampled_from(list("[]{},a")), TEXTS), min_size=1, max_size=20).map("".join)


@given(st.lists(LINES, min_size=1, max_size=6), st.integers(1, 4))
def test_exactly_the_lines_that_nest_too_deep_are_found(lines: list[str], most: int) -> None:
    stops = np.cumsum([len(line) + 1 for line in lines]) - 1
    starts = stops - [len(line) for line in lines]
    found = deep_lines("\n".join(lines).encode(), starts, stops, most)
    assert found.tolist() == [depth(line) > most for line in lines]


def nested(levels: int, opens: str = "[", closes: str = "]") -> str:
    return '{"id": 2, "x": ' + opens * levels + "1" + closes * levels + "}"


@pytest.mark.parametrize(("opens", "closes"), [('{"a":', "}")])
def test_a_value_as_deep_as_allowed_is_read_and_a_deeper_one_is_a_bad_row(
    tmp_path: Path, opens: str, closes: str
) -> None:
    store, levels = LocalStore(tmp_path), MAX_DEPTH // sum(opens.count(c) for c in "[{")
    path = tmp_path / "a.ndjson"
    path.write_text('{"id": 1}\n' + nested(levels, opens, closes) + "\n")
    made = snapshot_files(store, "ndjson")
    assert [row["id"] for batch in read(made, store) for row in batch.inputs.to_pylist()] == [1, 2]
    path.write_text('{"id": 1, "t": "' + "[" * 99 + '"}\n' + nested(levels + 1, opens, closes) + '\n{"id": 3}\n')
    for schema in (None, pa.schema([("id", pa.int64())]), made.schema):
        made = snapshot_files(store, "ndjson", input_schema=schema)
        with pytest.raises(ReadError, match=rf"a\.ndjson: row 1 .*nests .* more than {MAX_DEPTH} deep.*quarantine"):
            read(made, store)
        (batch,) = read(made, store, on_bad_row="quarantine")
        assert batch.inputs["id"].to_pylist() == [1, 3]
        assert batch.rejected is not None
        assert batch.rejected.to_table()["row"].to_pylist() == [1]


CRASH = """
import sys
from pathlib import Path
from json2vec.reading.readers import read_rows
from json2vec.reading.snapshot import snapshot_files
from json2vec.storage.local import LocalStore
store = LocalStore(Path(sys.argv[1]))
made = snapshot_files(store, "ndjson")
batches = list(read_rows(made, store, [(0, made.rows)], batch_size=9, on_bad_row="quarantine"))
print([row["id"] for batch in batches for row in batch.inputs.to_pylist()])
"""


@pytest.mark.parametrize(
    "hostile",
    [nested(100_000), "[" * 100_000, '{"x":' * 100_000, "\n".join(['{"x":' + "[" * 40, *["[" * 40] * 2500]),
     "\n".join(['{"x":["]]]"', *[",[[[[[[[[[["] * 10_000])],
    ids=["a line", "no end", "objects", "over many lines", "behind texts"],
)  # fmt: skip
def test_no_line_crashes_the_process(tmp_path: Path, hostile: str) -> None:
    (tmp_path / "a.ndjson").write_text('{"id": 1}\n' + hostile + '\n{"id": 3}\n')
    done: Any = subprocess.run([sys.executable, "-c", CRASH, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "[1, 3]"), done.stderr[-500:]
