"""Functions by import path, so that a checkpoint can name them without holding code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from json2vec.errors import CheckpointError, SchemaError

OWN_MODULES = ("json2vec.helpers.optimizers",)
"""The modules of this package whose functions a checkpoint may name."""


@dataclass(frozen=True)
class Factory:
    """A module-level function with plain keyword arguments. Calling it imports the function and calls that.

    Args:
        path: where to import the function from, as ``module:name``.
        kwargs: the arguments of the call: text, numbers, booleans, None, and lists, tuples and dicts of them.
        trusted: False refuses to import the module: the path came out of a file, and nobody vouched for it.

    Raises:
        SchemaError: a malformed path, or arguments that are no plain values.
    """

    path: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    trusted: bool = True

    def __post_init__(self) -> None:
        module, _, name = self.path.partition(":")
        if not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
            raise SchemaError(f"factory path {self.path!r}: expected 'module:name', as in 'my_project.train:optimizer'")
        for key, value in self.kwargs.items():
            if not _is_plain(value):
                raise SchemaError(f"factory {self.path}: {key}={value!r} is no plain value and could not be saved")

    @property
    def module(self) -> str:
        return self.path.partition(":")[0]

    def resolve(self) -> Callable[..., Any]:
        """Import the function.

        Raises:
            CheckpointError: not trusted, or not there.
        """
        if not self.trusted:
            raise CheckpointError(
                f"the checkpoint names the function {self.path}, whose module is not trusted. Remedy: "
                f"Model.load(..., trusted_modules=[{self.module!r}]), or set model.optimizer or model.scheduler"
            )
        module, _, name = self.path.partition(":")
        try:
            function = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as exc:
            raise CheckpointError(f"function {self.path} cannot be imported: {exc}") from exc
        # What a module merely imported (os, importlib) is not its own to lend.
        if not callable(function) or (module in OWN_MODULES and getattr(function, "__module__", None) != module):
            raise CheckpointError(f"{self.path} is no function of that module")
        return function

    def __call__(self, *arguments: Any) -> Any:
        return self.resolve()(*arguments, **self.kwargs)

    def to_plain(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"path": self.path, "kwargs": dict(self.kwargs)}

    @classmethod
    def from_plain(cls, value: dict[str, Any] | str, trusted_modules: Sequence[str]) -> Self:
        """From a checkpoint; trusted only if its module is one of ``trusted_modules`` or of `OWN_MODULES`."""
        path, kwargs = (value, {}) if isinstance(value, str) else (value.get("path"), value.get("kwargs"))
        if not isinstance(path, str) or not isinstance(kwargs, dict):
            raise CheckpointError(f"expected a function as {{'path': 'module:name', 'kwargs': ...}}; got {value!r:.60}")
        module = path.partition(":")[0]
        return cls(path, kwargs, trusted=module in OWN_MODULES or module in trusted_modules)


def as_factory(value: Any) -> Factory | None:
    """What a checkpoint can say of an optimizer or scheduler.

    Returns:
        a `Factory`: the one given, or one for a path or for a function that can be imported under its own name; None
        for anything else, such as a lambda or an optimizer that exists already.
    """
    if isinstance(value, Factory):
        return value
    if isinstance(value, str):
        return Factory(value)
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    if not callable(value) or not isinstance(module, str) or module == "__main__" or not name.isidentifier():
        return None
    return Factory(f"{module}:{name}") if getattr(sys.modules.get(module), name, None) is value else None


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return value is None or type(value) in (str, int, float, bool)
