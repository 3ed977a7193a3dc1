"""Train one model by its token plan: a parent, a pruned model (retraining), or a target from random weights.

A plan of the phase "trunk" ends with a state instead of a checkpoint: weights, optimiser and counters, from which runs
of other plans go on (--state).
"""

import argparse
import logging
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pruning_vs_scratch import cli
from pruning_vs_scratch.cli import json_argument, positive_integer
from pruning_vs_scratch.config.training import ReporterName, sharing_problem
from pruning_vs_scratch.data.tokenizer import copy_tokenizer, separator_of
from pruning_vs_scratch.data.tokens import TokenStore
from pruning_vs_scratch.data.windows import EVALUATION_SEED, Windows
from pruning_vs_scratch.errors import Diverged, UserError, nearest
from pruning_vs_scratch.files import (
    CONFIG_FILE,
    MASK_FILE,
    atomic_file,
    read_json,
    sha256_of_value,
    weight_bytes,
)
from pruning_vs_scratch.ledger import LedgerRow
from pruning_vs_scratch.libraries import import_libraries
from pruning_vs_scratch.manifest import ManifestWriter, source_hash
from pruning_vs_scratch.resume_state import is_made, resume_state
from pruning_vs_scratch.study import Target, TrainingPlan
from pruning_vs_scratch.study.gpus import GPUS
from pruning_vs_scratch.study.plan import TRIAL_PHASES

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

    from pruning_vs_scratch.pruning.masks import PackedMask
    from pruning_vs_scratch.training.loop import Trainer, TrainResult
    from pruning_vs_scratch.training.world import World


log = logging.getLogger(__name__)

INPUTS = (
    "tokens", "validation", "tokenizer", "target", "model", "redraw_linears", "redraw_linears_and_head", "cut_like",
    "teacher", "state",
)  # fmt: skip
"""Options that name what a run depends on; the mask of a checkpoint is a file in it."""


def main() -> None:
    """Entry point."""
    args = _arguments()
    plan = _with_chosen_rate(TrainingPlan.parse(args.plan, "--plan", args.saving), args)
    if args.cut_like is not None and args.target is None:
        raise UserError("--cut-like cuts random weights: give it with --target, the shape before the cut")
    if args.like is not None and args.target is None:
        raise UserError("--like completes the shape of random weights: give it with --target")
    if args.state_metrics is not None and args.state is None:
        raise UserError("--state-metrics is the curve that led to a state: give it with --state")

    import_libraries()
    if args.dry_run is not None:
        sys.stdout.write(_dry_run(args, plan))
        return
    from pruning_vs_scratch.training.world import joined_world

    with joined_world(shard_in_node=plan.sharding == "node") as world:
        if not world.is_first:
            if (state := world.from_first(args.work)) is not None:
                _train(args, plan, world, state)
            return
        manifest = ManifestWriter("train", {"plan": plan.model_dump(mode="json")})
        if args.like is not None:
            manifest.add_input("like", args.like / CONFIG_FILE)
        for name in INPUTS:
            if getattr(args, name) is not None:
                manifest.add_input(name, getattr(args, name))
        if args.mask is not None:
            manifest.add_input("mask", args.mask / MASK_FILE)
        spec_hash = sha256_of_value({"plan": plan.spec, "inputs": manifest.inputs})
        with resume_state(args.work, plan.run, spec_hash) as work:
            if is_made(args.manifest, [args.out, args.metrics], spec_hash):
                log.info("run %s is trained already, by another job", plan.run)
                world.from_first(None)
                return
            trainer, result = _train(args, plan, world, world.from_first(work))
            assert trainer.metrics is not None
            with atomic_file(args.metrics) as temporary:
                shutil.copyfile(trainer.metrics.path, temporary)
            row = _ledger_row(trainer, result, spec_hash)
            facts = {"ledger": row.to_dict(), "validation_loss": result.validation_loss}
            made = {} if args.out is None else {"state" if plan.phase == "trunk" else "model": args.out}
            if "model" in made:
                facts["checkpoint_bytes"] = weight_bytes(made["model"])
            manifest.write(args.manifest, {**made, "metrics": args.metrics}, facts)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", type=json_argument, required=True, help="token plan: JSON text or a JSON file")
    parser.add_argument(
        "--saving", type=json_argument, default={}, help="JSON: when states are saved, where the plan does not say"
    )
    parser.add_argument("--tokens", type=Path, required=True, help="token shards of the training split")
    parser.add_argument("--validation", type=Path, required=True, help="token shards of the validation split")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the tokenizer")
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument("--target", type=Path, help="target file: start from random weights of its shape")
    start.add_argument("--model", type=Path, help="checkpoint: start from its weights")
    start.add_argument(
        "--redraw-linears", type=Path, help="checkpoint: start from its weights, with its blocks' linear layers redrawn"
    )
    start.add_argument(
        "--redraw-linears-and-head", type=Path, help="the same, with its output projection redrawn too (the authors)"
    )
    parser.add_argument("--like", type=Path, help="checkpoint: random weights take over all but the target's shape")
    parser.add_argument("--cut-like", type=Path, help="pruned checkpoint: cut the random weights as it was cut")
    parser.add_argument("--teacher", type=Path, help="checkpoint to learn from, for a plan with distillation")
    parser.add_argument("--mask", type=Path, help="pruned checkpoint: keep the zeros of its mask")
    parser.add_argument(
        "--report-to", action="append", default=[], choices=get_args(ReporterName), help="show the metrics there, too"
    )
    parser.add_argument("--state", type=Path, help="state of a trunk: go on from it; the start is that of the trunk")
    parser.add_argument("--state-metrics", type=Path, help="metrics.jsonl of that trunk: they open this run's")
    parser.add_argument("--work", type=Path, required=True, help="folder for resume state")
    parser.add_argument("--learning-rates", type=Path, help="sweep.json: train at a rate that it chose")
    parser.add_argument("--learning-rate-of", help="which one, such as shared, pruned or scratch:sparse")
    parser.add_argument("--out", type=Path, help="checkpoint folder to write; of a trunk, state folder; else none")
    parser.add_argument("--metrics", type=Path, required=True, help="metrics.jsonl to write")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write")
    dry = parser.add_argument_group("only say what memory and time a step would take (writes nothing, needs no GPU)")
    dry.add_argument("--dry-run", choices=GPUS, metavar="GPU", help=f"on GPUs of a kind: {', '.join(GPUS)}")
    dry.add_argument("--processes", type=positive_integer, default=1, help="of as many processes (default: 1)")
    dry.add_argument("--in-node", type=positive_integer, default=8, help="of which a node has so many (default: 8)")
    return parser.parse_args()


def _dry_run(args: argparse.Namespace, plan: TrainingPlan) -> str:
    """What a step of the run would take, for people.

    Raises:
        UserError: the processes cannot share its batches.
    """
    from pruning_vs_scratch.models.llama import shape_of
    from pruning_vs_scratch.models.portable import read_config
    from pruning_vs_scratch.training.dry_run import dry_run

    if problem := sharing_problem(plan, args.processes):
        raise UserError(f"run {plan.run}: {problem}")
    start = args.model or args.redraw_linears or args.redraw_linears_and_head
    shape = shape_of(read_config(start)) if start else Target.from_dict(read_json(args.target)).shape
    gpu = GPUS[args.dry_run]
    found = dry_run(shape, plan, gpu, processes=args.processes, in_node=min(args.in_node, args.processes))
    flops = shape.training_flops(plan.global_batch_size, plan.sequence_length) // args.processes
    teacher = "; its teacher comes on top" if plan.distillation else ""
    return f"run {plan.run}{teacher}: {found.told(gpu, flops)}"


def _train(args: argparse.Namespace, plan: TrainingPlan, world: "World", work: Path) -> "tuple[Trainer, TrainResult]":
    """Train, and write the checkpoint, or a trunk's state."""
    stores = {name: TokenStore(getattr(args, name)) for name in ("tokens", "validation")}
    for store in stores.values():
        store.check_tokenizer(args.tokenizer / "tokenizer.json")

    import torch

    from pruning_vs_scratch.models.device import keep_freed_memory
    from pruning_vs_scratch.training.export import write_checkpoint
    from pruning_vs_scratch.training.loop import Trainer
    from pruning_vs_scratch.training.metrics import begin_metrics
    from pruning_vs_scratch.training.reporters import reporters
    from pruning_vs_scratch.training.sharding import same_model

    torch.set_num_threads(plan.threads)
    keep_freed_memory()
    model = same_model(lambda: _initial_model(args, plan, stores["tokens"]), world)
    if world.is_first:
        begin_metrics(work, args.state, args.state_metrics)
    # Beside the state, which is removed at the end.
    with reporters(args.report_to if world.is_first else [], args.work.parent, plan.run) as shown:
        trainer = Trainer(
            plan,
            model,
            masks=_masks(args, model, world),
            train=Windows(stores["tokens"], plan.sequence_length, plan.seed, plan.reading),
            validation=Windows(stores["validation"], plan.sequence_length, EVALUATION_SEED),
            work=work,
            world=world,
            separator=separator_of(args.tokenizer),
            teacher=_teacher(args, model.config, world),
            trunk=args.state,
            reporters=shown,
        )
        result = _result(trainer)
    if args.out is None:
        return trainer, result
    if plan.phase == "trunk":
        trainer.write_state(args.out)
        return trainer, result
    with world.atomic_directory(args.out) as temporary:
        write_checkpoint(trainer.llama, temporary, world)
        if world.is_first:
            copy_tokenizer(args.tokenizer, temporary)
    return trainer, result


def _result(trainer: "Trainer") -> "TrainResult":
    """Train; a trial may diverge, which is a result too."""
    try:
        return trainer.train()
    except Diverged as error:
        if trainer.plan.phase not in TRIAL_PHASES:
            raise
        log.warning("%s", error)
        return trainer.result(validation_loss=None)


def _with_chosen_rate(plan: TrainingPlan, args: argparse.Namespace) -> TrainingPlan:
    """The plan at the peak learning rate that a sweep chose, if one is asked."""
    if (args.learning_rates is None) != (args.learning_rate_of is None):
        raise UserError("--learning-rates and --learning-rate-of go together")
    if args.learning_rates is None:
        return plan
    chosen = read_json(args.learning_rates)
    if args.learning_rate_of not in chosen:
        hint = nearest(args.learning_rate_of, chosen)
        raise UserError(f"{args.learning_rates} has no rate {args.learning_rate_of!r}; {hint}")
    return plan.model_copy(update={"peak_learning_rate": chosen[args.learning_rate_of]["peak_learning_rate"]})


def _ledger_row(trainer: "Trainer", result: "TrainResult", spec_hash: str) -> LedgerRow:
    from pruning_vs_scratch.models.llama import shape_of
    from pruning_vs_scratch.training.accounting import training_fields

    plan = trainer.plan
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
            plan, result, shape_of(trainer.llama.config), shape_of(trainer.teacher.config) if trainer.teacher else None
        ),
    )


def _teacher(args: argparse.Namespace, student: Any, world: "World") -> Any:
    """The model that a run learns from.

    Raises:
        UserError: its vocabulary is another one than the student's.
    """
    from pruning_vs_scratch.models.checkpoint import load_llama
    from pruning_vs_scratch.training.sharding import same_model

    if args.teacher is None:
        return None
    teacher = same_model(lambda: load_llama(args.teacher), world)
    if teacher.config.vocab_size != student.vocab_size:
        raise UserError(
            f"the teacher {args.teacher} has a vocabulary of {teacher.config.vocab_size}, the student one of "
            f"{student.vocab_size}; a student learns from the model that it was pruned from"
        )
    return teacher


def _initial_model(args: argparse.Namespace, plan: TrainingPlan, text: TokenStore) -> "LlamaForCausalLM":
    """The weights that a run starts from.

    Raises:
        UserError: the text has tokens that the model does not know.
    """
    model = _starting_weights(args, plan)
    start = args.model or args.redraw_linears or args.redraw_linears_and_head or args.target
    text.check_vocabulary(model.config.vocab_size, start)
    return model


def _masks(args: argparse.Namespace, model: "LlamaForCausalLM", world: "World") -> dict[str, "PackedMask"]:
    """What stays zero, by name; each process unpacks its own rows when the model is sharded.

    Raises:
        UserError: the mask does not fit the model, or a checkpoint to start from has other zeros.
    """
    from pruning_vs_scratch.pruning.record import masks_of
    from pruning_vs_scratch.training.sparsity import assert_masked, fitted_masks

    if args.mask is None:
        return {}
    masks = masks_of(args.mask)
    # The other processes have no weights yet.
    for name, mask in masks.items() if args.model is not None and world.is_first else ():
        assert_masked(model, fitted_masks(model, {name: mask}))
    return masks


def _starting_weights(args: argparse.Namespace, plan: TrainingPlan) -> "LlamaForCausalLM":
    from pruning_vs_scratch.models.checkpoint import load_llama
    from pruning_vs_scratch.models.llama import random_like, random_llama, shape_of, with_linears_of
    from pruning_vs_scratch.models.portable import read_config
    from pruning_vs_scratch.pruning.record import cut_like

    if args.model is not None:
        return load_llama(args.model)
    if (redrawn := args.redraw_linears or args.redraw_linears_and_head) is not None:
        trained, head = load_llama(redrawn), args.redraw_linears_and_head is not None
        drawn = random_like(trained.config, shape_of(trained.config), plan.init_seed)
        return with_linears_of(trained, drawn, head=head)
    shape = Target.from_dict(read_json(args.target)).shape
    if args.like is not None:
        return random_like(read_config(args.like), shape, plan.init_seed)
    model = random_llama(shape, plan.sequence_length, plan.init_seed, separator_of(args.tokenizer) or 0)
    return model if args.cut_like is None else cut_like(model, args.cut_like)


if __name__ == "__main__":
    cli.run(main)
