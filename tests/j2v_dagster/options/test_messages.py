"""What is said of options that cannot be meant."""

from __future__ import annotations

from typing import Any

import pytest
from flights_options import options

from j2v_dagster.options import OptionError
from j2v_dagster.pipeline import build_prediction_pipeline


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rank": 2}, r"pipeline 'flights': unknown keys \['rank'\]; did you mean 'ranks' for 'rank'\?"),
        ({"ranks": "two"}, r"ranks is 'two'; input should be a valid integer.*Processes that predict one partition"),
        ({"segment_rows": 0, "retries": -1}, "segment_rows is 0; expected at least 1; retries is -1; expected"),
        ({"max_rejected": 1.5}, r"max_rejected is 1\.5; expected a share"),
        ({"storage_options": {"secret": "s3cr3t"}}, r"storage_options holds \['secret'\]; expected no credentials"),
        ({"storage_options": {"endpoint_url": "http://me:s3cr3t@host"}}, "endpoint_url holds credentials"),
        ({"storage_options": "s3cr3t"}, "storage_options is a str; expected a mapping"),
        ({"freshness_warn_s": 100}, "pipeline 'flights': freshness_warn_s needs freshness_fail_s"),
        ({"translator": "os:path"}, "translator 'os:path'"),
    ],
)  # fmt: skip
def test_what_is_said_of_an_option_that_cannot_be_meant(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        build_prediction_pipeline(**{**options(), **changed})
    assert "s3cr3t" not in str(raised.value)


def test_all_that_is_missing_is_said_at_once() -> None:
    with pytest.raises(OptionError, match=r"'flights': ranks is 0; .*; inputs, partitions, .*, columns must be said"):
        build_prediction_pipeline(name="flights", ranks=0)  # type: ignore[call-arg]
