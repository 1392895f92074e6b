"""How ranks predict: the settings that a job and a pipeline have in common, and the digests that follow from them.

Each setting says what it changes:

    values     what is stored for a row. Two attempts that differ in one share no segment, and no stored prediction.
    rows       which rows are stored, but not what is stored for any of them.
    nothing    neither: how fast it goes, how files are cut, what is refused.

`settings_digest` covers the first kind, and the code and the libraries that take part. The code version that Dagster
shows covers the first two. Decision 16 says why.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator
from pydantic.fields import FieldInfo

from json2vec.rank_files.rejected import MAX_REJECTED, check_max_rejected
from json2vec.storage.local import file_sha256

Changes = Literal["values", "rows", "nothing"]

SETTINGS = ("device", "precision", "batch_size", "threads", "preprocessor", "postprocessor", "inputs", "reconstruct")
"""What a manifest records of how its ranks predicted. ``device`` is the setting ``accelerator``."""


PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "32", "bf16", "16")
"""The arithmetic that ranks may use; the last three are Lightning's short names of the first three. Others convert the
whole model, its inputs included, whose whole numbers (days, places, labels) half precision does not hold."""


def check_precision(precision: str) -> None:
    """Raise ValueError unless ``precision`` is one of `PRECISIONS`."""
    if precision not in PRECISIONS:
        raise ValueError(
            f"precision is {precision!r}; expected one of {', '.join(PRECISIONS[:3])}. Remedy: take 'bf16-mixed' for "
            "speed on a GPU, else leave it out"
        )


def about(
    description: str, *, changes: Changes = "nothing", unit: str = "", example: object = None, **bounds: Any
) -> Any:
    """What people and programs are told of an option, for ``Annotated[type, about(...)]``.

    Args:
        description: whole sentences, in the words of somebody who has not read the code.
        changes: what a different value changes in the rank files.
        unit: the unit of a number, such as ``rows`` or ``seconds``.
        example: a value other than the default.
        **bounds: bounds of the value as pydantic's ``Field`` takes them, such as ``ge=1``.
    """
    return Field(
        description=description,
        examples=None if example is None else [example],
        json_schema_extra={"changes": changes, "unit": unit},
        **bounds,
    )


def as_texts(value: Any) -> Any:
    """Sets in order, and whatever else can be gone through once, as a tuple; everything else as it is."""
    if isinstance(value, set | frozenset):
        return tuple(sorted(cast("Iterable[str]", value)))
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping | Sequence):
        return tuple(cast("Iterable[Any]", value))
    return value


Texts = Annotated[Sequence[str], BeforeValidator(as_texts), AfterValidator(tuple)]
"""Several texts, in any collection; they are kept as a tuple."""


class SharedSettings(BaseModel):
    """What a pipeline's options and a job have in common, by the same names and with the same defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: Annotated[
        int | None, about("Rows of a forward pass; by default the model's.", unit="rows", example=512, ge=1)
    ] = None
    accelerator: Annotated[
        str, about("The device, as Lightning's Trainer takes it: cpu, gpu, ...", changes="values", example="gpu")
    ] = "cpu"
    precision: Annotated[
        str,
        about(
            "The arithmetic: 32-true, bf16-mixed or 16-mixed, as in Lightning's Trainer.", changes="values",
            example="bf16-mixed",
        ),
    ] = "32-true"
    threads: Annotated[
        int | None,
        about("Torch threads of each rank; by default the CPUs over the ranks, at least 1.", unit="threads", ge=1),
    ] = None
    preprocessor: Annotated[
        str | None,
        about(
            "A function module:function that makes the model's observations of the rows as read. Its module must be "
            "in trusted_modules.",
            changes="values",
            example="shop.features:prepare",
        ),
    ] = None
    postprocessor: Annotated[
        str | None,
        about(
            "A function module:function that makes the stored columns of the predictions. Its module must be in "
            "trusted_modules.",
            changes="values",
            example="shop.features:tidy",
        ),
    ] = None
    trusted_modules: Annotated[
        Texts,
        about("Modules that a job or a checkpoint may import; their code counts as a setting.", example=["shop"]),
    ] = ()
    reconstruct: Annotated[
        Texts,
        about("Addresses whose inputs are predicted as well.", changes="values", example=["record/amount"]),
    ] = ()
    segment_rows: Annotated[
        int, about("Input rows after which a rank seals a file and begins the next.", unit="rows", ge=1)
    ] = 1_000_000
    flush_every_n_batches: Annotated[
        int | None,
        about("Batches in a Parquet row group; by default as many as the writer sees fit.", unit="batches", ge=1),
    ] = None
    on_bad_row: Annotated[
        Literal["raise", "quarantine"],
        about(
            "What happens to a row that cannot be read or encoded: raise fails the run, quarantine puts it into "
            "rejected-N.parquet.",
            changes="rows",
            example="quarantine",
        ),
    ] = "raise"
    missing_columns: Annotated[
        Literal["raise", "allow"],
        about(
            "What happens where a column that the model reads is in none of the files: raise refuses before any rank "
            "starts, allow takes all its values as missing.",
            example="allow",
        ),
    ] = "raise"
    max_rejected: Annotated[
        int | float,
        about(
            "How much may be quarantined before the run fails and nothing is committed: a share of all input rows "
            "(from 0.0 to 1.0), or a number of rows (a whole number). Rows that a preprocessor drops do not count.",
            unit="share or rows",
            example=100,
        ),
    ] = MAX_REJECTED

    @field_validator("precision")
    @classmethod
    def _known_precision(cls, value: str) -> str:
        check_precision(value)
        return value

    @field_validator("max_rejected", mode="before")
    @classmethod
    def _whole_or_not(cls, value: Any) -> Any:
        if isinstance(value, bool):  # which would count as 0 or 1 row
            check_max_rejected(value)
        if not isinstance(value, str):
            return value
        try:  # "1.0", from a variable, is a share and not one row
            return float(value) if set(value) & set(".eE") else int(value)
        except ValueError:
            return value

    @field_validator("max_rejected")
    @classmethod
    def _share_or_rows(cls, value: float) -> float:
        check_max_rejected(value)
        return value


class PredictSettings(SharedSettings):
    """Everything that a rank must know about how to predict, besides which rows and which model."""

    inputs: Annotated[
        bool | Sequence[str],
        BeforeValidator(as_texts),
        about("The input columns that the rank files keep: all, none, or these.", changes="values", example=["id"]),
    ] = True

    def recorded(self) -> dict[str, Any]:
        """What the manifest records, by the names of `SETTINGS`."""
        return {name: self.plain("accelerator" if name == "device" else name) for name in SETTINGS}

    def plain(self, name: str) -> Any:
        """A setting as JSON has it."""
        value = getattr(self, name)
        return list(value) if isinstance(value, tuple) else value

    def values(self) -> dict[str, Any]:
        """The settings that change what is stored for a row."""
        return {name: self.plain(name) for name in names_that_change(type(self), "values")}

    def digest(self, checkpoint_sha256: str) -> str:
        """`settings_digest` of these settings with a model: attempts with the same one may share segments.

        Nothing is imported to compute it.
        """
        processors = [name.partition(":")[0] for name in (self.preprocessor, self.postprocessor) if name]
        values = {**self.values(), "checkpoint_sha256": checkpoint_sha256}
        return settings_digest(values, [*self.trusted_modules, *processors])

    def code_version(self) -> str:
        """A short digest of what changes the stored rows, for Dagster to show and to compare.

        The versions of the checkpoint and of the shards come from their own assets. A device other than the CPU counts
        since its last digits differ; the CPU is left out, so that versions from before this rule stay what they were.
        """
        kept = {**self.values(), **{name: self.plain(name) for name in names_that_change(type(self), "rows")}}
        if kept["accelerator"] == "cpu":
            del kept["accelerator"]
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def told(field: FieldInfo) -> dict[str, Any]:
    """What `about` told of a field beside its description: ``changes`` and ``unit``."""
    extra = field.json_schema_extra
    return cast("dict[str, Any]", extra) if isinstance(extra, dict) else {}


def names_that_change(model: type[BaseModel], changes: Changes) -> tuple[str, ...]:
    """Names of those of a model's settings that change ``values``, ``rows`` or ``nothing``."""
    return tuple(name for name, field in model.model_fields.items() if told(field).get("changes") == changes)


def settings_digest(settings: Mapping[str, object], modules: Iterable[str] = ()) -> str:
    """SHA-256 (hex) over everything besides the input that can change a prediction.

    Args:
        settings: plain values, such as the checkpoint's SHA-256, precision, processors and columns.
        modules: names of modules whose code takes part. Their source files are hashed, those of their whole top package
            included, and nothing is imported.
    """
    code = {name: _code_sha256(name) for name in sorted({module.partition(".")[0] for module in modules})}
    text = json.dumps({"settings": dict(settings), "code": code, "versions": library_versions()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _code_sha256(module: str) -> str:
    """SHA-256 (hex) over the Python files of a top-level module or package; another text where there are none."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return "not found"
    if spec.submodule_search_locations is None:
        return file_sha256(spec.origin) if spec.has_location and spec.origin else str(spec.origin)
    sha = hashlib.sha256()
    for root in spec.submodule_search_locations:
        for path in sorted(Path(root).rglob("*.py")):
            sha.update(f"{path.relative_to(root).as_posix()} {file_sha256(path)}\n".encode())
    return sha.hexdigest()


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that can change a prediction."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in ("json2vec-dagster", "lightning", "numpy", "polars", "pyarrow", "torch"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
