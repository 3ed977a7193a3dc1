"""Letting a method choose what to keep of a checkpoint."""

import argparse
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
from pruning_vs_scratch.models.llama import with_shape
from pruning_vs_scratch.models.tensors import HeldTensors
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
from pruning_vs_scratch.pruning.scores import NO_TEXT, TextRead, read_scores, score
from pruning_vs_scratch.pruning.session import calibration_stream
from pruning_vs_scratch.pruning.sparse import sparse_blocks
from pruning_vs_scratch.pruning.structured import chosen_blocks, structured_blocks
from pruning_vs_scratch.training.metrics import METRICS_FILE
from pruning_vs_scratch.training.world import World


@dataclass(frozen=True)
class Choice:
    """What a method made of a checkpoint."""

    model: BlockwiseModel
    """What the blocks are cut from."""
    kept: Kept
    blocks: Iterable[PrunedBlock]
    """The pruned blocks, made when they are asked for."""
    scores: dict[str, Any]
    """What the choice was made by, as plain values."""
    spent: Callable[[], dict[str, Any]]
    """What it cost, once all blocks are made, as fields of the ledger."""


def choose(
    args: argparse.Namespace,
    model: BlockwiseModel,
    spec: PruningSpec,
    folder: Path,
    work: Path | None,
    world: World,
    model_sha256: str,
) -> Choice:
    """Let the method of a pruning command choose.

    Files beside the weights go to ``folder``. A method that trains keeps its resume state in ``work``, and the other
    processes of the world take part in it by ``learn_masks``. ``model_sha256`` is the checkpoint's hash, by which its
    scores are known.

    Raises:
        UserError: the text, the options or the checkpoint do not allow it.
    """
    method = implementation_of(args.method)
    with_shape(model.config, spec.target.shape)  # Refuses biases that this kind of model cannot have.
    if facts_of(args.method).scored_once(spec.options):
        scores, text = _scores(args, model, spec, folder, model_sha256)
        return _by_scores(args, method, model, spec, scores, text)
    if args.scores is not None:
        raise UserError(f"{args.method} has no scores that serve every ratio: leave --scores out")
    if isinstance(method, StructuredMethod):
        stream = calibration_stream(args, model, folder.parent, model_sha256)
        scores = method.score(stream, [spec.target.shape], spec.options)
        return _by_scores(args, method, model, spec, scores, TextRead.by(stream))
    if isinstance(method, LearnedMethod):
        assert work is not None, "masks are learned in a folder for resume state"
        return _learned(args, model, spec, folder, work, world)
    return _sparse(args, method, model, spec, folder, model_sha256)


def _by_scores(
    args: argparse.Namespace,
    method: StructuredMethod | SparseMethod,
    model: BlockwiseModel,
    spec: PruningSpec,
    scores: Scores,
    text: TextRead,
) -> Choice:
    if isinstance(method, SparseMethod):
        blocks = sparse_blocks(model, method, spec, scores=scores)
        return Choice(model, Kept(), blocks, {}, lambda: _spent(text, args))
    kept = method.keep(scores, model.shape, spec)
    shown = {name: _plain(values) for name, values in method.shown(scores, model.shape, spec).items()}
    return Choice(model, kept, chosen_blocks(model, method, scores, kept, spec), shown, lambda: _spent(text, args))


def _plain(scores: torch.Tensor) -> Any:
    """Scores as a record holds them: null for what has none; those of every channel of every block in six digits."""
    values = scores.tolist()
    if scores.ndim == 2:
        return [[float(f"{value:.6g}") for value in row] for row in values]
    return [None if math.isnan(value) else value for value in values] if scores.ndim else values


def _sparse(
    args: argparse.Namespace,
    method: SparseMethod,
    model: BlockwiseModel,
    spec: PruningSpec,
    folder: Path,
    model_sha256: str,
) -> Choice:
    if method.statistic is None:
        return Choice(model, Kept(), sparse_blocks(model, method, spec), {}, lambda: _spent(NO_TEXT, args))
    stream = calibration_stream(args, model, folder.parent, model_sha256)
    blocks = sparse_blocks(model, method, spec, stream)
    return Choice(model, Kept(), blocks, {}, lambda: _spent(TextRead.by(stream), args))


def _learned(
    args: argparse.Namespace, model: BlockwiseModel, spec: PruningSpec, folder: Path, work: Path, world: World
) -> Choice:
    learned = learn_masks(args, model, spec, work, world)
    assert learned is not None
    shutil.copyfile(work / METRICS_FILE, folder / MASK_LEARNING_FILE)
    weights = model.as_stored(learned.weights)
    trained = BlockwiseModel(model.config, HeldTensors(weights), model.device)
    blocks = structured_blocks(trained, learned.kept)
    return Choice(trained, learned.kept, blocks, {"open_shares": learned.open_shares}, lambda: learned.spent)


def _scores(
    args: argparse.Namespace, model: BlockwiseModel, spec: PruningSpec, folder: Path, model_sha256: str
) -> tuple[Scores, TextRead]:
    """Scores from a file, or from calibration text."""
    if args.scores is not None:
        return read_scores(args.scores, args.method, spec.options, model_sha256)
    stream = calibration_stream(args, model, folder.parent, model_sha256)
    return score(stream, args.method, [spec.target.shape], spec.options), TextRead.by(stream)


def _spent(text: TextRead, args: argparse.Namespace) -> dict[str, Any]:
    """Fields of the ledger of a choice by calibration text."""
    return {
        "tokens_planned": text.tokens, "tokens_seen": text.tokens, "tokens_distinct": text.tokens,
        "window_start": 0, "window_end": text.sequences, "sequence_length": text.sequence_length,
        "global_batch_size": args.batch_size, "steps": 0, "peak_lr": None, "schedule": None,
        "precision": text.precision, "flops": text.flops,
    }  # fmt: skip
