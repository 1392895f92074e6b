"""The page on architecture names what is there, and every room; tests lie where their modules lie."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
NAMED = re.findall(r"`((?:json2vec|j2v_dagster)/[\w/]+\.py)(?::(\w+))?`", PAGE)
PACKAGES = ("json2vec", "j2v_dagster")
# Where the tests of a module lie that has no file of its own name, or why there is none.
WITHOUT_A_TEST_OF_THEIR_OWN = {
    "json2vec/address.py": "a text with a few properties; schema/test_schema.py",
    "json2vec/contract/types.py": "every mutation and every harmless change; contract/test_check_*.py",
    "json2vec/data/encoder.py": "a protocol",
    "json2vec/enums.py": "words",
    "json2vec/errors.py": "plain classes; the extras are compared in tests/test_dependencies.py",
    "json2vec/fields/counter.py": "part of the losses; model/test_model.py trains by them",
    "json2vec/fields/heads.py": "part of a network; tests/interface/test_parity.py",
    "json2vec/fields/normalizer.py": "tests/interface/test_points.py, point 4",
    "json2vec/fields/retyped.py": "columns of other types; contract/test_check_*.py",
    "json2vec/fields/tie.py": "a plain class; verify/test_tolerance.py",
    "json2vec/fields/values.py": "what fields write; tests/interface/test_points.py, point 18",
    "json2vec/model/exported.py": "tests/interface/test_golden.py and test_parity.py",
    "json2vec/nn/attention.py": "nn/test_cpu.py compares it with its formulas",
    "json2vec/nn/rotary.py": "nn/test_cpu.py compares it with its formulas",
    "json2vec/nn/tables.py": "fields/test_embed_leaves.py",
    "json2vec/reading/delta.py": "reading/test_tables.py",
    "json2vec/reading/formats/avro_types.py": "every type, in every place; reading/formats/test_avro.py",
    "json2vec/reading/formats/blocks.py": "a number and a sentence",
    "json2vec/reading/formats/feather.py": "reading/formats/test_format_all.py and test_format_claims.py",
    "json2vec/reading/formats/json_integers.py": "reading/formats/test_csv_numbers.py",
    "json2vec/reading/formats/orc.py": "reading/formats/test_format_all.py and test_format_claims.py",
    "json2vec/reading/formats/orc_tail.py": "reading/formats/test_format_claims.py",
    "json2vec/reading/formats/piece.py": "plain classes",
    "json2vec/predict/job.py": "its JSON and digests are pinned in tests/interface/test_pinned.py",
    "json2vec/rank_files/locator.py": "verify/test_coverage.py counts by it",
    "json2vec/ranks.py": "data/test_polars.py and rank_files/test_writer.py set the variables that it reads",
    "json2vec/reading/lasting.py": "every Arrow type; tests/interface/test_lasting_types.py",
    "json2vec/reading/lasting_values.py": "maps, times and texts; tests/interface/test_lasting_types.py",
    "json2vec/reading/row_batch.py": "plain columns; reading/test_readers.py compares all of them",
    "json2vec/reading/source.py": "a name for two types",
    "json2vec/reading/table_version.py": "reading/test_tables.py",
    "json2vec/reading/type_family.py": "contract/test_check_*.py",
    "json2vec/schema/options.py": "schema/test_nodes.py holds what is said of options that cannot be meant",
    "json2vec/storage/contract.py": "tests itself; storage/test_local.py, test_objects.py and tests/s3 run it",
    "json2vec/storage/lock.py": "a protocol and plain errors",
    "json2vec/storage/s3.py": "needs a server; tests/s3/test_store.py",
    "json2vec/storage/store.py": "a protocol",
    "json2vec/verify/second_readers/avro.py": "verify/test_source_check_faults.py",
    "json2vec/verify/second_readers/duck.py": "verify/test_source_check_faults.py",
    "json2vec/verify/second_readers/feather.py": "verify/test_source_check_faults.py",
    "json2vec/verify/second_readers/lines.py": "verify/second_readers/test_csv.py and test_ndjson.py, block by block",
    "json2vec/verify/second_readers/orc.py": "verify/test_source_check_faults.py",
    "json2vec/verify/second_readers/reader.py": "plain classes",
    "j2v_dagster/attempts/locks.py": "needs several processes; tests/faults/test_concurrency.py",
    "j2v_dagster/attempts/sealed.py": "needs a loaded partition; test_pipeline_incremental.py",
    "j2v_dagster/checks.py": "needs predicted partitions; test_pipeline.py meddles with one for every check",
    "j2v_dagster/cli/certificates.py": "cli/test_main.py, json2vec/verify/test_certificate.py and test_explain.py",
    "j2v_dagster/cli/demo.py": "one import; demo/test_run.py",
    "j2v_dagster/cli/verify.py": "cli/test_main.py and cli/test_console.py",
    "j2v_dagster/demo/runs.py": "the whole demo; tests/e2e/test_demo.py",
    "j2v_dagster/launchers/base.py": "a protocol and plain classes",
    "j2v_dagster/launchers/build.py": "a table of kinds; tests/e2e/test_own_kinds.py",
    "j2v_dagster/launchers/contract_rank.py": "a rank for tests; launchers/test_contract.py",
    "j2v_dagster/launchers/environment.py": "launchers/test_contract.py and test_torchrun.py",
    "j2v_dagster/launchers/log_lines.py": "the contract that launchers/test_torchrun.py runs",
    "j2v_dagster/launchers/rank.py": "launchers/test_supervise.py and test_torchrun.py kill its parent",
    "j2v_dagster/steps/contract.py": "demo/test_shards_contract.py and tests/faults/test_contract.py",
    "j2v_dagster/steps/freeze.py": "a step of the whole pipeline; test_pipeline.py",
    "j2v_dagster/steps/lineage.py": "metadata of the whole pipeline; test_pipeline.py",
    "j2v_dagster/steps/load.py": "a step of the whole pipeline; test_pipeline.py",
    "j2v_dagster/steps/pipeline.py": "what all steps share; test_pipeline.py",
    "j2v_dagster/steps/result.py": "metadata of the whole pipeline; test_pipeline.py and test_automation.py",
    "j2v_dagster/steps/verify.py": "a step of the whole pipeline; test_pipeline.py",
    "j2v_dagster/warehouse/base.py": "a protocol and plain classes",
    "j2v_dagster/warehouse/contract_values.py": "values for tests; warehouse/test_contract.py",
    "j2v_dagster/warehouse/names.py": "warehouse/iceberg/test_warehouse.py and the contract of a warehouse",
}
BY_KIND = {"interface", "docs", "fuzz", "s3", "faults", "e2e", "support", "data", "tools"}


def rooms(package: str) -> set[str]:
    return {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_what_the_walk_names_is_there(path: str, name: str) -> None:
    names = {node.name for node in ast.walk(ast.parse((ROOT / path).read_text()))
             if isinstance(node, ast.FunctionDef | ast.ClassDef)}  # fmt: skip
    assert not name or name in names


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_stands_on_the_page(package: str) -> None:
    for room in rooms(package):
        assert f"`{room}/`" in PAGE, room


def test_the_test_of_a_module_is_found_by_its_name() -> None:
    """`tests/PACKAGE/ROOM/test_MODULE.py`, or with more words behind the module's name."""
    for folder in (ROOT / "tests").iterdir():
        if folder.is_dir() and folder.name not in BY_KIND | {"__pycache__"}:
            assert folder.name in PACKAGES, f"tests/{folder.name} is no kind of tests"
    for package in PACKAGES:
        for test in (ROOT / "tests" / package).rglob("test_*.py"):
            room = ROOT / package / test.parent.relative_to(ROOT / "tests" / package)
            modules = {path.stem for path in room.glob("*.py")} | rooms(str(room.relative_to(ROOT)))
            stem = test.stem.removeprefix("test_")
            assert any(stem == one or stem.startswith(f"{one}_") for one in modules), f"{test} is of no module there"


def test_every_module_has_a_test_of_its_name_or_a_reason() -> None:
    without = set()
    for package in PACKAGES:
        for module in (ROOT / package).rglob("[!_]*.py"):
            name = module.relative_to(ROOT)
            tests = [test.stem for test in (ROOT / "tests" / name.parent).glob("test_*.py")]
            if not any(f"{test}_".startswith(f"test_{module.stem}_") for test in tests):
                without.add(name.as_posix())
    assert without == set(WITHOUT_A_TEST_OF_THEIR_OWN)


def test_the_tests_that_a_reason_names_are_there() -> None:
    for module, reason in WITHOUT_A_TEST_OF_THEIR_OWN.items():
        for name in re.findall(r"\btest_[\w*]+\.py", reason):
            assert list((ROOT / "tests").rglob(name)), f"{module}: there is no {name}"
