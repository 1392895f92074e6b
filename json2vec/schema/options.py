"""Frozen options that say what is wrong with them."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from json2vec.errors import SchemaError

if TYPE_CHECKING:

    class _Model:
        """What `Options` uses of pydantic. Type checkers would else make up an ``__init__`` for every subclass, without
        the positional name and children that ours take."""

        model_fields: ClassVar[dict[str, FieldInfo]]
        model_fields_set: set[str]

        def __init__(self, **values: Any) -> None: ...
        def model_dump(self, *, mode: str = "python") -> dict[str, Any]: ...
else:
    _Model = BaseModel


class Options(_Model):
    """Frozen options that reject unknown keywords with a suggestion."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    def __init__(self, **options: Any) -> None:
        option_names = type(self).model_fields
        for key in options:
            if key not in option_names:
                close = difflib.get_close_matches(key, option_names, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known options: {', '.join(sorted(option_names))}"
                raise SchemaError(f"{type(self).__name__}({options.get('name', '')!r}): no option {key!r}; {hint}")
        try:
            super().__init__(**options)
        except ValidationError as exc:
            first = exc.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            message = first["msg"].removeprefix("Value error, ")
            raise SchemaError(
                f"{type(self).__name__}({options.get('name', '')!r}): {where + ': ' if where else ''}{message}"
                + (f"; got {first['input']!r}" if where else "")
            ) from exc

    def replace(self, **changes: Any) -> Self:
        """The same options with some changed, validated again."""
        values = {
            name: getattr(self, name) for name in self.model_fields_set | {"type"} if name in type(self).model_fields
        }
        return type(self)(**{**values, **changes})
