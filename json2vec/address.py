"""Addresses: where a node stands in the schema tree, as a string such as ``record/items/price``."""

from __future__ import annotations


class Address(str):
    """The path of a schema node, its parts joined with ``/``.

    An address equals the plain string it spells, so dictionaries keyed by one are read with the other.

    Args:
        parts: the names of the nodes from the root down; none at all gives the empty address.

    Raises:
        TypeError: a part that is not a string.
    """

    __slots__ = ()

    def __new__(cls, *parts: str) -> Address:
        for part in parts:
            if not isinstance(part, str):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"Address parts must be strings; got {part!r} of type {type(part).__name__}")
        return super().__new__(cls, "/".join(parts))

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.split("/")) if self else ()

    @property
    def name(self) -> str:
        return self.rpartition("/")[2]

    @property
    def parent(self) -> Address:
        return Address(self.rpartition("/")[0])
