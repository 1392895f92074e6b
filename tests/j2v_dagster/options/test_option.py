"""What is known of an option: its description, example and default."""

from __future__ import annotations

import inspect
from dataclasses import fields

from flights_options import options

from j2v_dagster.component import Json2VecPredictions
from j2v_dagster.options import PipelineOptions
from j2v_dagster.options import options as known_options
from j2v_dagster.pipeline import build_prediction_pipeline


def test_every_option_is_described_and_the_component_has_the_same() -> None:
    parameters = inspect.signature(build_prediction_pipeline).parameters
    documentation = inspect.getdoc(build_prediction_pipeline) or ""
    model = Json2VecPredictions.get_model_cls()
    assert model is not None
    properties = model.model_json_schema()["properties"]
    of_component = {field.name: field for field in fields(Json2VecPredictions)}
    assert set(of_component) == set(parameters) == {option.name for option in known_options()}
    for option in known_options():
        assert option.description.endswith((".", "...")), option.name
        assert f"    {option.name}: {option.description}" in documentation, option.name
        assert properties[option.name]["description"] == option.description
        if not option.required:
            assert parameters[option.name].default == of_component[option.name].default == option.default
            assert option.example is None or option.example != option.default, option.name


def test_examples_and_defaults_of_options_are_what_the_options_take() -> None:
    for option in known_options():
        for value in (option.example, None if option.required else option.default):
            if value is not None:
                beside = {"suffix": "csv"} if option.name == "csv" else {}
                PipelineOptions.of(options() | beside | {option.name: value})
