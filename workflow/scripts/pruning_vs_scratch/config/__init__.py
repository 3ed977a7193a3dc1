"""The typed configuration of a study: one model per section, checked as a whole before any job exists."""

from pruning_vs_scratch.config.load import load_config, parse_config
from pruning_vs_scratch.config.study import StudyConfig

__all__ = ["StudyConfig", "load_config", "parse_config"]
