"""Kinds of store, warehouse or launcher: a built-in word, or ``module:Class`` of any package.

    warehouse: {kind: duckdb, path: data/w.duckdb}
    warehouse: {kind: "company.lake:DeltaWarehouse", path: data/lake}

The built-in kinds of a part stand in one table, and another package adds one by having the class. It stands in this
room because stores are the lowest part that has kinds.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from operator import attrgetter
from typing import Any

from pydantic import ValidationError

from json2vec.errors import Json2VecError


class KindError(Json2VecError, ValueError):
    """A kind that is not there, or a class that is not of the kind it is named for."""


class KindOptionError(KindError, TypeError):
    """An option that the class does not take, or one that it needs and was not given."""


@dataclass(frozen=True)
class Kinds:
    """The kinds of one part.

    Attributes:
        part: what the classes are, in one word, such as ``warehouse``.
        protocol: what every class has to have: public methods with their parameters, and annotated attributes.
        built_in: ``module:Class`` by the word that names it.
    """

    part: str
    protocol: type
    built_in: Mapping[str, str]

    def build(self, kind: object, options: Mapping[str, object]) -> Any:
        """An instance of the class that ``kind`` names, made of ``options`` as keyword arguments.

        No message shows the value of an option, since it may be a credential.

        Args:
            kind: a word of the table, or ``module:Class``, as a user wrote it.
            options: what the class is called with, by name.

        Raises:
            KindOptionError: an option is unknown, or one is missing.
            KindError: there is no such kind, or the class is not of this part.
        """
        chosen = self.load(kind)
        name = f"{self.part} {kind!r}"
        if missing := [method for method in _methods(self.protocol) if not callable(getattr(chosen, method, None))]:
            raise KindError(self._refusal(name, [f"it has no method {method}" for method in missing]))
        _check_options(chosen, options, name)
        try:
            instance = chosen(**options)
        except ValidationError as exc:  # its own message would show the values
            problems = exc.errors(include_input=False, include_context=False, include_url=False)
            said = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in problems)
            raise KindError(f"{name} cannot be made of these options: {said}") from None
        return self.check(instance, name)

    def load(self, kind: object) -> type:
        """The class that ``kind`` names; a built-in one is imported now, not before.

        Raises:
            KindError: ``kind`` is neither a word of the table nor ``module:Class``, or there is no such class.
        """
        path = self.built_in.get(kind, kind) if isinstance(kind, str) else ""
        if ":" in path:
            return load_class(path, f"{self.part} {kind!r}")
        words = ", ".join(f"kind: {word}" for word in self.built_in)
        raise KindError(
            f"{self.part} {kind!r} is not known{nearest(str(kind), self.built_in)}: expected {words}, or kind: "
            f"module:Class for a {self.part} of another package"
        )

    def check(self, instance: Any, name: str = "") -> Any:
        """``instance`` itself, if it has what the protocol asks.

        Args:
            instance: of a class of this part, as a rule.
            name: begins the message, such as ``warehouse 'company.lake:DeltaWarehouse'``; default: the class's name.

        Raises:
            KindError: the instance lacks something; the message names all that is missing.
        """
        if missing := lacking(instance, self.protocol):
            raise KindError(self._refusal(name or f"{self.part} {type(instance).__name__}", missing))
        return instance

    def _refusal(self, name: str, missing: Iterable[str]) -> str:
        protocol = f"{self.protocol.__module__}.{self.protocol.__name__}"
        return f"{name} is no {self.part}: {'; '.join(missing)}. Remedy: give it everything that {protocol} has"


def load_class(path: str, subject: str) -> type:
    """Import the class at ``module:Class``.

    Args:
        path: where the class is, such as ``company.lake:DeltaWarehouse``.
        subject: begins every message, such as ``warehouse 'company.lake:DeltaWarehouse'``.

    Raises:
        KindError: the path is not of that form, the module cannot be imported, or it has no such class.
    """
    module, _, name = path.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), *name.split(".")]):
        raise KindError(f"{subject}: expected module:Class, as in company.lake:DeltaWarehouse")
    try:
        imported = import_module(module)
    except ModuleNotFoundError as exc:
        if exc.name is not None and f"{module}.".startswith(f"{exc.name}."):
            raise KindError(
                f"{subject}: there is no module {exc.name!r} here. Remedy: correct the spelling, install the package "
                "that holds it into this environment, or put its folder on PYTHONPATH"
            ) from exc
        raise KindError(
            f"{subject}: module {module!r} needs {exc.name!r}, which is not here. Remedy: install it into this "
            "environment"
        ) from exc
    except Exception as exc:
        raise KindError(
            f"{subject}: module {module!r} cannot be imported: {type(exc).__name__}: {exc}. Remedy: mend the module"
        ) from exc
    try:
        loaded = attrgetter(name)(imported)
    except AttributeError as exc:
        classes = [member for member, value in vars(imported).items() if isinstance(value, type)]
        raise KindError(
            f"{subject}: module {module!r} ({getattr(imported, '__file__', None) or 'built in'}) has no {name!r}"
            f"{nearest(name, classes)}. Remedy: name a class that it has"
        ) from exc
    if not isinstance(loaded, type):
        raise KindError(f"{subject}: {name!r} of module {module!r} is a {type(loaded).__name__}; expected a class")
    return loaded


def lacking(instance: object, protocol: type) -> list[str]:
    """What ``protocol`` asks and ``instance`` lacks: methods, their parameters, attributes. A sentence each."""
    missing: list[str] = []
    for name, asked in _methods(protocol).items():
        method = getattr(instance, name, None)
        if not callable(method):
            missing.append(f"it has no method {name}")
            continue
        parameters = list(inspect.signature(asked).parameters.values())[1:]
        positional = [parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
        named = {parameter.name: None for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
        try:
            inspect.signature(method).bind(*positional, **named)
        except TypeError as exc:
            call = ", ".join([*positional, *(f"{keyword}=..." for keyword in named)])
            missing.append(f"{name} cannot be called as {name}({call}): {exc}")
        except ValueError:  # a builtin without signature
            continue
    attributes = (name for name in inspect.get_annotations(protocol) if not name.startswith("_"))
    return missing + [f"it has no attribute {name}" for name in attributes if not hasattr(instance, name)]


def nearest(name: str, candidates: Iterable[str]) -> str:
    """``(did you mean ...?)`` with the candidate that is most like ``name``; empty if none is."""
    near = difflib.get_close_matches(name, list(candidates), 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _methods(protocol: type) -> dict[str, Callable[..., object]]:
    public = {name: member for name, member in vars(protocol).items() if not name.startswith("_")}
    return {name: member for name, member in public.items() if inspect.isfunction(member)}


def _check_options(chosen: type, options: Mapping[Any, object], name: str) -> None:
    """Compare options with the signature of the class, which dataclasses and pydantic models have too."""
    try:
        parameters = inspect.signature(chosen).parameters.values()
    except (TypeError, ValueError):  # a class in C without signature: it says itself what it does not take
        return
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = [parameter for parameter in parameters if parameter.kind in by_name]
    names = [parameter.name for parameter in named]
    takes = f"it takes {', '.join(names)}" if names else "it takes no options"
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    for option in options:
        if option not in names and not (anything and isinstance(option, str)):
            raise KindOptionError(
                f"{name} ({chosen.__module__}.{chosen.__qualname__}) has no option {option!r}"
                f"{nearest(str(option), names)}; {takes}"
            )
    required = [parameter.name for parameter in named if parameter.default is parameter.empty]
    if needed := [name for name in required if name not in options]:
        raise KindOptionError(
            f"{name} ({chosen.__module__}.{chosen.__qualname__}) needs {', '.join(map(repr, needed))}; {takes}"
        )
