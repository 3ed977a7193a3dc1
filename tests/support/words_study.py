"""A study of seconds: a few steps of a tiny Llama on made-up words, as an overlay of the smoke study."""

from pathlib import Path
from typing import Any

BATCH = 4 * 32
"""Tokens of a global batch."""
WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "by", "dim", "candle", "light")
OVERLAY: dict[str, Any] = {
    "corpus": {
        "sources": {"shakespeare": None, "words": {"kind": "path", "path": "data"}},
        "train": [{"source": "words"}],
        "splits": {name: {"include": [f"*{name}.txt"]} for name in ("calibration", "validation", "test")},
        "evaluation": {"folio": None, "milton": None, "encyclopedia": None},
    },
    "tokenizer": {"vocab_size": 300},
    "parent": {"tokens": 8 * BATCH},
    "training": {
        "sequence_length": 32,
        "global_batch_size": 4,
        "micro_batch_size": 4,
        "schedule": {"kind": "wsd", "warmup_steps": 2, "decay_fraction": 0.25},
    },
    "evaluation": {
        "perplexity": {
            "sequence_length": 32,
            "corpora": {"test": 8, "folio": None, "milton": None, "encyclopedia": None},
        },
        "tasks": {"local": {"continuation": None, "scramble": None, "last_word": None}},
        "speed": None,
    },
}


def write_text(folder: Path) -> None:
    """Some text without repetition for training, and other text for each held-out split."""
    folder.mkdir()
    for number, (name, count) in enumerate({"train": 4000, "calibration": 400, "validation": 800, "test": 800}.items()):
        words = [WORDS[(i * i // 7 + 5 * number + i // 3) % len(WORDS)] + str(number) for i in range(count)]
        (folder / f"{name}.txt").write_text(" ".join(words))
