"""The settings of a deployment: arguments first, then JSON2VEC_* variables of the environment, then defaults."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError

from json2vec.errors import SchemaError

PREFIX = "JSON2VEC_"
MAX_BODY_BYTES = 64 << 20
BODY_TIMEOUT_S = 60.0


class ServiceSettings(BaseModel, frozen=True, extra="forbid"):
    """What an operator may decide.

    Args:
        checkpoint: path of the model's checkpoint; unused where a model is given.
        max_batch_size: how many records are predicted together at most.
        batch_timeout: seconds that the first record of a batch waits for more; 0 takes those that are there.
        max_waiting: how many records may wait; a request that does not fit beside others is answered with 503, one that
            could never fit with 413.
        max_body_bytes: bytes that a request may have; a larger one is answered with 413 and not read to its end.
        body_timeout: seconds in which a request has to arrive; a slower one is answered with 408.
        accelerator: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``mps``.
        host: the network address on which `Deployment.serve` listens.
        port: the port on which it listens; 0 takes a free one.
        workers: the number of processes, each with a model of its own.
        log_level: how much the server logs: ``critical``, ``error``, ``warning``, ``info``, ``debug`` or ``trace``.
    """

    checkpoint: str = "model.ckpt"
    max_batch_size: int = Field(128, ge=1)
    batch_timeout: float = Field(0.0, ge=0, allow_inf_nan=False)
    max_waiting: int = Field(10_000, ge=1)
    max_body_bytes: int = Field(MAX_BODY_BYTES, ge=1)
    body_timeout: float = Field(BODY_TIMEOUT_S, gt=0, allow_inf_nan=False)
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    host: str = "0.0.0.0"
    port: int = Field(8000, ge=0, le=65535)
    workers: int = Field(1, ge=1)
    log_level: Literal["critical", "error", "warning", "info", "debug", "trace"] = "info"

    @classmethod
    def read(cls, arguments: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Self:
        """Settings from arguments and the environment.

        Args:
            arguments: values by setting; None stands for a setting that was not given.
            environ: variables of the environment by name; those that begin with ``JSON2VEC_`` are read.

        Raises:
            SchemaError: a name is unknown (the message has the nearest known one), or a value is out of range.
        """
        names = list(cls.model_fields)
        for name in arguments:
            if name not in names:
                raise SchemaError(f"Deployment has no setting {name!r}{_near(name, names)}; it has {', '.join(names)}")
        variables = {PREFIX + name.upper(): name for name in names}
        values: dict[str, Any] = {}
        origin: dict[str, str] = {}
        for variable, text in environ.items():
            if variable in variables:
                values[variables[variable]], origin[variables[variable]] = text, f"environment variable {variable}"
            elif variable.startswith(PREFIX) and (near := _near(variable, variables)):
                raise SchemaError(f"environment variable {variable} is no setting of Deployment{near}")
        for name, value in arguments.items():
            if value is not None:
                values[name], origin[name] = value, name
        try:
            return cls(**values)
        except ValidationError as exc:
            first = exc.errors(include_url=False)[0]
            name = str(first["loc"][0])
            raise SchemaError(f"Deployment, {origin[name]}={values[name]!r}: {first['msg']}") from exc


def _near(name: str, candidates: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(candidates), 1, cutoff=0.75)
    return f" (did you mean {near[0]!r}?)" if near else ""
