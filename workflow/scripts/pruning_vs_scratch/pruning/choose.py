"""Letting a method choose what to keep of a checkpoint."""

import math
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import MASK_LEARNING_FILE
from pruning_vs_scratch.models.blockwise import BlockwiseModel
from pruning_vs_scratch.models.decoder import with_shape
from pruning_vs_scratch.models.tensors import HeldTensors
from pruning_vs_scratch.pruning.calibration import CalibrationStream
from pruning_vs_scratch.pruning.catalogue import facts_of, implementation_of
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.mask_learning import learn_masks
from pruning_vs_scratch.pruning.method import (
    LearnedMethod,
    PrunedBlock,
    PruningSpec,
    Scores,
    SparseMethod,
    StructuredMethod,
)
from pruning_vs_scratch.pruning.request import PruningRequest
from pruning_vs_scratch.pruning.scores import NO_TEXT, TextRead, read_scores, score
from pruning_vs_scratch.pruning.session import calibration_stream
from pruning_vs_scratch.pruning.sparse import sparse_blocks
from pruning_vs_scratch.pruning.structured import chosen_blocks, structured_blocks
from pruning_vs_scratch.training.metrics import METRICS_FILE
from pruning_vs_scratch.training.world import World


@dataclass(frozen=True)
class Choice:
    """A method's result for a checkpoint."""

    model: BlockwiseModel
    """What the blocks are cut from."""
    kept: Kept
    blocks: Iterable[PrunedBlock]
    """The pruned blocks, made on demand."""
    scores: dict[str, Any]
    """What the choice was based on, as plain values."""
    spent: Callable[[], dict[str, Any]]
    """Its cost as fields of the ledger, once all blocks are made."""


@dataclass(frozen=True)
class Chooser:
    """A method applied to a checkpoint, with everything that it may read."""

    request: PruningRequest
    model: BlockwiseModel
    spec: PruningSpec
    folder: Path
    """Folder for files next to the weights."""
    model_sha256: str
    """The checkpoint's hash, which identifies its scores."""

    def choose(self, work: Path | None, world: World) -> Choice:
        """Let the method choose.

        A method that trains keeps its resume state in ``work``; the other processes of the world take part by calling
        ``learn_masks``.

        Raises:
            UserError: the text, the options or the checkpoint do not allow it.
        """
        name, options, target = self.request.method, self.spec.options, self.spec.target
        method = implementation_of(name)
        with_shape(self.model.config, target.shape)  # Refuses biases that this kind of model cannot have.
        if facts_of(name).scored_once(options):
            return self._by_scores(method, *self._scores())
        if self.request.scores is not None:
            raise UserError(f"{name} has no scores that serve every ratio: leave --scores out")
        if isinstance(method, StructuredMethod):
            stream = self._stream()
            return self._by_scores(method, method.score(stream, [target.shape], options), TextRead.by(stream))
        if isinstance(method, LearnedMethod):
            assert work is not None, "masks are learned in a folder for resume state"
            return self._learned(work, world)
        return self._sparse(method)

    def _stream(self) -> CalibrationStream:
        return calibration_stream(self.request, self.model, self.folder.parent, self.model_sha256)

    def _scores(self) -> tuple[Scores, TextRead]:
        """Scores from a file, or from calibration text."""
        name, options = self.request.method, self.spec.options
        if self.request.scores is not None:
            return read_scores(self.request.scores, name, options, self.model_sha256)
        stream = self._stream()
        return score(stream, name, [self.spec.target.shape], options), TextRead.by(stream)

    def _by_scores(self, method: StructuredMethod | SparseMethod, scores: Scores, text: TextRead) -> Choice:
        model, spec = self.model, self.spec
        if isinstance(method, SparseMethod):
            blocks = sparse_blocks(model, method, spec, scores=scores)
            return Choice(model, Kept(), blocks, {}, lambda: self._spent(text))
        kept = method.keep(scores, model.shape, spec)
        shown = {name: _plain(values) for name, values in method.shown(scores, model.shape, spec).items()}
        blocks = chosen_blocks(model, method, scores, kept, spec)
        return Choice(model, kept, blocks, shown, lambda: self._spent(text))

    def _sparse(self, method: SparseMethod) -> Choice:
        if method.statistic is None:
            blocks = sparse_blocks(self.model, method, self.spec)
            return Choice(self.model, Kept(), blocks, {}, lambda: self._spent(NO_TEXT))
        stream = self._stream()
        blocks = sparse_blocks(self.model, method, self.spec, stream)
        return Choice(self.model, Kept(), blocks, {}, lambda: self._spent(TextRead.by(stream)))

    def _learned(self, work: Path, world: World) -> Choice:
        learned = learn_masks(self.request, self.model, self.spec, work, world)
        assert learned is not None
        shutil.copyfile(work / METRICS_FILE, self.folder / MASK_LEARNING_FILE)
        weights = self.model.as_stored(learned.weights)
        trained = BlockwiseModel(self.model.config, HeldTensors(weights), self.model.device)
        blocks = structured_blocks(trained, learned.kept)
        return Choice(trained, learned.kept, blocks, {"open_shares": learned.open_shares}, lambda: learned.spent)

    def _spent(self, text: TextRead) -> dict[str, Any]:
        """Fields of the ledger for a choice based on calibration text."""
        return {
            "tokens_planned": text.tokens, "tokens_seen": text.tokens, "tokens_distinct": text.tokens,
            "window_start": 0, "window_end": text.sequences, "sequence_length": text.sequence_length,
            "global_batch_size": self.request.batch_size, "steps": 0, "peak_lr": None, "schedule": None,
            "precision": text.precision, "flops": text.flops,
        }  # fmt: skip


def _plain(scores: torch.Tensor) -> Any:
    """Scores as stored in a record: null for missing ones; those of every channel of every block to six digits."""
    values = scores.tolist()
    if scores.ndim == 2:
        return [[float(f"{value:.6g}") for value in row] for row in values]
    return [None if math.isnan(value) else value for value in values] if scores.ndim else values
