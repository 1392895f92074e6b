"""The pages about fields and schemas: their tables hold every option with its default, and their examples run."""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
import torch

import json2vec as j2v
import json2vec.fields
from json2vec.fields.registry import FIELD_TYPES
from json2vec.helpers import InferenceConfig

DOCS = Path(j2v.__file__).parents[1] / "docs"
OWN = {name for name, kind in FIELD_TYPES.items() if kind.options.__module__.startswith("json2vec.")}
"""The field types that come with the package: `json2vec.fields` registers them."""
TABLE = "| option | default | unit or values | meaning |"


def options(page: str, heading: str | None = None) -> dict[str, str]:
    """Option -> default, from the first option table of a page, or the first one after a heading."""
    text = (DOCS / page).read_text()
    if heading is not None:
        assert heading in text, f"{page} has no heading {heading!r}"
        text = text[text.index(heading) :]
    lines = text[text.index(TABLE) :].splitlines()[2:]
    found = {}
    for line in lines:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        assert len(cells) == 4, f"{page}: {line}"
        assert cells[3], f"{page}: {line} says nothing"
        found[cells[0].strip("`")] = cells[1].strip("`")
    return found


def defaults(model: Any, without: Any = None) -> dict[str, str]:
    """Option -> default as the pages spell it, from a pydantic model."""
    found = {}
    for name, field in model.model_fields.items():
        if without is not None and name in without.model_fields:
            continue
        default = field.get_default()
        text = "required" if field.is_required() else repr(str(default) if isinstance(default, StrEnum) else default)
        found[name] = "set by the class" if name == "type" else text.replace("'", '"')
    return found


def test_every_field_type_has_a_page() -> None:
    assert {"number", "category", "set", "dateparts", "entity", "vector", "text"} <= OWN
    pages = {path.name for path in (DOCS / "fields").glob("*.md")}
    for name in OWN:
        assert f"{name}.md" in pages, f"field type {name!r} has no page: write docs/fields/{name}.md"
        named = f"({name}.md)" in (DOCS / "fields/README.md").read_text()
        assert named, f"docs/fields/README.md does not name {name}.md: add a row to its table"
    assert pages == {f"{name}.md" for name in OWN} | {"README.md"}


@pytest.mark.parametrize("name", sorted(OWN))
def test_a_page_holds_every_option_with_its_default(name: str) -> None:
    assert options(f"fields/{name}.md") == defaults(FIELD_TYPES[name].options, j2v.Leaf)


def test_the_common_options() -> None:
    assert options("fields/README.md") == {**defaults(j2v.Leaf), "type": "set by the class", "target": "False"}


def test_arrays_masks_and_inference() -> None:
    assert options("schemas.md", "### Options of Array") == defaults(j2v.Array)
    assert options("schemas.md", "### Options of Mask") == defaults(j2v.Mask)
    inference = options("schemas.md", "## Let it be proposed")
    assert {name: value.replace("_", "") for name, value in inference.items()} == {
        name: value.replace("_", "") for name, value in defaults(InferenceConfig).items()
    }


@pytest.mark.parametrize("name", sorted(OWN))
def test_a_page_says_what_is_encoded_and_written(name: str) -> None:
    text = (DOCS / f"fields/{name}.md").read_text()
    for heading in ("## What is encoded", "## What is written", "## Example"):
        assert heading in text


def tiny_bert(folder: Path) -> None:
    import tokenizers
    import transformers

    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "very", "good"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()  # type: ignore[assignment]
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=6, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=128,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)


PAGES = [*(f"fields/{name}.md" for name in sorted(OWN)), "schemas.md", "migrating.md"]


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_run(
    page: str, tmp_path: Path, golden: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if page == "fields/text.md":
        tiny_bert(tmp_path / "tiny-bert")
    if page == "migrating.md":
        os.symlink(golden, tmp_path / "exported")
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert blocks
    torch.manual_seed(0)
    for block in blocks:
        exec(compile(block, page, "exec"), {})
    if page != "migrating.md":
        assert capsys.readouterr().out


def test_the_examples_print_what_the_pages_promise(capsys: pytest.CaptureFixture[str]) -> None:
    block = re.search(r"```python\n(.*?)```", (DOCS / "fields/entity.md").read_text(), re.DOTALL)
    assert block is not None
    exec(compile(block[1], "entity.md", "exec"), {})
    assert capsys.readouterr().out.startswith("tensor([0, 1, 0, 0])")


@pytest.mark.parametrize("page", [*PAGES, "fields/README.md", "custom-field-types.md"])
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", (DOCS / page).read_text()):
        if not target.startswith("http"):
            assert ((DOCS / page).parent / target).exists(), f"{page} links to {target}, which is not there"


def test_the_table_of_names_tells_the_truth() -> None:
    text = (DOCS / "migrating.md").read_text()
    table = text[text.index("| PyPI json2vec | here |") : text.index("## What behaves differently")]
    for line in table.splitlines()[2:]:
        if not line.startswith("|"):
            continue
        for name in re.findall(r"`([A-Z]\w+)`", line.split("|")[2]):
            assert hasattr(j2v, name), f"{name} is named in migrating.md and is not there"
