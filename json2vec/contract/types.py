"""Arrow types in the words of the contract, and whether a field reads one as it read the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from json2vec.reading.type_family import family
from json2vec.schema.nodes import Leaf

if TYPE_CHECKING:
    from json2vec.fields.retyped import Verdict


def spell(arrow_type: Any, *, width: int = 120) -> str:
    """A type in the words of producers: ``list of object {price: double}``.

    Args:
        arrow_type: the type.
        width: characters of an object's fields after which they are cut off.
    """
    name = family(arrow_type)
    if name == "string":
        return name
    if name == "list":
        size = f" of {arrow_type.list_size}" if pa.types.is_fixed_size_list(arrow_type) else ""
        return f"list{size} of {spell(arrow_type.value_type, width=width)}"
    if name == "map":
        return f"map of {spell(arrow_type.key_type)} to {spell(arrow_type.item_type, width=width)}"
    if name == "object":
        text = ", ".join(f"{child.name}: {spell(child.type, width=width)}" for child in arrow_type)
        return f"object {{{text if len(text) <= width else text[: width - 3] + '...'}}}"
    return "null (every value is missing)" if name == "null" else str(arrow_type)


def judge(leaf: Leaf | None, expected: pa.DataType, found: pa.DataType, *, inferred: bool) -> Verdict:
    """Whether a leaf reads ``found`` as it read ``expected``; its field type decides.

    Args:
        leaf: the leaf that reads the column; None judges a column that some code reads, not a field.
        expected: the plain type of the column in training.
        found: the plain type of the column in the new shards.
        inferred: whether one of the types was inferred from values, as in NDJSON, and may differ from day to day.
    """
    # Field types need torch, and this module is imported where only schemas are compared.
    from json2vec.fields.registry import field_type
    from json2vec.fields.retyped import any_type

    verdict = (any_type if leaf is None else field_type(leaf).retyped)(leaf, expected, found)
    return ("info", verdict[1]) if verdict and verdict[0] == "warning" and inferred else verdict
