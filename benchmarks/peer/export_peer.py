"""Export a checkpoint of PyPI json2vec (0.4.9 to 0.4.11) as plain data that our `json2vec.Model.from_exported` reads.

1. Copy this file to where PyPI json2vec is installed. It needs nothing else of this project, only `safetensors`
   (`pip install safetensors`).
2. There, export the checkpoint, one of `model.save(...)` or of Lightning:

       python export_peer.py CHECKPOINT FOLDER

3. Copy the folder to where our json2vec is installed, and load it:

       model = json2vec.Model.from_exported("FOLDER")
       model.save("model.ckpt")

The folder, which is made if need be, gets schema.json (the schema tree, in the names of 0.4.11), weights.safetensors
(the state dict) and vocabularies.json (the labels of Category and Set fields, in order). Nothing in it runs code when
it is read; PyPI json2vec, though, unpickles the checkpoint, so export only checkpoints that you trust.
"""

from __future__ import annotations

import argparse
import json
from importlib import metadata
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


def export_checkpoint(checkpoint: str | Path, folder: str | Path) -> Path:
    """Load a checkpoint with the peer and write its three files into `folder`."""
    import json2vec

    return export_model(json2vec.Model.load(Path(checkpoint)), folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="a checkpoint of PyPI json2vec")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="where to write schema, weights and vocabularies")
    arguments = parser.parse_args()
    if not arguments.checkpoint.is_file():
        parser.error(f"{arguments.checkpoint} is no file; expected a checkpoint of PyPI json2vec")
    try:
        version = metadata.version("json2vec")
    except metadata.PackageNotFoundError:
        parser.error("PyPI json2vec is not installed here. Remedy: run this where the model was trained")
    folder = export_checkpoint(arguments.checkpoint, arguments.folder)
    print(f"exported {arguments.checkpoint} (json2vec {version}) to {folder}: {', '.join(FILES)}")


if __name__ == "__main__":
    main()
