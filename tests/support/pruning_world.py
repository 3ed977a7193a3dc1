"""A checkpoint with its tokenizer and text in a folder, and the pruning commands run on them in this process."""

import gc
import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models import SHAPE, Case, tiny_model
from pruning_vs_scratch import cli
from pruning_vs_scratch.cli import REPOSITORY
from pruning_vs_scratch.data.tokenizer import save_tokenizer, train_bpe
from pruning_vs_scratch.data.tokens import write_tokens
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import sha256_of_file, write_json
from pruning_vs_scratch.models.checkpoint import save_model
from pruning_vs_scratch.study import Target

SCRIPTS = REPOSITORY / "workflow" / "scripts"
VOCABULARY = 260
PARENT = replace(SHAPE, vocab_size=VOCABULARY)
WINDOWS = 7
"""Calibration windows in the token store."""
SEQUENCES, LENGTH = 5, 12
USER = "zaphod-beeblebrox"
"""Stands in the path of everything and is the name of the user: it must not appear in any output."""


class World:
    """A checkpoint, its tokenizer, token shards, text and windows in a folder, and the commands that prune."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model, self.tokenizer = folder / "parent", folder / "tokenizer"
        self.calibration, self.target = folder / "calibration", folder / "target.json"
        self.text, self.array, self.scores = folder / "text.txt", folder / "windows.npy", folder / "scores.safetensors"
        self.out, self.manifest = folder / "models" / "run", folder / "manifests" / "run.json"
        save_tokenizer(train_bpe(["the cat sat on the mat and that is that"] * 3, VOCABULARY), self.tokenizer)
        self.write_calibration(WINDOWS * (LENGTH + 1))
        self.text.write_text("the cat sat on the mat and that is that " * 8)
        np.save(self.array, random_tokens(SEQUENCES * (LENGTH + 1)).reshape(SEQUENCES, -1))
        self.save(tiny_model(vocab_size=VOCABULARY))

    def save(self, model: Any) -> None:
        """Make a model the parent."""
        self.model.mkdir(exist_ok=True)
        save_model(model, self.model, self.tokenizer)

    def write_calibration(self, tokens: int, vocab_size: int = VOCABULARY) -> None:
        """Write random token shards."""
        sha256 = sha256_of_file(self.tokenizer / "tokenizer.json")
        stream = random_tokens(tokens).tolist()
        write_tokens(self.calibration, [stream], vocab_size=vocab_size, shard_tokens=1000, tokenizer_sha256=sha256)

    def change_weights(self, change: Any) -> None:
        """Rewrite the parent's weights after a change."""
        weights = load_file(self.model / "model.safetensors")
        change(weights)
        save_file(weights, self.model / "model.safetensors", metadata={"format": "pt"})

    def change_config(self, **values: Any) -> None:
        """Rewrite the parent's configuration after a change."""
        config = json.loads((self.model / "config.json").read_text())
        write_json(self.model / "config.json", config | values)

    # Commands

    def study_arguments(self, case: Case, target: Target | None = None, **changes: Any) -> list[str]:
        """Arguments of prune.py as a study gives them."""
        write_json(self.target, (target or case.target(PARENT)).to_dict())
        values = {
            "run": "run",
            "target": self.target,
            "work": self.folder / "work",
            "out": self.out,
            "manifest": self.manifest,
        }
        return words_of(self._text_arguments(case) | values | changes)

    def _text_arguments(self, case: Case) -> dict[str, Any]:
        """Arguments that prune.py and score.py share, by option."""
        return {
            "model": self.model,
            "method": case.method,
            "options": json.dumps(case.options),
            "calibration": self.calibration,
            "sequences": SEQUENCES,
            "sequence-length": LENGTH,
            "batch-size": 2,
            "tokenizer": self.tokenizer,
            "seed": 3,
            "threads": 1,
        }

    def prune(self, case: Case, target: Target | None = None, **changes: Any) -> None:
        """Prune as a study does."""
        run_script("prune", self.study_arguments(case, target, **changes))

    def score(self, case: Case, **changes: Any) -> None:
        """Score as a study does."""
        values = {
            "shapes": json.dumps([case.target(PARENT).shape.to_dict()]),
            "out": self.scores,
            "manifest": self.folder / "scores.json",
        }
        run_script("score", words_of(self._text_arguments(case) | values | changes))

    def by_hand(self, method: str, *words: object) -> None:
        """Prune as a person does."""
        run_script("prune", ["--model", self.model, "--method", method, "--out", self.out, *words])

    def message_by_hand(self, method: str, *words: object) -> str:
        """The one line with which the command ends by hand, with exit code 1 and nothing written."""
        before = set(self.folder.rglob("*"))
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(gc, "freeze", lambda: None)
            cli.run(lambda: self.by_hand(method, *words))
        message = ended.value.code
        # A text as the code of SystemExit is written to stderr, and the exit code is 1.
        assert isinstance(message, str)
        assert message.startswith("error: ")
        assert "\n" not in message
        assert not self.left_behind()
        assert set(self.folder.rglob("*")) - before <= {self.out.parent}
        return message

    # What is there

    def summary(self, folder: Path | None = None) -> dict[str, Any]:
        """pruning.json."""
        return json.loads(((folder or self.out) / "pruning.json").read_text())

    def left_behind(self) -> list[Path]:
        """Outputs, whole or half."""
        return [*self.folder.glob("models/*"), *self.folder.glob("models/.*"), *self.folder.glob("manifests/*")]

    def assert_refused(self, message: str, case: Case, target: Target | None = None, **changes: Any) -> None:
        """The study's step fails with a message and leaves nothing."""
        with pytest.raises(UserError, match=message):
            self.prune(case, target, **changes)
        assert not self.left_behind()


def random_tokens(count: int) -> np.ndarray:
    """Tokens of the vocabulary, always the same."""
    return torch.randint(VOCABULARY, (count,), generator=torch.Generator().manual_seed(5)).numpy()


def words_of(options: dict[str, Any]) -> list[str]:
    """Options as words of a command line; None leaves one out."""
    return [str(word) for name, value in options.items() if value is not None for word in (f"--{name}", value)]


def run_script(name: str, words: list[Any]) -> None:
    """Run a script's main function in this process."""
    script = str(SCRIPTS / f"{name}.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script, *map(str, words)])
        runpy.run_path(script)["main"]()


def weight_files(folder: Path) -> dict[str, str]:
    """Hashes of the safetensors of a folder."""
    return {file.name: sha256_of_file(file) for file in sorted(folder.glob("*.safetensors"))}
