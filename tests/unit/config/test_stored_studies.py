"""The studies of config/ are valid, and the stored schema is that of the typed configuration."""

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.load import parse_config
from pruning_vs_scratch.config.schema import config_schema
from studies import STORED

Values = dict[str, Any]
Edit = Callable[[Values], Any]

SCHEMA = REPOSITORY / "workflow/schemas/study.schema.json"


@pytest.mark.parametrize("name", STORED)
def test_stored_studies_are_valid_and_named_after_their_file(name: str, study_values: Callable[[str], Values]) -> None:
    assert study_values(name)["study"] == name


@pytest.mark.parametrize("name", STORED)
def test_a_parsed_study_parses_again_to_itself(name: str, study_values: Callable[[str], Values]) -> None:
    assert parse_config(study_values(name)).model_dump(mode="json") == study_values(name)


def test_the_stored_schema_is_that_of_the_typed_configuration() -> None:
    stored = json.loads(SCHEMA.read_text(encoding="utf-8")) if SCHEMA.exists() else None
    assert stored == config_schema(), f"{SCHEMA.name} is out of date; regenerate it with 'make schema'"


@pytest.mark.parametrize("name", STORED)
def test_stored_studies_fit_the_schema(name: str, study_values: Callable[[str], Values]) -> None:
    jsonschema.Draft202012Validator.check_schema(config_schema())
    jsonschema.validate(study_values(name), config_schema())


def test_the_schema_refuses_an_unknown_key(smoke: Values) -> None:
    smoke["parent"]["shape"]["layer"] = 3
    with pytest.raises(jsonschema.ValidationError, match="layer"):
        jsonschema.validate(smoke, config_schema())
