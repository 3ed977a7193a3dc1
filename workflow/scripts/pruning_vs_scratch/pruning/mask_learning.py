"""Setting up a method that learns masks: its text, its domains, and its token plan."""

from pathlib import Path

import torch

from pruning_vs_scratch.config.training import TrainingConfig, ValidationConfig
from pruning_vs_scratch.data.domains import DomainLoader, sequences_of_domain
from pruning_vs_scratch.data.tokens import INDEX, TokenStore
from pruning_vs_scratch.data.windows import EVALUATION_SEED, Windows
from pruning_vs_scratch.errors import UserError
from pruning_vs_scratch.models.blockwise import BlockwiseModel
from pruning_vs_scratch.models.checkpoint import load_model
from pruning_vs_scratch.pruning.calibration_text import calibration_windows
from pruning_vs_scratch.pruning.catalogue import implementation_of
from pruning_vs_scratch.pruning.domain_text import DomainText
from pruning_vs_scratch.pruning.facts import MaskLearningOptions
from pruning_vs_scratch.pruning.method import Learned, PruningSpec
from pruning_vs_scratch.pruning.request import PruningRequest
from pruning_vs_scratch.study import TrainingPlan
from pruning_vs_scratch.study.expand import mask_learning_plan
from pruning_vs_scratch.training.sharding import same_model
from pruning_vs_scratch.training.world import World


def learn_masks(
    request: PruningRequest, model: BlockwiseModel, spec: PruningSpec, work: Path, world: World
) -> Learned | None:
    """What a training method learns, together with the other processes of the world; the first one gets the result.

    Raises:
        UserError: the text, the options, the checkpoint or the number of processes do not allow it.
    """
    windows = calibration_windows(request, model.shape, model.config.max_position_embeddings)
    plan = _mask_learning_plan(request, spec.options, windows)
    windows = windows.read_by(plan.reading)
    domains = _domain_text(request, spec.options, plan, windows)
    learn = implementation_of(request.method).learn
    found: Learned | None = learn(
        same_model(lambda: load_model(request.model), world), spec, plan, windows, domains, work, world
    )
    return found


def _domain_text(
    request: PruningRequest, options: MaskLearningOptions, plan: TrainingPlan, windows: Windows
) -> DomainText | None:
    """The domains of the text and of the validation text; None for text of one kind.

    Raises:
        UserError: a domain has too few validation windows.
    """
    if not request.domains:
        return None
    held_out = _store_with_domains(request, "validation", request.validation)
    text = _store_with_domains(request, "calibration", request.calibration[0])
    loader = DomainLoader(windows, text.domains, request.domains, plan.window_start, plan.seed)
    validation_windows = Windows(held_out, plan.sequence_length, EVALUATION_SEED)
    validation = {}
    for name in request.domains:
        sequences = sequences_of_domain(validation_windows, held_out.domains[name], 0)
        if len(sequences) < options.domain_sequences:
            raise UserError(
                f"pruning.{request.method}.domain_sequences: the validation split has {len(sequences)} windows of the "
                f"domain {name}, not {options.domain_sequences}; lower the number, or hold out more of its documents"
            )
        chosen = validation_windows.read(sequences[: options.domain_sequences])
        validation[name] = torch.from_numpy(chosen)
    return DomainText(loader, validation)


def _store_with_domains(request: PruningRequest, option: str, folder: Path | None) -> TokenStore:
    """Token shards that have all domains of a request."""
    store = TokenStore(folder) if folder is not None and (folder / INDEX).exists() else None
    if store is None or set(request.domains) - set(store.domains):
        raise UserError(
            f"--domains needs token shards as --{option}, tokenised with the domains {', '.join(request.domains)}: "
            "see tokenize_corpus.py --domains"
        )
    return store


def _mask_learning_plan(request: PruningRequest, options: MaskLearningOptions, windows: Windows) -> TrainingPlan:
    """The study's plan; by hand, one that reads the budget in the options, or else all text once."""
    if request.mask_learning is not None:
        saving = {**request.saving, "checkpoint_every_steps": options.checkpoint_every_steps}
        return TrainingPlan.parse(request.mask_learning, "--mask-learning", saving)
    batch = options.global_batch_size * windows.length
    tokens = options.tokens or windows.count * windows.length // batch * batch
    if tokens == 0 or tokens % batch:
        raise UserError(
            f"{request.method} needs a multiple of {batch} tokens, its global batch, not {tokens} "
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
    return mask_learning_plan(recipe, options, request.run, request.seed, 0, tokens)
