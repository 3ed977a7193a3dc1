"""Scoring checkpoints outside of a study: on text of the user's own and on frozen data sets."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pruning_vs_scratch.config.precision import WantedPrecision
from pruning_vs_scratch.data.documents import read_lines, read_plain_text
from pruning_vs_scratch.data.folders import LINE_KINDS
from pruning_vs_scratch.data.tokenizer import Encoder
from pruning_vs_scratch.data.tokens import TokenStore, write_tokens
from pruning_vs_scratch.data.windows import EVALUATION_SEED, Windows
from pruning_vs_scratch.errors import UserError, no_such_path
from pruning_vs_scratch.evaluation.request import EvaluationRequest
from pruning_vs_scratch.evaluation.step import evaluate
from pruning_vs_scratch.files import TOKENIZER_FILE, require_replaceable, sha256_of_file
from pruning_vs_scratch.models.checkpoint import check_checkpoint
from pruning_vs_scratch.study.evaluation import CorpusRequest, TaskRequest
from pruning_vs_scratch.tables.items import mean_accuracy

SHARD_TOKENS = 1 << 24
SCORES_FILE = "losses.parquet"
"""A file that every evaluation writes."""


@dataclass(frozen=True, kw_only=True)
class OwnEvaluation:
    """Checkpoints and what they are scored on."""

    checkpoints: tuple[Path, ...]
    text: tuple[Path, ...]
    """Files of text or JSON lines; the loss on all of them together is taken."""
    tasks: tuple[tuple[str, Path], ...]
    """Tasks of lm-eval and their frozen data sets."""
    task_definitions: Path
    sequence_length: int
    batch_size: int
    precision: WantedPrecision
    threads: int | None
    out: Path

    def run(self) -> pd.DataFrame:
        """Score all checkpoints; a row per checkpoint, with its loss in nats per token and its accuracies.

        Raises:
            UserError: nothing is asked, the tokenizers differ, a file cannot be read, or ``out`` holds other files.
        """
        if not self.text and not self.tasks:
            raise UserError("say what to score on: --text, --task, or both")
        self._require_inputs()
        names = [folder.resolve().name for folder in self.checkpoints]
        if len(set(names)) < len(names):
            raise UserError(f"two checkpoints have one name ({', '.join(names)}): rename a folder, or score them apart")
        inputs = (*self.checkpoints, *self.text, *(path for _, path in self.tasks))
        require_replaceable(self.out, SCORES_FILE, "an evaluation", inputs)
        # Hidden, so that no folder of the user's has its name: it is removed at the end.
        work = self.out.parent / f".{self.out.name}.eval"
        corpora = {"text": self._windows(work / "tokens" / "text")} if self.text else {}
        evaluate(
            EvaluationRequest(
                checkpoints=tuple(zip(names, self.checkpoints, strict=True)),
                tokens=work / "tokens",
                corpora=corpora,
                sequence_length=self.sequence_length,
                stride=None,
                bos=False,
                batch_size=self.batch_size,
                tasks=tuple(TaskRequest(name, "hub", path) for name, path in self.tasks),
                task_definitions=self.task_definitions,
                precision=self.precision,
                threads=self.threads or os.cpu_count() or 1,
                work=work,
                out=self.out,
                manifest=self.out.parent / f"{self.out.name}.manifest.json",
            )
        )
        shutil.rmtree(work)
        return _summary(self.out, names)

    def _require_inputs(self) -> None:
        for option, path in [*(("checkpoint", path) for path in self.checkpoints), *(("--text", f) for f in self.text)]:
            if not path.exists():
                raise no_such_path(option, path)
        for folder in self.checkpoints:
            check_checkpoint(folder)

    def _windows(self, folder: Path) -> CorpusRequest:
        """The text as token shards, all of whose windows are scored."""
        tokenizer = self._tokenizer()
        encoder = Encoder(tokenizer, self.threads or os.cpu_count() or 1)
        index = write_tokens(
            folder,
            encoder.encode(text for file in self.text for text in _texts(file)),
            vocab_size=encoder.vocab_size,
            shard_tokens=SHARD_TOKENS,
            tokenizer_sha256=encoder.sha256,
        )
        windows = Windows(TokenStore(folder), self.sequence_length, EVALUATION_SEED).count
        if not windows:
            raise UserError(
                f"--text holds {index['tokens']} tokens, fewer than a window of {self.sequence_length} + 1: give more "
                "text, or a smaller --sequence-length"
            )
        return CorpusRequest(windows)

    def _tokenizer(self) -> Path:
        """The checkpoints' one tokenizer: losses per token of different ones cannot be compared."""
        first, *others = self.checkpoints
        for folder in self.checkpoints:
            if not (folder / TOKENIZER_FILE).exists():
                raise UserError(f"{folder} has no {TOKENIZER_FILE}: copy the tokenizer into the checkpoint's folder")
        for other in others:
            if sha256_of_file(other / TOKENIZER_FILE) != sha256_of_file(first / TOKENIZER_FILE):
                raise UserError(f"{first} and {other} have different tokenizers: score them in separate calls")
        return first


def _texts(file: Path) -> Sequence[str]:
    """The documents of a file of JSON lines, or a text as one.

    Raises:
        UserError: it cannot be read as text or JSON lines.
    """
    if file.name.endswith(LINE_KINDS):
        return [document.text for document in read_lines(file)]
    return [read_plain_text(file, "--text")]


def _summary(scores: Path, names: Sequence[str]) -> pd.DataFrame:
    """Mean loss and accuracy per checkpoint, from the tables of an evaluation."""
    losses, items = (pd.read_parquet(scores / f"{table}.parquet") for table in ("losses", "items"))
    found = pd.DataFrame(index=pd.Index(names, name="checkpoint"))
    if len(losses):
        found["loss"] = losses.groupby("run")["loss"].mean()
    for task, scored in items.groupby("task", sort=False):
        found[str(task)] = mean_accuracy(scored)
    return found
