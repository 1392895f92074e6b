"""Every option of a prediction pipeline, written once.

What a pipeline can be told is a field of `PipelineOptions`: its type, default, bounds, unit and description, and
whether it changes what is predicted. From it follow `build_prediction_pipeline`, the component for ``defs.yaml``, the
YAML file of pipelines, what ``dg scaffold`` and ``j2v-dagster init`` write, and the table in docs/dagster.md. To add an
option, add a field here and use it where it matters.
"""

from j2v_dagster.options.messages import OptionError
from j2v_dagster.options.model import PipelineOptions, options, unknown_options
from j2v_dagster.options.option import Option

__all__ = ["Option", "OptionError", "PipelineOptions", "options", "unknown_options"]
