"""A mistake in a study is reported with its file and line."""

from pathlib import Path

import pytest

from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.load import load_config
from pruning_vs_scratch.config.places import InvalidConfig, naming_lines

BASE = REPOSITORY / "config/config.yaml"


def problems(tmp_path: Path, *texts: str) -> list[str]:
    """What is wrong with the demo under some overlays; files by their names."""
    files = [tmp_path / f"{'abc'[number]}.yaml" for number in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    with pytest.raises(InvalidConfig) as error:
        load_config([BASE, *files])
    return [problem.replace(f"{tmp_path}/", "").replace(f"{BASE}", "base") for problem in error.value.problems]


def test_a_key_and_a_value_are_reported_with_their_lines(tmp_path: Path) -> None:
    found = problems(tmp_path, "study: mine\ntraining:\n  # a remark\n  threads: many\n  peak_learning_rat: 0.1\n")
    assert sorted(problem.partition(": ")[0] for problem in found) == ["a.yaml, line 4", "a.yaml, line 5"]


def test_an_item_of_a_list_is_reported_with_its_line(tmp_path: Path) -> None:
    text = "matrix:\n  - methods: [wanda]\n    ratios: [0.5]\n    retrain: [41472]\n  - methods:\n      - wandaa\n"
    found = problems(tmp_path, text + "    ratios: [0.5]\n    retrain: [41472]\n")
    assert found == ["a.yaml, line 6: matrix.1.methods.0: no method 'wandaa'; did you mean 'wanda'?"]


def test_of_several_files_the_last_that_says_it_is_named(tmp_path: Path) -> None:
    first, second = "training: {threads: many}\n", "\ntraining:\n  threads: more\n"
    assert problems(tmp_path, first, second)[0].startswith("b.yaml, line 3: training.threads: ")
    assert problems(tmp_path, first, "seeds: [1]\n")[0].startswith("a.yaml, line 1: training.threads: ")


def test_a_missing_key_is_located_at_its_section(tmp_path: Path) -> None:
    """The list of the overlay replaces that of the demo, which has the key."""
    assert problems(tmp_path, "matrix:\n  - methods: [wanda]\n    ratios: [0.5]\n") == [
        "a.yaml, line 2: matrix.0.retrain: this key is required"
    ]


def test_what_no_file_sets_is_reported_without_a_line(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("study: mine\n")
    with pytest.raises(InvalidConfig) as error, naming_lines([file]):
        raise InvalidConfig(["training.threads: not a number"])
    assert error.value.problems == ["training.threads: not a number"]
