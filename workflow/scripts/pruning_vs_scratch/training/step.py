"""One training step of a study, from its inputs to its checkpoint, metrics and manifest."""

import logging
import shutil
from pathlib import Path

import torch

from pruning_vs_scratch.data.tokenizer import copy_tokenizer, separator_of
from pruning_vs_scratch.data.tokens import TokenStore
from pruning_vs_scratch.data.windows import EVALUATION_SEED, Windows
from pruning_vs_scratch.errors import Diverged
from pruning_vs_scratch.files import CONFIG_FILE, MASK_FILE, atomic_file, sha256_of_value, weight_bytes
from pruning_vs_scratch.ledger import LedgerRow
from pruning_vs_scratch.manifest import ManifestWriter, source_hash
from pruning_vs_scratch.models.decoder import shape_of
from pruning_vs_scratch.models.device import keep_freed_memory
from pruning_vs_scratch.resume_state import is_made, resume_state
from pruning_vs_scratch.study.plan import TRIAL_PHASES
from pruning_vs_scratch.training.accounting import training_fields
from pruning_vs_scratch.training.export import write_checkpoint
from pruning_vs_scratch.training.loop import Trainer, TrainResult
from pruning_vs_scratch.training.metrics import begin_metrics
from pruning_vs_scratch.training.reporters import reporters
from pruning_vs_scratch.training.request import TrainingRequest
from pruning_vs_scratch.training.sharding import same_model
from pruning_vs_scratch.training.start import starting_masks, starting_model, teacher_of
from pruning_vs_scratch.training.task import TrainingTask
from pruning_vs_scratch.training.world import World, joined_world

log = logging.getLogger(__name__)

INPUTS = (
    "tokens", "validation", "tokenizer", "target", "model", "redraw_linears", "redraw_linears_and_head", "cut_like",
    "teacher", "state",
)  # fmt: skip
"""Fields of a request with the inputs of a run; the mask of a checkpoint is a file in it."""


def train(request: TrainingRequest) -> None:
    """Train as one of this command's processes and record what was done; do nothing if it is done already."""
    with joined_world(shard_in_node=request.plan.sharding == "node") as world:
        if world.is_first:
            _train_and_record(request, world)
        elif (work := world.from_first(request.work)) is not None:
            _trained(request, world, work)


def _train_and_record(request: TrainingRequest, world: World) -> None:
    plan = request.plan
    manifest = ManifestWriter("train", {"plan": plan.model_dump(mode="json")})
    if request.like is not None:
        manifest.add_input("like", request.like / CONFIG_FILE)
    for name in INPUTS:
        if getattr(request, name) is not None:
            manifest.add_input(name, getattr(request, name))
    if request.mask is not None:
        manifest.add_input("mask", request.mask / MASK_FILE)
    spec_hash = sha256_of_value({"plan": plan.spec, "inputs": manifest.inputs})
    with resume_state(request.work, plan.run, spec_hash) as work:
        if is_made(request.manifest, [request.out, request.metrics], spec_hash):
            log.info("run %s was already trained by another job", plan.run)
            world.from_first(None)
            return
        trainer, result = _trained(request, world, world.from_first(work))
        assert trainer.metrics is not None
        with atomic_file(request.metrics) as temporary:
            shutil.copyfile(trainer.metrics.path, temporary)
        row = _ledger_row(trainer, result, spec_hash)
        facts = {"ledger": row.to_dict(), "validation_loss": result.validation_loss}
        made = {} if request.out is None else {"state" if plan.phase == "trunk" else "model": request.out}
        if "model" in made:
            facts["checkpoint_bytes"] = weight_bytes(made["model"])
        manifest.write(request.manifest, {**made, "metrics": request.metrics}, facts)


def _trained(request: TrainingRequest, world: World, work: Path) -> tuple[Trainer, TrainResult]:
    """Train, and write the checkpoint, or a trunk's state."""
    plan, tokens, validation = request.plan, TokenStore(request.tokens), TokenStore(request.validation)
    for store in (tokens, validation):
        store.check_tokenizer(request.tokenizer / "tokenizer.json")
    torch.set_num_threads(plan.threads)
    keep_freed_memory()
    model = same_model(lambda: starting_model(request, tokens), world)
    if world.is_first:
        begin_metrics(work, request.state, request.state_metrics)
    # Next to the state, which is removed at the end.
    with reporters(list(request.report_to) if world.is_first else [], request.work.parent, plan.run) as shown:
        trainer = Trainer(
            TrainingTask(plan, model, Windows(tokens, plan.sequence_length, plan.seed, plan.reading)),
            masks=starting_masks(request, model, world),
            validation=Windows(validation, plan.sequence_length, EVALUATION_SEED),
            work=work,
            world=world,
            separator=separator_of(request.tokenizer),
            teacher=teacher_of(request, model.config, world),
            trunk=request.state,
            reporters=shown,
        )
        result = _result(trainer)
    if request.out is not None:
        _write(request, trainer, world, request.out)
    return trainer, result


def _result(trainer: Trainer) -> TrainResult:
    """Train; a trial may diverge, which is a result too."""
    try:
        return trainer.train()
    except Diverged as error:
        if trainer.plan.phase not in TRIAL_PHASES:
            raise
        log.warning("%s", error)
        return trainer.result(validation_loss=None)


def _write(request: TrainingRequest, trainer: Trainer, world: World, out: Path) -> None:
    if trainer.plan.phase == "trunk":
        trainer.write_state(out)
        return
    with world.atomic_directory(out) as temporary:
        write_checkpoint(trainer.decoder, temporary, world)
        if world.is_first:
            copy_tokenizer(request.tokenizer, temporary)


def _ledger_row(trainer: Trainer, result: TrainResult, spec_hash: str) -> LedgerRow:
    plan, teacher = trainer.plan, trainer.teacher
    return LedgerRow(
        run=plan.run,
        phase=plan.phase,
        seed=plan.seed,
        wall_seconds=round(result.seconds, 3),
        wall_seconds_trunk=round(result.seconds_trunk, 3),
        world_size=trainer.world.size,
        spec_hash=spec_hash,
        source_hash=source_hash(),
        **training_fields(
            plan, result, shape_of(trainer.decoder.config), None if teacher is None else shape_of(teacher.config)
        ),
    )
