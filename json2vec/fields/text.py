"""Text: a vector that a frozen Hugging Face language model makes of a text.

The language model is shared by all fields of a process and is no part of the checkpoint. Needs the extra ``text``.

Legend: B sequences, L slots, N rows, P slots of a row, T max_length, C d_model, H hidden size of the language model,
V texts that are there.
"""

from __future__ import annotations

import functools
import hashlib
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute
import torch
from pydantic import Field
from torch import nn

from json2vec.batch import FieldBatch
from json2vec.columns import LeafColumn
from json2vec.enums import Tokens
from json2vec.errors import EncodeError, SchemaError, missing_extra
from json2vec.fields.counter import Counter, accuracy, masked_mean, state_loss
from json2vec.fields.recognition import Evidence, Fit, InferenceConfig, Proposal
from json2vec.fields.registry import Arrays, FieldType, Shape, Tensors, register
from json2vec.fields.values import scatter, state_array, state_type, uniform, uniform_type
from json2vec.fields.vocabulary import Vocabulary
from json2vec.reading.type_family import family
from json2vec.schema.nodes import Leaf

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them


class Text(Leaf):
    """Options of a Text field.

    Args:
        model_name: name on the Hugging Face hub, or a folder.
        max_length: tokens of a text; longer ones are cut.
        encoder_batch_size: texts that the language model reads at once.
        encoder_pooling: what stands for a text: its first token (``cls``), the ``mean`` over its tokens, or the
            language model's ``pooler``.
        objective: loss of the vector: squared (``l2``) or absolute (``l1``) difference.
        revision: branch, tag or commit on the hub; None takes the default branch.
        local_files_only: never ask the hub.
    """

    type: Literal["text"] = "text"
    model_name: str = Field(min_length=1)
    max_length: int = Field(128, gt=0)
    encoder_batch_size: int = Field(32, gt=0)
    encoder_pooling: Literal["cls", "mean", "pooler"] = "cls"
    objective: Literal["l1", "l2"] = "l2"
    revision: str | None = None
    local_files_only: bool = False


def _transformers() -> Any:
    if missing := missing_extra("text", "a Text field"):
        raise SchemaError(missing)
    import transformers

    return transformers


def _pretrained(auto_class: str, leaf: Text) -> Any:
    return _load(auto_class, leaf.model_name, leaf.revision, leaf.local_files_only)


@functools.cache
def _load(auto_class: str, name: str, revision: str | None, local_files_only: bool) -> Any:
    """A tokenizer, configuration or frozen language model, loaded once in a process."""
    factory = getattr(_transformers(), auto_class)
    try:
        # Never code from the hub.
        pretrained = factory.from_pretrained(
            name, revision=revision, local_files_only=local_files_only, trust_remote_code=False
        )
    except (OSError, ValueError) as exc:
        raise SchemaError(
            f"language model {name!r} (revision {revision!r}) cannot be loaded as {auto_class}: "
            f"{(str(exc).strip() or type(exc).__name__).splitlines()[0]}"
        ) from exc
    return pretrained.eval().float().requires_grad_(False) if isinstance(pretrained, nn.Module) else pretrained


@functools.cache
def _digest(name: str, revision: str | None, local_files_only: bool) -> str:
    """SHA-256 (hex) over the names, types, shapes and values of the language model's tensors."""
    digest = hashlib.sha256()
    for key, tensor in sorted(_load("AutoModel", name, revision, local_files_only).state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{key} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def hidden_size(leaf: Text) -> int:
    """H, from the language model's configuration."""
    return int(_pretrained("AutoConfig", leaf).hidden_size)


def encode(column: LeafColumn, leaf: Text, vocabulary: Vocabulary) -> Arrays:
    """int64 (slots, T): token ids and attention mask, cut and padded to T tokens."""
    values = column.values
    if len(values) == 0:
        return empty(leaf, column.state)
    tokens = _pretrained("AutoTokenizer", leaf)(
        _texts(values), padding="max_length", truncation=True, max_length=leaf.max_length, return_tensors="np"
    )
    return {key: scatter(column, tokens[key].astype(np.int64)) for key in ("input_ids", "attention_mask")}


def _texts(values: Any) -> list[str]:
    if isinstance(values, pa.Array):
        arrow_type = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
        if not (
            pa.types.is_string(arrow_type)
            or pa.types.is_large_string(arrow_type)
            or pa.types.is_string_view(arrow_type)
        ):
            raise EncodeError(f"expected a text, found {arrow_type}", item=0)
        return values.to_pylist()
    for item, value in enumerate(values):
        if not isinstance(value, str):
            raise EncodeError(f"expected a text, found {type(value).__name__} {value!r:.80}", item=item)
    return values


def empty(leaf: Text, state: np.ndarray) -> Arrays:
    return {key: np.zeros((*state.shape, leaf.max_length), np.int64) for key in ("input_ids", "attention_mask")}


class TextEmbedder(nn.Module):
    """S[state] + v GELU(Lin(h)), h the language model's vector of the text."""

    def __init__(self, leaf: Text, shape: Shape) -> None:
        super().__init__()
        self.leaf = leaf
        self.hidden = hidden_size(leaf)
        self.embeddings = nn.Embedding(len(Tokens), shape.d_model)
        self.linear = nn.Sequential(nn.Linear(self.hidden, shape.d_model), nn.GELU())
        self.counter = Counter(len(Tokens))

    def outside(self) -> str:
        """Digest of the language model, whose weights are no part of a checkpoint."""
        return _digest(self.leaf.model_name, self.leaf.revision, self.leaf.local_files_only)

    def observe(self, field: FieldBatch, target: bool) -> None:
        """Take in the states of one training batch."""
        self.counter.update(field.original_state)

    @torch.no_grad()
    def vectors(self, content: Tensors, there: torch.Tensor) -> torch.Tensor:
        """h (*there.shape, H) of the texts that are ``there`` (bool); zeros elsewhere."""
        ids_VT, mask_VT = content["input_ids"][there], content["attention_mask"][there]
        h = torch.zeros(*there.shape, self.hidden, device=there.device)
        if len(ids_VT):
            size = self.leaf.encoder_batch_size
            parts = zip(ids_VT.split(size), mask_VT.split(size), strict=True)
            h[there] = torch.cat([self._read(ids, mask) for ids, mask in parts])
        return h

    def _read(self, ids_VT: torch.Tensor, mask_VT: torch.Tensor) -> torch.Tensor:
        # It is no submodule, so that it stays out of state_dict; it follows the tensors to their device.
        language_model = _pretrained("AutoModel", self.leaf).to(ids_VT.device)
        # A text without any token reads as one token of padding; attention to nothing at all would give NaN.
        mask_VT = torch.cat([mask_VT[:, :1] | (mask_VT.sum(1, keepdim=True) == 0), mask_VT[:, 1:]], dim=1)
        # Tokenizers pad on one side: cut off the columns that are padding in every row.
        columns = mask_VT.any(0)
        ids_VT, mask_VT = ids_VT[:, columns], mask_VT[:, columns]
        output = language_model(input_ids=ids_VT, attention_mask=mask_VT)
        if self.leaf.encoder_pooling == "mean":
            weights = mask_VT.unsqueeze(-1).float()
            return (output.last_hidden_state * weights).sum(1) / weights.sum(1).clamp(min=1)
        if self.leaf.encoder_pooling == "pooler":
            pooled = getattr(output, "pooler_output", None)
            if pooled is None:
                raise SchemaError(
                    f"language model {self.leaf.model_name!r} has no pooler. Remedy: encoder_pooling='cls' or 'mean'"
                )
            return pooled
        # The first token is not in the first column where the tokenizer pads on the left.
        rows = torch.arange(len(ids_VT), device=ids_VT.device)
        return output.last_hidden_state[rows, mask_VT.argmax(1)]

    def forward(self, state: torch.Tensor, content: Tensors) -> torch.Tensor:
        valued = state == Tokens.valued
        return self.embeddings(state) + valued.unsqueeze(-1) * self.linear(self.vectors(content, valued))


class TextHeads(nn.Module):
    """One Lin for the state, one for the language model's vector."""

    def __init__(self, leaf: Text, shape: Shape) -> None:
        super().__init__()
        self.classification = nn.Linear(shape.d_model, len(Tokens))
        self.linear = nn.Linear(shape.d_model, hidden_size(leaf))

    def forward(self, pooled: torch.Tensor) -> Tensors:
        return {"state": self.classification(pooled), "value": self.linear(pooled)}


def loss(
    outputs: Tensors, field: FieldBatch, leaf: Text, embedder: TextEmbedder, selected: torch.Tensor
) -> tuple[torch.Tensor, Tensors]:
    """Weighted cross entropy of the state, plus the objective against the language model's vector."""
    states = field.original_state.view_as(selected)
    valued = selected & (states == Tokens.valued)
    content = {key: value.reshape(*selected.shape, leaf.max_length) for key, value in field.original_content.items()}
    difference = outputs["value"] - embedder.vectors(content, valued)
    absolute, squared = difference.abs().mean(-1), difference.square().mean(-1)
    of_content = masked_mean(squared if leaf.objective == "l2" else absolute, valued)
    state = state_loss(outputs["state"], states, selected, embedder.counter.weights())
    metrics = {
        "loss:state": state,
        "loss:content": of_content,
        "accuracy:state": accuracy(outputs["state"], states, selected),
        "mae:content": masked_mean(absolute, valued),
        "rmse:content": masked_mean(squared, valued).sqrt(),
    }
    return state + of_content, metrics


def emit(outputs: Tensors, leaf: Text, vocabulary: Vocabulary, embedder: TextEmbedder) -> Tensors:
    """The vector, zeroed where the most likely state is not valued."""
    valued = outputs["state"].argmax(-1, keepdim=True) == Tokens.valued
    return {"state": outputs["state"].softmax(-1), "value": outputs["value"] * valued}


def write(emitted: Arrays, leaf: Text, vocabulary: Vocabulary) -> dict[str, pa.Array]:
    return {"state": state_array(emitted["state"]), "content": uniform(emitted["value"], emitted["value"].shape)}


def output_type(leaf: Text, slots: int, vocabulary: Vocabulary) -> dict[str, pa.DataType]:
    return {"state": state_type(slots), "content": uniform_type(pa.float32(), (slots, hidden_size(leaf)))}


def recognise(column: Evidence, config: InferenceConfig) -> Proposal | None:
    """Texts of several words that are mostly different, where the user asked for such fields."""
    if not config.infer_text or family(column.type) != "string":
        return None
    texts = pc.utf8_trim_whitespace(column.values)
    words = pc.mean(pc.list_value_length(pc.utf8_split_whitespace(texts))).as_py()
    share = column.distinct / len(column.values)
    if words < config.text_min_avg_tokens or share < config.text_min_cardinality_ratio:
        return None
    return Proposal(Fit.likely, f"{words:.1f} words, {share:.0%} different", {"model_name": config.text_model_name})


register(
    FieldType(
        name="text", options=Text, encode=encode, empty=empty, embedder=TextEmbedder, decoder=TextHeads,
        loss=loss, emit=emit, write=write, output_type=output_type, recognise=recognise,
        encodes_cheaply=False,  # it would load the language model
    )
)  # fmt: skip
