"""What the tests of domains share: a small tokenizer, windows, and scripts run in this process."""

from pathlib import Path
from typing import Any

import pruning_world
from pruning_vs_scratch.data.tokenizer import save_tokenizer, train_bpe
from pruning_world import words_of

LENGTH = 7
VOCABULARY = 260


def small_tokenizer(folder: Path) -> Path:
    save_tokenizer(train_bpe(["the cat sat on the mat and that is that"] * 3, VOCABULARY), folder)
    return folder


def run_script(name: str, options: dict[str, Any]) -> None:
    """Run a script's main function in this process."""
    pruning_world.run_script(name, words_of(options))
