"""Letting a method choose what to keep of a checkpoint."""

import argparse
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pruning_vs_scratch.config.pruning import CALIBRATION_FREE, ShearedLlamaOptions, scored_once
from pruning_vs_scratch.config.training import TrainingConfig, ValidationConfig
from pruning_vs_scratch.data.domains import DomainLoader, sequences_of_domain
from pruning_vs_scratch.data.tokens import INDEX, TokenStore
from pruning_vs_scratch.data.windows import EVALUATION_SEED, Windows
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.files import MASK_LEARNING_FILE
from pruning_vs_scratch.models.blockwise import BlockwiseModel
from pruning_vs_scratch.models.checkpoint import load_llama
from pruning_vs_scratch.models.tensors import HeldTensors
from pruning_vs_scratch.pruning.calibration_text import calibration_windows
from pruning_vs_scratch.pruning.kept import Kept
from pruning_vs_scratch.pruning.method import PrunedBlock, Request, Scores
from pruning_vs_scratch.pruning.methods.sheared_llama import DomainText, Learned, learn
from pruning_vs_scratch.pruning.registry import SPARSE, STRUCTURED
from pruning_vs_scratch.pruning.scores import NO_TEXT, TextRead, read_scores, score
from pruning_vs_scratch.pruning.session import calibration_stream
from pruning_vs_scratch.pruning.sparse import sparse_blocks
from pruning_vs_scratch.pruning.structured import structured_blocks
from pruning_vs_scratch.study import TrainingPlan
from pruning_vs_scratch.study.expand import mask_learning_plan
from pruning_vs_scratch.training.metrics import METRICS_FILE
from pruning_vs_scratch.training.sharding import same_model
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
    request: Request,
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
    if scored_once(args.method, request.options):
        scores, text = _scores(args, model, request, folder, model_sha256)
        chosen = _structured if args.method in STRUCTURED else _sparse_by_scores
        return chosen(args, model, request, scores, text)
    if args.scores is not None:
        raise UserError(f"{args.method} has no scores that serve every ratio: leave --scores out")
    if work is not None:
        return _learned(args, model, request, folder, work, world)
    return _sparse(args, model, request, folder)


def _structured(
    args: argparse.Namespace, model: BlockwiseModel, request: Request, scores: Scores, text: TextRead
) -> Choice:
    kept = STRUCTURED[args.method].keep(scores, model.shape, request)
    # Scores of every neuron of every block would be megabytes of text.
    shown = {name: values.tolist() for name, values in scores.items() if values.ndim < 2}
    return Choice(model, kept, structured_blocks(model, kept), shown, lambda: _spent(text, args))


def _sparse_by_scores(
    args: argparse.Namespace, model: BlockwiseModel, request: Request, scores: Scores, text: TextRead
) -> Choice:
    blocks = sparse_blocks(model, SPARSE[args.method], request, scores=scores)
    return Choice(model, Kept(), blocks, {}, lambda: _spent(text, args))


def _sparse(args: argparse.Namespace, model: BlockwiseModel, request: Request, folder: Path) -> Choice:
    method = SPARSE[args.method]
    if args.method in CALIBRATION_FREE:
        return Choice(model, Kept(), sparse_blocks(model, method, request), {}, lambda: _spent(NO_TEXT, args))
    stream = calibration_stream(args, model, folder.parent)
    blocks = sparse_blocks(model, method, request, stream)
    return Choice(model, Kept(), blocks, {}, lambda: _spent(TextRead.by(stream), args))


def learn_masks(
    args: argparse.Namespace, model: BlockwiseModel, request: Request, work: Path, world: World
) -> Learned | None:
    """What a method that trains learns, together with the other processes of the world; the first one gets it.

    Raises:
        UserError: the text, the options, the checkpoint or the number of processes do not allow it.
    """
    windows = calibration_windows(args, model.shape, model.config.max_position_embeddings)
    plan = _mask_learning_plan(args, request.options, windows)
    domains = _domain_text(args, request.options, plan, windows)
    return learn(same_model(lambda: load_llama(args.model), world), request, plan, windows, domains, work, world)


def _learned(
    args: argparse.Namespace, model: BlockwiseModel, request: Request, folder: Path, work: Path, world: World
) -> Choice:
    learned = learn_masks(args, model, request, work, world)
    assert learned is not None
    shutil.copyfile(work / METRICS_FILE, folder / MASK_LEARNING_FILE)
    weights = model.as_stored(learned.weights)
    trained = BlockwiseModel(model.config, HeldTensors(weights), model.device)
    blocks = structured_blocks(trained, learned.kept)
    return Choice(trained, learned.kept, blocks, {"open_shares": learned.open_shares}, lambda: learned.spent)


def _domain_text(
    args: argparse.Namespace, options: ShearedLlamaOptions, plan: TrainingPlan, windows: Windows
) -> DomainText | None:
    """The domains of the text and of the validation text; None for text of one kind.

    Raises:
        UserError: a domain has too few validation windows.
    """
    if not args.domains:
        return None
    held_out, text = _store_with_domains(args, "validation"), _store_with_domains(args, "calibration")
    loader = DomainLoader(windows, text.domains, args.domains, plan.window_start, plan.seed)
    validation_windows = Windows(held_out, plan.sequence_length, EVALUATION_SEED)
    validation = {}
    for name in args.domains:
        sequences = sequences_of_domain(validation_windows, held_out.domains[name], 0)
        if len(sequences) < options.domain_sequences:
            raise UserError(
                f"pruning.sheared_llama.domain_sequences: the validation split has {len(sequences)} windows of the "
                f"domain {name}, not {options.domain_sequences}; lower the number, or hold out more of its documents"
            )
        chosen = validation_windows.read(sequences[: options.domain_sequences])
        validation[name] = torch.from_numpy(chosen)
    return DomainText(loader, validation)


def _store_with_domains(args: argparse.Namespace, option: str) -> TokenStore:
    """Token shards that know all domains of ``--domains``."""
    value = getattr(args, option)
    folder = value[0] if isinstance(value, list) else value
    store = TokenStore(folder) if folder is not None and (folder / INDEX).exists() else None
    if store is None or set(args.domains) - set(store.domains):
        raise UserError(
            f"--domains needs token shards as --{option}, tokenised with the domains {', '.join(args.domains)}: "
            "see tokenize_corpus.py --domains"
        )
    return store


def _mask_learning_plan(args: argparse.Namespace, options: ShearedLlamaOptions, windows: Windows) -> TrainingPlan:
    """The study's plan; by hand, one that reads the budget of the options, or else all text once."""
    if args.mask_learning is not None:
        return TrainingPlan.parse(args.mask_learning, "--mask-learning")
    batch = options.global_batch_size * windows.length
    tokens = options.tokens or windows.count * windows.length // batch * batch
    if tokens == 0 or tokens % batch:
        raise UserError(
            f"sheared_llama needs a multiple of {batch} tokens, its global batch, not {tokens} "
            f"(--calibration holds {windows.count * windows.length}); set tokens or global_batch_size in --options"
        )
    recipe = TrainingConfig(
        sequence_length=windows.length,
        global_batch_size=options.global_batch_size,
        micro_batch_size=options.micro_batch_size,
        peak_learning_rate=options.weight_learning_rate,
        threads=torch.get_num_threads(),
        validation=ValidationConfig(sequences=1),
        checkpoint_every_steps=options.checkpoint_every_steps,
    )
    return mask_learning_plan(recipe, options, args.run, args.seed, 0, tokens)


def _scores(
    args: argparse.Namespace, model: BlockwiseModel, request: Request, folder: Path, model_sha256: str
) -> tuple[Scores, TextRead]:
    """Scores from a file, or from calibration text."""
    if args.scores is not None:
        return read_scores(args.scores, args.method, request.options, model_sha256)
    stream = calibration_stream(args, model, folder.parent)
    return score(stream, args.method, [request.target.shape], request.options), TextRead.by(stream)


def _spent(text: TextRead, args: argparse.Namespace) -> dict[str, Any]:
    """Fields of the ledger of a choice by calibration text."""
    return {
        "tokens_planned": text.tokens, "tokens_seen": text.tokens, "window_start": 0, "window_end": text.sequences,
        "sequence_length": text.sequence_length, "global_batch_size": args.batch_size, "steps": 0, "peak_lr": None,
        "schedule": None, "precision": text.precision, "flops": text.flops,
    }  # fmt: skip
