"""The JSON schema of the configuration, for editors and for readers; a test fails when the stored copy drifts."""

from typing import Any

from pruning_vs_scratch.config.study import StudyConfig


def config_schema() -> dict[str, Any]:
    """JSON schema of a complete study (overlays contain only parts of it)."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **StudyConfig.model_json_schema()}
