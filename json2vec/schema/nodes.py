"""The nodes of a schema tree: arrays and leaves as pure, frozen values. No torch here.

The options of the concrete leaves (`Number`, `Category`, ...) stand with their field types in `json2vec.fields`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from json2vec.address import Address
from json2vec.enums import AttentionMode, Overflow
from json2vec.errors import SchemaError
from json2vec.schema.options import Options

LEAF_TYPES: dict[str, type[Leaf]] = {}
"""Options classes by type name, filled by `json2vec.fields.registry.register`."""


class Node(Options):
    """What arrays and leaves have in common.

    Args:
        name: letters, digits, ``_`` and ``-``.
        description: free text for people; the model does not read it.
        embed: emit this node's vector, of length d_model and L2 norm 1, with every prediction.
        n_heads: attention heads; even, and d_model must be a multiple of it with at least 2 features a head.
        dropout: training only, 0 <= dropout < 1; None is 0. Not inherited.
    """

    name: str
    type: Any  # a Literal in every subclass
    description: str | None = None
    embed: bool = False
    n_heads: int = Field(4, gt=0)
    dropout: float | None = Field(None, ge=0, lt=1)

    @field_validator("name")
    @classmethod
    def _name(cls, name: str) -> str:
        if not name or not all(letter.isalnum() or letter in "_-" for letter in name):
            raise ValueError("a name consists of letters, digits, '_' and '-'")
        return name

    @field_validator("description")
    @classmethod
    def _description(cls, text: str | None) -> str | None:
        return (text.strip() or None) if text else None

    @field_validator("n_heads")
    @classmethod
    def _n_heads(cls, heads: int) -> int:
        if heads % 2:
            raise ValueError("n_heads must be even")
        return heads


class Leaf(Node):
    """Options that every field type has.

    Args:
        active: False leaves the field out altogether.
        query: where the values are; the default follows the names of the tree. See `json2vec.schema.queries`.
        pooling: how the decoder reads its memory: learned ``query`` vectors, or the ``mean``.
        weight: factor of this field's loss, > 0.
        p_mask: probability that a slot is hidden in training and must be reconstructed, 0 <= p < 1.
        p_prune: probability that the whole field of a row is hidden, 0 <= p <= 1.
        target: ``True`` is short for ``p_prune=1.0``: the field is never an input and always predicted.
        n_linear: blocks of the decoder's pooling.
    """

    active: bool = True
    query: str | None = None
    pooling: Literal["query", "mean"] = "query"
    weight: float = Field(1.0, gt=0)
    p_mask: float = Field(0.0, ge=0, lt=1)
    p_prune: float = Field(0.0, ge=0, le=1)
    n_linear: int = Field(1, gt=0)

    min_slots: ClassVar[int] = 1
    """The fewest slots a leaf of this type makes sense with."""

    def __init__(self, name: str | None = None, /, **options: Any) -> None:
        options = {**options.pop("kwargs", {}), **options}
        if name is not None:
            if "name" in options:
                raise SchemaError(f"{type(self).__name__} got two names: {name!r} and {options['name']!r}")
            options["name"] = name
        if "target" in options:
            target, p_prune = options.pop("target"), options.get("p_prune")
            if target and p_prune not in (None, 1.0):
                raise SchemaError(f"{options.get('name')!r}: target=True is shorthand for p_prune=1.0; got {p_prune}")
            options["p_prune"] = 1.0 if target else (p_prune or 0.0)
        super().__init__(**options)

    @property
    def target(self) -> bool:
        return self.p_prune == 1.0

    @property
    def trained(self) -> bool:
        """Whether the field's own options hide slots in training."""
        return self.p_mask > 0 or self.p_prune > 0


class Mask(Options):
    """Hides whole items of an array in training, so that they must be reconstructed.

    Args:
        rate: probability that a candidate item is hidden; exactly one of rate and count is given.
        count: how many candidates are hidden, at most.
        window: only this many items are candidates, counted from the items' end (from their start, with ``start``).
        array: count positions by max_length, not by the items that are there.
        start: count from the first item.
        offset: skip this many items first.
        exclude: leaves below the array that stay visible: an address or a name, a selector such as
            ``where("type") == "entity"``, or a list of them. A schema holds the addresses that its selectors meant.
    """

    name: str | None = None
    rate: float | None = Field(None, ge=0, le=1)
    count: int | None = Field(None, ge=0)
    window: int | None = Field(None, gt=0)
    array: bool = False
    start: bool = False
    offset: int = Field(0, ge=0)
    exclude: tuple[Any, ...] = ()

    @field_validator("exclude", mode="before")
    @classmethod
    def _exclude(cls, value: Any) -> Any:
        many = isinstance(value, (list, tuple, set, frozenset))
        exclusions = tuple(cast("Iterable[Any]", value)) if many else () if value is None else (value,)
        for excluded in exclusions:
            if not isinstance(excluded, str) and not callable(excluded):
                raise ValueError(f"expected names, addresses or selectors; got {excluded!r}")
        return exclusions

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.rate is None) == (self.count is None):
            raise ValueError("a Mask takes exactly one of rate and count")
        return self


class Array(Node):
    """A list of objects, or the root.

    Args:
        fields: the leaves and arrays of each object; they may be given positionally.
        attention: key/value heads of the encoder: ``mha`` all, ``gqa`` half, ``mqa`` one; ``none``: no encoder layers.
        max_length: slots of the array; items past it are dealt with as ``overflow`` says.
        overflow: keep the ``head``, keep the ``tail``, or ``error``.
        n_layers: encoder layers.
        n_linear: pooling blocks.
        padding: what slots without an item mean to the encoder and its pooling. ``attend``: they are tokens like any
            other, told apart by their state. ``skip``: they are left out, and a token's position is the index of its
            item, so that neither max_length nor padding shows in the result; an array without items is read as one
            padded item. Rows with few items are then predicted faster. A trained model keeps what it was trained with.
        mask: which items are hidden in training; short for ``masks`` with one entry.
        masks: which items are hidden in training, as one or more `Mask`s.
    """

    type: Literal["array"] = "array"
    attention: AttentionMode = AttentionMode.mha
    max_length: int = Field(1, gt=0)
    overflow: Overflow = Overflow.head
    n_linear: int = Field(1, gt=0)
    n_layers: int = Field(1, ge=0)
    # Left out of dumps at its default: fingerprints of models from before this option stay what they were.
    padding: Literal["attend", "skip"] = Field("attend", exclude_if=lambda value: value == "attend")
    masks: tuple[Mask, ...] = ()
    fields: Annotated[tuple[SerializeAsAny[Node], ...], Field(min_length=1)]

    def __init__(self, *children: Node, **options: Any) -> None:
        if children and isinstance(children[0], str):
            raise SchemaError(f"Array({children[0]!r}): an array takes its name as name={children[0]!r}")
        if children and "fields" in options:
            raise SchemaError(f"Array({options.get('name')!r}): give the children positionally or as fields=, not both")
        if "mask" in options:
            if "masks" in options:
                raise SchemaError(f"Array({options.get('name')!r}): mask= is short for masks=[...]; give one of them")
            options["masks"] = (options.pop("mask"),)
        if children:
            options["fields"] = children
        super().__init__(**options)

    @field_validator("fields", mode="before")
    @classmethod
    def _children(cls, value: Any) -> Any:
        return tuple(node_of(child) for child in value)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [child.name for child in self.fields]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"children of one array need different names; given twice: {', '.join(twice)}")
        labels = [mask.name for mask in self.masks if mask.name]
        if len(set(labels)) < len(labels):
            raise ValueError("masks of one array need different names")
        for mask in self.masks:
            if mask.offset >= self.max_length:
                raise ValueError(f"a mask's offset must be below max_length {self.max_length}; got {mask.offset}")
        return self


def walk(root: Node) -> dict[Address, Node]:
    """A node and all below it by address, parents before their children."""

    def visit(node: Node, above: tuple[str, ...]) -> Iterator[tuple[Address, Node]]:
        parts = (*above, node.name)
        yield Address(*parts), node
        for child in node.fields if isinstance(node, Array) else ():
            yield from visit(child, parts)

    return dict(visit(root, ()))


def node_of(value: Any) -> Any:
    """A node as it is, or rebuilt from the plain values of a checkpoint."""
    if not isinstance(value, dict):
        return value
    options = cast("dict[str, Any]", value)
    name = options.get("type")
    if name == "array":
        return Array(**options)
    if name not in LEAF_TYPES:
        close = difflib.get_close_matches(str(name), LEAF_TYPES, n=1)
        raise SchemaError(
            f"field {options.get('name')!r} has type {name!r}, which is not registered; "
            + (f"did you mean {close[0]!r}?" if close else f"known types: {', '.join(sorted(LEAF_TYPES))}")
        )
    return LEAF_TYPES[name](**options)
