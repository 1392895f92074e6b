"""What stays when modules move: digests, hashes and documents that stand in files, names that others have written down.

Every expected value is a literal: one that changes makes earlier attempts, rank files or projects useless.
Where a module moves, only an import here may change. That the frozen folder of format version 1 still reads and
verifies is tested in ``tests/interface/test_format_1.py``; here its documents give the same digests and bytes.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import re
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import j2v_dagster
import json2vec as j2v
from json2vec.enums import Suffix
from json2vec.rank_files.manifest import Manifest, Marker
from json2vec.reading.options import read_options
from json2vec.reading.plan import Plan
from json2vec.reading.row_hash import ROW_HASH, row_hash
from json2vec.reading.snapshot import FILES_SCHEMA, Snapshot
from json2vec.verify.certificate import Certificate, Proof

ROOT = Path(j2v.__file__).parents[1]
FROZEN = Path(__file__).parents[1] / "data" / "format-1"


def run(*arguments: str, cwd: Path = ROOT, path: str = str(ROOT), text: str = "") -> subprocess.CompletedProcess[str]:
    """A fresh interpreter, with wide lines for what it prints of usage."""
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=environment, input=text, check=False
    )


# -- jobs --------------------------------------------------------------------------------------------------------------

PLAIN: dict[str, Any] = {
    "attempt": "20261123T120000Z-00000001",
    "checkpoint": "model.ckpt",
    "checkpoint_sha256": "0123456789abcdef" * 4,
    "output": "predictions",
    "snapshot": {"root": "inputs"},
    "intervals": [(0, 14)],
    "world_size": 1,
}
NOT_IN_THE_DIGEST: dict[str, Any] = {
    "attempt": "20261124T120000Z-00000002",
    "checkpoint": "s3://bucket/model.ckpt",
    "output": "s3://bucket/predictions",
    "snapshot": {"root": "s3://bucket/inputs", "suffix": "parquet"},
    "intervals": [(0, 4), (7, 14)],
    "world_size": 2,
    "storage_options": {"endpoint_url": "http://localhost:8333"},
    "scratch": "scratch",
    "batch_size": 32,
    "threads": 2,
    "segment_rows": 1000,
    "flush_every_n_batches": 8,
    "on_bad_row": "quarantine",
    "max_rejected": 7,
    "missing_columns": "allow",
    "reuse": "s3://bucket/earlier",
}
IN_THE_DIGEST: dict[str, Any] = {
    "checkpoint_sha256": "fedcba9876543210" * 4,
    "accelerator": "gpu",
    "precision": "bf16-mixed",
    "preprocessor": "pinned_package.functions:before",
    "postprocessor": "pinned_module:after",
    "trusted_modules": ["pinned_package.functions", "pinned_module", "pinned_nowhere"],
    "inputs": ["id", "ü"],
    "reconstruct": ["record/label"],
}
EVERYTHING = {**PLAIN, **NOT_IN_THE_DIGEST, **IN_THE_DIGEST}

# Versions of Python and of libraries, and the code of trusted modules, are part of the digest. So that the literals
# hold everywhere, the versions are made up before anything is imported, in a process of its own, and the modules are
# files of this test.
DIGESTS = """
import importlib.metadata, json, platform, sys
real = importlib.metadata.version
MADE_UP = {"json2vec-dagster": "1.0", "lightning": "2.0", "numpy": "3.0", "polars": "4.0", "pyarrow": "5.0",
           "torch": "6.0"}
importlib.metadata.version = lambda name: MADE_UP[name] if name in MADE_UP else real(name)
platform.python_version = lambda: "3.12.0"
from json2vec.predict.job import PredictJob, job_settings_digest
print(json.dumps([job_settings_digest(PredictJob(**job)) for job in json.load(sys.stdin)]))
"""


def settings_digests(folder: Path, *jobs: dict[str, Any]) -> list[str]:
    """Settings digests of jobs whose modules lie in ``folder``."""
    path = os.pathsep.join([str(ROOT), str(folder)])
    result = run("-c", DIGESTS, cwd=folder, path=path, text=json.dumps(jobs))
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_the_settings_digest_of_a_job_stays(tmp_path: Path) -> None:
    """Another one, and no earlier attempt is resumed or reused."""
    (tmp_path / "pinned_package").mkdir()
    (tmp_path / "pinned_package" / "__init__.py").write_bytes(b"")
    (tmp_path / "pinned_package" / "functions.py").write_bytes(b"def before(row):\n    return row\n")
    (tmp_path / "pinned_module.py").write_bytes(b"def after(predictions):\n    return predictions\n")
    plain, same, everything = settings_digests(tmp_path, PLAIN, {**PLAIN, **NOT_IN_THE_DIGEST}, EVERYTHING)
    assert plain == "939a3346b30b33946e73c05937f5d4a9d355e30db7612d62caccc086fb5e69db"
    assert same == plain
    assert everything == "020be7bdef895202fea59a21c86098459701179728bbb32728543d7ab80a0446"


def test_every_option_of_a_job_is_set() -> None:
    """The jobs above leave no option out; a new one has to say whether it enters the digest."""
    assert set(EVERYTHING) | {"format"} == set(j2v.PredictJob.model_fields)
    for name, field in j2v.PredictJob.model_fields.items():
        assert name == "format" or field.is_required() or EVERYTHING[name] != field.get_default()


PLAIN_JSON = (
    '{"format":1,"attempt":"20261123T120000Z-00000001","checkpoint":"model.ckpt",'
    '"checkpoint_sha256":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","output":"predictions",'
    '"snapshot":{"root":"inputs"},"intervals":[[0,14]],"world_size":1,"storage_options":{},"scratch":null,'
    '"batch_size":null,"accelerator":"cpu","precision":"32-true","threads":null,"preprocessor":null,'
    '"postprocessor":null,"trusted_modules":[],"inputs":true,"reconstruct":[],"segment_rows":1000000,'
    '"flush_every_n_batches":null,"on_bad_row":"raise","max_rejected":0.01,"missing_columns":"raise",'
    '"reuse":null}'
)
EVERYTHING_JSON = (
    '{"format":1,"attempt":"20261124T120000Z-00000002","checkpoint":"s3://bucket/model.ckpt",'
    '"checkpoint_sha256":"fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210",'
    '"output":"s3://bucket/predictions","snapshot":{"root":"s3://bucket/inputs","suffix":"parquet"},'
    '"intervals":[[0,4],[7,14]],"world_size":2,"storage_options":{"endpoint_url":"http://localhost:8333"},'
    '"scratch":"scratch","batch_size":32,"accelerator":"gpu","precision":"bf16-mixed","threads":2,'
    '"preprocessor":"pinned_package.functions:before","postprocessor":"pinned_module:after",'
    '"trusted_modules":["pinned_package.functions","pinned_module","pinned_nowhere"],"inputs":["id","ü"],'
    '"reconstruct":["record/label"],"segment_rows":1000,"flush_every_n_batches":8,"on_bad_row":"quarantine",'
    '"max_rejected":7,"missing_columns":"allow","reuse":"s3://bucket/earlier"}'
)


@pytest.mark.parametrize(("job", "text"), [(PLAIN, PLAIN_JSON), (EVERYTHING, EVERYTHING_JSON)], ids=["plain", "all"])
def test_the_json_of_a_job_stays(job: dict[str, Any], text: str) -> None:
    """It lies in the attempts' folders, and a launcher hands it to ranks."""
    assert json.loads(j2v.PredictJob(**job).model_dump_json()) == json.loads(text)
    assert j2v.PredictJob.model_validate_json(text) == j2v.PredictJob(**job)


# -- rows --------------------------------------------------------------------------------------------------------------

ITEM = pa.struct([("price", pa.float32()), ("tags", pa.list_(pa.string()))])
KIND = pa.schema(
    [
        ("small", pa.int8()), ("whole", pa.int64()), ("unsigned", pa.uint64()), ("number", pa.float64()),
        ("truth", pa.bool_()), ("text", pa.string()), ("bytes", pa.binary()), ("decimal", pa.decimal128(10, 2)),
        ("day", pa.date32()), ("naive", pa.timestamp("us")), ("aware", pa.timestamp("ms", "Europe/Berlin")),
        ("span", pa.duration("s")), ("kind", pa.dictionary(pa.int8(), pa.string())), ("list", pa.list_(pa.int64())),
        ("lists", pa.list_(pa.list_(pa.float64()))), ("items", pa.list_(ITEM)),
        ("nested", pa.struct([("one", ITEM), ("x", pa.int32())])), ("nothing", pa.null()),
    ]
)  # fmt: skip
FULL: dict[str, Any] = {
    "small": -7, "whole": 2**60 + 1, "unsigned": 2**64 - 1, "number": 0.1, "truth": True, "text": "größer als acht",
    "bytes": b"\x00\xff", "decimal": Decimal("12.50"), "day": date(2013, 2, 1),
    "naive": datetime(2013, 2, 1, 5, 6, 7, 89), "aware": datetime(1969, 12, 31, 23, tzinfo=UTC),
    "span": timedelta(days=1, seconds=1), "kind": "a", "list": [1, None, -3], "lists": [[1.5], None, []],
    "items": [{"price": 2.5, "tags": ["x", None]}, None, {"price": None, "tags": []}],
    "nested": {"one": {"price": 0.25, "tags": None}, "x": 1}, "nothing": None,
}  # fmt: skip
EMPTY: dict[str, Any] = {
    "small": 0, "whole": 0, "unsigned": 0, "number": -0.0, "truth": False, "text": "", "bytes": b"",
    "decimal": Decimal("0.00"), "day": date(1970, 1, 1), "naive": datetime(1970, 1, 1),
    "aware": datetime(1970, 1, 1, tzinfo=UTC), "span": timedelta(0), "kind": "", "list": [], "lists": [[]],
    "items": [], "nested": {"one": None, "x": None}, "nothing": None,
}  # fmt: skip
NULLS: dict[str, Any] = dict.fromkeys(FULL)
SOME: dict[str, Any] = {**NULLS, "number": float("nan"), "text": "12345678", "items": [None], "nested": {"x": 1}}


def test_row_hashes_stay() -> None:
    """They stand in rank files beside the rows."""
    rows = pa.Table.from_pylist([FULL, EMPTY, NULLS, SOME], schema=KIND)
    assert ROW_HASH == "j2v-rowhash-1"
    assert [f"{value:016x}" for value in row_hash(rows).tolist()] == [
        "7bfb4ae2ae05c0a1", "6540cbf29c935459", "0000000000000000", "525c4d1a188b9c63",
    ]  # fmt: skip


# -- models and inputs -------------------------------------------------------------------------------------------------


def test_the_fingerprint_of_a_model_stays() -> None:
    """Rank files name the model by it."""
    model = j2v.Model.load(FROZEN / "model.ckpt")
    assert model.fingerprint() == "479400f7b27f972b88dc1fc3829f5bb6243374c115641d6cf5166007668f1c80"


def test_checkpoints_name_the_optimizer_by_the_same_path() -> None:
    """A checkpoint holds this path, which is imported when training goes on."""
    path = "json2vec.helpers.optimizers:build_adamw"
    factory = j2v.helpers.optimizers.adamw(1e-3)
    assert factory.path == path
    assert callable(type(factory)(path).resolve())


def test_the_digests_of_frozen_inputs_stay() -> None:
    """An attempt is resumed only for the snapshot that it names."""
    document = json.loads((FROZEN / "predictions" / "_manifest.json").read_bytes())
    snapshot = Snapshot.from_json(document["snapshot"])
    assert snapshot.listing_digest == "ea0b003c9649f9ca8e8f36eecb99c9fab35ff70c4855b4589ef05590365f71b5"
    assert snapshot.digest == "568abcdbfe7c1153cbb942a29b5d88220abd40f8900fedcddbfc3b7b8094536c"
    plan = Plan(snapshot, 2)
    assert plan.digest == document["plan"]["digest"]
    assert plan.digest == "bd6aad68cbf023d176fa0bd2fd9f3afb85f15c13d74f5adf7e7fb5de94dc9ba9"


def test_the_digests_of_a_snapshot_and_its_plans_stay() -> None:
    """Of files made up here, with a schema of every kind above."""
    files = {"path": ["a.ndjson", "b/ü.ndjson"], "size": [10, 2**40], "version": ["1", '"etag-2"'], "rows": [3, 5]}
    snapshot = Snapshot("s3://bucket/inputs", Suffix.ndjson, pa.table(files, schema=FILES_SCHEMA), KIND)
    assert snapshot.listing_digest == "fbb6b14aab73834773dd1efd52df5aad1dd41b31d917d8f74d045ae216e4e459"
    assert snapshot.digest == "8ba0236cb6306f5904f22441997d67fb9537b4c7b569e54f28500ef3ee713354"
    assert Plan(snapshot, 1).digest == "e7c2fec2ca9eb938ff80857d329be0828e5b82b78aafa276a6d3eaf6aa36d555"
    part = Plan(snapshot, 3, ((0, 2), (4, 8)))
    assert part.digest == "bc66c9d8556514942364419bd090530e696505f9561f696f71071b1a4d613432"
    assert [part.share(rank) for rank in range(3)] == [((0, 2),), ((4, 6),), ((6, 8),)]


def test_the_digest_of_a_snapshot_with_options_stays() -> None:
    """Options at their defaults are in none of it."""
    files = {"path": ["a.csv"], "size": [10], "version": ["1"], "rows": [3]}
    schema = pa.schema([("a", pa.int64())])
    options = read_options("csv", csv={"separator": ";"}, empty_files="skip", folder_columns=["dt"])
    plain, made = (
        Snapshot("/in", Suffix.csv, pa.table(files, schema=FILES_SCHEMA), schema, one)
        for one in (read_options("csv", csv={"separator": ","}), options)
    )
    assert plain.digest == Snapshot("/in", Suffix.csv, plain.files, schema).digest
    assert plain.digest == "8704ccb54240fb2071df52aebbb9de3284aeafdb5371b2cce42a6546c9c97dc2"
    assert made.digest == "3245ae96169278f459c81b766da108819e65ad31eb43f5af9e0db8846ceada0b"
    assert made.to_json()["options"] == {
        "csv": {"separator": ";"}, "empty_files": "skip", "folder_columns": ["dt"]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Manifest, "predictions/_manifest.json"),
        (Marker, "predictions/rank-0.json"),
        (Marker, "predictions/rank-1.json"),
        (Certificate, "certificate.json"),
        (Proof, "proof.json"),
    ],
)
def test_frozen_documents_are_written_with_the_same_bytes(kind: Any, name: str) -> None:
    """Certificates hold the SHA-256 of a manifest's bytes."""
    data = (FROZEN / name).read_bytes()
    assert kind.model_validate_json(data).dumps() == data


# -- names -------------------------------------------------------------------------------------------------------------


def test_json2vec_exports_the_same_names() -> None:
    assert sorted(j2v.__all__) == [
        "Address", "AlignmentError", "Array", "AttentionMode", "Category", "CheckpointError", "ContractBroken",
        "DateParts", "Deployment", "EncodeError", "Entity", "FieldType", "IncompletePredictions", "Json2VecError",
        "Leaf", "MASK_LITERAL", "Mask", "Metric", "Model", "Number", "Overflow", "PolarsDataModule", "PredictJob",
        "Predictions", "ProcessorError", "ReadError", "Schema", "SchemaError", "Set", "ShardingStrategy",
        "SnapshotChanged", "StoreError", "Strata", "StreamingDataModule", "Suffix", "TensorKey", "Text", "Tokens",
        "Vector", "VerificationFailed", "Writer",
        "commit_predictions", "helpers", "postprocess", "predicate", "preprocess", "read_predictions", "register",
        "snapshot_table", "verify_predictions", "where",
    ]  # fmt: skip


def test_the_helpers_are_the_same() -> None:
    assert sorted(j2v.helpers.__all__) == ["Decision", "InferenceConfig", "infer_schema", "optimizers"]
    for name in j2v.helpers.__all__:
        assert getattr(j2v.helpers, name) is not None


def test_j2v_dagster_exports_the_same_names() -> None:
    assert sorted(j2v_dagster.__all__) == [
        "DuckDBWarehouse", "IcebergWarehouse", "Json2VecPredictions", "Launcher", "PredictionTranslator",
        "TorchrunLauncher", "Warehouse", "build_prediction_pipeline", "partition_folder", "pipelines_from_yaml",
    ]  # fmt: skip
    for name in j2v_dagster.__all__:
        assert getattr(j2v_dagster, name) is not None


REQUIRED = ["name", "inputs", "partitions", "checkpoint", "output", "warehouse", "table", "columns"]
DEFAULTS: dict[str, Any] = {
    "suffix": "parquet",
    "lake_tables": "refuse",
    "folder": "dt={partition}",
    "csv": None,
    "empty_files": "raise",
    "folder_columns": (),
    "partition_column": "partition",
    "ranks": 1,
    "batch_size": None,
    "accelerator": "cpu",
    "precision": "32-true",
    "threads": None,
    "preprocessor": None,
    "postprocessor": None,
    "trusted_modules": (),
    "keep_inputs": True,
    "reconstruct": (),
    "segment_rows": 1_000_000,
    "flush_every_n_batches": None,
    "on_bad_row": "raise",
    "missing_columns": "raise",
    "max_rejected": 0.01,
    "resume": True,
    "backfill": "per_partition",
    "incremental": False,
    "rank_timeout_s": 600.0,
    "min_free_bytes": 268_435_456,
    "contract": "raise",
    "contract_sample": 4096,
    "contract_limits": None,
    "replay_sample": 64,
    "source_sample": 64,
    "require": ("files", "coverage", "inputs", "replay", "schema", "values"),
    "sample_rows": 5,
    "launcher": None,
    "translator": None,
    "sensor_min_age_s": 60.0,
    "sensor_marker": None,
    "sensor_max_partitions": 20,
    "sensor_max_keys": 20_000,
    "sensor_recent": 3,
    "sensor_interval_s": 30,
    "sensor_target": "table",
    "sensor_status": "stopped",
    "automation": "table",
    "freshness_fail_s": None,
    "freshness_warn_s": None,
    "retries": 0,
    "retry_delay_s": 30.0,
    "pool": None,
    "storage_options": None,
    "scratch": None,
}


def test_a_pipeline_has_the_same_options() -> None:
    """Projects name them in Python and in YAML."""
    options = inspect.signature(j2v_dagster.build_prediction_pipeline).parameters
    assert {option.kind for option in options.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert [name for name, option in options.items() if option.default is option.empty] == REQUIRED
    found = {name: option.default for name, option in options.items() if option.default is not option.empty}
    assert found == DEFAULTS


def test_the_component_has_the_options_of_a_pipeline() -> None:
    fields = dataclasses.fields(j2v_dagster.Json2VecPredictions)
    assert [field.name for field in fields[: len(REQUIRED)]] == REQUIRED
    assert {field.name: field.default for field in fields[len(REQUIRED) :]} == DEFAULTS


# -- commands ----------------------------------------------------------------------------------------------------------

OPTIONS = {
    "adopt": ["--json", "--of"],
    "certify": ["--file", "--json", "--output", "--part", "--proof", "--row"],
    "check-certificate": ["--file", "--json", "--part", "--proof", "--row", "--row-json"],
    "clean": ["--dry-run", "--json", "--older-than", "--pending-older-than"],
    "contract": ["--inputs", "--json", "--match", "--model", "--preprocessor", "--sample", "--suffix", "--trust"],
    "estimate": ["--folder", "--inputs", "--json", "--output", "--partition", "--pipeline", "--ranks", "--suffix"],
    "explain": ["--file", "--inputs", "--json", "--model", "--part", "--row", "--trust"],
    "init": ["--checkpoint", "--inputs", "--json", "--name", "--suffix"],
    "profile": ["--inputs", "--json", "--match", "--output", "--preprocessor", "--sample", "--suffix", "--trust"],
    "verify": ["--inputs", "--json", "--model", "--precision", "--require", "--sample", "--source-sample"],
}


def options_of(*command: str) -> list[str]:
    """The options that ``python -m COMMAND --help`` lists, each on a line that begins with it, but for ``--help``."""
    result = run("-m", *command, "--help")
    assert result.returncode == 0, result.stderr
    return sorted(set(re.findall(r"^ {2,4}(?:-\w, )?(--[\w-]+)", result.stdout, re.MULTILINE)) - {"--help"})


def test_the_command_line_has_the_same_commands() -> None:
    result = run("-m", "j2v_dagster.cli", "--help")
    assert result.returncode == 0, result.stderr
    found = re.findall(r"^ {2,4}([a-z][a-z-]*)(?: {2,}\S|$)", result.stdout, re.MULTILINE)
    assert sorted(found) == sorted([*OPTIONS, "demo"])


@pytest.mark.parametrize("command", OPTIONS)
def test_a_command_has_the_same_options(command: str) -> None:
    assert options_of("j2v_dagster.cli", command) == OPTIONS[command]


def test_the_demo_has_the_same_options() -> None:
    assert options_of("j2v_dagster.demo.run") == ["--again", "--data", "--epochs", "--first", "--last"]


def test_a_rank_without_a_job_says_how_it_is_used() -> None:
    result = run("-m", "json2vec.predict")
    assert result.returncode == 2
    assert "usage: python -m json2vec.predict" in result.stderr.lower()
