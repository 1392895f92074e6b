"""What this package takes from Dagster's private modules: each name once, why it is needed, and what would replace it.

Names below ``dagster._core`` may move or change with any release of Dagster, which is why the requirement ends below
the next minor version. No other module imports from a private module of Dagster (a test reads the imports), so that a
new Dagster is looked at here first.
"""

# ruff: noqa: I001 -- the imports are grouped by their reasons.

# The tags in which an asset's event keeps its data version, its code version and the versions of its inputs; the
# version of an input that was never materialized; the pointer to an event that does not exist.
# Why: a backfill in a single run reports each partition as an event of its own, and Dagster tags only the outputs that
# a step yields. Without the tags such partitions would look as if they had never been made of these inputs.
# Instead: `context.log_event(AssetMaterialization(...))` with a `data_version`, as `MaterializeResult` has it.
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    DEFAULT_DATA_VERSION,
    NULL_EVENT_POINTER,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)

# The version that Dagster itself gives to a partition of which the step says none: a hash of code and input versions.
# Why: automation and the staleness of the graph compare exactly this hash.
# Instead: as above, a public way to report a partition with the versions of its inputs.
from dagster._core.definitions.data_version import compute_logical_data_version

# Reads a data version back from an event of the log.
# Why: the tag has had two names, and old events still have the older one.
# Instead: a public `instance.get_latest_data_version(key, partition)`.
from dagster._core.definitions.data_version import extract_data_version_from_entry

# The tags by which Dagster's daemon knows that a sensor has asked for a run before.
# Why: the shard sensor asks the same question by the same rule, so that a lost cursor launches nothing twice.
# Instead: fields of the public `RunsFilter` for the run key and the sensor.
from dagster._core.storage.tags import RUN_KEY_TAG, SENSOR_NAME_TAG

# The tags that name the ends of a run's range of partitions.
# Why: a range that holds no partition is refused with the two ends that somebody typed; the context only says that the
# list of its keys is empty, or fails while it makes one.
# Instead: `context.partition_key_range`, if it came without looking the keys up.
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

__all__ = [
    "ASSET_PARTITION_RANGE_END_TAG",
    "ASSET_PARTITION_RANGE_START_TAG",
    "CODE_VERSION_TAG",
    "DATA_VERSION_IS_USER_PROVIDED_TAG",
    "DATA_VERSION_TAG",
    "DEFAULT_DATA_VERSION",
    "NULL_EVENT_POINTER",
    "RUN_KEY_TAG",
    "SENSOR_NAME_TAG",
    "compute_logical_data_version",
    "extract_data_version_from_entry",
    "get_input_data_version_tag",
    "get_input_event_pointer_tag",
]
