"""The settings of a deployment: arguments first, then JSON2VEC_* variables of the environment, then defaults."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError

from json2vec.errors import SchemaError

PREFIX = "JSON2VEC_"


class Settings(BaseModel, frozen=True, extra="forbid"):
    """What an operator may decide.

    Args:
        checkpoint: path of the model; unused where a model is given.
        max_batch_size: records predicted together, at most.
        batch_timeout: seconds that the first record of a batch waits for more; 0 takes those that are there.
        max_waiting: records that may wait; a request that does not fit is answered with 503.
        accelerator: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``mps``.
        host, port: where `Deployment.serve` listens; port 0 takes a free one.
        workers: processes, each with a model of its own.
        log_level: of the server: ``critical``, ``error``, ``warning``, ``info``, ``debug`` or ``trace``.
    """

    checkpoint: str = "model.ckpt"
    max_batch_size: int = Field(128, ge=1)
    batch_timeout: float = Field(0.0, ge=0, allow_inf_nan=False)
    max_waiting: int = Field(10_000, ge=1)
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    host: str = "0.0.0.0"
    port: int = Field(8000, ge=0, le=65535)
    workers: int = Field(1, ge=1)
    log_level: Literal["critical", "error", "warning", "info", "debug", "trace"] = "info"

    @classmethod
    def read(cls, given: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Self:
        """Settings from arguments (None: not given) and the environment.

        Raises:
            SchemaError: an unknown name (with the nearest known one), or a value out of range.
        """
        known = list(cls.model_fields)
        for name in given:
            if name not in known:
                raise SchemaError(f"Deployment has no setting {name!r}{_near(name, known)}; it has {', '.join(known)}")
        variables = {PREFIX + name.upper(): name for name in known}
        values: dict[str, Any] = {}
        origin: dict[str, str] = {}
        for variable, text in environ.items():
            if variable in variables:
                values[variables[variable]], origin[variables[variable]] = text, f"environment variable {variable}"
            elif variable.startswith(PREFIX) and (near := _near(variable, variables)):
                raise SchemaError(f"environment variable {variable} is no setting of Deployment{near}")
        for name, value in given.items():
            if value is not None:
                values[name], origin[name] = value, name
        try:
            return cls(**values)
        except ValidationError as exc:
            first = exc.errors(include_url=False)[0]
            name = str(first["loc"][0])
            raise SchemaError(f"Deployment, {origin[name]}={values[name]!r}: {first['msg']}") from exc


def _near(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), 1, cutoff=0.75)
    return f" (did you mean {near[0]!r}?)" if near else ""
