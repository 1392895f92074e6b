"""A pipeline's ``storage_options``, also where Dagster's own S3 resource says them: one resource configures both.

    s3 = S3Resource(region_name="eu-central-1")
    build_prediction_pipeline(..., storage_options=s3)         # {"region": "eu-central-1"}
    dg.Definitions(resources={"s3": s3}, ...)                  # the same bucket for assets of your own
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagster_aws.s3 import S3Resource

_NAMES = {
    "endpoint_url": "endpoint_url",
    "region_name": "region",
    "profile_name": "profile",
    "use_unsigned_session": "anon",
    "max_attempts": "max_attempts",
}
"""Our name of each setting of the resource that both have."""

_SECRETS = {
    "aws_access_key_id": "AWS_ACCESS_KEY_ID",
    "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "aws_session_token": "AWS_SESSION_TOKEN",
}
"""The environment variable in which the AWS chain looks for each secret of the resource."""


def read_storage_options(options: Mapping[str, Any] | S3Resource | None) -> dict[str, Any]:
    """``storage_options`` as a dictionary, whichever way they were given.

    Args:
        options: as `json2vec.storage.s3.OPTIONS` names them, or Dagster's S3 resource.

    Raises:
        ValueError: neither of these, or a resource that the store cannot follow; see `storage_options_of`.
    """
    if options is None:
        return {}
    if isinstance(options, Mapping):
        return dict(options)
    from dagster_aws.s3 import S3Resource  # boto3 takes a while to import

    if isinstance(options, S3Resource):
        return storage_options_of(options)
    raise ValueError(f"storage_options is a {type(options).__name__}; expected a mapping or dagster_aws.s3.S3Resource")


def storage_options_of(resource: S3Resource) -> dict[str, Any]:
    """Options with which the store reaches what ``resource`` reaches, as the same identity. None of them is a secret.

    A `dagster.EnvVar` gets the value it has now. Secrets are left out, since options are written into jobs: those that
    the resource takes from the variables of the AWS chain (``EnvVar("AWS_ACCESS_KEY_ID")``) the store finds there too.

    Raises:
        ValueError: a secret from elsewhere, a variable that is not set, or a way to connect that the store does not
            have; names the setting.
    """
    for setting, variable in _SECRETS.items():
        secret = getattr(resource, setting)
        if secret is not None and _variable(secret) != variable:
            raise ValueError(
                f"storage_options: S3Resource has {setting}; expected none, since the options are written into jobs. "
                f"Remedy: give credentials through the AWS chain (environment, profile, instance role), or as "
                f"EnvVar({variable!r})"
            )
    if resource.verify is False or not (resource.use_ssl or resource.endpoint_url):
        raise ValueError(
            "storage_options: S3Resource asks for a connection whose certificate is not checked, or that is not "
            "encrypted; the store always checks. Remedy: leave verify and use_ssl out; a server without TLS has "
            "endpoint_url='http://...'"
        )
    defaults = {name: field.default for name, field in type(resource).model_fields.items()}
    values = {name: _value(name, getattr(resource, name)) for name in _NAMES}
    return {_NAMES[name]: value for name, value in values.items() if value != defaults[name]}


def _value(name: str, setting: Any) -> Any:
    if (variable := _variable(setting)) is None:
        return setting
    value = setting.get_value()
    if value is None:
        raise ValueError(
            f"storage_options: S3Resource takes {name} from the environment variable {variable}, which is not set"
        )
    return value


def _variable(setting: Any) -> str | None:
    """The variable of a `dagster.EnvVar`, or of what its method `int` makes; None of a plain value."""
    return getattr(setting, "env_var_name", None)
