"""Which nodes of a schema are meant: ``where("type") == "number"``, combined with ``&``, ``|`` and ``~``.

Selectors are plain frozen values: they pickle, print and compare in a debugger, and hold no functions of their own.
Any callable that takes a `NodeView` and returns a boolean serves as one too.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from json2vec.address import Address
from json2vec.errors import SchemaError

if TYPE_CHECKING:
    from json2vec.schema.nodes import Node

BUILT_IN = ("address", "parent", "children", "ancestors", "descendants", "target")
"""Attributes that every node has beside its options."""


@dataclass(frozen=True)
class NodeView:
    """A node where it stands: its options as attributes, and the built-in attributes.

    Attributes:
        address: the address of the node.
        parent: the address of the array above; None for the root.
        node: the options of the node.
        addresses: the addresses of all nodes of the tree.
        children: the addresses one level down.
        descendants: all addresses below.
        ancestors: the addresses of the arrays above, the root first.
        target: whether the node is a target field; False for arrays.
    """

    address: Address
    node: Node
    addresses: tuple[Address, ...]

    @property
    def parent(self) -> Address | None:
        return self.address.parent or None

    @property
    def ancestors(self) -> tuple[Address, ...]:
        parts = self.address.parts
        return tuple(Address(*parts[:n]) for n in range(1, len(parts)))

    @property
    def descendants(self) -> tuple[Address, ...]:
        return tuple(address for address in self.addresses if address.startswith(f"{self.address}/"))

    @property
    def children(self) -> tuple[Address, ...]:
        return tuple(address for address in self.descendants if address.parent == self.address)

    @property
    def target(self) -> bool:
        return bool(getattr(self.node, "target", False))

    def has(self, attribute: str) -> bool:
        """Whether the node has this option, or it is a built-in attribute."""
        return attribute in BUILT_IN or attribute in type(self.node).model_fields

    def __getattr__(self, attribute: str) -> Any:
        # Only what is no field or property above; unpickling asks before the fields are there.
        if attribute.startswith("_") or attribute in ("address", "node", "addresses"):
            raise AttributeError(attribute)
        if attribute not in type(self.node).model_fields:
            raise AttributeError(f"{self.address} has no attribute {attribute!r}")
        return getattr(self.node, attribute)


class Selector:
    """The base of the selectors. Combine them with ``&``, ``|`` and ``~``."""

    __slots__ = ()

    def __call__(self, view: NodeView) -> bool:
        raise NotImplementedError

    def attributes(self) -> frozenset[str]:
        """The attributes it looks at."""
        raise NotImplementedError

    def __and__(self, other: Any) -> Selector:
        return Both(self, other)

    def __rand__(self, other: Any) -> Selector:
        return Both(other, self)

    def __or__(self, other: Any) -> Selector:
        return Either(self, other)

    def __ror__(self, other: Any) -> Selector:
        return Either(other, self)

    def __invert__(self) -> Selector:
        return Not(self)

    def __bool__(self) -> bool:
        raise TypeError(
            f"{self!r} is a selector, neither true nor false by itself. "
            "Remedy: combine selectors with &, | and ~ in place of and, or and not, each comparison in parentheses"
        )


_OPERATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda value, operand: value == operand,
    "!=": lambda value, operand: value != operand,
    "is_in": lambda value, operand: value in operand,
    "matches": lambda value, operand: isinstance(value, str) and re.search(operand, value) is not None,
    "contains": lambda value, operand: isinstance(value, (str, tuple, list, set, frozenset)) and operand in value,
    "is_null": lambda value, operand: value is None,
    "is_not_null": lambda value, operand: value is not None,
    "exists": lambda value, operand: True,
    "is_true": lambda value, operand: value is True,
}


@dataclass(frozen=True)
class Comparison(Selector):
    """A test of one attribute; nodes without it are not meant."""

    attribute: str
    operation: str
    operand: Any = None

    def __call__(self, view: NodeView) -> bool:
        if not view.has(self.attribute):
            return False
        return bool(_OPERATIONS[self.operation](getattr(view, self.attribute), self.operand))

    def attributes(self) -> frozenset[str]:
        return frozenset([self.attribute])


@dataclass(frozen=True, eq=False)
class Attribute(Selector):
    """``where(name)``: by itself, that the attribute is True; compared, a test of it.

    Raises:
        SchemaError: an operand that cannot be used as it is meant.
    """

    name: str

    def __call__(self, view: NodeView) -> bool:
        return Comparison(self.name, "is_true")(view)

    def attributes(self) -> frozenset[str]:
        return frozenset([self.name])

    def __eq__(self, value: object) -> Comparison:  # type: ignore[override]
        return Comparison(self.name, "==", value)

    def __ne__(self, value: object) -> Comparison:  # type: ignore[override]
        return Comparison(self.name, "!=", value)

    def __hash__(self) -> int:
        return hash((Attribute, self.name))

    def is_in(self, values: Iterable[Any]) -> Comparison:
        """Equal to one of ``values``."""
        if isinstance(values, str):
            raise SchemaError(f"where({self.name!r}).is_in expects a list of values; got the text {values!r}")
        return Comparison(self.name, "is_in", tuple(values))

    def matches(self, pattern: str | re.Pattern[str]) -> Comparison:
        """A text in which the regular expression is found."""
        text = pattern if isinstance(pattern, str) else pattern.pattern
        try:
            re.compile(text)
        except re.error as exc:
            raise SchemaError(f"where({self.name!r}).matches({text!r}): no regular expression: {exc}") from exc
        return Comparison(self.name, "matches", pattern)

    def contains(self, item: Any) -> Comparison:
        """A text with this part, or a collection with this item."""
        return Comparison(self.name, "contains", item)

    def is_null(self) -> Comparison:
        """None."""
        return Comparison(self.name, "is_null")

    def is_not_null(self) -> Comparison:
        """Anything but None."""
        return Comparison(self.name, "is_not_null")

    def exists(self) -> Comparison:
        """The node has this attribute, whatever its value."""
        return Comparison(self.name, "exists")


@dataclass(frozen=True)
class Predicate(Selector):
    """A function of one attribute's value."""

    attribute: str
    function: Callable[[Any], bool]

    def __call__(self, view: NodeView) -> bool:
        return view.has(self.attribute) and bool(self.function(getattr(view, self.attribute)))

    def attributes(self) -> frozenset[str]:
        return frozenset([self.attribute])


@dataclass(frozen=True)
class Both(Selector):
    """Nodes that both sides mean."""

    left: Any
    right: Any

    def __call__(self, view: NodeView) -> bool:
        return _means(self.left, view) and _means(self.right, view)

    def attributes(self) -> frozenset[str]:
        return _attributes(self.left) | _attributes(self.right)


@dataclass(frozen=True)
class Either(Selector):
    """Nodes that one side means."""

    left: Any
    right: Any

    def __call__(self, view: NodeView) -> bool:
        return _means(self.left, view) or _means(self.right, view)

    def attributes(self) -> frozenset[str]:
        return _attributes(self.left) | _attributes(self.right)


@dataclass(frozen=True)
class Not(Selector):
    """Nodes that the selector does not mean."""

    selector: Any

    def __call__(self, view: NodeView) -> bool:
        return not _means(self.selector, view)

    def attributes(self) -> frozenset[str]:
        return _attributes(self.selector)


def where(attribute: str) -> Attribute:
    """Select nodes by an option, or by address, parent, children, ancestors, descendants or target.

    By itself ``where("active")`` means the nodes whose attribute is True; compared, as in
    ``where("type") == "number"``, those that pass the test.
    """
    if not isinstance(attribute, str) or not attribute:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SchemaError(f"where expects the name of an attribute; got {attribute!r}")
    return Attribute(attribute)


def predicate(key: str, func: Callable[[Any], bool]) -> Predicate:
    """Select the nodes for whose attribute ``key`` the function returns true."""
    if not callable(func):
        raise SchemaError(f"predicate({key!r}) expects a function; got {func!r}")
    return Predicate(key, func)


def views(nodes: Mapping[Address, Node]) -> list[NodeView]:
    """A view of every node, in the order given."""
    addresses = tuple(nodes)
    return [NodeView(address, node, addresses) for address, node in nodes.items()]


def matching(
    nodes: Mapping[Address, Node], selectors: Iterable[Any], *, extra_attributes: Iterable[str] = ()
) -> list[NodeView]:
    """The nodes that every selector means.

    Args:
        nodes: every node of the tree, by address.
        selectors: selectors, callables, or texts: an address, or the path below the root.
        extra_attributes: attributes that may be asked for although no node has them.

    Raises:
        SchemaError: an attribute that no node has, a text that is no node, or something that is no selector.
    """
    all_views = views(nodes)
    attributes = {name for view in all_views for name in type(view.node).model_fields} | {*BUILT_IN, *extra_attributes}
    for selector in selectors:
        check(selector, attributes, nodes)
    return [view for view in all_views if all(_means(selector, view) for selector in selectors)]


def check(selector: Any, attributes: Iterable[str], nodes: Mapping[Address, Node]) -> None:
    """Raise `SchemaError` for a selector that cannot mean anything among these nodes."""
    if isinstance(selector, str):
        if not any(_is_path(selector, address) for address in nodes):
            paths = [*nodes, *filter(None, (address.partition("/")[2] for address in nodes))]
            raise SchemaError(f"no node {selector!r}; {suggestion(selector, paths)}")
    elif isinstance(selector, (Both, Either)):
        check(selector.left, attributes, nodes)
        check(selector.right, attributes, nodes)
    elif isinstance(selector, Not):
        check(selector.selector, attributes, nodes)
    elif isinstance(selector, Selector):
        for name in sorted(selector.attributes()):
            if name not in attributes:
                raise SchemaError(f"{selector!r}: no node has an attribute {name!r}; {suggestion(name, attributes)}")
    elif not callable(selector):
        raise SchemaError(
            f"expected a selector (where(...), predicate(...), a callable or an address); got {selector!r}"
        )


def suggestion(name: str, candidates: Iterable[str]) -> str:
    """What may have been meant by ``name``."""
    names = sorted(candidates)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"


def _means(selector: Any, view: NodeView) -> bool:
    if isinstance(selector, str):
        return _is_path(selector, view.address)
    return bool(selector(view))


def _is_path(text: str, address: Address) -> bool:
    return text in (address, address.partition("/")[2])


def _attributes(selector: Any) -> frozenset[str]:
    return selector.attributes() if isinstance(selector, Selector) else frozenset()
