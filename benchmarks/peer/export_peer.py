"""Export a checkpoint of PyPI json2vec (0.4.9 to 0.4.11) as plain data that `json2vec.Model.from_exported` reads.

Runs where the peer is installed:

    python export_peer.py model.ckpt exported/

Writes schema.json (the schema tree, in the names of 0.4.11), weights.safetensors (the state dict) and vocabularies.json
(the ordered vocabularies). Nothing in the folder runs code when it is read.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

# 0.4.10 renamed these, in a node's `type` and in its options.
RENAMED_TYPES = {"array": "branch"}
RENAMED_OPTIONS = {"max_length": "length", "max_vocab_size": "size", "capacity": "size"}
FILES = ("schema.json", "weights.safetensors", "vocabularies.json")


def rename(node: Any) -> Any:
    """A schema tree in the names of 0.4.11, whichever version it came from."""
    if isinstance(node, list):
        return [rename(item) for item in node]
    if not isinstance(node, dict):
        return node
    is_text = node.get("type") == "text"  # the one leaf whose own option is called max_length
    renamed = {key if is_text else RENAMED_OPTIONS.get(key, key): rename(value) for key, value in node.items()}
    if renamed.get("type") in RENAMED_TYPES:
        renamed["type"] = RENAMED_TYPES[renamed["type"]]
    return renamed


def export_model(model: Any, folder: str | Path) -> Path:
    """Write the three files of a loaded peer `model` into `folder`, which is made if need be.

    Raises:
        TypeError: an entry of the state dict is neither a tensor nor a list of labels.
    """
    import torch
    from safetensors.torch import save_file

    weights: dict[str, Any] = {}
    vocabularies: dict[str, list[Any]] = {}
    for name, value in model.state_dict().items():
        if isinstance(value, torch.Tensor):
            # safetensors refuses tensors that share memory or have gaps.
            weights[name] = value.detach().cpu().contiguous().clone()
        elif isinstance(value, (list, tuple)):
            vocabularies[name] = list(value)
        else:
            raise TypeError(
                f"{name}: expected a tensor or a vocabulary (list) in the state dict, got {type(value).__name__}; "
                "this exporter knows json2vec 0.4.9 to 0.4.11"
            )
    # In 0.4.9 the schema object is `hyperparameters`, and `schema` is an editor.
    schema = (getattr(model, "hyperparameters", None) or model.schema).model_dump(mode="json")
    tree = rename({key: schema[key] for key in ("n_heads", "d_model", "fields")})
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    (target / "schema.json").write_text(json.dumps(tree, indent=1) + "\n")
    (target / "vocabularies.json").write_text(json.dumps(vocabularies, indent=1) + "\n")
    save_file(weights, target / "weights.safetensors")
    return target


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit("usage: python export_peer.py CHECKPOINT FOLDER")
    import json2vec

    folder = export_model(json2vec.Model.load(sys.argv[1]), sys.argv[2])
    print(f"exported {sys.argv[1]} to {folder}: {', '.join(FILES)}")


if __name__ == "__main__":
    main()
