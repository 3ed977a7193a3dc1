"""What several test files need: the studies of config/ as plain values, and settings of hypothesis."""

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.load import load_config
from pruning_vs_scratch.tables.load import Tables

settings.register_profile("project", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("project")

Values = dict[str, Any]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs the workflow is slow. Files with the most to do begin first, so that all processes end together."""
    for item in items:
        if item.get_closest_marker("workflow"):
            item.add_marker("slow")
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: (item.get_closest_marker("workflow") is None, -slow[item.path]))


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


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tokens, tokenizer and target for train.py."""
    from pruning_vs_scratch.data.tokenizer import save_tokenizer, train_bpe
    from pruning_vs_scratch.data.tokens import write_tokens
    from pruning_vs_scratch.files import sha256_of_file, write_json
    from pruning_vs_scratch.study import ModelShape, Target

    folder = tmp_path_factory.mktemp("prepared")
    tokenizer = train_bpe(["the quick brown fox jumps over the lazy dog " * 20], 280)
    save_tokenizer(tokenizer, folder / "tokenizer")
    digest = sha256_of_file(folder / "tokenizer" / "tokenizer.json")
    tokens = np.random.default_rng(1).integers(0, 280, 60_000).tolist()
    for name in ("train", "validation"):
        write_tokens(folder / name, [tokens], vocab_size=280, shard_tokens=10**6, tokenizer_sha256=digest)
    shape = ModelShape(280, 2, 16, 24, 2, 1, 8, True, 1e4, 1e-5)
    write_json(folder / "target.json", Target("tiny", None, 0.0, "dense", shape).to_dict())
    return folder
