"""What several test files need: the studies of config/ as plain values, and settings of hypothesis."""

import copy
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import settings

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.load import load_config
from pruning_vs_scratch.tables.load import Tables

settings.register_profile("project", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("project")

Values = dict[str, Any]


@cache
def _stored(overlay: str) -> Values:
    files = ["config.yaml"] if overlay == "demo" else ["config.yaml", f"{overlay}.yaml"]
    return load_config([REPOSITORY / "config" / file for file in files]).model_dump(mode="json")


@pytest.fixture(scope="session")
def study_values() -> Callable[[str], Values]:
    """Values of a study of config/ by its name; a fresh copy each time."""
    return lambda name: copy.deepcopy(_stored(name))


@pytest.fixture
def smoke(study_values: Callable[[str], Values]) -> Values:
    """Values of the smallest study."""
    return study_values("smoke")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Results are reproducible for a number of threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def figure_tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tables]:
    """Stored tables that figures are drawn from, by the study's key."""
    from figure_world import STUDIES, stored

    return {name: stored(tmp_path_factory.mktemp(name) / "tables", **options) for name, options in STUDIES.items()}
