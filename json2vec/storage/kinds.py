"""Kinds of store, warehouse or launcher: a built-in word, or ``module:Class`` of any package.

    warehouse: {kind: duckdb, path: data/w.duckdb}
    warehouse: {kind: "company.lake:DeltaWarehouse", path: data/lake}

The built-in kinds of a part stand in one table, and another package adds one by having the class. It stands in this
room because stores are the lowest part that has kinds.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from operator import attrgetter
from typing import Any

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

    def build(self, kind: Any, options: Mapping[str, Any]) -> Any:
        """An instance of the class that ``kind`` names, made of ``options`` as keyword arguments.

        No message shows the value of an option, since it may be a credential.

        Raises:
            KindOptionError: an unknown option, or one that is missing.
            KindError: no such kind, or a class that is not of this part.
        """
        found = self.load(kind)
        name = f"{self.part} {kind!r}"
        if missing := [one for one in _methods(self.protocol) if not callable(getattr(found, one, None))]:
            raise KindError(self._refusal(name, [f"it has no method {one}" for one in missing]))
        _check_options(found, options, name)
        return self.check(found(**options), name)

    def load(self, kind: Any) -> type:
        """The class that ``kind`` names; a built-in one is imported now, not before.

        Raises:
            KindError: not a word of the table and not ``module:Class``, or no such class.
        """
        path = self.built_in.get(kind, kind) if isinstance(kind, str) else ""
        if ":" in path:
            return load_class(path, f"{self.part} {kind!r}")
        known = ", ".join(f"kind: {one}" for one in self.built_in)
        raise KindError(
            f"{self.part} {kind!r} is not known{nearest(str(kind), self.built_in)}: expected {known}, or kind: "
            f"module:Class for a {self.part} of another package"
        )

    def check(self, made: Any, name: str = "") -> Any:
        """``made`` itself, if it has what the protocol asks.

        Raises:
            KindError: it has not; names what is missing.
        """
        if missing := lacking(made, self.protocol):
            raise KindError(self._refusal(name or f"{self.part} {type(made).__name__}", missing))
        return made

    def _refusal(self, name: str, missing: Iterable[str]) -> str:
        protocol = f"{self.protocol.__module__}.{self.protocol.__name__}"
        return f"{name} is no {self.part}: {'; '.join(missing)}. Remedy: give it everything that {protocol} has"


def load_class(path: str, what: str) -> type:
    """Import the class at ``module:Class``.

    Args:
        path: such as ``company.lake:DeltaWarehouse``.
        what: begins every message, such as ``warehouse 'company.lake:DeltaWarehouse'``.

    Raises:
        KindError: not of that form, a module that cannot be imported, or no such class in it.
    """
    module, _, name = path.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), *name.split(".")]):
        raise KindError(f"{what}: expected module:Class, as in company.lake:DeltaWarehouse")
    try:
        imported = import_module(module)
    except ModuleNotFoundError as exc:
        if exc.name is not None and f"{module}.".startswith(f"{exc.name}."):
            raise KindError(
                f"{what}: there is no module {exc.name!r} here. Remedy: correct the spelling, install the package that "
                "holds it into this environment, or put its folder on PYTHONPATH"
            ) from exc
        raise KindError(
            f"{what}: module {module!r} needs {exc.name!r}, which is not here. Remedy: install it into this environment"
        ) from exc
    except Exception as exc:
        raise KindError(
            f"{what}: module {module!r} cannot be imported: {type(exc).__name__}: {exc}. Remedy: mend the module"
        ) from exc
    try:
        found = attrgetter(name)(imported)
    except AttributeError as exc:
        classes = [one for one, value in vars(imported).items() if isinstance(value, type)]
        raise KindError(
            f"{what}: module {module!r} ({getattr(imported, '__file__', None) or 'built in'}) has no {name!r}"
            f"{nearest(name, classes)}. Remedy: name a class that it has"
        ) from exc
    if not isinstance(found, type):
        raise KindError(f"{what}: {name!r} of module {module!r} is a {type(found).__name__}; expected a class")
    return found


def lacking(made: Any, protocol: type) -> list[str]:
    """What an instance has not and ``protocol`` asks: methods, their parameters, attributes. One sentence each."""
    missing = []
    for name, asked in _methods(protocol).items():
        method = getattr(made, name, None)
        if not callable(method):
            missing.append(f"it has no method {name}")
            continue
        parameters = list(inspect.signature(asked).parameters.values())[1:]
        positional = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
        named = {one.name: None for one in parameters if one.kind is one.KEYWORD_ONLY}
        try:
            inspect.signature(method).bind(*positional, **named)
        except TypeError as exc:
            call = ", ".join([*positional, *(f"{one}=..." for one in named)])
            missing.append(f"{name} cannot be called as {name}({call}): {exc}")
        except ValueError:  # a builtin without signature
            continue
    attributes = (one for one in inspect.get_annotations(protocol) if not one.startswith("_"))
    return missing + [f"it has no attribute {one}" for one in attributes if not hasattr(made, one)]


def nearest(name: str, known: Iterable[str]) -> str:
    """``(did you mean ...?)`` with the known name that is most like ``name``; empty if none is."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _methods(protocol: type) -> dict[str, Any]:
    return {name: one for name, one in vars(protocol).items() if inspect.isfunction(one) and not name.startswith("_")}


def _check_options(found: type, options: Mapping[Any, Any], name: str) -> None:
    """Compare options with the signature of the class, which dataclasses and pydantic models have too."""
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):  # a class in C without signature: it says itself what it does not take
        return
    named = [one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    known = [one.name for one in named]
    takes = f"it takes {', '.join(known)}" if known else "it takes no options"
    anything = any(one.kind is one.VAR_KEYWORD for one in parameters)
    for option in options:
        if option not in known and not (anything and isinstance(option, str)):
            raise KindOptionError(
                f"{name} ({found.__module__}.{found.__qualname__}) has no option {option!r}"
                f"{nearest(str(option), known)}; {takes}"
            )
    needed = [one.name for one in named if one.default is one.empty and one.name not in options]
    if needed:
        raise KindOptionError(
            f"{name} ({found.__module__}.{found.__qualname__}) needs {', '.join(map(repr, needed))}; {takes}"
        )
