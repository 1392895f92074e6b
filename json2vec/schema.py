"""The schema tree: arrays and leaves as pure, frozen values. No torch here.

The options of the concrete leaves (`Number`, `Category`, ...) stand with their field types in `json2vec.fields`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from json2vec.address import Address
from json2vec.enums import AttentionMode, Overflow
from json2vec.errors import SchemaError
from json2vec.options import Options
from json2vec.queries import Query, default_query, parse_query
from json2vec.selectors import matching

LEAF_TYPES: dict[str, type[Leaf]] = {}
"""Options classes by type name, filled by `json2vec.fields.registry.register`."""


class Node(Options):
    """What arrays and leaves have in common.

    Args:
        name: letters, digits, ``_`` and ``-``.
        description: free text.
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
        query: where the values are; the default follows the names of the tree. See `json2vec.queries`.
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
        given = tuple(value) if isinstance(value, (list, tuple, set, frozenset)) else () if value is None else (value,)
        for one in given:
            if not isinstance(one, str) and not callable(one):
                raise ValueError(f"expected names, addresses or selectors; got {one!r}")
        return given

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.rate is None) == (self.count is None):
            raise ValueError("a Mask takes exactly one of rate and count")
        return self


class Array(Node):
    """A list of objects, or the root.

    Args:
        fields: its children; may be given positionally.
        attention: key/value heads of the encoder: ``mha`` all, ``gqa`` half, ``mqa`` one; ``none``: no encoder layers.
        max_length: slots of the array; items past it are dealt with as ``overflow`` says.
        overflow: keep the ``head``, keep the ``tail``, or ``error``.
        n_layers: encoder layers. n_linear: pooling blocks.
        padding: what slots without an item mean to the encoder and its pooling. ``attend``: they are tokens like any
            other, told apart by their state. ``skip``: they are left out, and a token's position is the index of its
            item, so that neither max_length nor padding shows in the result; an array without items is read as one
            padded item. Rows with few items are then predicted faster. A trained model keeps what it was trained with.
        mask, masks: items hidden in training.
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
        return tuple(_node(child) for child in value)

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


class Schema(Options):
    """A whole tree: the root array and the width of every vector.

    Args:
        root: the root array; its max_length is 1.
        d_model: features of a vector.
    """

    root: Array
    d_model: int = Field(gt=0)

    @classmethod
    def from_schema(
        cls, *field_args: Node, d_model: int, n_layers: int, n_heads: int, fields: Any = None, name: str = "record",
        description: str | None = None, embed: bool = False, attention: str = "mha", n_linear: int = 1,
        dropout: float | None = None,
    ) -> Schema:  # fmt: skip
        """Build a tree; n_layers, n_heads, attention, n_linear and dropout configure the root array alone."""
        children = tuple(field_args) or tuple(fields or ())
        if field_args and fields:
            raise SchemaError("give the fields positionally or as fields=, not both")
        if not children:
            raise SchemaError("a schema needs at least one field")
        root = Array(
            *children, name=name, description=description, embed=embed, n_layers=n_layers, n_heads=n_heads,
            attention=attention, n_linear=n_linear, dropout=dropout, max_length=1, overflow="error",
        )  # fmt: skip
        return cls(root=root, d_model=d_model)

    @field_validator("root", mode="before")
    @classmethod
    def _root(cls, value: Any) -> Any:
        return _node(value)

    @field_validator("root")
    @classmethod
    def _plain_masks(cls, root: Array) -> Array:
        return _with_plain_masks(root, Address(root.name), walk(root))

    @model_validator(mode="after")
    def _bound(self) -> Self:
        if self.root.max_length != 1 or self.root.masks:
            raise ValueError("the root array has max_length 1 and no masks")
        for address, array in self.arrays.items():
            self._check_heads(address, array)
            below = [leaf for at, leaf in self.leaves.items() if at.startswith(f"{address}/")]
            if not any(leaf.active for leaf in below):
                raise ValueError(f"{address}: an array needs at least one active leaf below it")
            for mask in array.masks:
                self._check_mask(address, mask)
        for address, leaf in self.leaves.items():
            if leaf.pooling == "query":
                self._check_heads(address, leaf)
            if self.slots(address) < leaf.min_slots:
                raise ValueError(
                    f"{address}: a field of type {leaf.type!r} needs at least {leaf.min_slots} slots; "
                    f"it has {self.slots(address)}. Remedy: put it into an array"
                )
            self.query(address)
        return self

    def _check_mask(self, address: Address, mask: Mask) -> None:
        below = {at: leaf for at, leaf in self.leaves.items() if at.startswith(f"{address}/")}
        for excluded in mask.exclude:
            if not any(excluded in (at, at.name) for at in below):
                raise ValueError(f"{address}: the mask excludes {excluded!r}, which is no leaf below the array")
        if all(at in mask.exclude or at.name in mask.exclude for at, leaf in below.items() if leaf.active):
            raise ValueError(f"{address}: a mask may not exclude every active leaf")

    def _check_heads(self, address: Address, node: Node) -> None:
        if self.d_model % node.n_heads or self.d_model // node.n_heads < 2:
            raise ValueError(
                f"{address}: d_model {self.d_model} must be a multiple of n_heads {node.n_heads}, with at least "
                "2 features a head. Remedy: set n_heads on this node"
            )

    @cached_property
    def nodes(self) -> dict[Address, Node]:
        """Every node by address, parents before their children, in schema order."""
        return walk(self.root)

    @cached_property
    def leaves(self) -> dict[Address, Leaf]:
        return {address: node for address, node in self.nodes.items() if isinstance(node, Leaf)}

    @cached_property
    def active(self) -> dict[Address, Leaf]:
        return {address: leaf for address, leaf in self.leaves.items() if leaf.active}

    @cached_property
    def inputs(self) -> dict[Address, Leaf]:
        """Active leaves that are read in prediction."""
        return {address: leaf for address, leaf in self.active.items() if not leaf.target}

    @cached_property
    def arrays(self) -> dict[Address, Array]:
        return {address: node for address, node in self.nodes.items() if isinstance(node, Array)}

    @property
    def target(self) -> list[Address]:
        return [address for address, leaf in self.active.items() if leaf.target]

    @property
    def embed(self) -> list[Address]:
        """Nodes whose vectors are emitted: arrays, deepest first, then leaves in schema order."""
        arrays = [address for address in self.deepest_first if self.arrays[address].embed]
        return arrays + [address for address, leaf in self.active.items() if leaf.embed]

    @cached_property
    def deepest_first(self) -> list[Address]:
        """Arrays, deepest level first, in schema order within a level."""
        return sorted(self.arrays, key=lambda address: -len(address.parts))

    def above(self, address: Address) -> list[Address]:
        """The arrays above a node, from the root down to its parent."""
        parts = address.parts
        return [Address(*parts[:n]) for n in range(1, len(parts))]

    def shape(self, address: Address) -> tuple[int, ...]:
        """(1, L1, L2, ...): the lengths of the arrays above a leaf, the root's first."""
        return tuple(self.arrays[array].max_length for array in self.above(address))

    def slots(self, address: Address) -> int:
        """P, the product of `shape`: slots of a leaf, or places of an array, in one row."""
        product = 1
        for length in self.shape(address):
            product *= length
        return product

    def query(self, address: Address) -> Query:
        leaf, names = self.leaves[address], address.parts[1:]
        if leaf.query is None:
            return default_query(names)
        return parse_query(leaf.query, arrays_above=len(names) - 1, where=address)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for checkpoints."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Schema:
        return cls(**values)


def walk(root: Node) -> dict[Address, Node]:
    """A node and all below it by address, parents before their children."""

    def visit(node: Node, above: tuple[str, ...]) -> Iterator[tuple[Address, Node]]:
        parts = (*above, node.name)
        yield Address(*parts), node
        for child in node.fields if isinstance(node, Array) else ():
            yield from visit(child, parts)

    return dict(visit(root, ()))


def _with_plain_masks(array: Array, at: Address, nodes: dict[Address, Node]) -> Array:
    """The array with every selector in its masks replaced by the addresses of the leaves it means."""
    masks = tuple(_plain_mask(mask, at, nodes) for mask in array.masks)
    fields = tuple(
        _with_plain_masks(child, Address(at, child.name), nodes) if isinstance(child, Array) else child
        for child in array.fields
    )
    same = all(new is old for new, old in zip(masks + fields, array.masks + array.fields, strict=True))
    return array if same else array.replace(masks=masks, fields=fields)


def _plain_mask(mask: Mask, at: Address, nodes: dict[Address, Node]) -> Mask:
    if all(isinstance(one, str) for one in mask.exclude):
        return mask
    exclude: list[str] = []
    for one in mask.exclude:
        if isinstance(one, str):
            exclude.append(one)
            continue
        known = {name for options in LEAF_TYPES.values() for name in options.model_fields}
        leaves = [view.address for view in matching(nodes, [one], known=known)
                  if isinstance(view.node, Leaf) and view.address.startswith(f"{at}/")]  # fmt: skip
        if not leaves:
            raise SchemaError(f"{at}: the mask excludes {one!r}, which is no leaf below the array")
        exclude += [str(leaf) for leaf in leaves if leaf not in exclude]
    return mask.replace(exclude=tuple(exclude))


def _node(value: Any) -> Any:
    """A node as it is, or rebuilt from the plain values of a checkpoint."""
    if not isinstance(value, dict):
        return value
    kind = value.get("type")
    if kind == "array":
        return Array(**value)
    if kind not in LEAF_TYPES:
        close = difflib.get_close_matches(str(kind), LEAF_TYPES, n=1)
        raise SchemaError(
            f"field {value.get('name')!r} has type {kind!r}, which is not registered; "
            + (f"did you mean {close[0]!r}?" if close else f"known types: {', '.join(sorted(LEAF_TYPES))}")
        )
    return LEAF_TYPES[kind](**value)
