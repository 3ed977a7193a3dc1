"""Mistakes in a study are reported in plain words: what is expected, what is there, and what is checked later."""

from pathlib import Path

import pytest

from program import pvs
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.config.load import load_config
from pruning_vs_scratch.config.places import FURTHER, InvalidConfig

BASE = REPOSITORY / "config/config.yaml"
MISTAKES = {
    "training: {threads: many}": "training.threads: must be a whole number, not 'many'",
    "training: {threads: 1.5}": "training.threads: must be a whole number, not 1.5",
    "training: {threads: 0}": "training.threads: must be greater than 0, not 0",
    "parent: {tokens: 1e6}": "parent.tokens: must be a whole number, not '1e6'; write 1000000",
    "training: {peak_learning_rate: high}": "training.peak_learning_rate: must be a number, not 'high'",
    "parent: {shape: {tie_embeddings: 7}}": "parent.shape.tie_embeddings: must be true or false, not 7",
    "study: 7": "study: must be text, not 7; put it in quotes",
    "study: [mine]": "study: must be text, not ['mine']",
    "study: Mine": "study: must be lower-case letters, digits, - and _, beginning with a letter, not 'Mine'",
    "seeds: 3": "seeds: must be a list, not 3; write [3]",
    "seeds: {a: 3}": "seeds: must be a list, not {'a': 3}",
    "seeds: [-1]": "seeds.0: must be at least 0, not -1",
    "training: 3": "training: must be keys and values, not 3",
    "corpus: {evaluation: 3}": "corpus.evaluation: must be keys and values, not 3",
    "training: {precision: fp31}": "training.precision: 'fp31' is not valid; did you mean 'fp32'?",
    "training: {processes: many}": "training.processes: must be a whole number or 'auto', not 'many'",
    "training: {thread: 2}": "training.thread: unknown key; did you mean 'threads'?",
    "parent: null": "parent: this key is required",
    "training: {threads: true}": "training.threads: true is not a number; give one",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_reported_in_plain_words(text: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(InvalidConfig) as error:
        load_config([BASE, file])
    assert error.value.problems == [f"{file}, line 1: {MISTAKES[text]}"]
    assert str(error.value).endswith(f"\n{FURTHER}")


def test_only_what_hides_other_checks_says_that_they_follow(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("parent: {tokens: 1001}\n")
    hidden = tmp_path / "more.yaml"
    hidden.write_text("training: {threads: many}\n")
    first = pvs(REPOSITORY, "check", file, hidden)
    assert "line 1: training.threads: must be" in first.stderr
    assert "parent.tokens" not in first.stderr
    assert first.stderr.endswith(f"{FURTHER}\n")
    second = pvs(REPOSITORY, "check", file)
    assert "parent.tokens: 1001 tokens is not a multiple" in second.stderr
    assert FURTHER not in second.stderr
