"""Changing a schema: every edit takes a `Schema` and returns a new one.

`Model.update` and its siblings apply these and rebuild the modules that are affected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from json2vec.address import Address
from json2vec.errors import SchemaError
from json2vec.schema.nodes import LEAF_TYPES, Array, Leaf, Mask, Node
from json2vec.schema.schema import Schema
from json2vec.schema.selectors import NodeView, matching, suggestion

_FIXED = {
    "type": "a node keeps its type; delete it and extend the array by another",
    "fields": "use extend and delete",
    "d_model": "it belongs to the whole schema; build a new one",
}


def select(schema: Schema, *selectors: Any, include_root: bool = True) -> list[NodeView]:
    """The nodes that every selector means, in schema order; without selectors all nodes.

    Args:
        schema: the schema whose nodes are meant.
        selectors: ``where(...)``, ``predicate(...)``, a callable taking a `NodeView`, or an address.
        include_root: False leaves the root out.

    Raises:
        SchemaError: a selector asks for an attribute that no node has, or names no node.
    """
    option_names = {name for options in LEAF_TYPES.values() for name in options.model_fields}
    matched = matching(schema.nodes, selectors, extra_attributes=option_names)
    return [view for view in matched if include_root or view.parent is not None]


def update(schema: Schema, *selectors: Any, include_root: bool = True, strict: bool = True, **values: Any) -> Schema:
    """Change options of the nodes that every selector means.

    Args:
        schema: the schema to change; it stays as it is.
        selectors: ``where(...)``, ``predicate(...)``, a callable taking a `NodeView`, or an address.
        include_root: False leaves the root out.
        strict: False leaves nodes alone that do not have an option; some node must have it all the same.
        values: options and their new values.

    Raises:
        SchemaError: no options, no such node, an option that a node does not have, or a value it cannot take.
    """
    if not values:
        raise SchemaError("update changes nothing: give options as keywords, for example p_mask=0.1")
    chosen = _selected(schema, selectors, include_root, "update")
    for name in values:
        if name in _FIXED:
            raise SchemaError(f"update({name}=...): {_FIXED[name]}")
        without = [view for view in chosen if not _takes(view.node, name)]
        if without and (strict or len(without) == len(chosen)):
            options = {option for view in chosen for option in type(view.node).model_fields} | {"target"}
            hint = suggestion(name, options - set(_FIXED))
            if len(without) < len(chosen):
                hint = "other selected nodes have. Remedy: select fewer nodes, or strict=False"
            raise SchemaError(f"{without[0].address} ({without[0].type}) has no option {name!r}; {hint}")
    changed = {view.address for view in chosen}

    def edit(address: Address, node: Node) -> Node:
        if address not in changed:
            return node
        return node.replace(**_spelled(node, {name: value for name, value in values.items() if _takes(node, name)}))

    return _rebuilt(schema, edit)


def extend(schema: Schema, *selectors_and_fields: Any) -> Schema:
    """Add fields behind the last child of the one array that the selectors mean; without selectors, of the root.

    Args:
        schema: the schema to change; it stays as it is.
        selectors_and_fields: any number of selectors, then one or more nodes.

    Raises:
        SchemaError: no fields, not exactly one array, or a name that the array has already.
    """
    fields = tuple(argument for argument in selectors_and_fields if isinstance(argument, Node))
    selectors = [argument for argument in selectors_and_fields if not isinstance(argument, Node)]
    if not fields:
        raise SchemaError("extend needs at least one field: extend(where(...), Number('x'))")
    if list(selectors_and_fields[: len(selectors)]) != selectors:
        raise SchemaError("extend takes the selectors first, then the fields")
    chosen = _selected(schema, selectors, True, "extend") if selectors else select(schema)[:1]
    if len(chosen) != 1 or not isinstance(chosen[0].node, Array):
        raise SchemaError(f"extend needs exactly one array; selected: {', '.join(view.address for view in chosen)}")
    target = chosen[0].address

    def edit(address: Address, node: Node) -> Node:
        return node.replace(fields=(*node.fields, *fields)) if isinstance(node, Array) and address == target else node

    return _rebuilt(schema, edit)


def delete(schema: Schema, *selectors: Any) -> Schema:
    """Remove nodes, and all that is below them.

    Raises:
        SchemaError: no selector or no such node, the root, or an array that would be left without an active field.
    """
    if not selectors:
        raise SchemaError("delete needs a selector; it would remove everything")
    named = {view.address for view in _selected(schema, selectors, True, "delete")}
    if Address(schema.root.name) in named:
        raise SchemaError(f"the root {schema.root.name!r} cannot be deleted; expected a node below it")
    removed = named | {address for view in select(schema) if view.address in named for address in view.descendants}
    for address in schema.arrays:
        left = [leaf for leaf in schema.active if leaf.startswith(f"{address}/") and leaf not in removed]
        if address not in removed and not left:
            raise SchemaError(
                f"deleting {', '.join(sorted(named))} would leave {address} without an active field. "
                + ("Remedy: delete the array itself" if address.parent else "A schema needs at least one")
            )

    def edit(address: Address, node: Node) -> Node:
        if not isinstance(node, Array):
            return node
        kept = tuple(child for child in node.fields if Address(address, child.name) not in removed)
        masks = tuple(mask.replace(exclude=_still_there(mask, address, removed, schema)) for mask in node.masks)
        return node.replace(fields=kept, masks=masks)

    return _rebuilt(schema, edit)


def _still_there(mask: Mask, array: Address, removed: set[Address], schema: Schema) -> tuple[str, ...]:
    """What a mask excludes, without what is deleted; a name stays as long as a leaf below the array has it."""
    left = [leaf for leaf in schema.leaves if leaf.startswith(f"{array}/") and leaf not in removed]
    return tuple(excluded for excluded in mask.exclude if any(excluded in (leaf, leaf.name) for leaf in left))


def _selected(schema: Schema, selectors: Iterable[Any], include_root: bool, edit: str) -> list[NodeView]:
    selected = select(schema, *selectors, include_root=include_root)
    if not selected:
        raise SchemaError(
            f"{edit}: {', '.join(map(repr, selectors)) or 'the selection'} matches no node. "
            f"Nodes are: {', '.join(f'{address} ({node.type})' for address, node in schema.nodes.items())}"
        )
    return selected


def _takes(node: Node, option: str) -> bool:
    return option in type(node).model_fields or (option == "target" and isinstance(node, Leaf))


def _spelled(node: Node, values: dict[str, Any]) -> dict[str, Any]:
    """``target=`` in the words of the option that it stands for, so that it wins over the present value."""
    if "target" not in values or not isinstance(node, Leaf):
        return values
    target = values.pop("target")
    if "p_prune" in values and (values["p_prune"] == 1.0) != bool(target):
        raise SchemaError(f"{node.name!r}: target={target} and p_prune={values['p_prune']} contradict each other")
    return {"p_prune": 1.0 if target else 0.0, **values}


def _rebuilt(schema: Schema, edit: Callable[[Address, Node], Node]) -> Schema:
    """The schema with ``edit`` applied to every node, an array before its children."""

    def walk(address: Address, node: Node) -> Node:
        node = edit(address, node)
        if not isinstance(node, Array):
            return node
        fields = tuple(walk(Address(address, child.name), child) for child in node.fields)
        same = all(new is old for new, old in zip(fields, node.fields, strict=True))
        return node if same else node.replace(fields=fields)

    root = walk(Address(schema.root.name), schema.root)
    return schema if root is schema.root else schema.replace(root=root)
