"""Text fields, with a tiny randomly initialised BERT made on the spot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as lit
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import torch

import json2vec as j2v
from json2vec.address import Address

WORDS = ["good", "bad", "very", "fine", "poor", "shoe"]
REVIEW = Address("record/review")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_bert(tmp_path_factory.mktemp("lm") / "bert", seed=0)


def make_bert(folder: Path, seed: int) -> str:
    import tokenizers
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()  # type: ignore[assignment]
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()  # type: ignore[assignment]
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(  # type: ignore[assignment]
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=10, hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=32,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    return str(folder)


def make(bert: str, *, review: dict[str, Any] | None = None, **options: Any) -> j2v.Model:
    torch.manual_seed(3)
    return j2v.Model.from_schema(
        j2v.Text("review", model_name=bert, local_files_only=True, **{"max_length": 8, **(review or {})}),
        j2v.Category("stars", max_vocab_size=4, target=True),
        **{"d_model": 8, "n_layers": 1, "n_heads": 2, "batch_size": 8, **options},  # type: ignore[arg-type]
    ).eval()


def test_what_is_encoded(bert: str) -> None:
    model = make(bert, review={"max_length": 5})
    rows = [{"review": "Very good"}, {"review": None}, {}, {"review": ""}, {"review": "good bad very fine"},
            {"review": j2v.MASK_LITERAL}]  # fmt: skip
    for given in (rows, pa.RecordBatch.from_pylist([{"review": row.get("review")} for row in rows])):
        field = model.encode(given).fields[REVIEW]
        assert field.state.flatten().tolist() == [0, 1, 1, 0, 0, 3]
        assert field.content["input_ids"].reshape(6, 5).tolist() == [
            [2, 6, 4, 3, 0], [0] * 5, [0] * 5, [2, 3, 0, 0, 0], [2, 4, 5, 6, 3], [0] * 5,
        ]  # fmt: skip
        assert field.content["attention_mask"].reshape(6, 5).sum(1).tolist() == [4, 0, 0, 2, 5, 0]
    for bad in ([{"review": "good"}, {"review": 3}], pa.RecordBatch.from_pydict({"review": [3]})):
        with pytest.raises(j2v.EncodeError, match=r"record/review: expected a text, found int.*row"):
            model.encode(bad)


@pytest.mark.parametrize("pooling", ["cls", "mean", "pooler"])
def test_vectors_are_those_of_the_language_model(bert: str, pooling: str) -> None:
    import transformers

    model = make(bert, review={"encoder_pooling": pooling, "encoder_batch_size": 2})
    texts = ["very good shoe", "bad", "poor poor fine"]
    field = model.encode([{"review": text} for text in texts]).fields[REVIEW]
    content = {key: value.reshape(3, 8) for key, value in field.content.items()}
    found = model.nodes[REVIEW].embedder.vectors(content, torch.ones(3, dtype=torch.bool))  # type: ignore[union-attr, operator]
    language_model = transformers.AutoModel.from_pretrained(bert).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(bert)
    for text, vector in zip(texts, found, strict=True):
        with torch.no_grad():
            output = language_model(**tokenizer(text, return_tensors="pt"))
        expected = {
            "cls": output.last_hidden_state[0, 0], "mean": output.last_hidden_state[0].mean(0),
            "pooler": output.pooler_output[0],
        }[pooling]  # fmt: skip
        assert torch.allclose(vector, expected, atol=1e-5)


def test_the_language_model_is_shared_frozen_and_not_stored(bert: str, tmp_path: Path) -> None:
    from json2vec.fields import text

    model, other = make(bert), make(bert)
    language_model = text._pretrained("AutoModel", model.schema.leaves[REVIEW])  # type: ignore[arg-type]
    assert language_model is text._pretrained("AutoModel", other.schema.leaves[REVIEW])  # type: ignore[arg-type]
    assert not any(parameter.requires_grad for parameter in language_model.parameters())
    names = [name for name in model.state_dict() if name.startswith("nodes.record/review.")]
    stems = {name.removeprefix("nodes.record/review.").rpartition(".")[0] for name in names if ".pool." not in name}
    heads = {"decoder.classification", "decoder.linear"}
    assert stems == heads | {"embedder.embeddings", "embedder.linear.0", "embedder.counter"}
    rows = [{"review": "very good"}, {"review": None}]
    loaded = j2v.Model.load(model.save(tmp_path / "m.ckpt"))
    assert loaded.predict(rows) == model.predict(rows)
    assert loaded.fingerprint() == model.fingerprint()


def test_a_text_reads_the_same_in_any_batch(bert: str) -> None:
    model = make(bert, embed=True)
    rows = [{"review": text} for text in ("good", "very very good shoe fine", None, "", "poor")]
    together = model.predict(rows)[Address("record")]["embedding"]
    alone = [model.predict([row])[Address("record")]["embedding"][0] for row in rows]
    assert np.allclose(together, alone, atol=1e-5)


def test_state_and_vector_are_written(bert: str) -> None:
    model = make(bert)
    predictions = model.infer(model.encode([{"review": "good"}, {}]), reconstruct=["review"]).columns()
    assert predictions.type == model.output_type(["review"])
    assert predictions.type.field("record/review").type.field("content").type == pa.list_(pa.float32())
    payload = model.predict([{"review": "good"}], reconstruct=["review"])[REVIEW]
    assert len(payload["content"][0]) == 12
    assert sum(payload["state"][name][0] for name in payload["state"]) == pytest.approx(1)


@pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.* is deprecated",  # Lightning about torch
    "ignore:Total length of `list` across ranks is zero",  # fitting without a validate split
)
def test_it_trains(bert: str) -> None:
    # A step this small learns the task from every seed and on every processor; ten times as large, luck decides.
    model = make(
        bert, review={"p_mask": 0.1, "encoder_pooling": "mean"}, optimizer=j2v.helpers.optimizers.adamw(3e-3)
    )  # fmt: skip
    rows = [{"review": "very good shoe", "stars": "5"}, {"review": "bad shoe", "stars": "1"}] * 16
    quiet: dict[str, Any] = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "max_epochs": 60,
                             "enable_progress_bar": False, "enable_model_summary": False}  # fmt: skip
    trainer = lit.Trainer(**quiet)
    trainer.fit(model, j2v.PolarsDataModule(model=model, train=pl.DataFrame(rows)))
    assert torch.isfinite(trainer.callback_metrics["record:review/train:loss:content"])
    assert model.predict(rows[:2])[Address("record/stars")]["content"]["value"] == ["5", "1"]


def test_another_language_model_of_the_same_name_is_noticed(bert: str, tmp_path: Path) -> None:
    from json2vec.fields import text

    folder = tmp_path / "lm"
    path = make(make_bert(folder, seed=1)).save(tmp_path / "m.ckpt")
    make_bert(folder, seed=2)
    text._load.cache_clear()
    text._digest.cache_clear()
    with pytest.raises(j2v.CheckpointError, match=r"record/review: .*another language model"):
        j2v.Model.load(path)


def test_what_cannot_be_loaded_is_explained(tmp_path: Path) -> None:
    with pytest.raises(j2v.SchemaError, match=r"language model .*none.* cannot be loaded as AutoConfig"):
        make(str(tmp_path / "none"))


def test_without_transformers_the_remedy_is_named() -> None:
    code = """
import sys
import json2vec as j2v
j2v.Model
sys.modules["transformers"] = None
schema = j2v.Schema.from_schema(j2v.Text("t", model_name="x"), d_model=8, n_layers=1, n_heads=2)
try:
    j2v.Model(schema)
except j2v.SchemaError as exc:
    print(exc)
"""
    root = Path(j2v.__file__).parents[1]
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert "pip install 'json2vec-dagster[text]'" in result.stdout
