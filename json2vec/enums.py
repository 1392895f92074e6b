"""The closed sets of words that schemas, batches and data modules share."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Literal

MASK_LITERAL = "<MASK>"

Severity = Literal["error", "warning", "info"]
"""How bad a difference to the training is, the worst first."""


class Tokens(IntEnum):
    """The state of one slot. ``other`` is never produced, but every state table and state head has a row for it."""

    valued = 0
    null = 1
    padded = 2
    masked = 3
    other = 4


class Strata(StrEnum):
    """The four uses of data."""

    train = "train"
    validate = "validate"
    test = "test"
    predict = "predict"


class Suffix(StrEnum):
    """The file formats that `StreamingDataModule` reads. ``json`` is newline-delimited, as ``ndjson`` is."""

    parquet = "parquet"
    feather = "feather"
    orc = "orc"
    csv = "csv"
    ndjson = "ndjson"
    json = "json"
    avro = "avro"


class TensorKey(StrEnum):
    """Keys of prediction payloads and of a postprocessor's context."""

    # StrEnum's own attribute `value` is a property; the member of that name works all the same.
    value = "value"  # pyright: ignore
    content = "content"
    state = "state"
    trainable = "trainable"
    targets = "targets"
    metadata = "metadata"
    intervals = "intervals"
    probability = "probability"
    topk = "topk"
    embedding = "embedding"


class Metric(StrEnum):
    """Names of logged metrics."""

    accuracy = "accuracy"
    precision = "precision"
    recall = "recall"
    loss = "loss"
    throughput = "throughput"
    mae = "mae"
    rmse = "rmse"


class ShardingStrategy(StrEnum):
    """The unit in which training data is shuffled; prediction always reads contiguous row ranges."""

    file = "file"
    chunk = "chunk"
    record = "record"


class AttentionMode(StrEnum):
    """How many key/value heads an array's encoder has: all, half, one; or no encoder layers at all."""

    mha = "mha"
    gqa = "gqa"
    mqa = "mqa"
    none = "none"


class Overflow(StrEnum):
    """What becomes of an array longer than ``max_length``: keep its head, keep its tail, or raise."""

    head = "head"
    tail = "tail"
    error = "error"
