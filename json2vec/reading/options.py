"""How files are read where they do not say it themselves: ``ReadOptions``, which a snapshot keeps.

An example: ``csv={"separator": ";", "encoding": "latin-1"}``. Since the snapshot keeps them, the ranks, a later attempt
and verification read the same rows, whoever starts them. Options at their defaults are left out of everything that is
written, so that digests of snapshots without options stay.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from json2vec.enums import Suffix
from json2vec.errors import SchemaError

EmptyFiles: TypeAlias = Literal["raise", "skip"]


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_plain(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON has it."""
        return self.model_dump(mode="json", exclude_defaults=True)


class CsvOptions(_Options):
    """How the texts of CSV files are cut into cells.

    Args:
        separator: the ASCII character between cells, such as ``;`` or a tab.
        quote: the ASCII character around cells that hold separators or line breaks; inside such a cell it is doubled.
            None takes it as a character like any other.
        encoding: what the text is stored in, as Python names it: ``utf-8``, ``latin-1``, ``cp1252``, ``utf-16``.
        null_values: unquoted cells that are null. The default is the empty cell.
        header: whether the first record is a header.
        column_names: names of the columns, instead of those of the header.
    """

    separator: str = ","
    quote: str | None = '"'
    encoding: str = "utf-8"
    null_values: tuple[str, ...] = ("",)
    header: bool = True
    column_names: Annotated[tuple[str, ...] | None, Field(min_length=1)] = None

    @field_validator("separator", "quote")
    @classmethod
    def _one_character(cls, value: str | None) -> str | None:
        if value is not None and (len(value) != 1 or not value.isascii() or value in "\r\n\0"):
            raise ValueError("expected one ASCII character that is no line break")
        return value

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            codecs.getincrementaldecoder(value)().decode(b"")
            "".encode(value)
        except (LookupError, UnicodeError) as exc:
            raise ValueError(f"expected a text encoding of Python, such as 'latin-1' or 'utf-16' ({exc})") from None
        return value

    @model_validator(mode="after")
    def _together(self) -> CsvOptions:
        if self.separator == self.quote:
            raise ValueError(f"separator and quote are both {self.quote!r}; expected two characters")
        if not self.header and self.column_names is None:
            raise ValueError("header is false; expected the names of the columns in column_names")
        return self


class ReadOptions(_Options):
    """All options of reading that a snapshot keeps.

    Args:
        csv: how CSV is cut into cells.
        empty_files: what a file of 0 bytes is: an error (``raise``), or a file without rows (``skip``).
        folder_columns: names of columns that are made of folder names, such as ``dt`` of ``dt=2024-01-01``.
    """

    csv: CsvOptions = CsvOptions()
    empty_files: EmptyFiles = "raise"
    folder_columns: tuple[Annotated[str, Field(min_length=1, pattern=r"^[^/=]+$")], ...] = ()

    @field_validator("folder_columns")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("expected each name once")
        return value


DEFAULT = ReadOptions()
_DESCRIBED = {
    "csv": "an object such as {'separator': ';'}", "empty_files": "'raise' or 'skip'",
    "folder_columns": "a list of names, such as ['dt', 'region']",
}  # fmt: skip


def read_options(
    suffix: Suffix | str,
    *,
    csv: CsvOptions | Mapping[str, Any] | None = None,
    empty_files: EmptyFiles = "raise",
    folder_columns: Sequence[str] = (),
) -> ReadOptions:
    """The options that a user gives, checked.

    Args:
        suffix: the files' format.
        csv: `CsvOptions`, or their values by name; None for the defaults.
        empty_files: ``raise`` or ``skip``.
        folder_columns: names of columns that are made of folder names.

    Raises:
        SchemaError: an option that is unknown, cannot be meant, or belongs to another format.
    """
    if isinstance(folder_columns, str):  # a text is a sequence of its letters
        raise SchemaError(f"folder_columns={folder_columns!r} is a text; expected {_DESCRIBED['folder_columns']}")
    if csv is not None and suffix != Suffix.csv:
        raise SchemaError(f"csv= is for suffix 'csv'; the suffix is {str(suffix)!r}. Remedy: leave csv= out")
    values: dict[str, Any] = {"empty_files": empty_files, "folder_columns": folder_columns}
    values |= {} if csv is None else {"csv": csv}
    try:
        return ReadOptions.model_validate(values)
    except ValidationError as exc:
        raise SchemaError("; ".join(_said(error) for error in exc.errors())) from None


def _said(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = ", ".join(CsvOptions.model_fields)
        return f"{where} is unknown; expected some of {known}"
    what = error["msg"].removeprefix("Value error, ")
    hint = f" (expected {_DESCRIBED[where]})" if where in _DESCRIBED and "expected" not in what else ""
    return f"{where}={error['input']!r}: {what}{hint}"
