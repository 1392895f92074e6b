"""Leaves that are embedded together get the tokens that each embedder alone gives them."""

from __future__ import annotations

import pytest
import torch

import json2vec as j2v
from json2vec.fields import embed_leaves
from json2vec.fields.number import NumberEmbedder


def make_model() -> j2v.Model:
    torch.manual_seed(3)
    model = j2v.Model.from_schema(
        *(j2v.Number(f"n{k}") for k in range(4)), j2v.Number("coarse", n_bands=2, offset=1),
        *(j2v.Category(f"c{k}", max_vocab_size=5) for k in range(3)), j2v.Category("wide", max_vocab_size=9),
        j2v.Array(*(j2v.Number(f"i{k}") for k in range(2)), name="items", max_length=3),
        j2v.Category("y", max_vocab_size=5, target=True), d_model=8, n_layers=1, n_heads=2, embed=True,
    )  # fmt: skip
    model.learn([{f"c{k}": label for k in range(3)} | {"wide": label} for label in ("a", "b")])
    for address, node in model.nodes.items():
        if isinstance(embedder := getattr(node, "embedder", None), NumberEmbedder):
            embedder.normalizer.update(torch.randn(20) * (1 + len(address)))
    return model.eval()


def make_rows(count: int) -> list[dict]:
    values = [0.5, None, float("inf"), -1e30, 3, "<MASK>"]
    labels = ["a", "b", None, "unheard of", "<MASK>"]
    return [
        {f"n{k}": values[(n + k) % 6] for k in range(4)} | {f"c{k}": labels[(n * k) % 5] for k in range(3)}
        | {"coarse": n, "wide": labels[n % 3], "items": [{"i0": n, "i1": values[n % 5]}] * (n % 4)}
        for n in range(count)
    ]  # fmt: skip


def encode(model: j2v.Model, count: int) -> j2v.Batch:
    return model.encode(make_rows(count), strata="predict")


def tokens_one_by_one(model: j2v.Model, batch: j2v.Batch, monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.setattr(embed_leaves, "SMALL", 0)
    found = tokens_of(model, batch)
    monkeypatch.undo()
    return found


def tokens_of(model: j2v.Model, batch: j2v.Batch) -> dict:
    embedders = {at: model.nodes[at].embedder for at in model.schema.inputs}
    return embed_leaves.embed_leaves(embedders, batch.fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 30])
def test_together_as_alone(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    batch = encode(model, count)
    with torch.no_grad():
        together, alone = tokens_of(model, batch), tokens_one_by_one(model, batch, monkeypatch)
    assert together.keys() == alone.keys() == model.schema.inputs.keys()
    for address, expected in alone.items():
        assert together[address].shape == expected.shape
        assert torch.allclose(together[address], expected, atol=1e-6), address


def test_only_alike_ones_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = make_model(), []
    together = NumberEmbedder.embed_together
    monkeypatch.setattr(NumberEmbedder, "embed_together", staticmethod(
        lambda embedders, *rest: calls.append(len(embedders)) or together(embedders, *rest)))  # fmt: skip
    batch = encode(model, 6)
    with torch.no_grad():
        tokens_of(model, batch)
    assert calls == [4, 2]  # the root's numbers and the items'; the one with other frequencies goes alone


def test_training_embeds_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NumberEmbedder, "embed_together", None)
    model = make_model()
    tokens_of(model, encode(model, 6))  # with gradients
    with torch.no_grad():
        tokens_of(model.train(), encode(model, 6))


def test_a_subclass_with_a_forward_of_its_own_is_asked_itself() -> None:
    class Louder(NumberEmbedder):
        def forward(self, state: torch.Tensor, content: dict) -> torch.Tensor:
            return super().forward(state, content) + 1

    model = make_model()
    batch = encode(model, 6)
    with torch.no_grad():
        before = tokens_of(model, batch)
        for k in range(4):
            model.nodes[f"record/n{k}"].embedder.__class__ = Louder  # type: ignore[union-attr]
        after = tokens_of(model, batch)
    assert torch.allclose(after["record/n2"], before["record/n2"] + 1, atol=1e-6)


@pytest.mark.parametrize("name", ["n1", "c1"])
def test_what_was_added_to_an_embedder_counts(name: str) -> None:
    """A forward hook, and an adapter in the place of a layer, as libraries for fine-tuning put them there."""

    class Adapter(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + 1

    class Table(torch.nn.Embedding):
        def forward(self, index: torch.Tensor) -> torch.Tensor:
            return super().forward(index) + 1

    model, address = make_model(), j2v.Address("record", name)
    batch, embedder = encode(model, 30), model.nodes[address].embedder
    with torch.no_grad():
        before = tokens_of(model, batch)
        hook = embedder.register_forward_hook(lambda module, inputs, output: output + 1)
        assert torch.allclose(tokens_of(model, batch)[address], before[address] + 1)
        hook.remove()
        assert torch.equal(tokens_of(model, batch)[address], before[address])
        if name == "n1":
            adapter = Adapter(embedder.linear.in_features, embedder.linear.out_features)
            adapter.load_state_dict(embedder.linear.state_dict())
            embedder.linear = adapter
        else:
            table = Table(embedder.capacity, 8)
            table.load_state_dict(embedder.embeddings["content"].state_dict())
            embedder.embeddings["content"] = table
        assert not torch.allclose(tokens_of(model, batch)[address], before[address])


def test_large_tables_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    batch = encode(model, 3)
    monkeypatch.setattr("json2vec.fields.category.look_up", lambda tables, index: pytest.fail("copied"))
    with torch.no_grad():
        with pytest.raises(pytest.fail.Exception, match="copied"):
            tokens_of(model, batch)
        monkeypatch.setattr("json2vec.fields.category.SMALL_TABLE", 8)
        tokens_of(model, batch)
