"""`Json2VecPredictions`: the pipeline as a Dagster component, for ``defs.yaml``."""

# No `from __future__ import annotations`: Dagster derives the YAML model from the annotations themselves.

from dataclasses import MISSING, field, fields, make_dataclass
from pathlib import Path
from typing import Annotated

import dagster as dg

from j2v_dagster.definitions import resolve_options
from j2v_dagster.options import Option, PipelineOptions, options
from j2v_dagster.pipeline import pipeline_definitions
from j2v_dagster.scaffold import PredictionsScaffolder


def _attribute(option: Option) -> tuple[str, object, object]:
    examples = [] if option.example is None else [option.example]
    resolver = dg.Resolver.default(description=option.description, examples=examples)
    default = MISSING if option.required else option.default
    return option.name, Annotated[option.plain, resolver], field(default=default)


# Every option of a pipeline, with what YAML can say of it.
_Attributes = make_dataclass("_Attributes", [_attribute(option) for option in options()])


@dg.scaffold_with(PredictionsScaffolder)
class Json2VecPredictions(_Attributes, dg.Component, dg.Resolvable):
    """Batch inference of a json2vec model over partitions of files, with blocking checks, into a warehouse table."""

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The pipeline's definitions; relative paths are relative to the component's folder."""
        values = {attribute.name: getattr(self, attribute.name) for attribute in fields(self)}
        home = Path(context.path)
        resolved = resolve_options(values, home=home if home.is_dir() else home.parent, where=str(context.path))
        return pipeline_definitions(PipelineOptions.of(resolved))
