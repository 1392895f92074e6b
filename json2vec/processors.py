"""Preprocessors turn rows into observations, postprocessors turn predictions into what is written.

A row-wise preprocessor takes a dict and returns a dict, or None to drop the row; with ``yields=True`` it returns or
yields several. It is the only per-row Python on the way from a file to the model: at several microseconds
a row for the conversion alone it may cost more than the encoder. A columnar one takes a `pa.RecordBatch` and returns a
record batch, table or polars frame: of equal length, or with an int64 column ``__row__`` that says which input row
each output row came from (a row that is not named is dropped).
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import pyarrow as pa

from json2vec.enums import Strata
from json2vec.errors import AlignmentError, ProcessorError

ROW_COLUMN = "__row__"
"""The column in which a columnar preprocessor says which input row each of its rows came from."""


@dataclass(frozen=True)
class Preprocessor:
    """A function with its options, as `preprocess` makes it. Calling it calls the function.

    Attributes:
        function: the user's function.
        yields: whether the function gives several rows for one.
        columnar: whether it takes a record batch instead of a dict.
        schema: the schema of the rows that it returns; None infers it from the first rows.
        kwargs: keyword arguments passed on every call.
    """

    function: Callable[..., Any]
    yields: bool = False
    columnar: bool = False
    schema: pa.Schema | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **{**self.kwargs, **kwargs})

    @property
    def name(self) -> str:
        return getattr(self.function, "__qualname__", type(self.function).__qualname__)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over source (else bytecode), options and keyword arguments; the same in every process."""
        schema = None if self.schema is None else str(self.schema)
        return _digest([_code(self.function), self.yields, self.columnar, schema, self.kwargs])

    def bind(self, **kwargs: Any) -> Preprocessor:
        """The same with more keyword arguments.

        Raises:
            ProcessorError: the function has no such parameter, or needs one that is not given.
        """
        bound = replace(self, kwargs={**self.kwargs, **kwargs})
        accepted = _parameters(self.function)
        if accepted is not None:
            check_keywords(bound.kwargs, accepted - {"strata"}, f"preprocessor {self.name!r}")
            try:
                inspect.signature(self.function).bind(None, **bound.call_kwargs(Strata.predict))
            except ValueError:  # a builtin without signature
                return bound
            except TypeError as exc:
                raise ProcessorError(
                    f"preprocessor {self.name!r} cannot be called as function(row, **kwargs): {exc}. "
                    "Remedy: pass what is missing as a keyword to the data module"
                ) from exc
        return bound

    def call_kwargs(self, strata: Strata | str) -> dict[str, Any]:
        """The keyword arguments of a call: ``kwargs``, and ``strata`` where the function takes it."""
        accepted = _parameters(self.function)
        takes = accepted is None or "strata" in accepted
        return {**self.kwargs, "strata": Strata(strata)} if takes else self.kwargs

    def __reduce__(self) -> Any:
        # A decorated function is found under its name as a Preprocessor, so that it cannot be pickled by itself.
        module, name = getattr(self.function, "__module__", None), self.name
        registered: Any = sys.modules.get(module or "")
        for part in name.split("."):
            registered = getattr(registered, part, None)
        if isinstance(registered, Preprocessor) and registered.function is self.function:
            return _reload, (module, name, self.schema, self.kwargs)
        return Preprocessor, (self.function, self.yields, self.columnar, self.schema, self.kwargs)


def _reload(module: str, name: str, schema: pa.Schema | None, kwargs: dict[str, Any]) -> Preprocessor:
    registered: Any = importlib.import_module(module)
    for part in name.split("."):
        registered = getattr(registered, part)
    return replace(registered, schema=schema, kwargs=kwargs)


@dataclass(frozen=True)
class Postprocessor:
    """A function with its options, as `postprocess` makes it. Calling it calls the function.

    Attributes:
        function: called with (context, predictions); returns a mapping address -> columns, or None to keep the
            predictions as it left them.
        columnar: whether ``predictions`` is a `pa.StructArray` instead of a dict of lists.
        schema: the schema of what it returns, for whoever must know it before the first row.
    """

    function: Callable[..., Any]
    columnar: bool = False
    schema: pa.Schema | None = None

    def __call__(self, context: Mapping[Any, Any], predictions: Any) -> Any:
        return self.function(context, predictions)

    @property
    def name(self) -> str:
        return getattr(self.function, "__qualname__", type(self.function).__qualname__)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over source (else bytecode) and options; the same in every process."""
        return _digest([_code(self.function), self.columnar, None if self.schema is None else str(self.schema)])


PREPROCESSORS: dict[str, Preprocessor] = {}
"""Preprocessors by name: every function decorated with `preprocess`."""


def preprocess(
    function: Callable[..., Any] | None = None,
    *,
    yields: bool = False,
    columnar: bool = False,
    schema: pa.Schema | None = None,
) -> Any:
    """Register a preprocessor under the function's name; with or without parentheses.

    Args:
        function: the preprocessor itself, where the decorator is used without parentheses.
        yields: whether the function returns or yields several rows for one.
        columnar: whether it takes and returns Arrow batches.
        schema: the schema of the rows that it returns. Without one it is inferred from the first rows, and a later row
            that does not fit it is an error; say it where the first rows may not show every key and type.

    Raises:
        ProcessorError: options that contradict each other, or a name that another function has already.
    """
    if yields and columnar:
        raise ProcessorError(f"preprocess(yields=, columnar=): a columnar one says so by its column {ROW_COLUMN!r}")

    def register(function: Callable[..., Any]) -> Preprocessor:
        preprocessor = Preprocessor(function, yields, columnar, schema)
        name = function.__name__
        old = PREPROCESSORS.get(name)
        if old is not None and (old.function.__module__, old.name) != (function.__module__, preprocessor.name):
            raise ProcessorError(
                f"preprocessor name {name!r} is taken by {old.function.__module__}.{old.name}. Remedy: rename one"
            )
        PREPROCESSORS[name] = preprocessor
        return preprocessor

    return register if function is None else register(function)


def postprocess(
    function: Callable[..., Any] | None = None, *, columnar: bool = False, schema: pa.Schema | None = None
) -> Any:
    """Declare a postprocessor's options; see `Postprocessor`. A plain callable does without."""

    def declare(function: Callable[..., Any]) -> Postprocessor:
        return Postprocessor(function, columnar, schema)

    return declare if function is None else declare(function)


PreprocessorLike: TypeAlias = "Preprocessor | Callable[..., Any] | str | None"
"""What people may pass as ``preprocessor=``; see `as_preprocessor`."""
PostprocessorLike: TypeAlias = "Postprocessor | Callable[..., Any] | None"
"""What people may pass as ``postprocessor=``; see `as_postprocessor`."""


def as_preprocessor(preprocessor: PreprocessorLike, **kwargs: Any) -> Preprocessor | None:
    """What a user may pass as ``preprocessor=``: a registered name, a `Preprocessor`, any callable dict -> dict, None.

    Raises:
        ProcessorError: an unregistered name, nothing callable, or keywords that the function does not take.
    """
    if preprocessor is None:
        check_keywords(kwargs, set(), "no preprocessor is given, and")
        return None
    if isinstance(preprocessor, str):
        if preprocessor not in PREPROCESSORS:
            raise ProcessorError(
                f"no preprocessor {preprocessor!r} is registered{_suggestion(preprocessor, PREPROCESSORS)}; "
                f"registered: {sorted(PREPROCESSORS)}. Remedy: decorate it with @preprocess and import its module first"
            )
        preprocessor = PREPROCESSORS[preprocessor]
    if not callable(preprocessor):
        raise ProcessorError(f"preprocessor must be a name or a callable; got {preprocessor!r}")
    return (preprocessor if isinstance(preprocessor, Preprocessor) else Preprocessor(preprocessor)).bind(**kwargs)


def as_postprocessor(postprocessor: PostprocessorLike) -> Postprocessor | None:
    """What a user may pass as ``postprocessor=``: a `Postprocessor`, any callable of (context, predictions), None."""
    if postprocessor is None or isinstance(postprocessor, Postprocessor):
        return postprocessor
    if not callable(postprocessor):
        raise ProcessorError(f"postprocessor must be a callable of (context, predictions); got {postprocessor!r}")
    return Postprocessor(postprocessor)


def preprocessor_mismatch(trained: str | None, preprocessor: Preprocessor | None, who: str) -> str | None:
    """What to say where ``preprocessor`` is not the preprocessor of fingerprint ``trained``; None where it is."""
    fingerprint = None if preprocessor is None else preprocessor.fingerprint
    if trained is None or trained == fingerprint:
        return None
    return (
        f"the model was trained with a preprocessor of fingerprint {trained[:12]}, and {who} has "
        f"{'none' if fingerprint is None else fingerprint[:12]}: its predictions may mean nothing. "
        "Remedy: pass the preprocessor of the training"
    )


def check_keywords(names: Iterable[str], accepted: Iterable[str], subject: str) -> None:
    """Raise `ProcessorError`, with the nearest known name, if a given keyword is not known."""
    accepted = set(accepted)
    for name in names:
        if name not in accepted:
            takes = f"it takes {sorted(accepted)}" if accepted else "it takes none"
            raise ProcessorError(f"{subject}: unknown keyword {name!r}{_suggestion(name, accepted)}; {takes}")


def _suggestion(name: str, candidates: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(candidates), 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _parameters(function: Callable[..., Any]) -> set[str] | None:
    """Names of what may be passed by keyword beside the row; None where anything may."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a builtin without signature
        return set()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)} - {
        p.name for p in positional[:1]
    }


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=_stable)
    return hashlib.sha256(text.encode()).hexdigest()


def _stable(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(json.dumps(item, sort_keys=True, default=_stable) for item in value)
    if callable(value):
        return _code(value)
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _code(function: Any) -> Any:
    """What a function does, as JSON-able data: its source, or its bytecode, and what it has closed over."""
    if isinstance(function, Preprocessor | Postprocessor):
        return _code(function.function)
    if hasattr(function, "func") and hasattr(function, "keywords"):  # functools.partial
        return [_code(function.func), list(function.args), function.keywords]
    if not hasattr(function, "__code__"):
        call = type(function).__call__  # where an instance is called, its class says what happens
        if inspect.isclass(function) or not hasattr(call, "__code__"):
            return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', repr(type(function)))}"
        return [_code(call), vars(function) if hasattr(function, "__dict__") else None]
    closure = {
        name: cell.cell_contents
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    }
    try:
        code: Any = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        code = [_bytecode(function.__code__), repr(function.__defaults__), repr(function.__kwdefaults__)]
    return [code, closure]


def _bytecode(code: Any) -> Any:
    constants = [_bytecode(c) if hasattr(c, "co_code") else repr(c) for c in code.co_consts]
    return [code.co_code.hex(), constants, list(code.co_names)]


def apply_postprocessor(
    post: Any, context: Mapping[Any, Any], predictions: Any, n_rows: int
) -> Mapping[str, Any]:
    """Call a postprocessor and check that what it returns is aligned with the rows.

    Args:
        post: a `Postprocessor`, or any callable of (context, predictions).
        context: what it may look at: the input, the batch, the rows.
        predictions: address -> nested dicts of lists of N; for a columnar postprocessor a `pa.StructArray` of N.
        n_rows: N, the number of rows that were predicted.

    Returns:
        address -> nested mappings of columns of N values.

    Raises:
        ProcessorError: it raised, or returned no mapping.
        AlignmentError: a column that has not N values; names address and key, expected and given length.
    """
    postprocessor = as_postprocessor(post)
    if postprocessor is None:
        result: Any = predictions
    else:
        try:
            result = postprocessor(context, predictions)
        except Exception as exc:
            raise ProcessorError(f"postprocessor {postprocessor.name!r} raised {type(exc).__name__}: {exc}") from exc
    who = f"postprocessor {postprocessor.name!r}" if postprocessor else "predictions"
    columns = _columns(predictions if result is None else result, who)
    for address, value in columns.items():
        _check_aligned(value, (str(address),), n_rows, who)
    return columns


def _columns(result: Any, who: str) -> Mapping[str, Any]:
    if isinstance(result, Mapping):
        return result
    if isinstance(result, pa.StructArray):
        return dict(zip(result.type.names, result.flatten(), strict=True))
    if isinstance(result, pa.RecordBatch | pa.Table):
        return dict(zip(result.schema.names, result.columns, strict=True))
    raise ProcessorError(
        f"{who} returned {type(result).__name__}; expected a mapping address -> columns, an "
        "Arrow struct or batch, or None"
    )


def _check_aligned(value: Any, path: tuple[str, ...], n_rows: int, who: str) -> None:
    if isinstance(value, Mapping):
        for key, child in value.items():
            _check_aligned(child, (*path, str(key)), n_rows, who)
        return
    where = f"address {path[0]!r}" + (f", key {'.'.join(path[1:])!r}" if path[1:] else "")
    if isinstance(value, str | bytes) or not hasattr(value, "__len__"):
        raise AlignmentError(
            f"{who}, {where}: expected a list with one value for each of the {n_rows} rows; got "
            f"{type(value).__name__}. Remedy: return one value a row"
        )
    length = len(value)
    if length != n_rows:
        raise AlignmentError(
            f"{who}, {where}: expected {n_rows} values, one for each row; got {length}. Remedy: return one value for "
            "each entry of context['metadata'], None where there is nothing to say"
        )


def resolve(name: str, trusted_modules: Iterable[str] = ()) -> Any:
    """The object that ``module:attribute`` names, imported only if its module (or a package above it) is trusted.

    Raises:
        ProcessorError: a malformed name, a module that is not trusted, or nothing there.
    """
    module, colon, attribute = name.partition(":")
    if not (colon and module and attribute):
        raise ProcessorError(f"{name!r} does not name a processor; expected 'module:function'")
    trusted = set(trusted_modules)
    parts = module.split(".")
    if not any(".".join(parts[: i + 1]) in trusted for i in range(len(parts))):
        raise ProcessorError(
            f"module {module!r} of processor {name!r} is not trusted; trusted: {sorted(trusted)}. "
            f"Remedy: add {module!r} to trusted_modules if you trust its code"
        )
    try:
        resolved: Any = importlib.import_module(module)
        for part in attribute.split("."):
            resolved = getattr(resolved, part)
    except (ImportError, AttributeError) as exc:
        raise ProcessorError(f"processor {name!r} cannot be imported: {exc}") from exc
    return resolved


def preprocessor_of(
    preprocessor: PreprocessorLike, name: str | None, trusted_modules: Iterable[str] = ()
) -> Preprocessor | None:
    """The preprocessor that was given; failing that, the one of that name, if there is a name.

    Raises:
        ProcessorError: the name cannot be resolved (see `resolve`), or names no preprocessor.
    """
    return as_preprocessor(resolve(name, trusted_modules) if preprocessor is None and name else preprocessor)


def postprocessor_of(
    postprocessor: PostprocessorLike, name: str | None, trusted_modules: Iterable[str] = ()
) -> Postprocessor | None:
    """The same of a postprocessor."""
    return as_postprocessor(resolve(name, trusted_modules) if postprocessor is None and name else postprocessor)
